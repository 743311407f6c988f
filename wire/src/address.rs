//! Where a node is reached, as people and configuration write it: a host, and `host:port`. Text
//! only: nothing is resolved here.
//!
//! Sources: RFC 1123, section 2.1, for names (with `_`, which container networks use); RFC 3986,
//! section 3.2.2, for the brackets around an IPv6 address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Longest name, bytes (RFC 1123).
const MAX_NAME_LEN: usize = 253;
/// Longest part of a name between two dots, bytes.
const MAX_LABEL_LEN: usize = 63;

/// Why a text is no host or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither an IP address nor a name.
    #[error("a name has letters, digits, `-`, `_` and dots; else give an IP address")]
    Host,
    /// An IPv6 address before a port.
    #[error("an IPv6 address before a port stands in brackets, as in [::1]:7400")]
    Brackets,
    /// No port, or one that can't be.
    #[error("a port from 1 to 65535 belongs behind the host, as in 10.0.0.5:7400")]
    Port,
}

/// A host: a name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, to be resolved whenever it is used.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host; an IPv6 address with brackets or without.
    ///
    /// # Errors
    /// [`AddressError::Host`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return inner
                .parse::<Ipv6Addr>()
                .map(|ip| Self::Ip(ip.into()))
                .map_err(|_| AddressError::Host);
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let label = |label: &str| {
            (1..=MAX_LABEL_LEN).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What has digits and dots only is an IP address with a slip, never a name.
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let name = text.strip_suffix('.').unwrap_or(text);
        if !numeric && name.len() <= MAX_NAME_LEN && name.split('.').all(label) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(AddressError::Host)
    }

    /// The host with a port behind it, as [`host_and_port`] reads it.
    pub fn with_port(&self, port: u16) -> String {
        format!("{self}:{port}")
    }

    /// As a certificate has it: an IPv6 address without brackets.
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Ip(ip) => ip.to_string(),
        }
    }
}

/// As it stands before a port: an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// Reads `host:port`.
///
/// # Errors
/// [`AddressError`].
pub fn host_and_port(text: &str) -> Result<(Host, u16), AddressError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Brackets);
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(AddressError::Brackets);
    }
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port =
        port.parse().ok().filter(|&port: &u16| digits && port > 0).ok_or(AddressError::Port)?;
    Ok((Host::parse(host)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for (text, shown) in [
            ("db-a", "db-a"),
            ("db_a.example.com.", "db_a.example.com."),
            ("7.example", "7.example"),
            ("10.0.0.5", "10.0.0.5"),
            ("::1", "[::1]"),
            ("[2001:db8::5]", "[2001:db8::5]"),
        ] {
            let host = Host::parse(text).expect(text);
            assert_eq!(host.to_string(), shown);
            assert_eq!(host_and_port(&host.with_port(7400)), Ok((host, 7400)));
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "db a",
            " db",
            "db:a",
            "-db",
            "db-",
            "db..a",
            ".",
            "[10.0.0.5]",
            "[::1",
            "::g",
            "10.0.0",
            "10.0.0.256",
            "ação",
            "a/b",
            &long,
        ] {
            assert_eq!(Host::parse(bad), Err(AddressError::Host), "{bad:?}");
        }
    }

    #[test]
    fn a_port_stands_behind_the_host() {
        assert_eq!(
            host_and_port("[::1]:7400").map(|(host, port)| (host.to_string(), port)),
            Ok(("[::1]".to_owned(), 7400))
        );
        for (bad, why) in [
            ("::1:7400", AddressError::Brackets),
            ("::1", AddressError::Brackets),
            ("db", AddressError::Port),
            ("db:", AddressError::Port),
            ("db:0", AddressError::Port),
            ("db:+1", AddressError::Port),
            ("db:65536", AddressError::Port),
            ("db:http", AddressError::Port),
            (":7400", AddressError::Host),
            ("db a:7400", AddressError::Host),
            ("[::1]", AddressError::Port),
        ] {
            assert_eq!(host_and_port(bad), Err(why), "{bad:?}");
        }
    }
}
