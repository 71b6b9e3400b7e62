//! `execute`: SQL that writes.

use std::io::Write as _;
use std::time::Duration;

use super::parameters::Parameters;
use super::printing::{self, Printing};
use super::query;
use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::Failure;
use crate::client::output::Format;
use crate::client::results::Done;
use crate::client::values::read_duration;
use crate::db::scan;

/// What stands below the options in the help text.
const DETAILS: &str = "\
Prints what each statement changed, and the rows of RETURNING. With json or jsonl that is an object,
as {\"last_insert_id\":4,\"rows_affected\":1}; with csv, tsv, list and insert it goes to standard error.
Several statements run one after the other, also after one that failed, unless --transaction is given.

  quorlite execute 'INSERT INTO users(name, zip) VALUES(?, ?)' Ann 01234
  quorlite execute --transaction 'DELETE FROM a; DELETE FROM b'
";

#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(in crate::client) struct Execute {
    /// The statement; - or nothing reads it from standard input
    sql: Option<String>,
    #[command(flatten)]
    parameters: Parameters,
    /// Run all statements or none of them
    #[arg(long)]
    transaction: bool,
    /// Have it written soon, together with others: answers at once, before it is done; an SQL error
    /// in it is never reported, also not with --wait
    #[arg(long, conflicts_with = "transaction")]
    queue: bool,
    /// With --queue: wait until it is done
    #[arg(long, requires = "queue")]
    wait: bool,
    /// Longest time to wait for the queue, or for the leader when another node is asked
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    printing: Printing,
}

impl Execute {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let style = self.printing.style(session)?;
        let mut asked = Vec::new();
        self.printing.add_to(&mut asked);
        let flags = [(self.transaction, "transaction"), (self.queue, "queue"), (self.wait, "wait")];
        asked.extend(flags.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| (*name).to_owned()));
        if let Some(timeout) = self.timeout {
            asked.push(format!("timeout={}ns", timeout.as_nanos()));
        }
        let (mut batch, statements) = query::batch(self.sql.as_deref(), &self.parameters)?;
        let received = batch.send(session, "db/execute", &asked, Effect::Some)?;
        let results = received.results_of(batch.len())?;
        if let Some(number) = results.sequence_number {
            let object = format!("{{\"sequence_number\":{number}}}");
            return say(session, style.format, &format!("sequence number {number}"), &object);
        }
        if self.transaction
            && let Some((place, why)) = results.failure()
        {
            let text = format!("statement {}: {why} (nothing was done)", place + 1);
            return Err(Failure::refused(text));
        }
        printing::print_all(session, &style, &results, batch.len(), |session, place, done| {
            let sql = statements.get(place).map_or("", String::as_str);
            say(session, style.format, &sentence(sql, done), &object(sql, done))?;
            if is_read(sql) {
                session.terminal.remark("its rows are printed by \"quorlite query\"");
            }
            printing::print_seconds(session, done.seconds);
            Ok(())
        })
    }
}

/// Prints what was changed, where the format leaves room for it.
fn say(session: &mut Session, format: Format, sentence: &str, object: &str) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Jsonl => writeln!(session.output, "{object}")?,
        Format::Table | Format::Line if session.terminal.is_quiet => {}
        Format::Table | Format::Line => writeln!(session.output, "{sentence}")?,
        Format::Csv | Format::Tsv | Format::List | Format::Insert => {
            session.terminal.remark(sentence);
        }
    }
    Ok(())
}

/// The rows that a statement changed, and the last id it gave out. Only INSERT and its like say
/// something about rows: after anything else a server repeats the numbers of the write before.
fn changes(sql: &str, done: Done) -> Option<(i64, Option<i64>)> {
    if !scan::counts_changes(sql) {
        return None;
    }
    let rows = done.rows_affected.unwrap_or(0);
    let is_insert = scan::words(sql, 1)
        .iter()
        .any(|word| ["INSERT", "REPLACE"].iter().any(|insert| word.eq_ignore_ascii_case(insert)));
    Some((rows, done.last_insert_id.filter(|_| is_insert && rows > 0)))
}

fn is_read(sql: &str) -> bool {
    let is_one =
        |word: &&str| ["SELECT", "VALUES"].iter().any(|read| word.eq_ignore_ascii_case(read));
    scan::words(sql, 1).first().is_some_and(is_one)
}

fn sentence(sql: &str, done: Done) -> String {
    let Some((rows, id)) = changes(sql, done) else { return "done".to_owned() };
    let plural = if rows == 1 { "" } else { "s" };
    let id = id.map_or_else(String::new, |id| format!(", last insert ID {id}"));
    format!("{rows} row{plural} affected{id}")
}

fn object(sql: &str, done: Done) -> String {
    let Some((rows, id)) = changes(sql, done) else { return "{}".to_owned() };
    let id = id.map_or_else(String::new, |id| format!("\"last_insert_id\":{id},"));
    format!("{{{id}\"rows_affected\":{rows}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_a_sentence() {
        let done = |id, rows| Done { last_insert_id: id, rows_affected: rows, seconds: None };
        let both = done(Some(4), Some(1));
        assert_eq!(sentence("/* */ insert into t", both), "1 row affected, last insert ID 4");
        assert_eq!(sentence("UPDATE t", both), "1 row affected");
        assert_eq!(sentence("DELETE FROM t", done(Some(4), None)), "0 rows affected");
        assert_eq!(sentence("INSERT OR IGNORE INTO t", done(Some(4), None)), "0 rows affected");
        assert_eq!(sentence("CREATE TABLE t(a)", both), "done");
        assert_eq!(object("REPLACE INTO t", both), r#"{"last_insert_id":4,"rows_affected":1}"#);
        assert_eq!(object("DELETE FROM t", done(Some(4), None)), r#"{"rows_affected":0}"#);
        assert_eq!(object("DROP TABLE t", both), "{}");
    }
}
