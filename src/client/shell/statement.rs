//! SQL, and what is printed of its results.

use std::io::Write as _;

use super::options::Consistency;
use super::{Outcome, Shell, Trouble, explain};
use crate::client::connection::{Body, Call, Effect, Patience};
use crate::client::failure::Failure;
use crate::client::output;
use crate::client::results::{self, Done, Received, Results, Rows};
use crate::db::lexer::{Kind, Token, Tokens};

/// Runs a text as one statement, as rqlite's shell sends it, and prints what came of it.
pub(super) fn run(shell: &mut Shell<'_>, sql: &str) -> Outcome {
    let mut tokens = Tokens::of(sql).filter(|token| token.kind != Kind::Blank);
    let Some(first) = tokens.next() else { return Ok(()) };
    let effect = if is_read(first, tokens) { Effect::None } else { Effect::Some };
    let path = if shell.options.forcewrites { "db/execute" } else { "db/request" };
    let answered = send(shell, path, sql, effect);
    // Also when nobody knows what came of it.
    shell.is_schema_changed |= effect == Effect::Some;
    answered
}

pub(super) fn tables(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    send(shell, "db/query", sql, Effect::None)
}

pub(super) fn indexes(shell: &mut Shell<'_>, _: &str) -> Outcome {
    send(shell, "db/query", "SELECT sql FROM sqlite_master WHERE type = 'index'", Effect::None)
}

pub(super) fn schema(shell: &mut Shell<'_>, _: &str) -> Outcome {
    send(shell, "db/query", "SELECT sql FROM sqlite_master", Effect::None)
}

/// Whether a text certainly changes nothing, so that it may be sent to another node when its
/// answer is lost.
fn is_read<'s>(first: Token<'s>, rest: impl Iterator<Item = Token<'s>>) -> bool {
    let is_query = ["SELECT", "VALUES", "EXPLAIN"].iter().any(|word| first.is_word(word));
    // What follows a semicolon is another statement.
    is_query && rest.skip_while(|token| !token.is_sign(";")).all(|token| token.is_sign(";"))
}

fn send(shell: &mut Shell<'_>, path: &str, sql: &str, effect: Effect) -> Outcome {
    let mut parameters = Vec::new();
    let options = &shell.options;
    let wants_arrays = options.blobarray || options.mode.needs_blob_array();
    // The level that servers have by themselves is left to them, as rqlite's shell leaves it.
    if options.consistency != Consistency::Weak && !options.forcewrites {
        parameters.push(format!("level={}", options.consistency.name()));
    }
    parameters.extend(wants_arrays.then(|| "blob_array".to_owned()));
    parameters.extend(options.timer.then(|| "timings".to_owned()));
    let target = match parameters.as_slice() {
        [] => path.to_owned(),
        some => format!("{path}?{}", some.join("&")),
    };
    let json = serde_json::to_vec(&[sql]).expect("a text is JSON");
    let (body, patience) = (Body::Json(&json), Patience::Whole);
    let call = Call { method: "POST", target: &target, headers: &[], body, effect, patience };
    let answer = shell.session.client.send(call)?.worded(explain)?;
    let received = Received::of_success(answer, effect)?;
    print(shell, &received.results()?)
}

fn print(shell: &mut Shell<'_>, results: &Results<'_>) -> Outcome {
    for outcome in &results.results {
        match outcome {
            results::Outcome::Rows(rows) => print_rows(shell, rows)?,
            results::Outcome::Done(done) => print_done(shell, *done)?,
            results::Outcome::Failed(text) => return Err(Trouble::Sql(Failure::refused(text))),
        }
    }
    Ok(())
}

fn print_rows(shell: &mut Shell<'_>, rows: &Rows<'_>) -> Outcome {
    let style = shell.options.style(shell.session.terminal.has_colours());
    let standard = &mut shell.session.output;
    shell.options.write_rows(standard, |sink| output::write(sink, &style, rows))?;
    if shell.options.timer {
        let seconds = rows.seconds.unwrap_or_default();
        writeln!(shell.session.output, "Run Time: {seconds:.6} seconds")?;
    }
    Ok(())
}

fn print_done(shell: &mut Shell<'_>, done: Done) -> Outcome {
    let count = done.rows_affected.unwrap_or_default();
    let rows = if count > 1 { "rows" } else { "row" };
    let output = &mut shell.session.output;
    write!(output, "{count} {rows} affected")?;
    if shell.options.timer {
        write!(output, " ({:.6} sec)", done.seconds.unwrap_or_default())?;
    }
    writeln!(output)?;
    if shell.options.changes {
        writeln!(output, "last insert ID: {}", done.last_insert_id.unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_reads_may_be_sent_twice() {
        let reads = |sql| {
            let mut tokens = Tokens::of(sql).filter(|token| token.kind != Kind::Blank);
            is_read(tokens.next().unwrap(), tokens)
        };
        for sql in ["select 1", "/* a */ SELECT ';' ;; -- b", "VALUES(1)", "EXPLAIN DELETE FROM t"]
        {
            assert!(reads(sql), "{sql}");
        }
        for sql in
            ["DELETE FROM t", "SELECT 1; DELETE FROM t", "WITH a AS (SELECT 1) DELETE FROM t"]
        {
            assert!(!reads(sql), "{sql}");
        }
    }
}
