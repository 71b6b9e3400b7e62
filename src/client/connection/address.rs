//! Where a node is, as text: hosts, `host:port`, and URLs.
//!
//! Nothing is resolved here. What cannot be an address is refused with a sentence, before
//! anything is sent anywhere.

use std::net::Ipv6Addr;

use super::password::without_user;
use super::settings::Scheme;

/// Where servers of this API listen unless told otherwise.
pub(super) const PORT: u16 = 4001;

/// The parts of an address that a variable of the environment gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: Option<Scheme>,
    /// A name or an IP address; IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// What may stand in a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `[scheme:]//host[:port]`
    Url,
    /// That, or `host[:port]`.
    UrlOrPlace,
}

impl Place {
    /// Reads `[scheme:]//host[:port]`, with or without a slash at its end.
    pub(super) fn parse(text: &str, form: Form) -> Result<Place, String> {
        let wanted = match form {
            Form::Url => "http://HOST:PORT",
            Form::UrlOrPlace => "http://HOST:PORT or HOST:PORT",
        };
        let refused = |why: &str| format!("{why}; it should be like {wanted}");
        let (scheme, rest) = match text.split_once("//") {
            Some((scheme, rest)) => (scheme, rest),
            None if form == Form::UrlOrPlace => ("", text),
            None => return Err(refused("there is no // before the host")),
        };
        let scheme = match scheme {
            "" => None,
            "http:" => Some(Scheme::Http),
            "https:" => Some(Scheme::Https),
            _ => return Err(refused("the scheme is neither http nor https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("a user does not belong here but into QUORLITE_USER".to_owned());
        }
        if rest.contains(['/', '?', '#']) {
            return Err(refused("it goes on behind the port"));
        }
        let (host, port) = split(rest).ok_or_else(|| refused("the port is not a number"))?;
        Ok(Place { scheme, host: host_of(host)?, port })
    }
}

/// A node as a URL names it: its scheme, where that is said, and `host:port`.
pub(in crate::client) fn read_url(text: &str) -> Result<(Option<Scheme>, String), String> {
    let Place { scheme, host, port } = Place::parse(text, Form::Url)?;
    Ok((scheme, format!("{host}:{}", port.unwrap_or(PORT))))
}

/// Checks a host given alone; IPv6 gets its brackets.
pub(super) fn host_of(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    if text.is_empty() {
        return Err("the host is missing".to_owned());
    }
    let shown = without_user(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.split_once(':') {
        _ if text.contains("//") => Err(format!("{shown} is a URL and not a host")),
        Some((_, port)) if port.parse::<u16>().is_ok() => {
            Err(format!("{shown} is a host with a port; the port has an option of its own, -p"))
        }
        _ if text.chars().all(is_name) => Ok(text.to_owned()),
        _ => Err(format!("{shown} is no host")),
    }
}

/// Checks `host:port`, as other nodes are given; IPv6 has brackets.
pub(super) fn node_of(text: &str) -> Result<String, String> {
    match split(text) {
        Some((host, Some(port))) => Ok(format!("{}:{port}", host_of(host)?)),
        Some((_, None)) | None => {
            Err(format!("{} is not of the form HOST:PORT", without_user(text)))
        }
    }
}

/// Host and port, `None` when what stands behind the colon is no port.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?;
    Some((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(scheme: Option<Scheme>, host: &str, port: Option<u16>) -> Place {
        Place { scheme, host: host.to_owned(), port }
    }

    #[test]
    fn variables_hold_urls() {
        for (text, expected) in [
            ("//db1", place(None, "db1", None)),
            ("//db1:80", place(None, "db1", Some(80))),
            ("http://db1:80/", place(Some(Scheme::Http), "db1", Some(80))),
            ("https://[::1]:80", place(Some(Scheme::Https), "[::1]", Some(80))),
            ("https://[0:0::1]", place(Some(Scheme::Https), "[::1]", None)),
        ] {
            assert_eq!(Place::parse(text, Form::Url).as_ref(), Ok(&expected), "{text}");
            assert_eq!(Place::parse(text, Form::UrlOrPlace), Ok(expected), "{text}");
        }
        let plain = Place::parse("localhost:4001", Form::UrlOrPlace);
        assert_eq!(plain, Ok(place(None, "localhost", Some(4001))));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, word) in [
            ("localhost", "no //"),
            ("localhost:4001", "no //"),
            ("ftp://a", "neither"),
            ("http//a", "neither"),
            ("http://", "missing"),
            ("//:80", "missing"),
            ("//a:b", "not a number"),
            ("//a:0", "not a number"),
            ("//a:99999", "not a number"),
            ("//u:p@a:1", "QUORLITE_USER"),
            ("//a:1/db", "goes on"),
            ("//a b", "no host"),
            ("//[::1", "not a number"),
        ] {
            let error = Place::parse(text, Form::Url).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_and_nodes_are_checked() {
        for (text, expected) in [
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("db-1.x_y", "db-1.x_y"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host_of(text).as_deref(), Ok(expected));
        }
        for text in ["", "a:1", "http://a", "a/b", "[a]", "a b", "fe80::1%eth0"] {
            assert!(host_of(text).is_err(), "{text}");
        }
        assert_eq!(node_of("[::1]:5").as_deref(), Ok("[::1]:5"));
        for text in ["a", "a:", "a:x", ":1", "::1", "a:1:2", ""] {
            assert!(node_of(text).is_err(), "{text}");
        }
    }
}
