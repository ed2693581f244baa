//! Whom a socket talks to.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStringExt;

/// The longest address.
pub(super) const ADDRESS_MAX: usize = 128;
/// A name server on this machine asks others.
const NAMES: u16 = 53;

/// An address of a socket, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// None, or one that leads nowhere.
    Nobody,
    /// This machine.
    Loopback(String),
    /// Others.
    Network(String),
    /// The kernel's tables of addresses and the like.
    Kernel,
    /// A socket that is a file.
    File(OsString),
    /// A socket with a name of its own kind.
    Name(Vec<u8>),
}

/// Reads an address as the kernel has it.
pub(super) fn address(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Address::Nobody;
    };
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_UNSPEC => Address::Nobody,
        libc::AF_UNIX => local(rest),
        libc::AF_INET => match (port(rest), rest.get(2..).and_then(<[u8]>::first_chunk::<4>)) {
            (Some(port), Some(ip)) => internet(Ipv4Addr::from(*ip).into(), port),
            _ => Address::Nobody,
        },
        libc::AF_INET6 => match (port(rest), rest.get(6..).and_then(<[u8]>::first_chunk::<16>)) {
            (Some(port), Some(ip)) => internet(Ipv6Addr::from(*ip).to_canonical(), port),
            _ => Address::Nobody,
        },
        libc::AF_NETLINK => Address::Kernel,
        family => Address::Network(format!("address family {family}")),
    }
}

fn local(rest: &[u8]) -> Address {
    match rest.first() {
        None => Address::Nobody,
        Some(0) => Address::Name(rest[1..].to_vec()),
        Some(_) => {
            let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            Address::File(OsString::from_vec(name.to_vec()))
        }
    }
}

fn port(rest: &[u8]) -> Option<u16> {
    rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn internet(ip: IpAddr, port: u16) -> Address {
    let text = std::net::SocketAddr::new(ip, port).to_string();
    // The unspecified address is this machine's own when it is talked to.
    if (ip.is_loopback() || ip.is_unspecified()) && port != NAMES {
        Address::Loopback(text)
    } else {
        Address::Network(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(family: i32, rest: &[u8]) -> Address {
        let family = u16::try_from(family).unwrap().to_ne_bytes();
        address(&[&family[..], rest].concat())
    }

    #[test]
    fn addresses_are_told_apart() {
        let v4 = |port: u16, ip: [u8; 4]| of(libc::AF_INET, &[&port.to_be_bytes()[..], &ip].concat());
        assert_eq!(v4(80, [127, 0, 0, 9]), Address::Loopback("127.0.0.9:80".into()));
        assert_eq!(v4(53, [127, 0, 0, 53]), Address::Network("127.0.0.53:53".into()));
        assert_eq!(v4(80, [10, 0, 0, 1]), Address::Network("10.0.0.1:80".into()));
        let mut v6 = [0; 22];
        v6[21] = 1;
        assert_eq!(of(libc::AF_INET6, &v6), Address::Loopback("[::1]:0".into()));
        assert_eq!(of(libc::AF_UNIX, b"/run/x\0rest"), Address::File("/run/x".into()));
        assert_eq!(of(libc::AF_UNIX, b"\0name"), Address::Name(b"name".to_vec()));
        assert_eq!(of(libc::AF_INET, &[0, 80, 1]), Address::Nobody);
        assert_eq!(address(&[1]), Address::Nobody);
    }
}
