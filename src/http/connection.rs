//! The loop on one connection: a head, its answer, what is left of the body, and again.
//!
//! One request at a time: what a client pipelines waits in the kernel until it is read. Whatever
//! goes wrong ends this connection and nothing else.

use std::io::{self, ErrorKind};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::body::{Body, Incoming, Rest};
use super::counters::{Count, Tally};
use super::head::{self, Fields, Head, Refusal, Scan};
use super::limits::{INPUT_BYTES, Limits};
use super::registry::{Link, Registry};
use super::reply::{self, SendError, Terms};
use super::stream::Stream;
use super::types::{Client, Handler, Method, Request};

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limits: Limits,
    pub(super) registry: Registry,
    pub(super) tally: Arc<Tally>,
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum Goodbye {
    /// Closed: nothing is on its way, or nobody is there.
    Close,
    /// Closed after the client had time to read: it may still be sending.
    Linger,
    /// Reset: a reply is incomplete.
    Reset,
}

/// Why there is no next head.
enum Stop {
    Quiet,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Serves one connection to its end. Never panics.
pub(super) fn serve(shared: &Shared, link: &Arc<Link>) {
    let served = catch_unwind(AssertUnwindSafe(|| {
        let tally = Arc::clone(&shared.tally);
        // It fails when the client has reset the connection already.
        let Ok(stream) = Stream::new(Arc::clone(link), tally, &shared.limits) else { return };
        let mut connection = Connection::new(shared, stream);
        let goodbye = connection.run();
        connection.end(goodbye);
    }));
    if served.is_err() {
        shared.tally.one(Count::Panics);
        link.reset();
    }
    shared.registry.remove(link);
}

struct Connection<'s> {
    shared: &'s Shared,
    incoming: Incoming,
    /// Memory that is used again: the last request's strings, and what replies are printed into.
    fields: Fields,
    scratch: Vec<u8>,
    /// Whether no request has been answered yet.
    is_fresh: bool,
}

impl<'s> Connection<'s> {
    fn new(shared: &'s Shared, stream: Stream) -> Self {
        Self {
            shared,
            incoming: Incoming::new(stream),
            fields: Fields::default(),
            scratch: Vec::new(),
            is_fresh: true,
        }
    }

    fn run(&mut self) -> Goodbye {
        loop {
            let head = match self.next_head() {
                Ok(head) => head,
                Err(Stop::Quiet) => return Goodbye::Close,
                Err(Stop::Refused(refusal)) => return self.refuse(refusal),
            };
            if let Err(goodbye) = self.answer(head) {
                return goodbye;
            }
        }
    }

    fn end(&mut self, goodbye: Goodbye) {
        let stream = &mut self.incoming.stream;
        match goodbye {
            Goodbye::Close => stream.link().cut(),
            Goodbye::Reset => stream.link().reset(),
            Goodbye::Linger => {
                // At rest, it can be closed to make room; a shutdown does not wait for it.
                if self.shared.registry.begin_rest(stream.link()) {
                    stream.close_gently(self.shared.limits.linger);
                } else {
                    stream.close_gently(self.shared.limits.linger / 8);
                }
            }
        }
    }

    /// Waits for a whole head. One blank line before it is skipped (RFC 9112, section 2.2).
    fn next_head(&mut self) -> Result<Head, Stop> {
        let limits = &self.shared.limits;
        let mut scan = Scan::default();
        let mut deadline = None;
        let mut may_skip = true;
        loop {
            let input = &mut self.incoming.input;
            if may_skip && input.pending().starts_with(b"\r\n") {
                input.consume(2);
                may_skip = false;
                scan = Scan::default();
            }
            let is_skipping = may_skip && input.pending() == b"\r";
            if !is_skipping && let Some(end) = scan.find_end(input.pending(), limits)? {
                let head = head::parse(&input.pending()[..end], &mut self.fields)?;
                input.consume(end);
                return Ok(head);
            }
            let read = if input.is_empty() {
                self.incoming.stream.read_at_rest(input.room())
            } else {
                let until = *deadline.get_or_insert_with(|| Instant::now() + limits.head_timeout);
                self.incoming.stream.read_until(input.room(), until)
            };
            let count = self.received(read)?;
            self.incoming.input.filled(count);
        }
    }

