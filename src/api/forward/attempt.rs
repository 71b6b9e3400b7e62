//! One request to one node, sent once: what came of it.
//!
//! Bodies stream both ways through buffers of fixed size. An answer is passed on as soon as its
//! head is there; if its body then ends short, the source of our own reply fails, so that no
//! client can take a part for the whole.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Body, BodyReader, Error, RequestBuilder, SendBody};

use super::headers;
use super::pool::{Link, Pool};
use super::verdict::{Evidence, Fate};
use super::wire::Signals;
use super::{Outgoing, SecretHeader, Terms, Upload};
use crate::http::{Content, Method, Reply};

/// Time to connect within; a machine that is up answers within a round trip.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Time for the leader to ask for an upload that was announced.
const CONTINUE_MAX: Duration = Duration::from_secs(20);
/// Stands for no limit.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Answers up to this size are read before they are passed on: then their connection is free
/// again, and a cut can still be told with a status.
const SHORT_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no answer.
pub(super) struct Failed {
    pub(super) fate: Fate,
    pub(super) why: String,
}

/// One attempt.
pub(super) struct Attempt<'r> {
    pub(super) pool: &'r Arc<Pool>,
    /// The leader's, for nodes.
    pub(super) address: &'r str,
    pub(super) secret: Option<&'r SecretHeader>,
    pub(super) outgoing: Outgoing<'r>,
    pub(super) terms: &'r Terms,
}

impl Attempt<'_> {
    /// Sends the request and waits for the beginning of its answer.
    pub(super) fn run(&self, upload: &mut Upload<'_>) -> Result<Reply, Failed> {
        let link =
            if self.terms.is_transfer { Link::large() } else { self.pool.take(self.address) };
        let is_upload = matches!(upload, Upload::Stream(_));
        let watch = self.terms.watch.clone();
        link.signals.begin(is_upload, watch.map(|watch| (watch, self.address.to_owned())));
        let mut sent = Sent::default();
        let response = match self.send(&link, upload, &mut sent) {
            Ok(response) => response,
            Err(error) => return Err(sent.failed(&link, false, words(&error))),
        };
        let status = response.status().as_u16();
        let is_refused = status == headers::NOT_LEADER_STATUS
            && response.headers().contains_key(headers::NOT_LEADER);
        if is_refused {
            return Err(sent.failed(&link, true, "it does not lead".to_owned()));
        }
        let relayed = self.relay(response, link);
        relayed.map_err(|why| Failed { fate: Fate::Unknown, why })
    }

    fn send(
        &self,
        link: &Link,
        upload: &mut Upload<'_>,
        sent: &mut Sent,
    ) -> Result<Response<Body>, Error> {
        let Outgoing { method, path, query, .. } = self.outgoing;
        let uri = headers::uri(self.address, path, query);
        let agent = &link.agent;
        if matches!(method, Method::Get | Method::Head) {
            sent.is_whole = true;
            let is_head = *method == Method::Head;
            let builder = if is_head { agent.head(uri) } else { agent.get(uri) };
            return self.prepare(builder, None).call();
        }
        let builder = match method {
            Method::Delete => agent.delete(uri).force_send_body(),
            _ => agent.post(uri),
        };
        match upload {
            Upload::Bytes(bytes, kind) => {
                sent.is_whole = bytes.is_empty();
                let builder = self.prepare(builder, *kind);
                let builder = builder.header("Content-Length", bytes.len().to_string());
                let mut source = Source { rest: bytes, sent };
                builder.send(SendBody::from_reader(&mut source))
            }
            Upload::Stream(body) => {
                let builder = self.prepare(builder, None).header("Expect", "100-continue");
                let mut source = Stream { body: *body, sent, signals: &link.signals };
                builder.send(SendBody::from_reader(&mut source))
            }
        }
    }

    /// Adds the headers that go on, and a timeout for each phase.
    fn prepare<B>(
        &self,
        mut builder: RequestBuilder<B>,
        kind: Option<&'static str>,
    ) -> RequestBuilder<B> {
        for (name, value) in self.outgoing.headers {
            let is_replaced = kind.is_some() && name.eq_ignore_ascii_case("Content-Type");
            if headers::goes_on(name) && !is_replaced {
                builder = builder.header(name, value);
            }
        }
        if let Some(kind) = kind {
            builder = builder.header("Content-Type", kind);
        }
        if let Some(secret) = self.secret {
            builder = builder.header(secret.name, secret.value.as_str());
        }
        let left = self.terms.timeout;
        let total = (!self.terms.is_transfer).then_some(left);
        builder
            .config()
            .timeout_connect(Some(CONNECT_MAX.min(left)))
            .timeout_send_request(Some(CONTINUE_MAX.min(left)))
            .timeout_await_100(Some(CONTINUE_MAX))
            .timeout_send_body(total)
            .timeout_recv_response(Some(total.unwrap_or(FOR_EVER)))
            .build()
    }

    /// The leader's answer as ours.
    fn relay(&self, response: Response<Body>, link: Link) -> Result<Reply, String> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let mut headers = headers::returned(&head.headers);
        headers.push(("X-RQLITE-SERVED-BY", self.address.to_owned().into()));
        let length = head.headers.get("content-length");
        let length: Option<u64> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_head = *self.outgoing.method == Method::Head;
        let mut source = Relay {
            body: body.into_reader(),
            left: length,
            link: Some(link),
            address: self.address.to_owned(),
            pool: Arc::clone(self.pool),
        };
        let content = if is_head || matches!(status, 204 | 304) {
            source.free();
            match length {
                // A head only: the length is what a body would have.
                Some(_) if is_head => Content::Stream { length, source: Box::new(io::empty()) },
                Some(_) | None => Content::Empty,
            }
        } else if length.is_some_and(|length| length <= SHORT_BYTES_MAX) {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            Content::Bytes(bytes)
        } else if length.is_some() || head.headers.contains_key("transfer-encoding") {
            Content::Stream { length, source: Box::new(source) }
        } else {
            // It would end with the connection, so nobody could tell the end from a cut.
            return Err("its answer has no length".to_owned());
        };
        Ok(Reply { status, headers, content })
    }
}

