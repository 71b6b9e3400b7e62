//! The query string, checked once: past here there are no strings left to misspell.
//!
//! Every endpoint takes and checks all parameters, also those it has no use for, as rqlite does.
//! The first of several values wins; a flag is on when its name is there, whatever its value.
//! Some names have nothing to switch here and are only checked, such as `noparse` (statements are
//! never parsed nor rewritten).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::duration::Span;
use crate::node::Freshness;

/// What a client waits for when it does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long a linearizable read waits for its read index when the client does not say.
const LINEARIZABLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Parameters that are on or off.
#[derive(Clone, Copy)]
pub(super) enum Flag {
    Pretty,
    Timings,
    Transaction,
    Queue,
    Wait,
    FreshnessStrict,
    Redirect,
    NoLeader,
    Associative,
    BlobArray,
    QualifyColumns,
    RaftIndex,
    KeepRandom,
    KeepTime,
    Vacuum,
    Compress,
    NonVoters,
    Sync,
}

/// Parameters with a value.
#[derive(Clone, Copy)]
enum Key {
    Timeout,
    DbTimeout,
    LinearizableTimeout,
    Freshness,
    Level,
    Retries,
    TrailingLogs,
    Index,
    Sql,
    Format,
    Tables,
    Version,
    Path,
}

enum Name {
    Flag(Flag),
    Key(Key),
}

/// The level asked for; `auto` depends on what this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Auto,
    Fixed(crate::node::Level),
}

/// The form of a backup asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Binary,
    Delete,
    Sql,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this node.
    Client,
    /// Another node, for a client of its own, because it takes this one for the leader.
    Node,
}

/// All parameters of a request.
#[derive(Debug, PartialEq)]
pub(super) struct Params {
    flags: u32,
    /// Not from the query: where the request came in.
    pub(super) origin: Origin,
    /// Attempts more to reach the leader.
    pub(super) retries: u32,
    /// Longest wait for a queued batch or another node.
    pub(super) timeout: Duration,
    /// Longest run of a statement; `None` when not asked for.
    pub(super) db_timeout: Option<Duration>,
    pub(super) linearizable_timeout: Duration,
    pub(super) freshness: Option<Freshness>,
    pub(super) level: Level,
    pub(super) trailing_logs: u64,
    /// The entry that must have been applied.
    pub(super) index: u64,
    /// The statement of a GET.
    pub(super) sql: Option<String>,
    pub(super) format: Format,
    /// Empty means all.
    pub(super) tables: Vec<String>,
    /// Whether `ver=2` asks for the newer shape of `/nodes`.
    pub(super) wants_node_list: bool,
    /// Path into `/status` or `/debug/vars`.
    pub(super) key: Option<String>,
}

/// Why a query string is refused; `Display` is the whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadParam {
    Semicolon,
    Escape(String),
    Duration(&'static str),
    Integer(&'static str),
    StrictWithoutFreshness,
    EmptySql,
}

impl fmt::Display for BadParam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Semicolon => f.write_str("invalid semicolon separator in query"),
            Self::Escape(text) => write!(f, "invalid URL escape {text:?}"),
            Self::Duration(name) => write!(f, "{name} is not a valid duration"),
            Self::Integer(name) => write!(f, "{name} is not a valid integer"),
            Self::StrictWithoutFreshness => f.write_str("freshness_strict requires freshness"),
            Self::EmptySql => f.write_str("query parameter not set"),
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            flags: 0,
            origin: Origin::Client,
            retries: 0,
            timeout: TIMEOUT_DEFAULT,
            db_timeout: None,
            linearizable_timeout: LINEARIZABLE_TIMEOUT_DEFAULT,
            freshness: None,
            level: Level::Fixed(crate::node::Level::Weak),
            trailing_logs: 0,
            index: 0,
            sql: None,
            format: Format::Binary,
            tables: Vec::new(),
            wants_node_list: false,
            key: None,
        }
    }
}

impl Params {
    /// The parameters in what stands after `?`.
    ///
    /// # Errors
    /// See [`BadParam`].
    pub(super) fn parse(query: &str) -> Result<Self, BadParam> {
        let mut params = Self::default();
        let mut seen = 0_u32;
        if query.contains(';') {
            return Err(BadParam::Semicolon);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let value = decode(value)?;
            match lookup(&name) {
                Some(Name::Flag(flag)) => params.flags |= 1 << flag as u32,
                Some(Name::Key(key)) if seen & (1 << key as u32) == 0 => {
                    seen |= 1 << key as u32;
                    params.set(key, value)?;
                }
                Some(Name::Key(_)) | None => {}
            }
        }
        params.settle()
    }

