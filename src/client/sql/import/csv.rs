//! CSV read a record at a time (RFC 4180), by the byte.
//!
//! Written by hand for two things that matter here: whether a field stood in quotes, by which NULL
//! and empty text are told apart, and the line on which a record begins or goes wrong.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Most bytes that a record takes in memory. A quote without an end would otherwise take in the rest of the file.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// One record.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// All fields, one behind the other.
    bytes: Vec<u8>,
    /// Where each field ends, and whether it stood in quotes.
    ends: Vec<(usize, bool)>,
    /// The line it begins on; the first is 1.
    pub(super) line: u64,
}

/// Why there is no record.
#[derive(Debug)]
pub(super) enum Bad {
    /// What is wrong, and on which line.
    Record(u64, &'static str),
    /// The file cannot be read.
    File(io::Error),
}

/// Records of a file.
pub(super) struct Reader<R> {
    source: BufReader<R>,
    separator: u8,
    line: u64,
}

/// Inside what the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a field.
    Start,
    Bare,
    Quoted,
    /// Behind a quote that ends the field, or is the first of two.
    Quote,
    /// Behind a carriage return that may belong to the line end.
    Return,
}

impl<R: Read> Reader<R> {
    /// Begins where `source` stands; a byte order mark is passed over.
    pub(super) fn new(source: R, separator: u8) -> io::Result<Reader<R>> {
        let mut source = BufReader::with_capacity(64 << 10, source);
        if source.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            source.consume(3);
        }
        Ok(Reader { source, separator, line: 1 })
    }

    /// Reads the next record into `record`; false at the end.
    pub(super) fn next(&mut self, record: &mut Record) -> Result<bool, Bad> {
        record.bytes.clear();
        record.ends.clear();
        record.line = self.line;
        let mut state = State::Start;
        loop {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Bad::File(error)),
            };
            if chunk.is_empty() {
                return end(record, state);
            }
            let mut used = 0;
            let mut is_whole = false;
            for &byte in chunk {
                used += 1;
                self.line += u64::from(byte == b'\n');
                state = step(record, state, byte, self.separator)?;
                if byte == b'\n' && state == State::Start {
                    is_whole = true;
                    break;
                }
            }
            self.source.consume(used);
            if is_whole {
                return Ok(true);
            }
            if record.size() > RECORD_BYTES_MAX {
                let why = "a record takes more than 64 MiB: a quote has no end, or the file is no \
                           CSV";
                return Err(Bad::Record(record.line, why));
            }
        }
    }
}

/// Takes a byte; `Start` after a line end means that the record is whole.
fn step(record: &mut Record, state: State, byte: u8, separator: u8) -> Result<State, Bad> {
    let next = match (state, byte) {
        (State::Start, b'"') => State::Quoted,
        (State::Quoted, b'"') => State::Quote,
        (State::Quoted, _) => {
            record.bytes.push(byte);
            State::Quoted
        }
        (State::Quote, b'"') => {
            record.bytes.push(b'"');
            State::Quoted
        }
        (State::Return | State::Start | State::Bare | State::Quote, b'\n') => {
            record.end_field(state);
            State::Start
        }
        (State::Start | State::Bare, b'\r') => State::Return,
        // Between the quote that ends a field and the line end.
        (State::Quote, b'\r') => State::Quote,
        (State::Start | State::Bare | State::Quote, _) if byte == separator => {
            record.end_field(state);
            // A line end behind a separator ends an empty field, which `Bare` does as well.
            return Ok(State::Start);
        }
        (State::Quote, _) => {
            let why = "something follows the quote that ends a field; quotes inside are doubled";
            return Err(Bad::Record(record.line, why));
        }
        (State::Return, _) => {
            // It did not belong to a line end.
            record.bytes.push(b'\r');
            return step(record, State::Bare, byte, separator);
        }
        (State::Start | State::Bare, _) => {
            record.bytes.push(byte);
            State::Bare
        }
    };
    Ok(next)
}

fn end(record: &mut Record, state: State) -> Result<bool, Bad> {
    match state {
        State::Quoted => Err(Bad::Record(record.line, "a quote that begins here has no end")),
        State::Start if record.ends.is_empty() => Ok(false),
        State::Start | State::Bare | State::Quote | State::Return => {
            record.end_field(state);
            Ok(true)
        }
    }
}

impl Record {
    fn end_field(&mut self, state: State) {
        self.ends.push((self.bytes.len(), state == State::Quote));
    }

    /// Bytes that it takes: the end of a field takes more of them than a short field itself.
    fn size(&self) -> usize {
        self.bytes.len() + size_of_val(self.ends.as_slice())
    }

    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it is an empty line.
    pub(super) fn is_blank(&self) -> bool {
        self.ends == [(0, false)]
    }

    /// The fields, and whether each stood in quotes.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let mut start = 0;
        self.ends.iter().map(move |&(end, is_quoted)| {
            let field = &self.bytes[start..end];
            start = end;
            (field, is_quoted)
        })
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Record(_, why) => f.write_str(why),
            Bad::File(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each record as `line: field|'quoted field'`.
    fn read(text: &str, separator: u8) -> Result<Vec<String>, Bad> {
        let mut reader = Reader::new(text.as_bytes(), separator).map_err(Bad::File)?;
        let mut record = Record::default();
        let mut records = Vec::new();
        while reader.next(&mut record)? {
            let field = |(bytes, is_quoted): (&[u8], bool)| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                if is_quoted { format!("'{text}'") } else { text }
            };
            let fields: Vec<String> = record.fields().map(field).collect();
            records.push(format!("{}: {}", record.line, fields.join("|")));
        }
        Ok(records)
    }

    #[test]
    fn records_are_read_with_their_quotes_and_lines() {
        let text = "\u{feff}a,b\r\n1,\"x \"\"y\"\",\r\nz\"\r\n,\"\"\n\n\"q\",r\rs\n2,";
        let expected = ["1: a|b", "2: 1|'x \"y\",\r\nz'", "4: |''", "5: ", "6: 'q'|r\rs", "7: 2|"];
        assert_eq!(read(text, b',').unwrap(), expected);
        assert_eq!(read("a;b\t;c", b';').unwrap(), ["1: a|b\t|c"]);
        assert_eq!(read("", b',').unwrap(), Vec::<String>::new());
        assert_eq!(read("a\r", b',').unwrap(), ["1: a"]);
    }

    #[test]
    fn a_record_is_bounded_in_bytes_and_in_fields() {
        for (byte, count) in [(b',', RECORD_BYTES_MAX / 8), (b'x', RECORD_BYTES_MAX * 2)] {
            let source = io::repeat(byte).take(count as u64);
            let found = Reader::new(source, b',').unwrap().next(&mut Record::default());
            assert!(matches!(found, Err(Bad::Record(1, _))), "{byte}");
        }
    }

    #[test]
    fn what_is_no_csv_is_named_by_its_line() {
        for (text, line) in [("a\n\"b\nc\n", 2), ("a\nb\n\"c\"d\n", 3)] {
            let Err(Bad::Record(found, _)) = read(text, b',') else { panic!("{text}") };
            assert_eq!(found, line, "{text}");
        }
    }
}
