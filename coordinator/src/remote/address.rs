//! Where another program serves the Remote Execution API.

use std::fmt;
use std::str::FromStr;

use tonic::transport::Uri;

/// Where another program serves the Remote Execution API: `reapi://HOST:PORT[/INSTANCE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    /// `http://HOST:PORT`.
    endpoint: String,
    instance: String,
}

/// A text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of the Remote Execution API: reapi://HOST:PORT or reapi://HOST:PORT/INSTANCE, without TLS"
)]
pub struct InvalidAddress(String);

impl FromStr for RemoteAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let parse = || {
            let rest = text.strip_prefix("reapi://")?;
            let (authority, instance) = rest.split_once('/').unwrap_or((rest, ""));
            let (host, port) = authority.rsplit_once(':')?;
            let endpoint = format!("http://{authority}");
            let is_sound = !host.is_empty()
                && !authority.contains(['@', '?', '#'])
                && port.parse::<u16>().is_ok()
                && endpoint.parse::<Uri>().is_ok();
            is_sound.then(|| Self {
                endpoint,
                instance: instance.trim_end_matches('/').to_owned(),
            })
        };
        parse().ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

impl RemoteAddress {
    /// Where to connect to.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What to ask for there.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.endpoint.trim_start_matches("http://");
        write!(f, "reapi://{authority}/{}", self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_maybe_an_instance() {
        for (text, endpoint, instance) in [
            ("reapi://cache:8980", "http://cache:8980", ""),
            ("reapi://[::1]:1/", "http://[::1]:1", ""),
            ("reapi://cache:80/a/b", "http://cache:80", "a/b"),
        ] {
            let address: RemoteAddress = text.parse().unwrap();
            assert_eq!(
                (address.endpoint.as_str(), address.instance.as_str()),
                (endpoint, instance)
            );
        }
        for text in [
            "",
            "cache:80",
            "http://cache:80",
            "reapi://cache",
            "reapi://:80",
            "reapi://cache:x",
            "reapi://a@b:1",
            "reapi://a b:1",
        ] {
            assert!(text.parse::<RemoteAddress>().is_err(), "{text}");
        }
    }
}
