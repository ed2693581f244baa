//! How object_store makes its requests.

use std::time::Duration;

use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};
use thresh_proto::{Https, HttpsError};

/// No request takes longer: what goes or comes at once has 8 MiB, or is one record.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// More than the longest record, and than a page of a listing.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Makes connections of their own for each store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let https = Https::new().map_err(|cause| object_store::Error::Generic {
            store: "S3",
            source: cause.into(),
        })?;
        Ok(HttpClient::new(Service(https)))
    }
}

#[derive(Debug)]
struct Service(Https);

#[tonic::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.ask(request, ANSWER_BYTES_MAX, REQUEST_TIME).await;
        match answer {
            Ok(answer) => Ok(answer.map(Into::into)),
            Err(error) => {
                let kind = match &error {
                    HttpsError::Connect(_) => HttpErrorKind::Connect,
                    HttpsError::Late(_) => HttpErrorKind::Timeout,
                    HttpsError::Long(_) => HttpErrorKind::Unknown,
                    HttpsError::Broken(_) => HttpErrorKind::Request,
                };
                Err(HttpError::new(kind, error))
            }
        }
    }
}
