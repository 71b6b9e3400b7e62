//! Cutting SQL text into statements, byte by byte, and running a text of any size.
//!
//! A dump may be larger than memory, so it is read and run one statement at a time; only a single
//! statement must fit. All of it counts or none. The text may not touch the transaction around
//! it: its own BEGIN and COMMIT are passed over.

use std::io::{self, Read};
use std::time::Instant;

use rusqlite::config::DbConfig;

use super::apply::Applier;
use super::execute::{Enclosure, RowsOf, Run, Stop};
use super::fault::{self, Fault, FaultKind, Verdict};
use super::outcome::{Outcome, StatementResult};
use super::scan;
use super::work::Ended;
use crate::command::{Stamp, Statement};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The longest statement of a script in bytes: it is in memory several times while it runs.
const STATEMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Inside what the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lexical {
    Plain,
    Quoted(u8),
    LineComment,
    BlockComment,
}

/// How far the statement is, after SQLite's own way to tell whether one is complete (SQLite:
/// c3ref/complete.html): the semicolons in a trigger's body do not end it, `; END ;` does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Blank,
    Explain,
    Create,
    Plain,
    Trigger,
    TriggerSemicolon,
    TriggerEnd,
}

/// Finds the ends of statements in a stream of bytes.
pub(super) struct Splitter {
    lexical: Lexical,
    phase: Phase,
    previous: u8,
    /// The first letters of the word being read, in capitals.
    word: Vec<u8>,
}

/// Longer than any word the splitter looks for.
const WORD_BYTES_MAX: usize = 12;

impl Splitter {
    fn new() -> Self {
        let (lexical, phase) = (Lexical::Plain, Phase::Blank);
        Self { lexical, phase, previous: b' ', word: Vec::with_capacity(WORD_BYTES_MAX) }
    }

    /// The statements of a text, without those that are blank.
    pub(super) fn pieces(sql: &str) -> Vec<&str> {
        let mut splitter = Self::new();
        let (mut pieces, mut start) = (Vec::new(), 0);
        for (at, byte) in sql.bytes().enumerate() {
            if splitter.ends_at(byte) {
                pieces.push(&sql[start..=at]);
                start = at + 1;
            }
        }
        pieces.push(&sql[start..]);
        pieces.retain(|piece| !scan::is_blank(piece));
        pieces
    }

    /// Takes the next byte and tells whether a statement ends with it.
    fn ends_at(&mut self, byte: u8) -> bool {
        let previous = std::mem::replace(&mut self.previous, byte);
        match self.lexical {
            Lexical::Quoted(end) if byte == end => self.lexical = Lexical::Plain,
            Lexical::LineComment if byte == b'\n' => self.lexical = Lexical::Plain,
            Lexical::BlockComment if previous == b'*' && byte == b'/' => {
                self.lexical = Lexical::Plain;
                self.previous = b' ';
            }
            Lexical::Quoted(_) | Lexical::LineComment | Lexical::BlockComment => {}
            Lexical::Plain => return self.plain(previous, byte),
        }
        false
    }

    fn plain(&mut self, previous: u8, byte: u8) -> bool {
        if byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii() {
            if self.word.len() < WORD_BYTES_MAX {
                self.word.push(byte.to_ascii_uppercase());
            }
            return false;
        }
        self.end_word();
        match byte {
            b';' => return self.semicolon(),
            b'\'' | b'"' | b'`' => self.lexical = Lexical::Quoted(byte),
            b'[' => self.lexical = Lexical::Quoted(b']'),
            b'-' if previous == b'-' => self.lexical = Lexical::LineComment,
            b'*' if previous == b'/' => {
                self.lexical = Lexical::BlockComment;
                self.previous = b' '; // So that `/*/` does not end what it began.
            }
            // They may begin a comment; if not, the next token makes up for it.
            b'-' | b'/' => return false,
            _ if byte.is_ascii_whitespace() => return false,
            _ => {}
        }
        if !matches!(self.lexical, Lexical::LineComment | Lexical::BlockComment) {
            self.token(b"");
        }
        false
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            let word = std::mem::take(&mut self.word);
            self.token(&word);
            self.word = word;
            self.word.clear();
        }
    }

    fn token(&mut self, word: &[u8]) {
        self.phase = match (self.phase, word) {
            (Phase::Blank, b"EXPLAIN") => Phase::Explain,
            (Phase::Explain, b"QUERY" | b"PLAN") => Phase::Explain,
            (Phase::Blank | Phase::Explain, b"CREATE") => Phase::Create,
            (Phase::Create, b"TEMP" | b"TEMPORARY") => Phase::Create,
            (Phase::Create, b"TRIGGER") => Phase::Trigger,
            (Phase::TriggerSemicolon, b"END") => Phase::TriggerEnd,
            (Phase::Trigger | Phase::TriggerSemicolon | Phase::TriggerEnd, _) => Phase::Trigger,
            (Phase::Blank | Phase::Explain | Phase::Create | Phase::Plain, _) => Phase::Plain,
        };
    }

    fn semicolon(&mut self) -> bool {
        match self.phase {
            Phase::Trigger | Phase::TriggerSemicolon => {
                self.phase = Phase::TriggerSemicolon;
                false
            }
            Phase::Blank | Phase::Explain | Phase::Create | Phase::Plain | Phase::TriggerEnd => {
                self.phase = Phase::Blank;
                true
            }
        }
    }
}

