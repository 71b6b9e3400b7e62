//! The copy comes: asked for, written into the unfinished file, begun anew when it breaks off.

use std::io::{Seek as _, Write as _};
use std::thread;
use std::time::Duration;

use indicatif::DecimalBytes;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::download::{self, Broken, Copied};
use super::run::FileOrder;
use super::source::Form;
use super::target::Part;
use crate::client::connection::{Answer, Body, Call, Client, Effect, Patience};
use crate::client::failure::{Failure, Status};
use crate::client::terminal::Terminal;
use crate::os;

/// A transfer that broke off is begun anew once: its node may have handed over to another. What
/// breaks off twice is not mended by asking again at once.
pub(super) const ATTEMPTS: u32 = 2;

/// Time before that, and as long as those that are left have no leader: they need some to find
/// one, and are asked so many times.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 15;

/// A node answers a backup at once, unless it is asked for a copy that it has to make first: that
/// takes a minute for some gigabytes on a small machine.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const VACUUM_MAX: Duration = Duration::from_secs(3600);

/// What the copy was made at; only a quorlited says it.
const INDEX_HEADER: &str = "x-quorlite-raft-index";

/// So much may be written between two looks at the free space.
const ROOM_CHECK_BYTES: u64 = 16 << 20;

/// What the server says of a copy.
pub(super) struct Head {
    pub(super) index: Option<u64>,
    pub(super) term: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) node: String,
    pub(super) taken_at: OffsetDateTime,
}

/// The way to the copy.
pub(super) struct Request<'a> {
    pub(super) client: &'a mut Client,
    pub(super) terminal: Terminal,
    pub(super) form: &'a Form,
    /// Whether the copy may not be too stale.
    pub(super) is_bounded: bool,
    pub(super) target: String,
    /// At which queries see what the copy is made of; the server's own when `None`.
    pub(super) level: Option<&'static str>,
}

