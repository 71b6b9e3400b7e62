//! Input cut into statements, which may span lines and end with `;`, and lines of dot-commands.

use std::io::{self, BufRead, Read as _};

use super::{Manner, Outcome, Shell, commands, statement};
use crate::client::failure::Failure;
use crate::db::splitter::{STATEMENT_BYTES_MAX, Splitter};

/// A part of the input.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Statement(String),
    /// A line that is a dot-command, or `quit` or `exit`.
    Command(String),
}

/// Takes the input apart, never holding more than one statement.
struct Pieces<'r> {
    source: &'r mut dyn BufRead,
    splitter: Splitter,
    /// What has been read.
    text: Vec<u8>,
    /// Where what has not yet been given out begins in it, and what the splitter has not yet seen.
    begin: usize,
    seen: usize,
    /// Lines that have been given out.
    lines: usize,
}

/// Runs everything in `source`, which errors call `name`. An error ends it where errors end the
/// session; elsewhere it is printed, and the next statement runs.
pub(super) fn run(shell: &mut Shell<'_>, source: &mut dyn BufRead, name: &str) -> Outcome {
    let mut pieces = Pieces::new(source);
    while !shell.is_over {
        let next = pieces.next().map_err(|error| Failure::local(name, &error))?;
        let Some((number, piece)) = next else { break };
        let outcome = match piece {
            Piece::Statement(sql) => statement::run(shell, sql.trim()),
            Piece::Command(line) => shell.answer(&line),
        };
        settle(shell, outcome, name, number)?;
    }
    Ok(())
}

/// Runs every line of `source` by itself, as rqlite's shell does; blank ones and those that begin
/// with `--` are passed over.
pub(super) fn run_lines(shell: &mut Shell<'_>, source: &mut dyn BufRead, name: &str) -> Outcome {
    for (at, line) in source.lines().enumerate() {
        let line = line.map_err(|error| Failure::local(name, &error))?;
        let line = line.trim();
        if shell.is_over {
            break;
        }
        if !line.is_empty() && !line.starts_with("--") {
            let outcome = shell.answer(line);
            settle(shell, outcome, name, at + 1)?;
        }
    }
    Ok(())
}

/// Ends everything with an error, or prints it: as the session does.
fn settle(shell: &mut Shell<'_>, outcome: Outcome, name: &str, line: usize) -> Outcome {
    match outcome {
        Ok(()) => Ok(()),
        Err(trouble) if shell.manner == Manner::Strict => {
            Err(trouble.at(&format!("{name}, line {line}")))
        }
        Err(trouble) => Ok(shell.complain(trouble)?),
    }
}

impl<'r> Pieces<'r> {
    fn new(source: &'r mut dyn BufRead) -> Self {
        Pieces { source, splitter: Splitter::new(), text: Vec::new(), begin: 0, seen: 0, lines: 0 }
    }

    /// The next one and the line it begins on; the last statement needs no semicolon.
    fn next(&mut self) -> io::Result<Option<(usize, Piece)>> {
        loop {
            while self.seen < self.text.len() {
                self.seen += 1;
                if self.splitter.ends_at(self.text[self.seen - 1]) {
                    return self.take(self.seen).map(|(at, sql)| Some((at, Piece::Statement(sql))));
                }
            }
            self.text.drain(..self.begin);
            (self.begin, self.seen) = (0, self.text.len());
            let is_between = self.splitter.is_between();
            let end = self.seen;
            let room = (STATEMENT_BYTES_MAX - end.min(STATEMENT_BYTES_MAX)) as u64;
            if self.source.take(room).read_until(b'\n', &mut self.text)? == 0 {
                if end >= STATEMENT_BYTES_MAX {
                    return Err(invalid("a statement is too long"));
                }
                let (at, sql) = self.take(end)?;
                return Ok((!sql.trim().is_empty()).then_some((at, Piece::Statement(sql))));
            }
            if is_between && is_command(&self.text[end..]) {
                // Blanks and comments before it.
                self.take(end)?;
                self.seen = self.text.len();
                return self.take(self.seen).map(|(at, line)| Some((at, Piece::Command(line))));
            }
        }
    }

    /// Gives out what is left before `end`, and tells the line that it begins on.
    fn take(&mut self, end: usize) -> io::Result<(usize, String)> {
        let bytes = self.text[self.begin..end].to_vec();
        self.begin = end;
        let text = String::from_utf8(bytes).map_err(|_| invalid("the text is not UTF-8"))?;
        let newlines = |text: &str| text.matches('\n').count();
        let blanks = &text[..text.len() - text.trim_start().len()];
        let at = self.lines + newlines(blanks) + 1;
        self.lines += newlines(&text);
        Ok((at, text))
    }
}

/// Whether a line between statements is no SQL.
fn is_command(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let is_word = std::str::from_utf8(line).is_ok_and(|line| commands::find(line).is_some());
    line.starts_with(b".") || is_word
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_span_lines_and_commands_stand_alone() {
        let mut source: &[u8] =
            b"-- a\n.tables\nSELECT 1,\n.5; SELECT 2;\n/* \n.no\n*/ .mode csv\n\
            ;\nCREATE TRIGGER r AFTER INSERT ON t BEGIN\n SELECT 1;\nEND;\n QUIT \nSELECT '\n.a";
        let mut pieces = Pieces::new(&mut source);
        let mut found = Vec::new();
        while let Some((at, piece)) = pieces.next().unwrap() {
            found.push(match piece {
                Piece::Statement(text) => format!("{at} S {}", text.trim()),
                Piece::Command(text) => format!("{at} C {}", text.trim()),
            });
        }
        let wanted = [
            "2 C .tables",
            "3 S SELECT 1,\n.5;",
            "4 S SELECT 2;",
            "5 S /* \n.no\n*/ .mode csv\n;",
            "9 S CREATE TRIGGER r AFTER INSERT ON t BEGIN\n SELECT 1;\nEND;",
            "12 C QUIT",
            "13 S SELECT '\n.a",
        ];
        assert_eq!(found, wanted);
    }
}
