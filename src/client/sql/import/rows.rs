//! Records as INSERT statements.

use std::io;

use super::Import;
use super::csv::{Bad, Reader, Record};
use crate::client::Session;
use crate::client::failure::{Failure, Status};
use crate::client::sql::source::{self, Source};
use crate::db::dump::literal;

/// The rows of a file.
pub(super) struct Rows {
    reader: Reader<Source>,
    record: Record,
    /// As messages name the file.
    name: String,
    null: String,
    /// `INSERT INTO "t"("a","b") VALUES(`
    head: Vec<u8>,
    /// Fields that every row must have, once that is known.
    width: Option<usize>,
    create: Option<String>,
}

/// Statements on their way.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Each with `;` and a line end.
    text: String,
    /// Where each ends, and the line of its row.
    ends: Vec<(usize, u64)>,
}

impl Rows {
    /// Opens the file and reads its header.
    pub(super) fn open(import: &Import, session: &Session) -> Result<Rows, Failure> {
        let source = Source::open(&import.file)?;
        source.show(session.terminal, "importing");
        let name = source.name.clone();
        let reader = Reader::new(source, import.separator)
            .map_err(|error| source::unreadable(&name, &error))?;
        let mut rows = Rows {
            reader,
            record: Record::default(),
            name,
            null: import.null.clone(),
            head: Vec::new(),
            width: None,
            create: None,
        };
        let mut columns = import.columns.clone();
        if !import.no_header {
            let header = rows.header()?;
            if columns.is_empty() {
                columns = header;
            }
        }
        if import.create && columns.is_empty() {
            let text = "--create needs the names of the columns: a header line, or --columns";
            return Err(Failure::usage(text));
        }
        rows.width = (!columns.is_empty()).then_some(columns.len());
        rows.head = head(&import.table, &columns);
        rows.create = import.create.then(|| create(&import.table, &columns));
        Ok(rows)
    }

    fn header(&mut self) -> Result<Vec<String>, Failure> {
        if !self.read()? {
            let text = format!("{} is empty: it should begin with the names", self.name);
            return Err(Failure::new(Status::BadFile, text));
        }
        let line = self.record.line;
        let name = |(field, _): (&[u8], bool)| String::from_utf8(field.to_vec()).ok();
        let names: Option<Vec<String>> = self.record.fields().map(name).collect();
        names.ok_or_else(|| self.bad(line, "the names are not UTF-8"))
    }

    /// What creates the table, if that is asked for and not done yet.
    pub(super) fn create(&self) -> Option<&str> {
        self.create.as_deref()
    }

    /// The table exists by now.
    pub(super) fn created(&mut self) {
        self.create = None;
    }

    /// Adds the next row; false at the end.
    pub(super) fn next(&mut self, gathered: &mut Gathered) -> Result<bool, Failure> {
        loop {
            if !self.read()? {
                return Ok(false);
            }
            // In a single column it is a row; else editors leave such lines at the end.
            if !self.record.is_blank() || self.width.is_none_or(|width| width == 1) {
                break;
            }
        }
        let line = self.record.line;
        let width = *self.width.get_or_insert(self.record.len());
        if self.record.len() != width {
            let text = format!("a row of {} fields among rows of {width}", self.record.len());
            return Err(self.bad(line, &text));
        }
        let mut statement = self.head.clone();
        for (place, (field, is_quoted)) in self.record.fields().enumerate() {
            statement.extend_from_slice(if place == 0 { b"" } else { b"," });
            if !is_quoted && field == self.null.as_bytes() {
                statement.extend_from_slice(b"NULL");
            } else if std::str::from_utf8(field).is_ok() {
                literal::push_text(&mut statement, field);
            } else {
                return Err(self.bad(line, &format!("field {} is not UTF-8", place + 1)));
            }
        }
        statement.extend_from_slice(b");\n");
        gathered.push(&String::from_utf8(statement).expect("every part of it is UTF-8"), line);
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, Failure> {
        self.reader.next(&mut self.record).map_err(|bad| match bad {
            Bad::Record(line, why) => self.bad(line, why),
            Bad::File(error) => Failure::local(format!("cannot read {}", self.name), &error),
        })
    }

    /// The file is wrong there.
    fn bad(&self, line: u64, why: &str) -> Failure {
        Failure::new(Status::BadFile, format!("{}:{line}: {why}", self.name))
    }

    /// The server would not take that row.
    pub(super) fn at(&self, line: u64, why: &str) -> Failure {
        Failure::refused(format!("{}:{line}: {why}", self.name))
    }

    /// Whether an empty line is a row.
    pub(super) fn is_single(&self) -> bool {
        self.width == Some(1)
    }

    /// As messages name the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Gathered {
    fn push(&mut self, statement: &str, line: u64) {
        self.text.push_str(statement);
        self.ends.push((self.text.len(), line));
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Each statement with the line of its row.
    pub(super) fn statements(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(end, line)| {
            let statement = &self.text[start..end];
            start = end;
            (line, statement.trim_end())
        })
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

fn head(table: &str, columns: &[String]) -> Vec<u8> {
    let mut head = b"INSERT INTO ".to_vec();
    literal::push_name(&mut head, table);
    for (place, name) in columns.iter().enumerate() {
        head.push(if place == 0 { b'(' } else { b',' });
        literal::push_name(&mut head, name);
    }
    head.extend_from_slice(if columns.is_empty() { b" VALUES(" } else { b") VALUES(" });
    head
}

fn create(table: &str, columns: &[String]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|name| literal::quote_name(name) + " TEXT").collect();
    format!("CREATE TABLE IF NOT EXISTS {}({})", literal::quote_name(table), columns.join(","))
}

/// The line of a row of a file, rows counted from 1.
pub(super) fn line_of(import: &Import, row: u64, is_single: bool) -> io::Result<Option<u64>> {
    let Ok(source) = Source::open(&import.file) else { return Ok(None) };
    let mut reader = Reader::new(source, import.separator)?;
    let mut record = Record::default();
    let mut left = row + u64::from(!import.no_header);
    loop {
        match reader.next(&mut record) {
            Ok(true) if record.is_blank() && !is_single => {}
            Ok(true) if left == 1 => return Ok(Some(record.line)),
            Ok(true) => left -= 1,
            Ok(false) | Err(_) => return Ok(None),
        }
    }
}
