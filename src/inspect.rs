//! `quorlited log DIR`: a node's Raft log as a person reads it.
//!
//! Changes nothing, and may look at the directory of a running node. One line a record, or one
//! JSON object a line:
//!
//! ```text
//! 0000000001-00000000000000000001.log 128 entry 3@2 execute 2026-11-21T03:04:05.678Z seed=1f ["INSERT ..."]
//! {"file":"...","offset":112,"condition":"good","kind":"entry","index":3,"term":2,...}
//! ```

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::command::Command;
use crate::raft::EntryKind;
use crate::storage::Kind;
use crate::storage::inspect::{self, Condition, Piece, Record};

/// Characters of a request that a line of text shows; JSON shows all of it.
const REQUEST_CHARACTERS_MAX: usize = 200;

/// Exit code when the log is damaged: a start would be refused.
const DAMAGED: u8 = 3;

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line for a person.
    Text,
    /// A JSON object on a line.
    Json,
}

/// Prints all records of the log in a data directory. The code is 0, or 3 if any is damaged.
///
/// # Errors
/// When the directory holds no log or cannot be read, or nobody takes the output.
pub fn print(directory: &Path, form: Form, output: &mut impl Write) -> io::Result<ExitCode> {
    let folder = directory.join("raft");
    if !folder.is_dir() {
        let text = format!("{}: no Raft log here; give a node's data directory", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let mut is_damaged = false;
    for piece in inspect::inspect(&folder)? {
        let piece = piece?;
        is_damaged |= matches!(piece.condition, Condition::Damaged(_));
        let line = match form {
            Form::Text => text_of(&piece),
            Form::Json => json_of(&piece).to_string(),
        };
        writeln!(output, "{line}")?;
    }
    output.flush()?;
    Ok(if is_damaged { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS })
}

fn text_of(piece: &Piece) -> String {
    let file = piece.path.file_name().unwrap_or_default().to_string_lossy();
    let mut line = format!("{file} {}", piece.offset);
    match piece.condition {
        Condition::Good => {}
        Condition::Torn(flaw) => line.push_str(&format!(" TORN ({flaw})")),
        Condition::Damaged(flaw) => line.push_str(&format!(" DAMAGED ({flaw})")),
    }
    let Some(record) = &piece.record else { return format!("{line} {} bytes", piece.bytes) };
    line.push_str(&format!(" {}", kind_name(record.kind)));
    if record.kind == Kind::HardState {
        line.push_str(&format!(" term {}", record.id.term));
    } else {
        line.push_str(&format!(" {}@{}", record.id.index, record.id.term));
    }
    if let Some(content) = content_of(record) {
        let visible = |character: char| if character.is_control() { ' ' } else { character };
        let clipped: String = content.chars().take(REQUEST_CHARACTERS_MAX).map(visible).collect();
        let ellipsis =
            if content.chars().nth(REQUEST_CHARACTERS_MAX).is_some() { "..." } else { "" };
        line.push_str(&format!(" {clipped}{ellipsis}"));
    }
    line
}

/// What a body says, on one line.
fn content_of(record: &Record) -> Option<String> {
    let body = record.body.as_deref()?;
    if record.kind == Kind::Entry(EntryKind::Command) {
        return Some(match Command::outline(body) {
            Ok(outline) => format!(
                "{} {} seed={:x} {}",
                outline.kind,
                rfc3339(outline.stamp.unix_milliseconds),
                outline.stamp.seed,
                String::from_utf8_lossy(outline.payload)
            ),
            Err(error) => format!("unreadable: {error}"),
        });
    }
    let text = String::from_utf8_lossy(body);
    let is_text = text.chars().all(|character| !character.is_control());
    (is_text && !text.is_empty()).then(|| text.into_owned())
}

fn json_of(piece: &Piece) -> Value {
    let mut object = Map::new();
    let (condition, flaw) = match piece.condition {
        Condition::Good => ("good", None),
        Condition::Torn(flaw) => ("torn", Some(flaw)),
        Condition::Damaged(flaw) => ("damaged", Some(flaw)),
    };
    object.insert("file".into(), json!(piece.path.display().to_string()));
    object.insert("offset".into(), json!(piece.offset));
    object.insert("bytes".into(), json!(piece.bytes));
    object.insert("condition".into(), json!(condition));
    if let Some(flaw) = flaw {
        object.insert("flaw".into(), json!(flaw.to_string()));
    }
    let Some(record) = &piece.record else { return Value::Object(object) };
    object.insert("kind".into(), json!(kind_name(record.kind)));
    object.insert("index".into(), json!(record.id.index));
    object.insert("term".into(), json!(record.id.term));
    let Some(body) = record.body.as_deref() else { return Value::Object(object) };
    if record.kind == Kind::Entry(EntryKind::Command) {
        if let Ok(outline) = Command::outline(body) {
            object.insert("request".into(), json!(outline.kind));
            object.insert("time".into(), json!(rfc3339(outline.stamp.unix_milliseconds)));
            object.insert("seed".into(), json!(outline.stamp.seed));
            object.insert("transaction".into(), json!(outline.transaction));
            object
                .insert("payload".into(), json_or_text(&String::from_utf8_lossy(outline.payload)));
        }
    } else if let Some(text) = content_of(record) {
        object.insert("payload".into(), json_or_text(&text));
    }
    Value::Object(object)
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Entry(EntryKind::Noop) => "noop",
        Kind::Entry(EntryKind::Command) => "entry",
        Kind::Entry(EntryKind::Membership) => "membership",
        Kind::HardState => "hard-state",
        Kind::Head => "head",
        Kind::Truncate => "truncate",
        Kind::Compact => "compact",
        Kind::Reset => "reset",
    }
}

fn rfc3339(unix_milliseconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_milliseconds) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_milliseconds} ms"))
}