/// Statements read from a stream.
struct Statements<'r> {
    source: &'r mut dyn Read,
    splitter: Splitter,
    chunk: Vec<u8>,
    at: usize,
}

impl Statements<'_> {
    /// The next one that is not blank; `None` at the end.
    fn next(&mut self) -> io::Result<Option<String>> {
        let mut text = Vec::new();
        loop {
            if self.at == self.chunk.len() {
                self.chunk.resize(CHUNK_BYTES, 0);
                let length = self.source.read(&mut self.chunk)?;
                self.chunk.truncate(length);
                self.at = 0;
                if length == 0 {
                    let text = utf8(text)?;
                    return Ok((!scan::is_blank(&text)).then_some(text));
                }
            }
            let rest = &self.chunk[self.at..];
            let end = rest.iter().position(|&byte| self.splitter.ends_at(byte));
            let length = end.map_or(rest.len(), |position| position + 1);
            text.extend_from_slice(&rest[..length]);
            self.at += length;
            if text.len() > STATEMENT_BYTES_MAX {
                return Err(invalid("a statement of the script is too long"));
            }
            if end.is_some() {
                let whole = utf8(std::mem::take(&mut text))?;
                if !scan::is_blank(&whole) {
                    return Ok(Some(whole));
                }
            }
        }
    }
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| invalid("the script is not UTF-8"))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// What a statement of a script is to the script.
enum Part {
    /// BEGIN, COMMIT: there is one transaction around all of it.
    Bracket,
    /// `PRAGMA foreign_keys`: obeyed when it comes before everything else.
    ForeignKeys(bool),
    /// Anything else.
    Work,
}

fn part(sql: &str) -> Part {
    let words = scan::words(sql, 2);
    let word = |n: usize, text: &str| words.get(n).is_some_and(|w| w.eq_ignore_ascii_case(text));
    if word(0, "BEGIN") || word(0, "COMMIT") || word(0, "END") {
        return Part::Bracket;
    }
    if word(0, "PRAGMA") && word(1, "foreign_keys") {
        let value = sql.rsplit(['=', '(']).next().unwrap_or_default();
        let value = value.trim_matches([' ', ';', ')', '\'', '"']).to_ascii_lowercase();
        return match value.as_str() {
            "off" | "0" | "no" | "false" => Part::ForeignKeys(false),
            "on" | "1" | "yes" | "true" => Part::ForeignKeys(true),
            _ => Part::Work,
        };
    }
    Part::Work
}

impl Applier {
    /// Runs a text of any size as one write: all of it, or nothing and why not. The outcome is that
    /// of the last statement that changed rows. `foreign_keys`
    /// is afterwards what it was.
    ///
    /// # Errors
    /// This node's own trouble, reading the text included; nothing of it was kept.
    pub fn apply_script(&mut self, stamp: Stamp, sql: &mut dyn Read) -> Result<Outcome, Fault> {
        let started = Instant::now();
        let foreign_keys = self.foreign_keys();
        self.set_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
        let result = self.script(stamp, sql);
        let settled = self.rollback().and_then(|()| {
            self.set_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            self.set_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, foreign_keys)?;
            self.read_schema_again()
        });
        settled.map_err(|fault| if result.is_ok() { fault.after_commit() } else { fault })?;
        let result = match result {
            Ok(result) => result,
            Err(Stop::Failed(message)) => StatementResult::Failed(message),
            Err(Stop::Lost) => StatementResult::Failed("the script was rolled back".to_owned()),
            Err(Stop::Interrupted) => match self.writer().meter.take_ended() {
                Ended::Exceeded => StatementResult::Failed("execute timeout".to_owned()),
                Ended::Stopped => {
                    return Err(Fault::new(FaultKind::Stopped, "interrupted".to_owned()));
                }
            },
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        Ok(Outcome { result, seconds: Some(started.elapsed().as_secs_f64()) })
    }

