//! Which proxy leads to a node, by the usual variables of the environment.
//!
//! `HTTP_PROXY` is for http, `HTTPS_PROXY` for https, each also in small letters; `NO_PROXY` lists
//! what is reached directly. This machine itself always is. A proxy is asked to CONNECT.

use std::env;
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use super::settings::Scheme;

/// The proxy to this URL, if there is one.
pub(super) fn find(url: &Uri) -> Result<Option<Proxy>, String> {
    let is_https = url.scheme_str() == Some(Scheme::Https.name());
    let name = if is_https { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let Some(text) = read(name) else { return Ok(None) };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let exceptions = read("NO_PROXY").unwrap_or_default();
    if is_local(&host) || is_excepted(&host, url.port_u16(), &exceptions) {
        return Ok(None);
    }
    // The text may hold a password, so it is not repeated.
    let proxy = Proxy::new(&text).map_err(|_| format!("{name} holds no URL of a proxy"))?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https => Ok(Some(proxy)),
        other => Err(format!("{name} asks for a {other} proxy; only http and https are known")),
    }
}

fn read(name: &str) -> Option<String> {
    // Web servers hand a request's header `Proxy` to CGI programs as HTTP_PROXY.
    let is_cgi = name == "HTTP_PROXY" && env::var_os("REQUEST_METHOD").is_some();
    let names = [Some(name.to_owned()).filter(|_| !is_cgi), Some(name.to_ascii_lowercase())];
    let mut values = names.into_iter().flatten().filter_map(|name| env::var(name).ok());
    values.find(|value| !value.is_empty())
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a list such as `db.example,.lan,10.0.0.0/8` holds this host.
fn is_excepted(host: &str, port: Option<u16>, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let (name, wanted) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') || name.ends_with(']') => {
                (name.to_owned(), digits.parse::<u16>().ok())
            }
            _ => (entry, None),
        };
        let name = name.trim_matches(['[', ']']);
        if wanted.is_some() && wanted != port {
            return false;
        }
        match name.strip_prefix("*").unwrap_or(name) {
            "" => name == "*",
            tail if tail.starts_with('.') => host.ends_with(tail),
            tail => tail == host || host.ends_with(&format!(".{tail}")) || is_within(host, tail),
        }
    })
}

/// Whether an address is one of a network such as `10.0.0.0/8`.
fn is_within(host: &str, network: &str) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(host), Ok(base), Ok(length)) = (host.parse(), base.parse(), length.parse::<u32>())
    else {
        return false;
    };
    let shifted = |bits: u128, width: u32| bits.checked_shr(width.saturating_sub(length));
    match (host, base) {
        (IpAddr::V4(host), IpAddr::V4(base)) => {
            shifted(host.to_bits().into(), 32) == shifted(base.to_bits().into(), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(base)) => {
            shifted(host.to_bits(), 128) == shifted(base.to_bits(), 128)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_names_domains_networks_and_ports() {
        for (list, host, expected) in [
            ("", "db1", false),
            ("*", "db1", true),
            ("db1", "db1", true),
            (" DB2 , db1", "db2", true),
            ("example.org", "db.example.org", true),
            (".example.org", "db.example.org", true),
            ("*.example.org", "db.example.org", true),
            (".example.org", "example.org", false),
            ("ample.org", "example.org", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("fd00::/8", "fd12::1", true),
            ("[fd12::1]:4001", "fd12::1", true),
            ("fd12::1", "fd12::1", true),
            ("db1:4001", "db1", true),
            ("db1:80", "db1", false),
        ] {
            assert_eq!(is_excepted(host, Some(4001), list), expected, "{list} {host}");
        }
        assert!(is_local("localhost") && is_local("127.8.0.1") && is_local("::1"));
        assert!(!is_local("10.0.0.1"));
    }
}
