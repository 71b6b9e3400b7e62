//! Requests and replies as the layers above see them.
//!
//! Nothing here reads or writes a socket: a request is made by `connection`, a reply is sent by
//! `reply`.

use std::borrow::Cow;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

pub use tiny_http::Method;

use super::body::Body;
use super::registry::Link;

/// One request, its head parsed and checked; the body is still on the wire.
pub struct Request<'c> {
    /// The method; one that is not registered is `NonStandard`.
    pub method: Method,
    /// What stands before `?`, not decoded; begins with `/`, or is `*` for `OPTIONS *`.
    pub path: String,
    /// What stands after `?`, not decoded; empty when there is none.
    pub query: String,
    /// Names as sent, values trimmed; visible ASCII and blanks only.
    pub headers: Vec<(String, String)>,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// The body; reading it fails, rather than ends, when the client stops short.
    pub body: Body<'c>,
    /// Tells whether the client is still there while its request is being worked on.
    pub client: Client,
}

impl Request<'_> {
    /// The first header of this name, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A cheap, cloneable look at the connection from another place than the thread that reads it.
#[derive(Clone)]
pub struct Client {
    pub(super) link: Arc<Link>,
}

impl Client {
    /// Whether the peer has closed or reset the connection. Costs one `poll`.
    ///
    /// Bytes that wait to be read, such as a next request, do not matter. A client that only shuts
    /// down its sending side counts as gone: on the wire that is the same as closing, TCP has no
    /// sign for the difference, and a client that left must be found while its query runs. No HTTP
    /// library does it before it has its answer. Only work that asks here is affected: an answer
    /// that is ready is sent to such a client too.
    pub fn is_gone(&self) -> bool {
        self.link.is_gone()
    }
}

/// What is sent back.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside those that the listener itself sets (length, date, connection, server), which
    /// are ignored here. Values are ASCII without control characters; a reply with any other is
    /// sent as a 500.
    pub headers: Vec<Header>,
    /// The body; not sent for HEAD, 204 and 304.
    pub content: Content,
}

/// Name and value of a reply's header. Most values are the same in every reply.
pub type Header = (&'static str, Cow<'static, str>);

/// A reply's body.
pub enum Content {
    /// None: `Content-Length: 0` (or nothing, for 204 and 304).
    Empty,
    /// All of it at hand.
    Bytes(Vec<u8>),
    /// Made while it is sent. With a length it is sent as is, without one it is chunked (for
    /// HTTP/1.0 it ends with the connection).
    /// If the source fails or ends short, the connection is reset, without a clean ending.
    Stream {
        /// Exact length in bytes, if known.
        length: Option<u64>,
        /// Where the bytes come from; dropped as soon as the client is gone.
        source: Box<dyn Read + Send>,
    },
}

/// What answers requests. Runs on the connection's own thread; a panic is answered with 500.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. What it leaves of the body is drained up to a limit, else the
    /// connection closes.
    fn answer(&self, request: &mut Request<'_>) -> Reply;
}
