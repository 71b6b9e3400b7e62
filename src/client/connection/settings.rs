//! Connection settings: the command line before the environment before a file before the defaults.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{PORT, host_of, node_of};
use super::{password, sources};
use crate::client::failure::Failure;
use crate::client::terminal::Terminal;
use crate::client::values::read_duration;

/// Where a node is unless told otherwise.
const HOST: &str = "127.0.0.1";

/// Longest time for one whole request, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The options that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
#[group(id = "connection")]
pub(in crate::client) struct Arguments {
    /// The node's name or address [default: 127.0.0.1]
    #[arg(short = 'H', long, global = true, value_name = "HOST", value_hint = clap::ValueHint::Hostname)]
    pub(super) host: Option<String>,
    /// The node's port [default: 4001]
    #[arg(short, long, global = true, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// http or https [default: http]
    #[arg(short, long, global = true, value_name = "SCHEME", hide_possible_values = true)]
    pub(super) scheme: Option<Scheme>,
    /// What comes before every path of the API [default: /]
    #[arg(short = 'P', long, global = true, value_name = "PATH")]
    pub(super) prefix: Option<String>,
    /// Nodes that are tried when the first cannot be reached
    #[arg(short, long, global = true, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub(super) alternatives: Vec<String>,
    /// Who asks; without a password it is asked for on the terminal
    #[arg(short, long, global = true, value_name = "USER[:PASSWORD]")]
    pub(super) user: Option<User>,
    /// The file whose first line is the password
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) password_file: Option<PathBuf>,
    /// Accept any certificate
    #[arg(short, long, global = true)]
    pub(super) insecure: bool,
    /// Certificates (PEM) to check servers by [default: the system's]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) ca_cert: Option<PathBuf>,
    /// This client's own certificate (PEM)
    #[arg(short = 'd', long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) client_cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(short = 'k', long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) client_key: Option<PathBuf>,
    /// Longest time for a request; copies of the database have none [default: 30s]
    #[arg(short = 't', long, global = true, value_name = "DURATION", value_parser = read_duration)]
    pub(super) http_timeout: Option<Duration>,
}

/// `name` or `name:password`; shows no password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::client) enum Scheme {
    #[default]
    Http,
    Https,
}

/// Where to connect and how.
#[derive(Clone)]
pub(in crate::client) struct Settings {
    /// `host:port` of the nodes, IPv6 in brackets; never empty; the first is tried first.
    pub(in crate::client) nodes: Vec<String>,
    pub(in crate::client) scheme: Scheme,
    /// Begins and ends with a slash.
    pub(in crate::client) prefix: String,
    /// Name and password.
    pub(in crate::client) user: Option<(String, String)>,
    pub(in crate::client) insecure: bool,
    pub(in crate::client) ca_cert: Option<PathBuf>,
    /// Certificate and key.
    pub(in crate::client) identity: Option<(PathBuf, PathBuf)>,
    /// For one whole request; [`Duration::MAX`] is any time.
    pub(in crate::client) timeout: Duration,
    /// Who is told when another node is tried.
    pub(in crate::client) terminal: Terminal,
}