/// What has left of a request's body.
#[derive(Default)]
struct Sent {
    /// Its end was taken.
    is_whole: bool,
    /// Some of the client's stream is used up.
    is_stream_begun: bool,
    /// Why the client's stream cannot be read on.
    client_error: Option<String>,
}

impl Sent {
    fn failed(self, link: &Link, is_refused: bool, why: String) -> Failed {
        let signals = &link.signals;
        let evidence = Evidence {
            has_client_failed: self.client_error.is_some(),
            has_all_left: self.is_whole && signals.has_sent() && !signals.has_failed_to_send(),
            is_refused,
            is_body_whole: !self.is_stream_begun,
        };
        Failed { fate: evidence.fate(), why: self.client_error.unwrap_or(why) }
    }
}

/// A body at hand.
struct Source<'s> {
    rest: &'s [u8],
    sent: &'s mut Sent,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.sent.is_whole = self.rest.is_empty();
        Ok(count)
    }
}

/// A client's body as it comes. Ends early when the leader has answered already.
struct Stream<'s> {
    body: &'s mut dyn Read,
    sent: &'s mut Sent,
    signals: &'s Signals,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.signals.is_deaf() {
            return Ok(0);
        }
        self.sent.is_stream_begun = true;
        match self.body.read(buffer) {
            Ok(0) => {
                self.sent.is_whole = true;
                Ok(0)
            }
            Ok(count) => Ok(count),
            Err(error) => {
                self.sent.client_error = Some(error.to_string());
                Err(error)
            }
        }
    }
}

/// The body of an answer; its connection is free when it is read to its end.
struct Relay {
    body: BodyReader<'static>,
    /// Bytes to come, if known.
    left: Option<u64>,
    link: Option<Link>,
    address: String,
    pool: Arc<Pool>,
}

impl Relay {
    fn free(&mut self) {
        if let Some(link) = self.link.take()
            && !link.is_large
        {
            self.pool.keep(&self.address, link);
        }
    }
}

impl Read for Relay {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.body.read(buffer) {
            Ok(0) if !buffer.is_empty() => {
                self.free();
                Ok(0)
            }
            Ok(count) => {
                self.left = self.left.map(|left| left.saturating_sub(count as u64));
                // Nobody reads beyond the last byte, but ureq must see that it was the last.
                if self.left == Some(0) && self.body.read(&mut [0]).is_ok_and(|more| more == 0) {
                    self.free();
                }
                Ok(count)
            }
            Err(error) => {
                self.link = None;
                let address = &self.address;
                Err(io::Error::new(error.kind(), format!("the leader at {address}: {error}")))
            }
        }
    }
}

/// Asks a node by `POST /node/<name>`, on a connection of its own.
pub(super) fn ask(
    address: &str,
    name: &str,
    question: &Value,
    secret: Option<&SecretHeader>,
    timeout: Duration,
) -> Result<Value, String> {
    let link = Link::new();
    link.signals.begin(false, None);
    let mut builder = link.agent.post(format!("http://{address}/node/{name}"));
    if let Some(secret) = secret {
        builder = builder.header(secret.name, secret.value.as_str());
    }
    let builder = builder.header("Content-Type", "application/json");
    let builder = builder.config().timeout_connect(Some(timeout)).timeout_global(Some(timeout));
    let body = question.to_string();
    let answer = builder.build().send(body.as_bytes()).map_err(|error| words(&error))?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(format!("it answers with status {status}"));
    }
    let mut text = Vec::new();
    let mut source = answer.into_body().into_reader().take(SHORT_BYTES_MAX);
    source.read_to_end(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|_| "what answers is no node".to_owned())
}

fn words(error: &Error) -> String {
    match error {
        Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            "it could not be reached in time".to_owned()
        }
        Error::Timeout(_) => "it did not answer in time".to_owned(),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            "it did not answer in time".to_owned()
        }
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "the connection was closed before an answer".to_owned()
        }
        Error::Io(error) => error.to_string(),
        Error::HostNotFound => "its name has no address".to_owned(),
        other => other.to_string(),
    }
}
