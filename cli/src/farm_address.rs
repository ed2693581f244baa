//! Where a farm is, and connecting to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// How long one address may take to answer. One that refuses says so at once.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A silent connection is asked this often whether it lives, and is given up as long after.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The addresses of a farm's coordinators, of which one serves at a time. Every connection tries another one first
/// than the last (clones count together): one that is frozen would still seem to answer. Those that stand by refuse at
/// once.
#[derive(Clone, Debug)]
pub(crate) struct FarmAddress {
    text: Arc<str>,
    uris: Arc<[Uri]>,
    /// The one to try first.
    first: Arc<AtomicUsize>,
}

/// The text names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no address: {problem}; give one like http://farm:8980, or several with commas between")]
pub(crate) struct InvalidFarmAddress {
    part: String,
    problem: String,
}

impl FromStr for FarmAddress {
    type Err = InvalidFarmAddress;

    fn from_str(text: &str) -> Result<Self, InvalidFarmAddress> {
        let uris: Vec<Uri> = text.split(',').map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            uris: uris.into(),
            first: Arc::default(),
        })
    }
}

fn read(part: &str) -> Result<Uri, InvalidFarmAddress> {
    let part = part.trim();
    let invalid = |problem: String| InvalidFarmAddress {
        part: part.to_owned(),
        problem,
    };
    let uri: Uri = part.parse().map_err(|cause| invalid(format!("{cause}")))?;
    match uri.scheme_str() {
        Some("http") => Ok(uri),
        Some(scheme) => Err(invalid(format!("{scheme}:// is not spoken here"))),
        None => Err(invalid("it has no http://".to_owned())),
    }
}

fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    // A literal address of IPv6 stands in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, uri.port_u16().unwrap_or(80))
}

impl fmt::Display for FarmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FarmAddress {
    /// Connects to the coordinator that answers. When the connection breaks, the channel does so again.
    ///
    /// # Errors
    /// None of them answers.
    pub(crate) async fn connect(&self) -> Result<Channel, Error> {
        let addresses = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let addresses = addresses.clone();
            async move { addresses.dial().await.map(TokioIo::new) }
        });
        Endpoint::from(self.uris[0].clone())
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_with_connector(connector)
            .await
    }

    /// Where its coordinators listen, as far as names can be resolved now.
    pub(crate) async fn sockets(&self) -> Vec<SocketAddr> {
        let mut sockets = Vec::new();
        for uri in &*self.uris {
            let resolved =
                tokio::time::timeout(CONNECT_MAX, tokio::net::lookup_host(host_and_port(uri))).await;
            match resolved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(found) => sockets.extend(found),
                Err(cause) => tracing::warn!("cases may reach {uri}: its name cannot be resolved: {cause}"),
            }
        }
        sockets
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let first = self.first.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for at in (0..self.uris.len()).map(|next| (first + next) % self.uris.len()) {
            let uri = &self.uris[at];
            let dialled = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(host_and_port(uri))).await;
            match dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    self.first.store(at + 1, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(cause) => failures.push((uri, cause)),
            }
        }
        if let [(_, _)] = &failures[..]
            && let Some((_, cause)) = failures.pop()
        {
            return Err(cause);
        }
        let failures: Vec<String> = failures
            .iter()
            .map(|(uri, cause)| format!("{uri}: {cause}"))
            .collect();
        Err(io::Error::other(failures.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_named() {
        let farm: FarmAddress = "http://a:1, http://[::1]:2".parse().unwrap();
        assert_eq!(
            (farm.uris.len(), farm.to_string().as_str()),
            (2, "http://a:1, http://[::1]:2")
        );
        for (wrong, part) in [
            ("", "``"),
            ("http://a:1,", "``"),
            ("https://a", "https"),
            ("a:1", "`a:1`"),
        ] {
            let error = wrong.parse::<FarmAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn the_address_that_answers_is_found_and_the_next_is_tried_first() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = closed.local_addr().unwrap();
        drop(closed);
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = open.local_addr().unwrap();
        let farm: FarmAddress = format!("http://{gone},http://{here}").parse().unwrap();
        assert_eq!(farm.dial().await.unwrap().peer_addr().unwrap(), here);
        let third = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = third.local_addr().unwrap();
        let both: FarmAddress = format!("http://{here},http://{there}").parse().unwrap();
        for expected in [here, there, here] {
            assert_eq!(both.dial().await.unwrap().peer_addr().unwrap(), expected);
        }
        drop(open);
        let error = farm.dial().await.unwrap_err().to_string();
        assert!(
            error.contains(&gone.to_string()) && error.contains(&here.to_string()),
            "{error}"
        );
    }
}