impl Scheme {
    pub(in crate::client) fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl From<String> for User {
    /// The first colon ends the name: passwords may hold more of them, names cannot.
    fn from(text: String) -> User {
        match text.split_once(':') {
            Some((name, password)) => {
                User { name: name.to_owned(), password: Some(password.to_owned()) }
            }
            None => User { name: text, password: None },
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Arguments {
    /// These, and what they leave open from `weaker` ones.
    pub(super) fn or(self, weaker: Arguments) -> Arguments {
        let (mut this, mut weaker) = (self, weaker);
        if this.host.is_some() || this.port.is_some() {
            // Other nodes are not those of the cluster that was named here.
            weaker.alternatives.clear();
        }
        if this.has_password() {
            weaker.password_file = None;
        } else if this.user.as_ref().is_some_and(|user| weaker.knows(user)) {
            this.user = None;
        }
        if this.client_cert.is_some() || this.client_key.is_some() {
            (weaker.client_cert, weaker.client_key) = (None, None);
        }
        let is_listed = !this.alternatives.is_empty();
        Arguments {
            host: this.host.or(weaker.host),
            port: this.port.or(weaker.port),
            scheme: this.scheme.or(weaker.scheme),
            prefix: this.prefix.or(weaker.prefix),
            alternatives: if is_listed { this.alternatives } else { weaker.alternatives },
            user: this.user.or(weaker.user),
            password_file: this.password_file.or(weaker.password_file),
            insecure: this.insecure || weaker.insecure,
            ca_cert: this.ca_cert.or(weaker.ca_cert),
            client_cert: this.client_cert.or(weaker.client_cert),
            client_key: this.client_key.or(weaker.client_key),
            http_timeout: this.http_timeout.or(weaker.http_timeout),
        }
    }

    pub(super) fn has_password(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.password.is_some())
    }

    /// Whether the password of this very user stands here.
    fn knows(&self, user: &User) -> bool {
        self.has_password() && self.user.as_ref().is_some_and(|known| known.name == user.name)
    }

    /// Whether any part of the node's address stands here.
    pub(super) fn names_node(&self) -> bool {
        self.host.is_some() || self.port.is_some() || self.scheme.is_some()
    }
}

impl Settings {
    /// Puts together what the command line, the environment and the file of options say.
    ///
    /// # Errors
    /// [`Failure`] for what contradicts itself, and for a file that cannot be read.
    pub(in crate::client) fn from(
        given: &Arguments,
        terminal: Terminal,
    ) -> Result<Settings, Failure> {
        let given = sources::complete(given.clone(), terminal)?;
        let node = format!(
            "{}:{}",
            host_of(given.host.as_deref().unwrap_or(HOST)).map_err(Failure::usage)?,
            given.port.unwrap_or(PORT)
        );
        let mut nodes = vec![node];
        for text in &given.alternatives {
            let node = node_of(text).map_err(|why| Failure::usage(format!("-a: {why}")))?;
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        let identity = match (given.client_cert, given.client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Failure::usage("-d needs the certificate's key, -k FILE"));
            }
            (None, Some(_)) => {
                return Err(Failure::usage("-k needs the key's certificate, -d FILE"));
            }
        };
        Ok(Settings {
            nodes,
            scheme: given.scheme.unwrap_or_default(),
            prefix: prefix_of(given.prefix.as_deref().unwrap_or_default())?,
            user: password::complete(given.user, given.password_file.as_deref())?,
            insecure: given.insecure,
            ca_cert: given.ca_cert,
            identity,
            timeout: match given.http_timeout {
                None => TIMEOUT,
                Some(Duration::ZERO) => Duration::MAX,
                Some(time) => time,
            },
            terminal,
        })
    }
}

#[cfg(test)]
impl Settings {
    /// For one node at `host:port`, by http and with defaults.
    pub(super) fn of(node: &str) -> Settings {
        Settings {
            nodes: vec![node.to_owned()],
            scheme: Scheme::Http,
            prefix: "/".to_owned(),
            user: None,
            insecure: false,
            ca_cert: None,
            identity: None,
            timeout: TIMEOUT,
            terminal: Terminal { is_quiet: true },
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("nodes", &self.nodes)
            .field("scheme", &self.scheme)
            .field("prefix", &self.prefix)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A prefix of paths that begins and ends with a slash.
fn prefix_of(text: &str) -> Result<String, Failure> {
    let is_path = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>');
    if !text.chars().all(is_path) {
        return Err(Failure::usage(format!("-P: {text} is no path of a URL")));
    }
    let inner = text.trim_matches('/');
    Ok(if inner.is_empty() { "/".to_owned() } else { format!("/{inner}/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_name_and_no_password_shows() {
        let user = User::from("me:a:b".to_owned());
        assert_eq!((user.name.as_str(), user.password.as_deref()), ("me", Some("a:b")));
        assert!(!format!("{user:?}").contains("a:b"));
        assert_eq!(User::from("me".to_owned()).password, None);
        assert_eq!(User::from("me:".to_owned()).password.as_deref(), Some(""));
    }

    #[test]
    fn nodes_of_a_weaker_source_are_not_those_of_a_named_one() {
        let weak = Arguments {
            host: Some("a".to_owned()),
            alternatives: vec!["b:1".to_owned()],
            ..Arguments::default()
        };
        let named = Arguments { host: Some("c".to_owned()), ..Arguments::default() };
        assert!(named.or(weak.clone()).alternatives.is_empty());
        assert_eq!(Arguments::default().or(weak).alternatives, ["b:1"]);
    }

    #[test]
    fn prefixes_begin_and_end_with_a_slash() {
        for (text, expected) in [("", "/"), ("/", "/"), ("a", "/a/"), ("/a/b/", "/a/b/")] {
            assert_eq!(prefix_of(text).unwrap(), expected);
        }
        assert!(prefix_of("a b").is_err() && prefix_of("a?b").is_err());
    }
}
