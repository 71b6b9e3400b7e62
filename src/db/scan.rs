//! A small lexer of SQL: enough to see what kind of statements a text holds.
//!
//! It decides only how a text is run (alone or with others) and what is refused before it reaches
//! the log. What a statement may do is decided by SQLite's authorizer, never here: a text that
//! fools this lexer gets slower or is refused later, and nothing worse.

/// One token; comments and white space are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword or a bare name.
    Word(&'a str),
    /// What stands between quotes of any kind, without them; doubled quotes stay doubled.
    Quoted(&'a str),
    /// `;`, `.`, `=`, `(` and all other signs; `0` for numbers and variables.
    Sign(u8),
}

impl Token<'_> {
    fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// The tokens of a text, up to the first NUL as SQLite reads it.
#[derive(Clone)]
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + offset).copied()
    }

    /// Moves past what `keep` holds for and returns it.
    fn take(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|&byte| !keep(byte)).unwrap_or(rest.len());
        let taken = &self.text[self.at..self.at + length];
        self.at += length;
        taken
    }

    fn skip_blank(&mut self) {
        loop {
            self.take(|byte| byte.is_ascii_whitespace());
            match (self.byte(0), self.byte(1)) {
                (Some(b'-'), Some(b'-')) => {
                    self.take(|byte| byte != b'\n');
                }
                (Some(b'/'), Some(b'*')) => {
                    let rest = &self.text[self.at + 2..];
                    self.at += 2 + rest.find("*/").map_or(rest.len(), |length| length + 2);
                }
                _ => return,
            }
        }
    }

    fn quoted(&mut self, end: u8) -> &'a str {
        self.at += 1;
        let start = self.at;
        loop {
            self.take(|byte| byte != end);
            let doubled = end != b']' && self.byte(1) == Some(end);
            if self.byte(0).is_none() || !doubled {
                let inner = &self.text[start..self.at];
                self.at = (self.at + 1).min(self.text.len());
                return inner;
            }
            self.at += 2;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let first = self.byte(0)?;
        Some(match first {
            0 => return None,
            b'\'' | b'"' | b'`' => Token::Quoted(self.quoted(first)),
            b'[' => Token::Quoted(self.quoted(b']')),
            b'0'..=b'9' | b':' | b'@' | b'$' | b'#' | b'?' => {
                self.at += 1;
                self.take(is_word);
                Token::Sign(0)
            }
            _ if is_word(first) => Token::Word(self.take(is_word)),
            _ => {
                self.at += 1;
                Token::Sign(first)
            }
        })
    }
}

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

/// Whether there is nothing in it to run: blanks, comments, semicolons.
pub(super) fn is_blank(sql: &str) -> bool {
    Tokens::of(sql).all(|token| token == Token::Sign(b';'))
}

/// Whether something follows the first statement. (The body of a trigger counts as well.)
pub(super) fn has_several(sql: &str) -> bool {
    let mut tokens = Tokens::of(sql).skip_while(|&token| token == Token::Sign(b';'));
    tokens.by_ref().any(|token| token == Token::Sign(b';'))
        && tokens.any(|token| token != Token::Sign(b';'))
}

/// Whether it may end the transaction it runs in, cannot run in one, or changes how the
/// connection works: such a request shares its transaction with no other.
pub(super) fn must_run_alone(sql: &str) -> bool {
    let mut at_start = true;
    Tokens::of(sql).any(|token| {
        let starts = std::mem::replace(&mut at_start, token == Token::Sign(b';'));
        match token {
            Token::Word(word) => {
                word.eq_ignore_ascii_case("ROLLBACK")
                    || is_statistics(word)
                    || (starts && ALONE.iter().any(|head| word.eq_ignore_ascii_case(head)))
            }
            Token::Quoted(name) => is_statistics(name),
            Token::Sign(_) => false,
        }
    })
}

/// Whether it may change what the query planner knows, so that the schema must be read again.
pub(super) fn touches_statistics(sql: &str) -> bool {
    Tokens::of(sql).any(|token| match token {
        Token::Word(word) => {
            is_statistics(word) || ["ANALYZE", "OPTIMIZE"].iter().any(|key| token.is(key))
        }
        Token::Quoted(name) => is_statistics(name) || name.eq_ignore_ascii_case("optimize"),
        Token::Sign(_) => false,
    })
}

/// Whether one of its statements is a PRAGMA that refuses the whole request: one that sets
/// `journal_mode`, `wal_autocheckpoint`, `synchronous` or `query_only`, or any `wal_checkpoint`.
pub fn disallowed_pragma(sql: &str) -> bool {
    let mut tokens = Tokens::of(sql);
    let mut at_start = true;
    while let Some(token) = tokens.next() {
        if at_start && token.is("PRAGMA") && is_disallowed(tokens.clone()) {
            return true;
        }
        // EXPLAIN does not stop a pragma that acts while it is compiled.
        let prefix = ["EXPLAIN", "QUERY", "PLAN"].iter().any(|word| token.is(word));
        at_start = token == Token::Sign(b';') || (at_start && prefix);
    }
    false
}

fn is_disallowed(mut tokens: Tokens<'_>) -> bool {
    let (mut name, mut next) = (tokens.next(), tokens.next());
    if next == Some(Token::Sign(b'.')) {
        (name, next) = (tokens.next(), tokens.next());
    }
    let Some(Token::Word(name) | Token::Quoted(name)) = name else { return false };
    let sets = matches!(next, Some(Token::Sign(b'=' | b'(')));
    name.eq_ignore_ascii_case("wal_checkpoint")
        || (sets && PRAGMAS_NOT_SET.iter().any(|pragma| name.eq_ignore_ascii_case(pragma)))
}

/// Whether the first statement is a PRAGMA.
pub(super) fn is_pragma(sql: &str) -> bool {
    head(sql).is_some_and(|token| token.is("PRAGMA"))
}

/// Whether the first statement looks like a query.
pub(super) fn is_query(sql: &str) -> bool {
    head(sql).is_some_and(|token| ["SELECT", "VALUES", "WITH"].iter().any(|word| token.is(word)))
}

/// Whether the first statement, which is not read-only, counts the rows it changes.
pub(super) fn counts_changes(sql: &str) -> bool {
    head(sql).is_some_and(|token| COUNTING.iter().any(|word| token.is(word)))
}

/// The first words and quoted names, and numbers as empty words.
pub(super) fn words(sql: &str, count: usize) -> Vec<&str> {
    let tokens = Tokens::of(sql).filter_map(|token| match token {
        Token::Word(text) | Token::Quoted(text) => Some(text),
        Token::Sign(_) => None,
    });
    tokens.take(count).collect()
}

fn head(sql: &str) -> Option<Token<'_>> {
    Tokens::of(sql).find(|&token| token != Token::Sign(b';'))
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
