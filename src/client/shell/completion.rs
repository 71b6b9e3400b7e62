//! What TAB offers: dot-commands and their arguments, keywords, tables and columns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::commands::{self, COMMANDS};
use super::names::{Columns, Names};
use super::options::MODES;
use crate::db::dump::literal::quote_name;
use crate::db::lexer::{Kind, Token, Tokens};

/// Words of SQL that are worth typing less of.
const KEYWORDS: &str = "ABORT ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC AUTOINCREMENT BEFORE \
    BEGIN BETWEEN BY CASCADE CASE CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE \
    CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE \
    DESC DISTINCT DO DROP EACH ELSE END ESCAPE EXCEPT EXCLUSIVE EXISTS EXPLAIN FAIL FILTER FOR \
    FOREIGN FROM FULL GENERATED GLOB GROUP HAVING IF IGNORE IMMEDIATE IN INDEX INDEXED INITIALLY \
    INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN KEY LEFT LIKE LIMIT MATCH MATERIALIZED \
    NATURAL NOT NOTHING NOTNULL NULL OF OFFSET ON OR ORDER OUTER OVER PARTITION PLAN PRAGMA \
    PRIMARY QUERY RECURSIVE REFERENCES REGEXP REINDEX RENAME REPLACE RESTRICT RETURNING RIGHT \
    ROLLBACK ROW ROWID ROWS SELECT SET STRICT TABLE TEMP TEMPORARY THEN TO TRANSACTION TRIGGER \
    UNION UNIQUE UPDATE USING VACUUM VALUES VIEW VIRTUAL WHEN WHERE WINDOW WITH WITHOUT";

/// Words that only a table follows.
const BEFORE_TABLES: [&str; 5] = ["FROM", "INTO", "JOIN", "TABLE", "UPDATE"];

/// What the line editor asks.
pub(super) struct Assistant {
    pub(super) names: RefCell<Names>,
    /// The lines of the statement before the one that is being typed.
    pub(super) before: String,
    /// Whether nothing stands on the line that is being typed.
    pub(super) is_line_empty: Cell<bool>,
}

/// What may be typed, and where in the line it begins.
type Offer = (usize, Vec<Pair>);

impl Helper for Assistant {}
impl Highlighter for Assistant {}
impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;

    /// Gives none; being told of every key is what it is for.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_line_empty.set(line.is_empty());
        None
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<Offer> {
        let typed = &line[..at];
        if self.before.is_empty() && typed.trim_start().starts_with('.') {
            return Ok(self.command(typed));
        }
        let sql = format!("{}{line}", self.before);
        let typed = &sql[..self.before.len() + at];
        let (length, words) = complete_sql(typed, &sql, self.names.borrow_mut().columns());
        Ok((at - length, words.into_iter().map(pair).collect()))
    }
}

impl Assistant {
    fn command(&self, typed: &str) -> Offer {
        let begin = typed.len() - typed.trim_start().len();
        let Some(space) = typed[begin..].find(char::is_whitespace) else {
            let names = COMMANDS.iter().map(|command| {
                if command.pattern.is_empty() {
                    command.name.to_owned()
                } else {
                    format!("{} ", command.name)
                }
            });
            return (begin, matching(&typed[begin..], names));
        };
        let Some((command, _)) = commands::find(&typed[begin..begin + space]) else {
            return (typed.len(), Vec::new());
        };
        let argument = typed[begin + space..].trim_start();
        let begin = typed.len() - argument.len();
        if let Some(last) = argument.rfind([' ', ',']).filter(|_| command.pattern.contains("TABLE"))
        {
            let mut names = self.names.borrow_mut();
            let tables = names.columns().keys().cloned();
            return (begin + last + 1, matching(&argument[last + 1..], tables));
        }
        if command.pattern.contains("FILE") {
            let slash = argument.rfind('/').map_or(0, |slash| slash + 1);
            return (begin + slash, matching(&argument[slash..], files(&argument[..slash])));
        }
        let words = command.pattern.trim_matches(['[', ']']).split('|').map(str::to_owned);
        let choices = words.filter(|word| word.chars().any(|letter| letter.is_ascii_lowercase()));
        let modes = MODES.iter().filter(|_| command.name == ".mode").map(|(mode, _)| mode);
        let all: BTreeSet<String> = choices.chain(modes.map(|&mode| mode.to_owned())).collect();
        (begin, matching(argument, all.into_iter()))
    }
}

fn pair(word: String) -> Pair {
    Pair { display: word.trim_end().to_owned(), replacement: word }
}

/// Those of the words that begin with `prefix`, in whatever case.
fn matching(prefix: &str, words: impl Iterator<Item = String>) -> Vec<Pair> {
    words.filter(|word| begins(word, prefix)).map(pair).collect()
}