impl Request<'_> {
    /// A dump leaves out what is not there: of one that nobody looks into afterwards, tables that
    /// never were must be told before. A user who may not ask is not told.
    pub(super) fn look_for_tables(&mut self) -> Result<(), Failure> {
        let target = match self.level {
            Some(level) => format!("db/query?level={level}"),
            None => "db/query".to_owned(),
        };
        for name in &self.form.tables {
            let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
            let body = json!([[sql, name]]).to_string();
            let answer = self.client.post(&target, body.as_bytes(), Effect::None)?;
            if answer.status != 200 {
                return Ok(());
            }
            let answer: Value = serde_json::from_slice(&answer.bytes()?).unwrap_or_default();
            let result = &answer["results"][0];
            if result["columns"].is_array() && !result["values"].is_array() {
                return Err(no_such_table(name));
            }
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, known: Option<&str>) -> Result<Answer, Failure> {
        let headers: Vec<_> =
            known.map(|tag| ("If-None-Match", tag.to_owned())).into_iter().collect();
        let answer_max = if self.form.vacuum { VACUUM_MAX } else { ANSWER_MAX };
        let answer = self.client.send(Call {
            method: "GET",
            target: &self.target,
            headers: &headers,
            body: Body::Empty,
            effect: Effect::None,
            patience: Patience::Moving(answer_max),
        })?;
        let answer = answer.successful()?;
        match answer.status {
            200 | 304 if self.is_bounded && answer.header(INDEX_HEADER).is_none() => {
                let text = "the server knows no bound of age for a backup: it is no quorlited";
                Err(Failure::refused(text))
            }
            200 => Ok(answer),
            304 if known.is_some() => Ok(answer),
            other => {
                let text = format!("the server answered {other} and no copy");
                Err(Failure::new(Status::BadFile, text))
            }
        }
    }

    /// Asks once more, for as long as a node that went away takes to be replaced.
    fn ask_again(&mut self, known: Option<&str>) -> Result<Answer, Failure> {
        for _ in 1..PAUSES {
            thread::sleep(PAUSE);
            match self.ask(known) {
                Err(failure) if failure.status == Status::NotReady => {}
                other => return other,
            }
        }
        self.ask(known)
    }

    /// Fills the part; `None` when what is known is still so.
    pub(super) fn download(
        &mut self,
        part: &mut Part,
        order: &FileOrder,
        known: Option<&str>,
    ) -> Result<Option<(Head, Copied)>, Failure> {
        let mut attempt = 1;
        loop {
            let taken_at = now();
            let mut answer = if attempt == 1 { self.ask(known)? } else { self.ask_again(known)? };
            if answer.status == 304 {
                return Ok(None);
            }
            part.check_target(&order.place.target(taken_at), self.form)?;
            let head = self.head(&answer, taken_at);
            match self.fill(part, &mut answer, order) {
                Ok(copied) => return Ok(Some((head, copied))),
                Err(Broken::Cut(_, why)) if attempt < ATTEMPTS => {
                    let text = format!("the server ended the copy early ({why}); once more");
                    self.terminal.remark(text);
                }
                Err(Broken::Cut(_, why)) => return Err(cut(&why)),
                Err(Broken::Failed(failure)) => return Err(failure),
            }
            attempt += 1;
        }
    }

    fn fill(
        &self,
        part: &mut Part,
        answer: &mut Answer,
        order: &FileOrder,
    ) -> Result<Copied, Broken> {
        let path = part.path().to_owned();
        let failed = |error| Failure::local(format!("cannot write {}", path.display()), &error);
        let file = &mut part.file;
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(|error| Broken::Failed(failed(error)))?;
        let room = |bytes: u64| check_room(order, bytes);
        room(answer.length().unwrap_or(0)).map_err(Broken::Failed)?;
        let mut unchecked = 0;
        let mut write = |piece: &[u8]| {
            unchecked += piece.len() as u64;
            if unchecked > ROOM_CHECK_BYTES {
                room(0)?;
                unchecked = 0;
            }
            file.write_all(piece).map_err(failed)
        };
        download::copy(answer, self.form, self.terminal, &mut write)
    }

    fn head(&self, answer: &Answer, taken_at: OffsetDateTime) -> Head {
        let number = |name: &str| answer.header(name).and_then(|text| text.parse().ok());
        let node = answer.header("x-rqlite-served-by").unwrap_or(self.client.node());
        Head {
            index: number(INDEX_HEADER),
            term: number("x-quorlite-raft-term"),
            etag: answer.header("etag").map(str::to_owned),
            node: node.to_owned(),
            taken_at,
        }
    }
}

pub(super) fn no_such_table(name: &str) -> Failure {
    Failure::refused(format!("no such table: {name}"))
}

pub(super) fn cut(why: &str) -> Failure {
    Failure::new(Status::Unreachable, format!("the server ended the copy early: {why}"))
}

fn now() -> OffsetDateTime {
    let seconds = i64::try_from(os::wall_clock().as_secs()).unwrap_or(0);
    // A clock beyond the year 9999 is as good as none.
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Whether so many bytes fit and leave free what must stay so.
fn check_room(order: &FileOrder, bytes: u64) -> Result<(), Failure> {
    let folder = order.place.folder();
    let what = || format!("cannot tell the free space of the disk of {}", order.place.shown());
    let free = os::free_bytes(folder).map_err(|error| Failure::local(what(), &error))?;
    if free >= bytes.saturating_add(order.free_min) {
        return Ok(());
    }
    let (free, bytes, kept) =
        (DecimalBytes(free), DecimalBytes(bytes), DecimalBytes(order.free_min));
    let place = order.place.shown();
    let text = match order.free_min {
        0 => {
            format!("the disk of {place} has no room for the copy: {free} are free, it has {bytes}")
        }
        _ => format!(
            "the disk of {place} has no room: {free} are free, {bytes} come and {kept} must stay free"
        ),
    };
    Err(Failure::new(Status::LocalFile, text))
}
