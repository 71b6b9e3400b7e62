//! `host:port`, checked and kept as it was given; nothing here resolves a name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host, which may be empty (every interface) or an IPv6 address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// 0 lets the system choose when it is bound.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAddress {
    /// It does not split into one host and one port.
    Shape,
    /// What stands for the port is no number up to 65535.
    Port,
}

impl Address {
    /// Whether the host is an IP address that means "all of this machine's" and so tells
    /// another machine nothing.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Address, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress::Shape)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').ok_or(InvalidAddress::Shape)?,
            None if host.contains(':') => return Err(InvalidAddress::Shape),
            None => host,
        };
        let is_strange = |c: char| matches!(c, '[' | ']' | '/' | '@') || c.is_whitespace();
        if host.contains(is_strange) {
            return Err(InvalidAddress::Shape);
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidAddress::Port);
        }
        let port = port.parse().map_err(|_| InvalidAddress::Port)?;
        Ok(Address { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidAddress::Shape => "not of the form host:port",
            InvalidAddress::Port => "the port is not a number up to 65535",
        })
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_back() {
        for text in ["localhost:4001", ":4001", "0.0.0.0:0", "[::1]:65535", "[fe80::1%eth0]:80"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text, "as given");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let table: &[(&str, InvalidAddress)] = &[
            ("", InvalidAddress::Shape),
            ("localhost", InvalidAddress::Shape),
            ("::1:4001", InvalidAddress::Shape),
            ("[::1:4001", InvalidAddress::Shape),
            ("a[::1]:4001", InvalidAddress::Shape),
            ("a b:4001", InvalidAddress::Shape),
            ("http://localhost:4001", InvalidAddress::Shape),
            ("localhost:", InvalidAddress::Port),
            ("localhost:http", InvalidAddress::Port),
            ("localhost:65536", InvalidAddress::Port),
            ("localhost:+1", InvalidAddress::Port),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Address>(), Err(*expected), "{text:?}");
        }
    }

    #[test]
    fn only_wildcards_are_unspecified() {
        for (text, expected) in
            [("0.0.0.0:1", true), ("[::]:1", true), (":1", false), ("127.0.0.1:1", false)]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_unspecified(), expected, "{text}");
        }
    }
}
