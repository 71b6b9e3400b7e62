//! `/db/sql`: what a statement would look like with its non-deterministic parts replaced.
//!
//! For information only. Nodes here agree because an entry carries the leader's clock and a seed,
//! not because statements were rewritten, so nothing that runs ever passes through this file.
//! Clients of rqlite use the endpoint to check SQL and to see its rewriting; they get the same
//! fields: `random()`, `randomblob(N)` and `'now'` replaced, the text kept as it is elsewhere.
//! Definitions (CREATE) are left alone: there the call is what is stored.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use super::json::{indent, push_array, push_double, push_string};
use super::params::{Flag, Params};
use super::{Api, body, reply};
use crate::command::Statement;
use crate::db::lexer::{Kind, Token, Tokens};
use crate::http::{Method, Reply, Request};
use crate::node::ReadError;
use crate::os;

/// Longest blob that `randomblob(N)` is replaced by; beyond it the call stays.
const BLOB_BYTES_MAX: usize = 4096;
/// The Julian day of 1970-01-01.
const JULIAN_DAY_1970: f64 = 2_440_587.5;
/// Without leap seconds, as SQLite counts.
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Answers what each statement would be rewritten to, or why it is no SQL.
pub(super) fn sql(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let started = Instant::now();
    let statements = if request.method == Method::Get {
        let Some(sql) = &params.sql else { return reply::text(400, "query not specified") };
        vec![Statement::plain(sql.clone())]
    } else {
        let body = match body::read(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        match body::submission(request, body, body::Form::Json) {
            Ok(submission) => submission.statements,
            Err(refusal) => return refusal,
        }
    };
    let errors: Result<Vec<_>, ReadError> =
        statements.iter().map(|statement| api.node.syntax_error(&statement.sql)).collect();
    let errors = match errors {
        Ok(errors) => errors,
        Err(error) => return api.fail(error.into(), request, params),
    };
    let mut out = b"{\"results\":".to_vec();
    push_array(&mut out, statements.iter().zip(&errors), |out, (statement, error)| {
        push_analysis(out, statement, error.as_deref(), params);
    });
    if params.has(Flag::Timings) {
        out.extend(b",\"time\":");
        push_double(&mut out, started.elapsed().as_secs_f64());
    }
    out.push(b'}');
    reply::bytes(if params.has(Flag::Pretty) { indent(&out) } else { out })
}

fn push_analysis(out: &mut Vec<u8>, statement: &Statement, error: Option<&str>, params: &Params) {
    out.extend(b"{\"original\":");
    push_string(out, &statement.sql);
    if let Some(error) = error.filter(|error| is_about_syntax(error)) {
        out.extend(b",\"error\":");
        push_string(out, error);
    } else {
        let mut random = || RandomState::new().build_hasher().finish();
        let mut rewriter = Rewriter {
            replaces_random: !params.has(Flag::KeepRandom),
            replaces_time: !params.has(Flag::KeepTime),
            julian_day: os::wall_clock().as_secs_f64() / SECONDS_PER_DAY + JULIAN_DAY_1970,
            random: &mut random,
        };
        out.extend(b",\"rewritten\":");
        push_string(out, &rewriter.rewrite(&statement.sql));
    }
    out.push(b'}');
}

/// SQLite also complains about tables that are not there, which is not what is asked.
fn is_about_syntax(error: &str) -> bool {
    ["syntax error", "incomplete input", "unrecognized token"].iter().any(|t| error.contains(t))
}

struct Rewriter<'r> {
    replaces_random: bool,
    replaces_time: bool,
    julian_day: f64,
    random: &'r mut dyn FnMut() -> u64,
}

/// An open parenthesis: the word before it and how many commas have passed.
struct Call {
    name: String,
    argument: usize,
    is_ordering: bool,
}

