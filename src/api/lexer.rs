//! SQL cut into tokens, as SQLite cuts it (SQLite: lang_keywords.html, lang_comment.html).
//!
//! Only for looking: what runs is always the client's own text. Nothing is refused here; what is
//! no token (an open quote, an odd byte) is one all the same, so that the tokens put together are
//! the text.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blanks and comments.
    Space,
    /// A keyword or a bare identifier.
    Word,
    /// An identifier in `""`, `` `` `` or `[]`; SQLite may take `""` for text.
    Quoted,
    /// A literal in `''`.
    Text,
    /// A number.
    Number,
    /// One character of anything else.
    Symbol,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    pub(super) text: &'s str,
}

impl Token<'_> {
    /// Whether this is a bare word, compared without case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is that one character.
    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// The name or text, without quotes, in lower case. Doubled quotes stay: no name that is
    /// looked for holds one.
    pub(super) fn bare(&self) -> String {
        let inner = match self.kind {
            Kind::Quoted | Kind::Text => self.text.get(1..self.text.len() - 1).unwrap_or_default(),
            Kind::Space | Kind::Word | Kind::Number | Kind::Symbol => self.text,
        };
        inner.to_ascii_lowercase()
    }
}

/// All tokens of a text, in order.
pub(super) fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (kind, length) = measure(rest, first);
        let (text, after) = rest.split_at(length);
        rest = after;
        Some(Token { kind, text })
    })
}

/// Kind and length in bytes of the token that begins with `first`.
fn measure(rest: &str, first: char) -> (Kind, usize) {
    let until = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |place| from + place + end.len())
    };
    let run = |is_part: fn(char) -> bool| rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    match first {
        _ if rest.starts_with("--") => (Kind::Space, until("\n", 2)),
        _ if rest.starts_with("/*") => (Kind::Space, until("*/", 2)),
        ' ' | '\t' | '\n' | '\r' | '\x0c' => {
            (Kind::Space, run(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')))
        }
        '\'' => (Kind::Text, quoted_length(rest, '\'')),
        '"' | '`' => (Kind::Quoted, quoted_length(rest, first)),
        '[' => (Kind::Quoted, until("]", 1)),
        '0'..='9' => (Kind::Number, run(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')),
        _ if is_name(first) => (Kind::Word, run(is_name)),
        _ => (Kind::Symbol, first.len_utf8()),
    }
}

/// What SQLite takes for a part of a name: all that is not ASCII is.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Length up to the closing quote, past doubled ones.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut place = 1;
    while let Some(found) = rest[place..].find(quote) {
        place += found + 1;
        if !rest[place..].starts_with(quote) {
            return place;
        }
        place += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text_cut_up() {
        let sql = "SELECT 'it''s', \"a\"\"b\", [c d],`e` -- x\n/* y */, 1.5e3, f_$\u{e9}<>?1;'open";
        let cut: Vec<_> = tokens(sql).collect();
        assert_eq!(cut.iter().map(|token| token.text).collect::<String>(), sql);
        let of = |kind| -> Vec<&str> {
            cut.iter().filter(|token| token.kind == kind).map(|token| token.text).collect()
        };
        assert_eq!(of(Kind::Text), ["'it''s'", "'open"]);
        assert_eq!(of(Kind::Quoted), ["\"a\"\"b\"", "[c d]", "`e`"]);
        assert_eq!(of(Kind::Word), ["SELECT", "f_$\u{e9}"]);
        assert_eq!(of(Kind::Number), ["1.5e3", "1"]);
        assert!(of(Kind::Space).contains(&"-- x\n") && of(Kind::Space).contains(&"/* y */"));
    }

    #[test]
    fn open_quotes_and_comments_end_with_the_text() {
        for sql in ["'", "\"", "[", "`", "--", "/*", "'a''", "/* a"] {
            assert_eq!(tokens(sql).count(), 1, "{sql}");
            assert!(tokens(sql).all(|token| token.bare().len() <= sql.len()), "{sql}");
        }
    }
}