    fn script(&mut self, stamp: Stamp, source: &mut dyn Read) -> Result<StatementResult, Stop> {
        self.start(stamp, true).map_err(Stop::Fault)?;
        self.limit_growth(stamp).map_err(Stop::Fault)?;
        let splitter = Splitter::new();
        let mut statements = Statements { source, splitter, chunk: Vec::new(), at: 0 };
        let (mut number, mut begun) = (0_u64, false);
        let mut last = StatementResult::Written { last_insert_id: 0, rows_affected: 0 };
        while let Some(sql) = next(&mut statements)? {
            number += 1;
            match part(&sql) {
                Part::Work => {}
                Part::Bracket => continue,
                Part::ForeignKeys(on) => {
                    if !begun {
                        let config = DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY;
                        self.set_config(config, on).map_err(Stop::Fault)?;
                    }
                    continue;
                }
            }
            if !begun {
                self.begin().map_err(Stop::Fault)?;
                begun = true;
            }
            if let Some(written) = self.script_statement(sql, number)? {
                last = written;
            }
        }
        if begun {
            self.commit().map_err(|error| match fault::classify(&error) {
                Verdict::Outcome(message) => Stop::Failed(message),
                Verdict::Fault(fault) => Stop::Fault(fault),
            })?;
        }
        Ok(last)
    }

    /// Runs one statement; gives what it changed, if it changed anything.
    fn script_statement(&self, sql: String, number: u64) -> Result<Option<StatementResult>, Stop> {
        let statement = Statement::plain(sql);
        let run = Run {
            before_each: &|| self.writer().meter.start(0),
            ..self.run(RowsOf::Returning, Enclosure::Transaction)
        };
        match run.text(&statement) {
            Ok(written @ StatementResult::Written { rows_affected: 1.., .. }) => Ok(Some(written)),
            Ok(_) => Ok(None),
            Err(Stop::Failed(message)) => {
                Err(Stop::Failed(format!("{message} (statement {number})")))
            }
            Err(stop) => Err(stop),
        }
    }

    fn set_config(&self, config: DbConfig, on: bool) -> Result<(), Fault> {
        let set = self.writer().connection.set_db_config(config, on);
        set.map(drop).map_err(|error| Fault::of(&error))
    }
}

fn next(statements: &mut Statements<'_>) -> Result<Option<String>, Stop> {
    statements.next().map_err(|error| {
        let message = error.to_string();
        if error.kind() == io::ErrorKind::InvalidData {
            return Stop::Failed(message);
        }
        Stop::Fault(Fault::new(FaultKind::InputOutput, message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        let statements = [
            "CREATE TABLE \"a;b\"(c DEFAULT ';', [d;e]) -- x;\n;",
            "/*;*/ INSERT INTO t VALUES('it''s; fine', 1 -- 2;\n /2/*/;*/);",
            " CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; \
             DELETE FROM t; END;",
            "EXPLAIN QUERY PLAN CREATE TRIGGER y DELETE ON t BEGIN SELECT 1; END ;",
            " SELECT `;`, 1-1; ",
            "SELECT 'no end",
        ];
        let text = statements.concat().replace("; SELECT 'no", ";;-- ;\n SELECT 'no");
        let pieces: Vec<String> =
            Splitter::pieces(&text).into_iter().map(|piece| piece.trim().to_owned()).collect();
        let wanted: Vec<&str> = statements.iter().map(|piece| piece.trim()).collect();
        assert_eq!(pieces[..5], wanted[..5]);
        assert!(pieces[5].ends_with(wanted[5]));
        assert_eq!(pieces.len(), wanted.len());
    }

    #[test]
    fn a_stream_is_cut_like_a_text() {
        let text = "SELECT 1;; SELECT '\u{e4};';\nSELECT 3";
        let mut source = text.as_bytes();
        let splitter = Splitter::new();
        let mut statements = Statements { source: &mut source, splitter, chunk: Vec::new(), at: 0 };
        let mut found = Vec::new();
        while let Some(statement) = statements.next().unwrap() {
            found.push(statement.trim().to_owned());
        }
        assert_eq!(found, ["SELECT 1;", "SELECT '\u{e4};';", "SELECT 3"]);
    }
}
