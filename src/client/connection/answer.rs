//! What a node answered, and what a refusal stands for.

use std::io::Read;

use serde_json::Value;
use ureq::http;

use super::client::{Effect, place};
use super::lost;
use crate::client::failure::{Failure, Status};

/// Bytes of a refusal that are shown.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

/// What a node answered; its body is still to be read.
pub(in crate::client) struct Answer {
    pub(in crate::client) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: ureq::Body,
    pub(super) effect: Effect,
    /// Where it comes from.
    pub(super) url: http::Uri,
    /// As whom it was asked.
    pub(super) user: Option<String>,
}

impl Answer {
    pub(in crate::client) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Length of the body in bytes, where it was announced.
    pub(in crate::client) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The body as it comes; one that ends before its announced length is an error.
    pub(in crate::client) fn reader(&mut self) -> impl Read + '_ {
        self.body.as_reader()
    }

    /// The whole body.
    pub(in crate::client) fn bytes(mut self) -> Result<Vec<u8>, Failure> {
        let effect = self.effect;
        let mut bytes = Vec::new();
        match self.body.as_reader().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if effect == Effect::Some => Err(lost::unknown(&error.to_string())),
            Err(error) => {
                let text = format!("the answer was cut short: {error}");
                Err(Failure::new(Status::Unreachable, text))
            }
        }
    }

    /// This answer, unless it is a refusal.
    ///
    /// # Errors
    /// What the server says, under the status that it stands for.
    pub(in crate::client) fn successful(self) -> Result<Answer, Failure> {
        let (code, node) = (self.status, place(&self.url));
        let (path, user) = (self.url.path().to_owned(), self.user.clone());
        self.worded(|line, text| {
            let hint = match (code, user) {
                (401, Some(user)) => format!(
                    "the user {user} or the password is wrong, or may not do this (-u, \
                     --password-file)"
                ),
                (401, None) => "it wants a user (-u USER, --password-file FILE)".to_owned(),
                (404, _) => {
                    format!("it has no {path}: are the port (-p) and the prefix (-P) right?")
                }
                _ if text.is_empty() => return format!("the server answered {line}"),
                _ => return text.to_owned(),
            };
            let said = if text.is_empty() { String::new() } else { format!(": {text}") };
            format!("{node} answered {line}{said}; {hint}")
        })
    }

    /// This answer, unless it is a refusal, which `word` makes a sentence of: of the status such
    /// as `401 Unauthorized`, and of what the server says, which may be nothing.
    ///
    /// # Errors
    /// That sentence, under the status that the refusal stands for.
    pub(in crate::client) fn worded(
        self,
        word: impl FnOnce(&str, &str) -> String,
    ) -> Result<Answer, Failure> {
        // The server itself may not know what came of a request; its status is no measure then.
        let is_unknown = self.header("x-quorlite-outcome") == Some("unknown");
        let is_done = self.status < 300 || self.status == 304;
        if is_done && !is_unknown {
            return Ok(self);
        }
        let (code, line) = (self.status, self.line());
        let mut text = Vec::new();
        // What cannot be read of it is not worth another error.
        self.body.into_reader().take(REFUSAL_BYTES_MAX).read_to_end(&mut text).ok();
        let text = in_words(&text);
        // A proxy that has lost its server does not know either.
        let is_open = matches!(code, 502 | 504) || (code >= 500 && lost::leaves_open(&text));
        let is_unknown = is_unknown || (self.effect == Effect::Some && is_open);
        let status = match code {
            _ if is_unknown => return Err(lost::unknown(&word(&line, &text))),
            // The queue, or a proxy, waited for a write no longer, which may be done all the same.
            408 if self.effect == Effect::Some => return Err(lost::unknown(&word(&line, &text))),
            401 | 403 => Status::Unauthorised,
            503 => Status::NotReady,
            500 if text == "store not ready" || text == "leader not found" => Status::NotReady,
            _ => Status::Refused,
        };
        Err(Failure::new(status, word(&line, &text)))
    }

    /// The status with its reason, such as `503 Service Unavailable`.
    pub(in crate::client) fn line(&self) -> String {
        let code = self.status;
        let reason = http::StatusCode::from_u16(code).ok().and_then(|code| code.canonical_reason());
        reason.map_or_else(|| code.to_string(), |reason| format!("{code} {reason}"))
    }
}

/// What a refusal says: the error of a JSON body, or all of a text; nothing of a web page.
fn in_words(body: &[u8]) -> String {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body)
        && let Some(error) = fields.get("error").and_then(Value::as_str)
    {
        return error.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    if text.starts_with('<') { String::new() } else { text.trim().to_owned() }
}