    /// The same, asked by somebody.
    pub(super) fn asked_by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Whether this flag is there.
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.flags & (1 << flag as u32) != 0
    }

    fn set(&mut self, key: Key, value: Cow<'_, str>) -> Result<(), BadParam> {
        match key {
            Key::Timeout => self.timeout = read_duration("timeout", &value)?,
            Key::DbTimeout => self.db_timeout = nonzero(read_duration("db_timeout", &value)?),
            Key::LinearizableTimeout => {
                self.linearizable_timeout = read_duration("linearizable_timeout", &value)?;
            }
            Key::Freshness => {
                let staleness_max = read_duration("freshness", &value)?;
                self.freshness = Some(Freshness { staleness_max, strict: false });
            }
            Key::Level => self.level = read_level(&value),
            Key::Retries => {
                let retries = read_integer("retries", &value)?;
                self.retries = u32::try_from(retries.max(0)).unwrap_or(u32::MAX);
            }
            Key::TrailingLogs => {
                self.trailing_logs =
                    read_integer("trailing_logs", &value)?.try_into().unwrap_or_default();
            }
            Key::Index => {
                self.index = read_integer("index", &value)?.try_into().unwrap_or_default();
            }
            Key::Sql if value.is_empty() => return Err(BadParam::EmptySql),
            Key::Sql => self.sql = Some(value.into_owned()),
            Key::Format => self.format = read_format(&value),
            Key::Tables => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.tables = names.map(str::to_owned).collect();
            }
            Key::Version => self.wants_node_list = value == "2",
            Key::Path => self.key = Some(value.into_owned()),
        }
        Ok(())
    }

    /// What depends on two parameters, whose order is the client's.
    fn settle(mut self) -> Result<Self, BadParam> {
        let strict = self.has(Flag::FreshnessStrict);
        if strict && self.freshness.is_none() {
            return Err(BadParam::StrictWithoutFreshness);
        }
        self.freshness = self
            .freshness
            .filter(|freshness| !freshness.staleness_max.is_zero())
            .map(|freshness| Freshness { strict, ..freshness });
        Ok(self)
    }
}

fn lookup(name: &str) -> Option<Name> {
    Some(match name {
        "pretty" => Name::Flag(Flag::Pretty),
        "timings" => Name::Flag(Flag::Timings),
        "transaction" => Name::Flag(Flag::Transaction),
        "queue" => Name::Flag(Flag::Queue),
        "wait" => Name::Flag(Flag::Wait),
        "freshness_strict" => Name::Flag(Flag::FreshnessStrict),
        "redirect" => Name::Flag(Flag::Redirect),
        "noleader" => Name::Flag(Flag::NoLeader),
        "associative" => Name::Flag(Flag::Associative),
        "blob_array" => Name::Flag(Flag::BlobArray),
        "qualify_columns" => Name::Flag(Flag::QualifyColumns),
        "raft_index" => Name::Flag(Flag::RaftIndex),
        "norwrandom" => Name::Flag(Flag::KeepRandom),
        "norwtime" => Name::Flag(Flag::KeepTime),
        "vacuum" => Name::Flag(Flag::Vacuum),
        "compress" => Name::Flag(Flag::Compress),
        "nonvoters" => Name::Flag(Flag::NonVoters),
        "sync" => Name::Flag(Flag::Sync),
        "timeout" => Name::Key(Key::Timeout),
        "db_timeout" => Name::Key(Key::DbTimeout),
        "linearizable_timeout" => Name::Key(Key::LinearizableTimeout),
        "freshness" => Name::Key(Key::Freshness),
        "level" => Name::Key(Key::Level),
        "retries" => Name::Key(Key::Retries),
        "trailing_logs" => Name::Key(Key::TrailingLogs),
        "index" => Name::Key(Key::Index),
        "q" => Name::Key(Key::Sql),
        "fmt" => Name::Key(Key::Format),
        "tables" => Name::Key(Key::Tables),
        "ver" => Name::Key(Key::Version),
        "key" => Name::Key(Key::Path),
        _ => return None,
    })
}