fn begins(word: &str, prefix: &str) -> bool {
    word.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

/// Names in a folder; a folder's name ends in a slash.
fn files(folder: &str) -> impl Iterator<Item = String> {
    let folder = if folder.is_empty() { "." } else { folder };
    // A folder that cannot be read has nothing to offer.
    let found = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let named = found.filter_map(|entry| {
        let is_folder = entry.path().is_dir();
        let name = entry.file_name().into_string().ok()?;
        Some(if is_folder { name + "/" } else { name })
    });
    named.collect::<BTreeSet<String>>().into_iter()
}

/// How many bytes before the cursor the offered words take the place of, and these words.
/// `typed` is what stands before the cursor, `sql` all of the statement.
fn complete_sql(typed: &str, sql: &str, columns: &Columns) -> (usize, Vec<String>) {
    let tokens: Vec<Token<'_>> = Tokens::of(typed).collect();
    let (before, prefix) = match tokens.split_last() {
        Some((last, before)) if last.kind == Kind::Word => (before, last.text),
        Some((last, _)) if is_inside(last) => return (0, Vec::new()),
        _ => (tokens.as_slice(), ""),
    };
    let solid = |token: &&Token<'_>| token.kind != Kind::Blank;
    let mut back = before.iter().rev().filter(solid);
    let previous = back.next();
    let mut words = BTreeSet::new();
    if previous.is_some_and(|token| token.is_sign(".")) {
        let qualifier = back.next().and_then(Token::name).unwrap_or_default();
        let of = of_table(columns, qualifier);
        let named = of.map_or_else(|| all(columns), <[String]>::to_vec);
        words.extend(named.iter().map(|name| quoted(name)));
    } else {
        let wants_table = |token: &Token<'_>| BEFORE_TABLES.iter().any(|word| token.is_word(word));
        words.extend(columns.keys().map(|name| quoted(name)));
        if !previous.is_some_and(wants_table) {
            let named = Tokens::of(sql).filter_map(|token| of_table(columns, token.name()?));
            let named: Vec<String> = named.flatten().cloned().collect();
            let all = if named.is_empty() { all(columns) } else { named };
            words.extend(all.iter().map(|name| quoted(name)));
            words.extend(keywords(prefix));
        }
    }
    // The quotes need not be typed.
    let fits = |word: &String| begins(word.trim_start_matches('"'), prefix);
    (prefix.len(), words.into_iter().filter(fits).collect())
}

/// Whether what is typed after this token goes on in a text, a quoted name or a comment.
fn is_inside(last: &Token<'_>) -> bool {
    match last.kind {
        Kind::Text | Kind::Quoted => true,
        Kind::Blank => last.text.starts_with("--") || last.text.starts_with("/*"),
        Kind::Value => true,
        Kind::Word | Kind::Sign => false,
    }
}

fn of_table<'c>(columns: &'c Columns, table: &str) -> Option<&'c [String]> {
    let found = columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(table));
    found.map(|(_, columns)| columns.as_slice())
}

fn all(columns: &Columns) -> Vec<String> {
    columns.values().flatten().cloned().collect()
}

/// Keywords in the case that is being typed, and none before anything is.
fn keywords(prefix: &str) -> Vec<String> {
    let is_lower = prefix.chars().all(|letter| !letter.is_uppercase());
    let words = KEYWORDS.split_whitespace().filter(|_| !prefix.is_empty());
    words.map(|word| if is_lower { word.to_lowercase() } else { word.to_owned() }).collect()
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    let is_bare = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !KEYWORDS.split_whitespace().any(|word| word.eq_ignore_ascii_case(name));
    if is_bare && !name.is_empty() { name.to_owned() } else { quote_name(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(typed: &str, rest: &str) -> Vec<String> {
        let table = |name: &str, columns: &[&str]| {
            (name.to_owned(), columns.iter().map(|&column| column.to_owned()).collect())
        };
        let columns = Columns::from([
            table("employees", &["id", "email", "order"]),
            table("Events", &["at"]),
        ]);
        complete_sql(typed, &format!("{typed}{rest}"), &columns).1
    }

    #[test]
    fn what_is_offered_fits_its_place() {
        assert_eq!(offered("sel", ""), ["select"]);
        assert_eq!(offered("SELECT * FR", ""), ["FROM"]);
        assert_eq!(offered("SELECT * FROM e", ""), ["Events", "employees"]);
        assert_eq!(offered("SELECT em", " FROM employees"), ["email", "employees"]);
        assert_eq!(offered("SELECT events.", ""), ["at"]);
        assert_eq!(offered("SELECT x.o", ""), ["\"order\""]);
        assert_eq!(offered("SELECT x.z", ""), [""; 0]);
        assert_eq!(offered("SELECT employees.\"", ""), [""; 0]);
        assert_eq!(offered("SELECT 'em", ""), [""; 0]);
        assert_eq!(offered("SELECT -- em", ""), [""; 0]);
        assert!(!offered("SELECT ", "").contains(&"SELECT".to_owned()));
    }
}
