//! Log lines on stderr: `[module] YYYY/MM/DD HH:MM:SS text`, in UTC.
//!
//! The shape is the one that scripts around rqlite look for. It names the module before the
//! time, in which `simplelog` has no say: it is given lines that are whole, and writes them. The
//! clock is handed in.

use std::io::{self, Stderr};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};
use time::{OffsetDateTime, UtcDateTime};

/// Folders of the source whose lines appear under another name; all others are `quorlited`.
const MODULES: &[(&str, &str)] = &[
    ("api", "http"),
    ("http", "http"),
    ("backup", "store"),
    ("db", "store"),
    ("node", "store"),
    ("storage", "store"),
    ("store", "store"),
    ("raft", "raft"),
    ("transport", "raft"),
];

/// What a wall clock shows: time since 1970.
pub type Clock = fn() -> Duration;

/// Sends all log lines to stderr from now on; a second call changes nothing.
///
/// `raft` is the level of the consensus protocol's own lines. Everything else is shown from
/// INFO on, or from DEBUG on if `raft` asks for that.
pub fn start(raft: LevelFilter, clock: Clock) {
    let others = raft.max(LevelFilter::Info);
    let output = WriteLogger::new(LevelFilter::Trace, bare(), io::stderr());
    if log::set_boxed_logger(Box::new(Lines { raft, others, clock, output })).is_ok() {
        log::set_max_level(others);
    }
}

struct Lines {
    raft: LevelFilter,
    others: LevelFilter,
    clock: Clock,
    output: Box<WriteLogger<Stderr>>,
}

/// Nothing but the text.
fn bare() -> simplelog::Config {
    ConfigBuilder::new()
        .set_max_level(LevelFilter::Off)
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build()
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(module) = module(metadata.target()) else {
            return metadata.level() <= Level::Warn;
        };
        metadata.level() <= if module == "raft" { self.raft } else { self.others }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = line(record, (self.clock)());
            let level = record.level();
            self.output.log(&Record::builder().level(level).args(format_args!("{text}")).build());
        }
    }

    fn flush(&self) {}
}

/// One whole line, so that lines of different threads never mix.
fn line(record: &Record<'_>, now: Duration) -> String {
    let now = UtcDateTime::from(OffsetDateTime::UNIX_EPOCH + now);
    let (date, time) = (now.date(), now.time());
    let level = match record.level() {
        Level::Error => "[ERROR] ",
        Level::Warn => "[WARN] ",
        Level::Info => "",
        Level::Debug | Level::Trace => "[DEBUG] ",
    };
    format!(
        "[{}] {:04}/{:02}/{:02} {:02}:{:02}:{:02} {level}{}",
        module(record.target()).unwrap_or(record.target()),
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        record.args()
    )
}

/// The name that stands in brackets; `None` for the lines of another crate.
fn module(target: &str) -> Option<&'static str> {
    let mut parts = target.split("::");
    let first = parts.next().unwrap_or_default();
    let name = |folder: &str| MODULES.iter().find(|(from, _)| *from == folder).map(|(_, to)| *to);
    match first {
        "quorlite" | "quorlited" => Some(parts.next().and_then(name).unwrap_or("quorlited")),
        _ => name(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: fn() -> Duration = || Duration::from_secs(1_795_262_400);

    #[test]
    fn lines_have_the_shape_scripts_look_for() {
        let table = [
            ("quorlite::server", Level::Info, "[quorlited] 2026/11/21 12:00:00 text"),
            ("quorlite", Level::Info, "[quorlited] 2026/11/21 12:00:00 text"),
            ("quorlite::http::listener", Level::Info, "[http] 2026/11/21 12:00:00 text"),
            ("quorlite::db::mark", Level::Warn, "[store] 2026/11/21 12:00:00 [WARN] text"),
            ("raft", Level::Error, "[raft] 2026/11/21 12:00:00 [ERROR] text"),
        ];
        for (target, level, expected) in table {
            let record =
                Record::builder().target(target).level(level).args(format_args!("text")).build();
            assert_eq!(line(&record, NOON()), expected, "{target}");
        }
    }

    #[test]
    fn the_level_is_that_of_raft_and_start_up_lines_always_show() {
        let shows = |raft, target, level| {
            let output = WriteLogger::new(LevelFilter::Trace, bare(), io::stderr());
            let lines = Lines { raft, others: LevelFilter::Info.max(raft), clock: NOON, output };
            lines.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(shows(LevelFilter::Error, "quorlite::server", Level::Info), "start-up");
        assert!(!shows(LevelFilter::Warn, "quorlite::raft", Level::Info), "raft above its level");
        assert!(shows(LevelFilter::Info, "quorlite::raft", Level::Info), "raft at its level");
        assert!(!shows(LevelFilter::Info, "quorlite::db", Level::Debug), "debug is asked for");
        assert!(shows(LevelFilter::Debug, "quorlite::db", Level::Debug), "debug was asked for");
        assert!(!shows(LevelFilter::Debug, "rustls::conn", Level::Debug), "another crate");
    }
}
