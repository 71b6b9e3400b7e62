//! A session on a terminal: lines are edited, remembered and completed.
//!
//! A statement goes on over lines while it lacks its end, and a DELETE or UPDATE of all rows until
//! its semicolon: its WHERE may stand on the next line. An empty line sends it as it is; Ctrl-C
//! drops it. On an empty first line Ctrl-C ends the session, as Ctrl-D does.

use std::cell::{Cell, RefCell};
use std::io::Write as _;

use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, Editor};

use super::completion::Assistant;
use super::history::History;
use super::names::Names;
use super::{Shell, commands, script};
use crate::client::failure::{Failure, Status};
use crate::client::interrupt;
use crate::db::incomplete::is_incomplete;
use crate::db::lexer::{Kind, Token, Tokens};
use crate::db::splitter::Splitter;

/// What stands before every line of a statement but the first, right-aligned.
const CONTINUED: &str = "...> ";

type Lines = Editor<Assistant, MemHistory>;

/// Reads and answers until the session ends.
pub(super) fn run(shell: &mut Shell<'_>) -> Result<(), Failure> {
    interrupt::restore_terminal_at_end();
    let history = History::of_environment();
    let mut lines = open(shell, &history)?;
    while !shell.is_over {
        shell.session.output.flush()?;
        look_again(shell, &mut lines);
        let Some(text) = read(&mut lines, &shell.prompt())? else { break };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        remember(&mut lines, &history, text)?;
        let answered = if text.contains('\n') {
            script::run(shell, &mut text.as_bytes(), "the input")
        } else {
            shell.answer(text)
        };
        if let Err(trouble) = answered {
            shell.complain(trouble)?;
        }
    }
    Ok(())
}

fn open(shell: &Shell<'_>, history: &History) -> Result<Lines, Failure> {
    let client = &shell.session.client;
    let assistant = Assistant {
        names: RefCell::new(Names::new(client.settings(), client.node())),
        before: String::new(),
        is_line_empty: Cell::new(true),
    };
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut lines =
        Lines::with_history(config, MemHistory::new()).map_err(|error| broken(&error))?;
    lines.set_max_history_size(history.entries_max().max(1)).map_err(|error| broken(&error))?;
    // Serial consoles get no more control sequences than needed.
    lines.enable_synchronized_output(false);
    lines.set_helper(Some(assistant));
    for entry in history.entries() {
        lines.add_history_entry(entry).map_err(|error| broken(&error))?;
    }
    Ok(lines)
}

fn broken(error: &ReadlineError) -> Failure {
    Failure::new(Status::LocalFile, format!("cannot read from the terminal: {error}"))
}

/// Has the names of tables fetched anew where they may be others now.
fn look_again(shell: &mut Shell<'_>, lines: &mut Lines) {
    let node = shell.session.client.node();
    if let Some(assistant) = lines.helper_mut() {
        let mut names = assistant.names.borrow_mut();
        if shell.is_schema_changed || !names.are_of(node) {
            names.forget(node);
        }
    }
    shell.is_schema_changed = false;
}

/// The next statement or dot-command; `None` ends the session.
fn read(lines: &mut Lines, prompt: &str) -> Result<Option<String>, Failure> {
    let continued = format!("{CONTINUED:>width$}", width = prompt.len());
    let mut text = String::new();
    loop {
        if let Some(assistant) = lines.helper_mut() {
            assistant.before.clone_from(&text);
            assistant.is_line_empty.set(true);
        }
        match lines.readline(if text.is_empty() { prompt } else { &continued }) {
            Ok(line) => {
                let is_last = line.trim().is_empty();
                text.push_str(&line);
                if is_last || is_whole(&text) {
                    return Ok(Some(text));
                }
                text.push('\n');
            }
            Err(ReadlineError::Interrupted) => {
                let is_typing = lines.helper().is_some_and(|all| !all.is_line_empty.get());
                if text.is_empty() && !is_typing {
                    return Ok(None);
                }
                text.clear();
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(broken(&error)),
        }
    }
}

fn is_whole(text: &str) -> bool {
    let line = text.trim();
    line.starts_with('.')
        || commands::find(line).is_some()
        || !(is_incomplete(text) || may_get_where(text))
}

/// Whether the last statement changes all rows of a table and has no semicolon yet.
fn may_get_where(text: &str) -> bool {
    let Some(last) = Splitter::pieces(text).pop() else { return false };
    let mut depth = 0_usize;
    let mut changes_rows = None;
    let mut ends = false;
    for token in Tokens::of(last).filter(|token| token.kind != Kind::Blank) {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ if changes_rows.is_some() && token.is_word("WHERE") => return false,
            _ => changes_rows = changes_rows.or_else(|| verb(token)),
        }
        ends = token.is_sign(";");
    }
    changes_rows == Some(true) && !ends
}

/// Whether a statement is a DELETE or UPDATE, from the word that tells; of the words that may
/// stand before it `None`.
fn verb(token: Token<'_>) -> Option<bool> {
    let is_one = |words: &[&str]| words.iter().any(|word| token.is_word(word));
    if is_one(&["DELETE", "UPDATE"]) {
        return Some(true);
    }
    let others = ["ALTER", "CREATE", "EXPLAIN", "INSERT", "PRAGMA", "REPLACE", "SELECT", "VALUES"];
    is_one(&others).then_some(false)
}

fn remember(lines: &mut Lines, history: &History, text: &str) -> Result<(), Failure> {
    lines.add_history_entry(text).map_err(|error| broken(&error))?;
    // A session goes on without.
    history.add(text).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_where_may_follow_only_what_changes_all_rows() {
        for open in [
            "DELETE FROM t",
            "delete from t -- WHERE a;",
            "UPDATE t SET a = (SELECT 1 WHERE 1)",
            "WITH x AS (SELECT 1 WHERE 1) DELETE FROM t",
            "SELECT 1; DELETE FROM [where]",
            "DELETE FROM t RETURNING ';'",
        ] {
            assert!(may_get_where(open), "{open}");
        }
        for whole in [
            "DELETE FROM t;",
            "DELETE FROM t; -- all",
            "DELETE FROM t\nWHERE a = 1",
            "UPDATE t SET a = 1 WHERE b",
            "DELETE FROM t; SELECT 1",
            "INSERT INTO t VALUES(1) ON CONFLICT DO UPDATE SET a = 1",
            "CREATE TRIGGER r AFTER DELETE ON t BEGIN DELETE FROM u; END",
            "EXPLAIN DELETE FROM t",
            "SELECT 1",
            "",
        ] {
            assert!(!may_get_where(whole), "{whole}");
        }
    }
}
