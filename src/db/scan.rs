//! What kind of statements a text holds, told by its tokens.
//!
//! It decides only how a text is run (alone or with others) and what is refused before it reaches
//! the log. What a statement may do is decided by SQLite's authorizer, never here: a text that
//! fools this file gets slower or is refused later, and nothing worse.

use super::lexer::{Kind, Token, Tokens};

/// First keywords of statements that begin or end a transaction, or that work only outside of
/// one, or whose effect on the connection must be looked at afterwards.
const ALONE: &[&str] = &[
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "COMMIT",
    "DETACH",
    "END",
    "EXPLAIN",
    "PRAGMA",
    "RELEASE",
    "ROLLBACK",
    "SAVEPOINT",
    "VACUUM",
];

/// First keywords of statements that count the rows they change.
const COUNTING: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// Pragmas that no request may set, on pain of the whole request.
const PRAGMAS_NOT_SET: &[&str] =
    &["journal_mode", "wal_autocheckpoint", "synchronous", "query_only"];

/// Prefix of the tables in which ANALYZE keeps what it found.
const STATISTICS: &str = "sqlite_stat";

/// The tokens that mean something, up to the first NUL, where SQLite stops reading.
fn solid(sql: &str) -> impl Iterator<Item = Token<'_>> + Clone {
    let before_nul = Tokens::of(sql).take_while(|token| !token.is_sign("\0"));
    before_nul.filter(|token| token.kind != Kind::Blank)
}

/// Whether there is nothing in it to run: blanks, comments, semicolons.
pub(super) fn is_blank(sql: &str) -> bool {
    head(sql).is_none()
}

/// Whether something follows the first statement. (The body of a trigger counts as well.)
pub(super) fn has_several(sql: &str) -> bool {
    let mut tokens = solid(sql).skip_while(is_end);
    tokens.by_ref().any(|token| is_end(&token)) && tokens.any(|token| !is_end(&token))
}

/// Whether it may end the transaction it runs in, cannot run in one, or changes how the
/// connection works: such a request shares its transaction with no other.
pub(super) fn must_run_alone(sql: &str) -> bool {
    let mut at_start = true;
    solid(sql).any(|token| {
        let starts = std::mem::replace(&mut at_start, is_end(&token));
        token.name().is_some_and(is_statistics)
            || token.is_word("ROLLBACK")
            || (starts && is_one_of(token, ALONE))
    })
}

/// Whether it may change what the query planner knows, so that the schema must be read again.
pub(super) fn touches_statistics(sql: &str) -> bool {
    solid(sql).any(|token| {
        token.is_word("ANALYZE")
            || token
                .name()
                .is_some_and(|name| is_statistics(name) || name.eq_ignore_ascii_case("optimize"))
    })
}

/// Whether one of its statements is a PRAGMA that refuses the whole request: one that sets
/// `journal_mode`, `wal_autocheckpoint`, `synchronous` or `query_only`, or any `wal_checkpoint`.
pub fn disallowed_pragma(sql: &str) -> bool {
    let mut tokens = solid(sql);
    let mut at_start = true;
    while let Some(token) = tokens.next() {
        if at_start && token.is_word("PRAGMA") && is_disallowed(tokens.clone()) {
            return true;
        }
        // EXPLAIN does not stop a pragma that acts while it is compiled.
        at_start = is_end(&token) || (at_start && is_one_of(token, &["EXPLAIN", "QUERY", "PLAN"]));
    }
    false
}

fn is_disallowed<'s>(mut tokens: impl Iterator<Item = Token<'s>>) -> bool {
    let (mut name, mut next) = (tokens.next(), tokens.next());
    if next.is_some_and(|token| token.is_sign(".")) {
        (name, next) = (tokens.next(), tokens.next());
    }
    let Some(name) = name.and_then(|token| token.name()) else { return false };
    let sets = next.is_some_and(|token| token.is_sign("=") || token.is_sign("("));
    name.eq_ignore_ascii_case("wal_checkpoint")
        || (sets && PRAGMAS_NOT_SET.iter().any(|pragma| name.eq_ignore_ascii_case(pragma)))
}

/// Whether the first statement is a PRAGMA.
pub fn is_pragma(sql: &str) -> bool {
    head(sql).is_some_and(|token| token.is_word("PRAGMA"))
}

