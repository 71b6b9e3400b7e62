//! SQL text cut into statements, byte by byte, where SQLite would cut it.
//!
//! Only a single statement is ever in memory. What a statement means is looked at elsewhere.

use std::fmt;
use std::io::{self, Read};

use super::scan;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The longest statement of a script in bytes: it is in memory several times while it runs.
pub const STATEMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

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
pub struct Splitter {
    lexical: Lexical,
    phase: Phase,
    previous: u8,
    /// The first letters of the word being read, in capitals.
    word: Vec<u8>,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Splitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Splitter")
    }
}

/// Longer than any word the splitter looks for.
const WORD_BYTES_MAX: usize = 12;

impl Splitter {
    /// Begins between statements.
    pub fn new() -> Self {
        let (lexical, phase) = (Lexical::Plain, Phase::Blank);
        Self { lexical, phase, previous: b' ', word: Vec::with_capacity(WORD_BYTES_MAX) }
    }

    /// The statements of a text, without those that are blank.
    pub fn pieces(sql: &str) -> Vec<&str> {
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

    /// Whether no statement has begun since the last one ended, and no comment is open.
    pub fn is_between(&self) -> bool {
        self.phase == Phase::Blank && self.lexical == Lexical::Plain && self.word.is_empty()
    }

    /// Takes the next byte and tells whether a statement ends with it.
    pub fn ends_at(&mut self, byte: u8) -> bool {
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

impl fmt::Debug for Statements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Statements")
    }
}

/// Whether a text ends inside of a quote, a comment that needs an end, or a trigger's body.
pub fn is_open(sql: &str) -> bool {
    let mut splitter = Splitter::new();
    for byte in sql.bytes() {
        splitter.ends_at(byte);
    }
    splitter.end_word();
    let is_inside = matches!(splitter.lexical, Lexical::Quoted(_) | Lexical::BlockComment);
    is_inside || matches!(splitter.phase, Phase::Trigger | Phase::TriggerSemicolon)
}

/// Statements read from a stream.
pub struct Statements<'r> {
    source: &'r mut dyn Read,
    splitter: Splitter,
    chunk: Vec<u8>,
    at: usize,
    /// Of what has not been given yet; the first line is 1.
    line_next: u64,
    /// Of the first word of what was given last.
    line: u64,
}

impl<'r> Statements<'r> {
    /// Begins where `source` stands.
    pub fn new(source: &'r mut dyn Read) -> Self {
        Self { source, splitter: Splitter::new(), chunk: Vec::new(), at: 0, line_next: 1, line: 1 }
    }

    /// The line, from 1, of the first word of the statement that came last; where reading it
    /// failed, the line that was at fault.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next one that is not blank, with the blanks before it and its semicolon; `None` at the
    /// end.
    ///
    /// # Errors
    /// Those of the source, and [`io::ErrorKind::InvalidData`] for what is no UTF-8 or too long.
    #[expect(clippy::should_implement_trait, reason = "an iterator would give its errors again")]
    pub fn next(&mut self) -> io::Result<Option<String>> {
        let mut text = Vec::new();
        self.line = self.line_next;
        loop {
            if self.at == self.chunk.len() {
                self.chunk.resize(CHUNK_BYTES, 0);
                let length = self.source.read(&mut self.chunk)?;
                self.chunk.truncate(length);
                self.at = 0;
                if length == 0 {
                    return self.statement(text);
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
                let found = self.statement(std::mem::take(&mut text))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
    }

    /// The statement in a piece that has just been read, unless it is blank.
    fn statement(&mut self, piece: Vec<u8>) -> io::Result<Option<String>> {
        let text = String::from_utf8(piece).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            self.line = self.line_next + count_lines(valid);
            invalid("the script is not UTF-8")
        })?;
        let found = scan::first_word(&text);
        self.line = self.line_next + count_lines(&text.as_bytes()[..found.unwrap_or(text.len())]);
        self.line_next += count_lines(text.as_bytes());
        Ok(found.map(|_| text))
    }
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
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
        let text = "SELECT 1;; SELECT '\u{e4}\n;';\n;\n-- two\nSELECT 3";
        let mut source = text.as_bytes();
        let mut statements = Statements::new(&mut source);
        let mut found = Vec::new();
        while let Some(statement) = statements.next().unwrap() {
            found.push((statements.line(), statement.trim().to_owned()));
        }
        let found: Vec<_> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
        let last = "-- two\nSELECT 3";
        assert_eq!(found, [(1, "SELECT 1;"), (1, "SELECT '\u{e4}\n;';"), (5, last)]);
    }

    #[test]
    fn what_lacks_its_end_is_open() {
        let trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;";
        for text in ["SELECT 'a", "SELECT \"a;", "/* x", "SELECT [a", trigger] {
            assert!(is_open(text), "{text}");
        }
        for text in ["", "SELECT 1", "SELECT 'a';", "-- x", &format!("{trigger} END;")] {
            assert!(!is_open(text), "{text}");
        }
    }
}
