//! What a `CREATE VIRTUAL TABLE` says: the module, and where a full-text index has its content.
//!
//! Reads the text as far as that takes, no further.

use crate::db::lexer::{Kind, Tokens};

/// A virtual table's module and arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// In lower case.
    pub(super) name: String,
    arguments: Vec<String>,
}

/// How rows of a virtual table get into a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Through INSERTs.
    Own,
    /// The index is built anew from the table of this name.
    Rebuilt(String),
    /// It keeps an index and no rows (`content=''`): there is nothing to insert.
    Unreadable,
    /// It has none: it shows what is elsewhere.
    None,
    /// A module this build does not have.
    Unknown,
}

impl Module {
    /// Reads the text of a `CREATE VIRTUAL TABLE`.
    pub(super) fn parse(sql: &str) -> Option<Self> {
        let solid = Tokens::of(sql).filter(|token| token.kind != Kind::Blank);
        let tokens: Vec<&str> = solid.map(|token| token.text).collect();
        let using = tokens.iter().position(|token| token.eq_ignore_ascii_case("using"))?;
        let name = unquote(tokens.get(using + 1)?).to_ascii_lowercase();
        let arguments = arguments(tokens.get(using + 3..).unwrap_or_default());
        Some(Self { name, arguments })
    }

    /// How its rows get into a dump.
    pub(super) fn rows(&self) -> Rows {
        match self.name.as_str() {
            "fts3" | "fts4" | "fts5" => match self.option("content") {
                None => Rows::Own,
                Some(table) if table.is_empty() => Rows::Unreadable,
                Some(table) => Rows::Rebuilt(table),
            },
            "rtree" | "rtree_i32" | "geopoly" => Rows::Own,
            "fts4aux" | "fts3tokenize" | "fts5vocab" | "dbstat" | "sqlite_dbpage" => Rows::None,
            _ => Rows::Unknown,
        }
    }

    fn option(&self, wanted: &str) -> Option<String> {
        self.arguments.iter().find_map(|argument| {
            let (key, value) = argument.split_once('=')?;
            key.trim().eq_ignore_ascii_case(wanted).then(|| unquote(value.trim()))
        })
    }
}

/// Joins tokens to arguments at the commas outside of parentheses.
fn arguments(tokens: &[&str]) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut depth = 0_usize;
    for token in tokens {
        match *token {
            "(" => depth += 1,
            ")" if depth == 0 => break,
            ")" => depth -= 1,
            "," if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().expect("there is always one").push_str(token);
    }
    arguments
}

fn unquote(token: &str) -> String {
    let Some(quote) = token.chars().next().filter(|first| "'\"`[".contains(*first)) else {
        return token.to_owned();
    };
    let end = if quote == '[' { ']' } else { quote };
    let inner = &token[1..];
    let inner = inner.strip_suffix(end).unwrap_or(inner);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sql: &str) -> Rows {
        Module::parse(sql).unwrap().rows()
    }

    #[test]
    fn finds_the_module_and_its_content() {
        assert_eq!(rows("CREATE VIRTUAL TABLE a USING fts5(x, y)"), Rows::Own);
        assert_eq!(
            rows("create virtual table [using, it] /* using */ using FTS5 (x, content = 'o''k')"),
            Rows::Rebuilt("o'k".to_owned())
        );
        assert_eq!(rows("CREATE VIRTUAL TABLE a USING fts4(content=\"\", x)"), Rows::Unreadable);
        assert_eq!(rows("CREATE VIRTUAL TABLE a USING fts5(tokenize='a,content=b',x)"), Rows::Own);
        assert_eq!(rows("CREATE VIRTUAL TABLE a USING fts5vocab(ft, row)"), Rows::None);
        assert_eq!(rows("CREATE VIRTUAL TABLE a USING \"mine\""), Rows::Unknown);
    }
}