    fn received(&self, read: io::Result<usize>) -> Result<usize, Stop> {
        match read {
            Ok(0) => Err(Stop::Quiet),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                if self.incoming.input.is_empty() {
                    self.shared.tally.one(Count::IdleTimeouts);
                    return Err(Stop::Quiet);
                }
                self.shared.tally.one(Count::HeadTimeouts);
                Err(Refusal { status: 408, reason: "the head took too long" }.into())
            }
            Err(_) => Err(Stop::Quiet),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Goodbye {
        self.shared.tally.one(Count::BadRequests);
        if !self.shared.registry.begin_work(self.incoming.stream.link()) {
            return Goodbye::Close;
        }
        let reply = reply::text(refusal.status, refusal.reason);
        let terms = Terms { is_head: false, is_http_1_0: false, keeps_alive: false };
        match reply::send(&mut self.incoming.stream, &mut self.scratch, reply, terms) {
            Ok(_) => Goodbye::Linger,
            Err(_) => Goodbye::Reset,
        }
    }

    /// Has one request answered; an error is how the connection ends.
    fn answer(&mut self, head: Head) -> Result<(), Goodbye> {
        let Shared { registry, limits, tally, .. } = self.shared;
        if !registry.begin_work(self.incoming.stream.link()) {
            return Err(Goodbye::Close);
        }
        tally.one(Count::Requests);
        self.incoming.begin(head.framing, head.expects_continue, limits);
        let is_head = head.method == Method::Head;
        let (is_http_1_0, keeps_alive) = (head.is_http_1_0, head.keeps_alive);
        let answered = self.ask_handler(head.method);

        let rest = self.incoming.rest(limits.drain_bytes_max);
        let (reply, is_sane) = match answered {
            Some(reply) => (reply, true),
            None => (reply::text(500, "the request could not be answered: internal error"), false),
        };
        let keeps_alive = keeps_alive && is_sane && rest != Rest::Much && !registry.is_closing();
        let terms = Terms { is_head, is_http_1_0, keeps_alive };
        let keeps_alive = self.send(reply, terms)?;

        let link = self.incoming.stream.link();
        match rest {
            Rest::Much => return Err(Goodbye::Linger),
            Rest::Nothing | Rest::Little if !keeps_alive => {
                let is_clean = rest == Rest::Nothing && self.incoming.input.is_empty();
                return Err(if is_clean { Goodbye::Close } else { Goodbye::Linger });
            }
            Rest::Nothing | Rest::Little => {}
        }
        if !registry.begin_rest(link) {
            return Err(Goodbye::Linger);
        }
        if rest == Rest::Little && !self.incoming.drain(limits.drain_bytes_max) {
            return Err(Goodbye::Linger);
        }
        self.go_to_rest()
    }

    /// Lets the handler answer; `None` when it panicked.
    fn ask_handler(&mut self, method: Method) -> Option<super::Reply> {
        let Fields { path, query, headers } = mem::take(&mut self.fields);
        let link = Arc::clone(self.incoming.stream.link());
        let mut request = Request {
            method,
            path,
            query,
            headers,
            peer: link.peer,
            body: Body::new(&mut self.incoming),
            client: Client { link },
        };
        let handler = &self.shared.handler;
        let answered = catch_unwind(AssertUnwindSafe(|| handler.answer(&mut request)));
        if answered.is_err() {
            self.shared.tally.one(Count::Panics);
            log::error!("the handler of {} {:?} panicked", request.method, request.path);
        }
        let Request { path, query, headers, .. } = request;
        self.fields = Fields { path, query, headers };
        answered.ok()
    }

    fn send(&mut self, reply: super::Reply, terms: Terms) -> Result<bool, Goodbye> {
        let sent = reply::send(&mut self.incoming.stream, &mut self.scratch, reply, terms);
        sent.map_err(|error| {
            if let SendError::Source(error) = error {
                self.shared.tally.one(Count::BrokenReplies);
                log::warn!("a reply was cut, because its source failed: {error}");
            }
            Goodbye::Reset
        })
    }

    /// Gives back the memory of anything large, and waits longer from the first answer on.
    fn go_to_rest(&mut self) -> Result<(), Goodbye> {
        self.incoming.input.shrink();
        if self.scratch.capacity() > INPUT_BYTES {
            self.scratch = Vec::new();
        }
        let Fields { path, query, headers } = &self.fields;
        let kept = path.capacity() + query.capacity();
        let kept = headers.iter().fold(kept, |sum, (_, value)| sum + value.capacity());
        if kept > INPUT_BYTES {
            self.fields = Fields::default();
        }
        if self.is_fresh {
            self.is_fresh = false;
            let idle_timeout = self.shared.limits.idle_timeout;
            self.incoming.stream.set_rest(idle_timeout).map_err(|_| Goodbye::Close)?;
        }
        Ok(())
    }
}