impl Rewriter<'_> {
    fn rewrite(&mut self, sql: &str) -> String {
        let all: Vec<Token<'_>> = Tokens::of(sql).collect();
        let solid: Vec<usize> =
            (0..all.len()).filter(|place| all[*place].kind != Kind::Blank).collect();
        let at = |n: usize| solid.get(n).map(|place| all[*place]);
        let mut edits: Vec<(usize, usize, String)> = Vec::new();
        let mut calls = vec![Call { name: String::new(), argument: 0, is_ordering: false }];
        let mut defines = false;
        let mut n = 0;
        while let Some(token) = at(n) {
            let before = n.checked_sub(1).and_then(at);
            if before.is_none_or(|before| before.is_sign(";")) {
                defines = token.is_word("create");
            }
            let call = calls.last_mut().expect("the outermost is never closed");
            let ahead = [at(n + 1), at(n + 2), at(n + 3)];
            if let Some((width, text)) = self.replacement(token, before, ahead, call)
                && !defines
            {
                edits.push((solid[n], solid[n + width - 1], text));
                n += width;
                continue;
            }
            track(&mut calls, token, before);
            n += 1;
        }
        splice(&all, &edits)
    }

    /// How many tokens give way to which text.
    fn replacement(
        &mut self,
        token: Token<'_>,
        before: Option<Token<'_>>,
        ahead: [Option<Token<'_>>; 3],
        call: &Call,
    ) -> Option<(usize, String)> {
        let is = |token: Option<Token<'_>>, sign| token.is_some_and(|t| t.is_sign(sign));
        if self.replaces_random && is(ahead[0], "(") {
            if token.is_word("random") && is(ahead[1], ")") && !call.is_ordering {
                return Some((3, self.random_integer()));
            }
            if token.is_word("randomblob") && is(ahead[2], ")") {
                let length = ahead[1]?.text.parse().ok().filter(|n| *n <= BLOB_BYTES_MAX)?;
                return Some((4, self.random_blob(length)));
            }
        }
        let is_whole_argument =
            (is(before, "(") || is(before, ",")) && (is(ahead[0], ")") || is(ahead[0], ","));
        let is_now = token.name().is_some_and(|name| name.eq_ignore_ascii_case("now"));
        (self.replaces_time && is_now && is_whole_argument && takes_time(call))
            .then(|| (1, format!("{:.6}", self.julian_day)))
    }

    fn random_integer(&mut self) -> String {
        (self.random)().cast_signed().to_string()
    }

    fn random_blob(&mut self, length: usize) -> String {
        let mut digits = String::new();
        while digits.len() < 2 * length.max(1) {
            digits.push_str(&format!("{:016x}", (self.random)()));
        }
        digits.truncate(2 * length.max(1));
        format!("x'{digits}'")
    }
}

fn takes_time(call: &Call) -> bool {
    match call.name.as_str() {
        "date" | "time" | "datetime" | "julianday" | "unixepoch" => call.argument == 0,
        "strftime" => call.argument == 1,
        "timediff" => call.argument <= 1,
        _ => false,
    }
}

/// Follows parentheses, commas and ORDER BY.
fn track(calls: &mut Vec<Call>, token: Token<'_>, before: Option<Token<'_>>) {
    let call = calls.last_mut().expect("the outermost is never closed");
    if token.is_sign("(") {
        let name = before.filter(|t| t.kind == Kind::Word).map(|t| t.text.to_ascii_lowercase());
        let is_ordering = call.is_ordering;
        calls.push(Call { name: name.unwrap_or_default(), argument: 0, is_ordering });
    } else if token.is_sign(")") {
        if calls.len() > 1 {
            calls.pop();
        }
    } else if token.is_sign(",") {
        call.argument += 1;
    } else if token.is_word("by") && before.is_some_and(|before| before.is_word("order")) {
        call.is_ordering = true;
    } else if token.is_word("limit") || token.is_sign(";") {
        call.is_ordering = false;
    }
}

/// The tokens with those from first to last of each edit replaced.
fn splice(all: &[Token<'_>], edits: &[(usize, usize, String)]) -> String {
    let mut out = String::new();
    let mut next = 0;
    for (first, last, text) in edits {
        out.extend(all[next..*first].iter().map(|token| token.text));
        out.push_str(text);
        next = last + 1;
    }
    out.extend(all[next..].iter().map(|token| token.text));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(sql: &str) -> String {
        let mut rewriter = Rewriter {
            replaces_random: true,
            replaces_time: true,
            julian_day: 2_461_365.5,
            random: &mut || 0xfedc_ba98_7654_3210,
        };
        rewriter.rewrite(sql)
    }

    #[test]
    fn calls_that_differ_from_node_to_node_are_replaced() {
        for (sql, expected) in [
            ("INSERT INTO t VALUES(random())", "INSERT INTO t VALUES(-81985529216486896)"),
            ("SELECT RANDOM /* x */ ( ), 1", "SELECT -81985529216486896, 1"),
            ("SELECT randomblob(2), randomblob(0)", "SELECT x'fedc', x'fe'"),
            ("SELECT datetime('now', '+1 day')", "SELECT datetime(2461365.500000, '+1 day')"),
            ("SELECT strftime('%s', 'NOW')", "SELECT strftime('%s', 2461365.500000)"),
            ("SELECT timediff(\"now\", now)", "SELECT timediff(2461365.500000, 2461365.500000)"),
            ("SELECT 1; SELECT date('now')", "SELECT 1; SELECT date(2461365.500000)"),
        ] {
            assert_eq!(rewrite(sql), expected);
        }
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT * FROM t ORDER BY random() LIMIT 1",
            "SELECT * FROM (SELECT a FROM t ORDER BY abs(random()))",
            "SELECT 'random()', \"random\", random, randomblob(n), randomblob(9999999)",
            "SELECT date('now ', 'now'), upper('now'), date(a = 'now'), date()",
            "CREATE TABLE t(a DEFAULT (random()), b DEFAULT (date('now')))",
            "-- random()\n",
            "",
        ] {
            assert_eq!(rewrite(sql), sql);
        }
    }

    #[test]
    fn only_complaints_about_syntax_count() {
        assert!(is_about_syntax("near \"SELEC\": syntax error"));
        assert!(!is_about_syntax("no such table: t"));
    }
}
