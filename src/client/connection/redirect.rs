//! Where an answer sends its request on to.
//!
//! The method and the body stay the same for every status, as rqlite's clients do it: a 301 from a
//! follower means that the leader wants the very same request.

use ureq::http::Uri;

use super::answer::Answer;
use super::settings::Scheme;

/// The URL that an answer redirects to, or why it is not followed; `None` if it is no redirect.
pub(super) fn next(from: &Uri, answer: &Answer) -> Option<Result<Uri, String>> {
    if !matches!(answer.status, 301 | 302 | 307 | 308) {
        return None;
    }
    answer.header("location").map(|location| resolve(from, location))
}

/// Resolves a `Location`, which may leave out what stays the same (RFC 3986, section 4.2).
fn resolve(from: &Uri, location: &str) -> Result<Uri, String> {
    let scheme = from.scheme_str().unwrap_or(Scheme::Http.name());
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else {
        let folder = from.path().rfind('/').map_or("/", |end| &from.path()[..=end]);
        format!("{scheme}://{authority}{folder}{location}")
    };
    let refused = |why: &str| format!("it redirects to {text}, {why}");
    let next: Uri = text.parse().map_err(|_| refused("which is no URL"))?;
    match next.scheme_str() {
        Some("https") => Ok(next),
        Some("http") if scheme == Scheme::Http.name() => Ok(next),
        Some("http") => Err(refused("but what was asked by https is not repeated in clear")),
        _ => Err(refused("which is neither http nor https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        for (from, location, expected) in [
            ("http://a:1/db/query?q", "http://b:2/x?y", Some("http://b:2/x?y")),
            ("http://a:1/db/query?q", "https://b:2/x", Some("https://b:2/x")),
            ("http://a:1/db/query?q", "/x", Some("http://a:1/x")),
            ("http://a:1/db/query?q", "x", Some("http://a:1/db/x")),
            ("https://a:1/db/query?q", "//b/x", Some("https://b/x")),
            ("https://a:1/db/query?q", "http://b/x", None),
            ("http://a:1/", "ftp://b/x", None),
            ("http://a:1/", "http://", None),
        ] {
            let resolved = resolve(&from.parse().unwrap(), location).ok();
            assert_eq!(resolved.map(|url| url.to_string()).as_deref(), expected, "{location}");
        }
    }
}
