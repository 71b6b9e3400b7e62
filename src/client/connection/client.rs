//! One request, one answer: over `ureq`, to the first node that can be reached.
//!
//! A request that may change something is sent once: when its answer is lost, nobody knows what
//! came of it, and that is what the failure says. What was not sent, and what changes nothing, is
//! tried on the next node.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, TcpConnector};
use ureq::{Agent, SendBody, Timeout, http};

use super::answer::Answer;
use super::lost::{self, Lost};
use super::settings::{Scheme, Settings};
use super::tls::Tls;
use super::wire::{Watch, Wire};
use super::{proxy, redirect};
use crate::client::failure::{Failure, Status};
use crate::client::interrupt::Doubt;
use crate::duration;

/// Time to reach one address.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A copy of a database that moves no byte for so long is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How it is said of a node that may well be there.
const NO_ANSWER: &str = "no answer from ";

/// Redirects followed for one request, as rqlite's client does.
const REDIRECTS_MAX: usize = 21;

/// Idle connections are used again for so long, and only by what changes nothing: a server that
/// ends one just then would leave the outcome unknown.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// What a request does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Effect {
    /// Nothing: it may be sent again.
    None,
    /// Something: it is sent once, and a lost answer is an unknown outcome.
    Some,
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Patience {
    /// All of it within `--http-timeout`.
    Whole,
    /// All of it within this time.
    Within(Duration),
    /// As long as bytes move; the server's own work in between may take so long.
    Moving(Duration),
}

/// A body read anew, with its length in bytes where that is known.
pub(in crate::client) type Opened = (Box<dyn Read>, Option<u64>);

/// What is sent along.
pub(in crate::client) enum Body<'a> {
    Empty,
    Json(&'a [u8]),
    /// Opened for every attempt; an error ends the request with it.
    Stream(&'a mut dyn FnMut() -> io::Result<Opened>),
}

/// A request.
pub(in crate::client) struct Call<'a> {
    pub(in crate::client) method: &'static str,
    /// Path and query, without the prefix and without a slash in front.
    pub(in crate::client) target: &'a str,
    pub(in crate::client) headers: &'a [(&'static str, String)],
    pub(in crate::client) body: Body<'a>,
    pub(in crate::client) effect: Effect,
    pub(in crate::client) patience: Patience,
}

/// The way to a cluster by some of its nodes.
pub(in crate::client) struct Client {
    settings: Settings,
    agent: Agent,
    wire: Arc<Wire>,
    /// Which of `settings.nodes` is in use.
    current: usize,
    /// Which of them are known to be out of reach, so that it is said once.
    missed: Vec<bool>,
}

/// What is read from this machine and sent; keeps the error that ends it.
struct Source<'a> {
    inner: Box<dyn Read + 'a>,
    length: Option<u64>,
    wire: &'a Wire,
    read: u64,
    /// Whether all of it was read.
    is_whole: bool,
    effect: Effect,
    /// From then on, where it changes something: servers take all of it or nothing.
    doubt: Option<Doubt>,
    failed: Option<io::Error>,
}

impl Client {
    /// # Errors
    /// [`Failure`] when a certificate cannot be used.
    pub(in crate::client) fn new(settings: Settings) -> Result<Client, Failure> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("quorlite/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_MAX))
            .max_idle_age(IDLE_MAX)
            .proxy(None)
            .build();
        let wire = Arc::new(Wire::default());
        let chain =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(Tls::new(&settings)?)
                .chain(Watch(Arc::clone(&wire)));
        let agent = Agent::with_parts(config, chain, DefaultResolver::default());
        let missed = vec![false; settings.nodes.len()];
        Ok(Client { settings, agent, wire, current: 0, missed })
    }

    /// `host:port` of the node in use.
    pub(in crate::client) fn node(&self) -> &str {
        &self.settings.nodes[self.current]
    }

    pub(in crate::client) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks for something that changes nothing.
    pub(in crate::client) fn get(&mut self, target: &str) -> Result<Answer, Failure> {
        self.send(Call {
            method: "GET",
            target,
            headers: &[],
            body: Body::Empty,
            effect: Effect::None,
            patience: Patience::Whole,
        })
    }

