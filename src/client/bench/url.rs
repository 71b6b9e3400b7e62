//! The address of a server: `http://[user:password@]host[:port]`, or just `host:port`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::client::connection::{Scheme, Settings, without_user};
use crate::client::failure::Failure;

/// The port servers of this API listen on unless told otherwise.
const PORT: u16 = 4001;

/// Where a server is and what every request to it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Host`.
    pub(super) authority: String,
    /// The value of `Authorization`, if the URL has credentials.
    pub(super) authorization: Option<String>,
}

impl Url {
    /// Reads a URL; nothing is resolved.
    ///
    /// # Errors
    /// [`Failure::usage`], saying what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Url, Failure> {
        let bad = |what: &str| Failure::usage(format!("{}: {what}", without_user(text)));
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(Failure::usage("a benchmark connects by http:// only"));
            }
            Some(_) => return Err(bad("only http:// is known")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(bad("the URL ends with the port; a path is not part of it"));
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = split(place).ok_or_else(|| bad("not of the form host:port"))?;
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']' | '"');
        if host.is_empty() || !host.chars().all(is_plain) {
            return Err(bad("the host is missing or not valid"));
        }
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Url { host: host.to_owned(), port, authority, authorization: user.map(basic) })
    }
}

impl Url {
    /// The first node of the connection's settings.
    ///
    /// # Errors
    /// [`Failure::usage`] for settings that a benchmark cannot follow.
    pub(super) fn of(settings: &Settings) -> Result<Url, Failure> {
        if settings.scheme != Scheme::Http || settings.prefix != "/" {
            let text = "a benchmark connects by http:// only, and without a prefix";
            return Err(Failure::usage(text));
        }
        let url = Url::parse(&settings.nodes[0])?;
        let encode = |(name, password): &(String, String)| {
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        };
        Ok(Url { authorization: settings.user.as_ref().map(encode), ..url })
    }
}

fn split(place: &str) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    port.map_or(Some((host, PORT)), |port| Some((host, port.parse().ok()?)))
}

/// `user:password`, each percent-encoded where it has to be, as RFC 7617 wants it.
fn basic(user: &str) -> String {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain: Vec<u8> = percent_decode_str(name).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    format!("Basic {}", STANDARD.encode(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Status;

    #[test]
    fn urls_are_taken_apart() {
        for (text, authority, authorization) in [
            ("http://localhost:4001", "localhost:4001", None),
            ("http://localhost:4001/", "localhost:4001", None),
            ("localhost:80", "localhost:80", None),
            ("db.example", "db.example:4001", None),
            ("http://[::1]:7", "[::1]:7", None),
            ("[::1]", "[::1]:4001", None),
            ("http://a:b@h:1", "h:1", Some("Basic YTpi")),
            ("http://a%40b:c%3Ad@h:1", "h:1", Some("Basic YUBiOmM6ZA==")),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.authority, authority, "{text}");
            assert_eq!(url.authorization.as_deref(), authorization, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in ["", "http://", ":4001", "ftp://a", "a:b", "a:70000", "http://a/db", "::1"] {
            assert!(
                Url::parse(text).is_err_and(|failure| failure.status == Status::Usage),
                "{text:?}"
            );
        }
    }
}
