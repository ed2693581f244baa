//! Requests by HTTP, with or without TLS: what an object store is asked, by coordinators and by workers.
//!
//! Absent: redirects and proxies. An address that was signed is the one that is meant.

use std::error::Error;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::causes;

const CONNECTING_TIME: Duration = Duration::from_secs(5);

type Cause = Box<dyn Error + Send + Sync>;

/// Why a request failed; what the client itself says of it is the same each time.
fn reason(error: &hyper_util::client::legacy::Error) -> String {
    error.source().map_or_else(|| error.to_string(), causes)
}

/// A request could not be made, or its answer not be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// There is no connection.
    #[error("connect: {0}")]
    Connect(String),
    /// The whole answer did not come in time.
    #[error("there is no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    Long(usize),
    /// The connection broke, or what came is no HTTP.
    #[error("ask: {0}")]
    Broken(String),
}

/// Makes requests. Clones share connections.
#[derive(Clone, Debug)]
pub struct Https {
    client: Client<HttpsConnector<HttpConnector>, UnsyncBoxBody<Bytes, Cause>>,
}

impl Https {
    /// Trusts whom this machine trusts. Where it trusts nobody, requests without TLS can be made all the same.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECTING_TIME));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Makes a request and reads the whole answer, of at most `bytes_max` bytes, within `time`.
    ///
    /// # Errors
    /// There is no such answer. A status that is no success is none.
    pub async fn ask<B>(
        &self,
        request: Request<B>,
        bytes_max: usize,
        time: Duration,
    ) -> Result<Response<Bytes>, HttpsError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Cause>,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let asking = async {
            let answer = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    HttpsError::Connect(reason(&error))
                } else {
                    HttpsError::Broken(reason(&error))
                }
            })?;
            let (head, body) = answer.into_parts();
            let content = Limited::new(body, bytes_max).collect().await.map_err(|cause| {
                if cause.is::<LengthLimitError>() {
                    HttpsError::Long(bytes_max)
                } else {
                    HttpsError::Broken(causes(&*cause))
                }
            })?;
            Ok(Response::from_parts(head, content.to_bytes()))
        };
        let asked = tokio::time::timeout(time, asking).await;
        asked.unwrap_or(Err(HttpsError::Late(time)))
    }
}