    /// Sends JSON.
    pub(in crate::client) fn post(
        &mut self,
        target: &str,
        body: &[u8],
        effect: Effect,
    ) -> Result<Answer, Failure> {
        let (body, patience) = (Body::Json(body), Patience::Whole);
        self.send(Call { method: "POST", target, headers: &[], body, effect, patience })
    }

    /// Sends a request to the node in use or, where nothing is lost by it, to the next.
    ///
    /// # Errors
    /// [`Status::Unreachable`] when no node took it, [`Status::Unknown`] when one may have. An
    /// answer of any status is none; see [`Answer::successful`].
    pub(in crate::client) fn send(&mut self, mut call: Call<'_>) -> Result<Answer, Failure> {
        let count = self.settings.nodes.len();
        let mut reasons = Vec::new();
        for step in 0..count {
            let at = (self.current + step) % count;
            let base = format!("{}://{}", self.settings.scheme.name(), self.settings.nodes[at]);
            match self.follow(&base, &mut call) {
                Ok(answer) => {
                    (self.current, self.missed[at]) = (at, false);
                    return Ok(answer);
                }
                // What is read anew for the next node may be gone, as standard input is.
                Err(Lost::Here(failure)) if reasons.is_empty() => return Err(failure),
                Err(Lost::Here(failure)) => {
                    reasons.push(failure.text);
                    break;
                }
                Err(Lost::Unanswered(why)) if call.effect == Effect::Some => {
                    return Err(lost::unknown(&why));
                }
                Err(Lost::Unsent(why) | Lost::Unanswered(why)) => {
                    let is_news = !std::mem::replace(&mut self.missed[at], true);
                    if is_news && step + 1 < count {
                        let next = &self.settings.nodes[(at + 1) % count];
                        self.settings
                            .terminal
                            .remark(format_args!("quorlite: {why}; trying {next}"));
                    }
                    reasons.push(why);
                }
            }
        }
        let text = match reasons.as_slice() {
            [reason] if reason.starts_with(NO_ANSWER) => reason.clone(),
            [reason] => format!("cannot reach {reason}"),
            reasons => format!("cannot reach any node: {}", reasons.join("; ")),
        };
        Err(Failure::new(Status::Unreachable, text))
    }