/// Undoes `+` and `%41`. Bytes that are not UTF-8 become U+FFFD, as nothing here could use them.
fn decode(text: &str) -> Result<Cow<'_, str>, BadParam> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    for (place, _) in text.match_indices('%') {
        let escape = &text.as_bytes()[place..text.len().min(place + 3)];
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            return Err(BadParam::Escape(String::from_utf8_lossy(escape).into_owned()));
        }
    }
    let spaced = text.replace('+', " ");
    Ok(Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned()))
}

/// Negative ones, which nothing here can mean, count as zero.
fn read_duration(name: &'static str, value: &str) -> Result<Duration, BadParam> {
    value.parse().map(Span::or_zero).map_err(|_| BadParam::Duration(name))
}

fn nonzero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn read_integer(name: &'static str, value: &str) -> Result<i64, BadParam> {
    value.parse().map_err(|_| BadParam::Integer(name))
}

/// Unknown levels mean weak: so do clients that send their own names for it.
fn read_level(value: &str) -> Level {
    const LEVELS: &[(&str, Level)] = &[
        ("none", Level::Fixed(crate::node::Level::None)),
        ("linearizable", Level::Fixed(crate::node::Level::Linearizable)),
        ("strong", Level::Fixed(crate::node::Level::Strong)),
        ("auto", Level::Auto),
    ];
    LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map_or(Level::Fixed(crate::node::Level::Weak), |(_, level)| *level)
}

/// Unknown formats mean the default one.
fn read_format(value: &str) -> Format {
    const FORMATS: &[(&str, Format)] = &[("sql", Format::Sql), ("delete", Format::Delete)];
    FORMATS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map_or(Format::Binary, |(_, format)| *format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_the_first_one_wins() {
        let params = Params::parse(
            "timeout=2s&timeout=x&level=STRONG&q=SELECT+%271%27%2b1&fmt=SQL&tables=a,%20b,,&ver=2\
             &key=store.raft&trailing_logs=9&index=7&db_timeout=1ms&retries=-1&unknown=%41&pretty=false",
        )
        .unwrap();
        assert_eq!(params.timeout, Duration::from_secs(2));
        assert_eq!(params.level, Level::Fixed(crate::node::Level::Strong));
        assert_eq!(params.sql.as_deref(), Some("SELECT '1'+1"));
        assert_eq!(params.format, Format::Sql);
        assert_eq!(params.tables, ["a", "b"]);
        assert!(params.wants_node_list && params.has(Flag::Pretty) && !params.has(Flag::Timings));
        assert_eq!(params.key.as_deref(), Some("store.raft"));
        assert_eq!((params.trailing_logs, params.index), (9, 7));
        assert_eq!(params.retries, 0);
        assert_eq!(Params::parse("retries=3").unwrap().retries, 3);
        assert_eq!(params.db_timeout, Some(Duration::from_millis(1)));
        assert_eq!(Params::parse("&&level=nonsense&fmt=x").unwrap(), Params::default());
        assert_eq!(Params::parse("Pretty").unwrap(), Params::default());
    }

    #[test]
    fn freshness_is_whole_in_any_order() {
        let freshness = |strict| Some(Freshness { staleness_max: Duration::from_secs(1), strict });
        let read = |query| Params::parse(query).unwrap().freshness;
        assert_eq!(read("freshness_strict&freshness=1s"), freshness(true));
        assert_eq!(read("freshness=1s"), freshness(false));
        assert_eq!(read("freshness=0&freshness_strict"), None);
    }

    #[test]
    fn refusals_are_the_texts_that_clients_know() {
        for (query, text) in [
            ("a;b", "invalid semicolon separator in query"),
            ("q=%zz", "invalid URL escape \"%zz\""),
            ("q=1%2", "invalid URL escape \"%2\""),
            ("timeout=5", "timeout is not a valid duration"),
            ("timeout", "timeout is not a valid duration"),
            ("freshness=1d", "freshness is not a valid duration"),
            ("db_timeout=x", "db_timeout is not a valid duration"),
            ("linearizable_timeout=1", "linearizable_timeout is not a valid duration"),
            ("retries=1.5", "retries is not a valid integer"),
            ("trailing_logs=x", "trailing_logs is not a valid integer"),
            ("freshness_strict", "freshness_strict requires freshness"),
            ("q=", "query parameter not set"),
        ] {
            assert_eq!(Params::parse(query).unwrap_err().to_string(), text, "{query}");
        }
    }
}