/// Whether the first statement looks like a query.
pub(super) fn is_query(sql: &str) -> bool {
    head(sql).is_some_and(|token| is_one_of(token, &["SELECT", "VALUES", "WITH"]))
}

/// Whether the first statement, which is not read-only, counts the rows it changes.
pub fn counts_changes(sql: &str) -> bool {
    head(sql).is_some_and(|token| is_one_of(token, COUNTING))
}

/// The first words and quoted names.
pub fn words(sql: &str, count: usize) -> Vec<&str> {
    solid(sql).filter_map(|token| token.name()).take(count).collect()
}

/// Where the first statement begins, in bytes; `None` when there is nothing to run.
pub(super) fn first_word(sql: &str) -> Option<usize> {
    let mut at = 0;
    for token in Tokens::of(sql) {
        if token.is_sign("\0") {
            return None;
        }
        if token.kind != Kind::Blank && !is_end(&token) {
            return Some(at);
        }
        at += token.text.len();
    }
    None
}

/// What the first statement begins with.
fn head(sql: &str) -> Option<Token<'_>> {
    solid(sql).find(|token| !is_end(token))
}

/// Whether a statement may end here.
fn is_end(token: &Token<'_>) -> bool {
    token.is_sign(";")
}

fn is_one_of(token: Token<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| token.is_word(word))
}

fn is_statistics(name: &str) -> bool {
    name.get(..STATISTICS.len()).is_some_and(|start| start.eq_ignore_ascii_case(STATISTICS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_texts() {
        for sql in ["", " ", ";", "-- x", "/* ; */ ; -- ;\n", "/* open", "\u{0}x"] {
            assert!(is_blank(sql), "{sql:?}");
        }
        for sql in ["x", "'", "/**/1", "-- a\nb"] {
            assert!(!is_blank(sql), "{sql:?}");
        }
    }

    #[test]
    fn several_statements() {
        assert!(has_several("SELECT 1; SELECT 2"));
        assert!(has_several(";SELECT 1;;bogus"));
        assert!(!has_several("SELECT ';'; -- x; y"));
        assert!(!has_several("; SELECT 1 ;"));
    }

    #[test]
    fn what_may_end_a_transaction_runs_alone() {
        for sql in [
            "BEGIN",
            "/* x */ commit",
            "SELECT 1; end",
            "INSERT OR rollback INTO t VALUES(1)",
            "CREATE TABLE t(a UNIQUE ON CONFLICT ROLLBACK)",
            "vacuum",
            "PRAGMA user_version",
            "DELETE FROM \"sqlite_stat1\"",
        ] {
            assert!(must_run_alone(sql), "{sql:?}");
        }
        for sql in [
            "INSERT INTO t VALUES('ROLLBACK; BEGIN', \"rollback\", :rollback)",
            "SELECT CASE WHEN 1 THEN 2 END -- ; COMMIT",
            "UPDATE t SET a = 'it''s; BEGIN'",
            "CREATE TABLE t(beginning, [end])",
        ] {
            assert!(!must_run_alone(sql), "{sql:?}");
        }
    }

    #[test]
    fn disallowed_pragmas_however_written() {
        for sql in [
            "PRAGMA journal_mode=delete",
            "pragma main . \"JOURNAL_MODE\" (wal)",
            "-- c\n/* c */ PRAGMA/**/synchronous = 2",
            "SELECT 1; PRAGMA 'query_only'=0",
            "PRAGMA wal_checkpoint",
            "PRAGMA [wal_checkpoint](TRUNCATE)",
            "EXPLAIN QUERY PLAN PRAGMA `wal_autocheckpoint`=1",
            ";;PRAGMA main.wal_checkpoint",
        ] {
            assert!(disallowed_pragma(sql), "{sql:?}");
        }
        for sql in [
            "PRAGMA journal_mode",
            "PRAGMA synchronous; SELECT '=1'",
            "SELECT 'PRAGMA journal_mode=wal'",
            "-- PRAGMA journal_mode=wal\nSELECT 1",
            "PRAGMA table_info(journal_mode)",
            "INSERT INTO pragma(journal_mode) VALUES(1)",
        ] {
            assert!(!disallowed_pragma(sql), "{sql:?}");
        }
    }
}