    fn follow(&self, base: &str, call: &mut Call<'_>) -> Result<Answer, Lost> {
        let text = format!("{base}{}{}", self.settings.prefix, call.target);
        let mut url: Uri = text
            .parse()
            .map_err(|error| Lost::Here(Failure::usage(format!("{text} is no URL: {error}"))))?;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.exchange(&url, call)?;
            match redirect::next(&url, &answer) {
                None => return Ok(answer),
                Some(Ok(next)) => url = next,
                Some(Err(why)) => return Err(Lost::Unsent(format!("{}: {why}", place(&url)))),
            }
        }
        Err(Lost::Unsent(format!("{}: it redirects without end", place(&url))))
    }

    fn exchange(&self, url: &Uri, call: &mut Call<'_>) -> Result<Answer, Lost> {
        let mut request = http::Request::builder().method(call.method).uri(url);
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        // The user goes along on redirects, which name the leader; `redirect` sees to it that
        // what was asked by https is never said in clear.
        if let Some((name, password)) = &self.settings.user {
            let encoded = STANDARD.encode(format!("{name}:{password}"));
            request = request.header("Authorization", format!("Basic {encoded}"));
        }
        let terms = (call.patience, call.effect);
        let is_bare = matches!(call.body, Body::Empty) && call.effect == Effect::Some;
        let _doubt = is_bare.then(Doubt::begin);
        let (kind, mut source) = match &mut call.body {
            Body::Empty => return self.run(request, SendBody::none(), url, terms),
            Body::Json(bytes) => (
                "application/json",
                self.source(Box::new(*bytes), Some(bytes.len() as u64), call.effect),
            ),
            Body::Stream(open) => {
                let (opened, length) = open().map_err(|error| {
                    Lost::Here(Failure::local("cannot read what is to be sent", &error))
                })?;
                // A refusal comes before the upload then, and not into the middle of it.
                request = request.header("Expect", "100-continue");
                ("application/octet-stream", self.source(opened, length, call.effect))
            }
        };
        request = request.header("Content-Type", kind);
        if let Some(length) = source.length {
            request = request.header("Content-Length", length);
        }
        let is_copy = matches!(call.body, Body::Stream(_));
        let answered = self.run(request, SendBody::from_reader(&mut source), url, terms);
        let is_cut = is_copy && self.wire.has_sent() && (!source.is_whole || self.wire.is_deaf());
        let answered = answered.map_err(|lost| match lost {
            // Servers take all of a copy or nothing.
            Lost::Unanswered(why) | Lost::Unsent(why) if is_cut => {
                Lost::Unsent(format!("{why}, before all of it was sent"))
            }
            lost => lost,
        });
        match source.failed {
            // The server cannot have taken a body that ends too early.
            Some(error) if answered.is_err() => {
                Err(Lost::Here(Failure::local("cannot read what is to be sent", &error)))
            }
            _ => answered,
        }
    }

    fn source<'a>(
        &'a self,
        inner: Box<dyn Read + 'a>,
        length: Option<u64>,
        effect: Effect,
    ) -> Source<'a> {
        let (wire, doubt) = (&*self.wire, None);
        Source { inner, length, wire, read: 0, is_whole: false, effect, doubt, failed: None }
    }

    fn run(
        &self,
        request: http::request::Builder,
        body: SendBody<'_>,
        url: &Uri,
        (patience, effect): (Patience, Effect),
    ) -> Result<Answer, Lost> {
        let usage = |why: String| Lost::Here(Failure::usage(why));
        let request = request.body(body).map_err(|error| usage(error.to_string()))?;
        let mut configured = self
            .agent
            .configure_request(request)
            .allow_non_standard_methods(true)
            .proxy(proxy::find(url).map_err(usage)?);
        if effect == Effect::Some {
            configured = configured.max_idle_age(Duration::ZERO);
        }
        let configured = match patience {
            Patience::Whole => {
                let timeout = Some(self.settings.timeout);
                configured.timeout_global(timeout.filter(|time| *time < Duration::MAX))
            }
            Patience::Within(time) => configured.timeout_global(Some(time)),
            Patience::Moving(answer_max) => configured
                .timeout_recv_response(Some(answer_max))
                .timeout_per_read(Some(SILENCE_MAX))
                .timeout_per_write(Some(SILENCE_MAX)),
        };
        self.wire.begin(url.authority());
        let response = self.agent.run(configured.build()).map_err(|error| {
            let why = match (&error, patience) {
                (ureq::Error::Timeout(Timeout::Global), Patience::Whole) => {
                    let time = duration::print(self.settings.timeout);
                    format!("{NO_ANSWER}{} within {time} (--http-timeout)", place(url))
                }
                (ureq::Error::Timeout(Timeout::Global), Patience::Within(time)) => {
                    format!("{NO_ANSWER}{} within {}", place(url), duration::print(time))
                }
                (error, _) => format!("{}: {}", place(url), lost::describe(error)),
            };
            // A server that stopped to listen has not the whole request, and does no part of it.
            let is_whole = self.wire.has_sent() && !self.wire.is_deaf();
            if is_whole && !lost::is_refused_by_tls(&error) {
                Lost::Unanswered(why)
            } else {
                Lost::Unsent(why)
            }
        })?;
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        let user = self.settings.user.as_ref().map(|(name, _)| name.clone());
        Ok(Answer { status, headers, body, effect, url: url.clone(), user })
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.wire.is_deaf() {
            // It goes nowhere; only its length must be right, and the answer is still waited for.
            let left = self.length.map_or(0, |length| length.saturating_sub(self.read));
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.read += count as u64;
            return Ok(count);
        }
        let count = self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            io::Error::from(kind)
        })?;
        self.read += count as u64;
        self.is_whole |= self.length.map_or(count == 0, |length| self.read >= length);
        if self.is_whole && self.effect == Effect::Some {
            self.doubt.get_or_insert_with(Doubt::begin);
        }
        Ok(count)
    }
}

/// `host:port`, or with https all of the URL's beginning.
pub(super) fn place(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    match url.scheme_str() {
        Some(scheme) if scheme == Scheme::Https.name() => format!("https://{authority}"),
        _ => authority.to_owned(),
    }
}
