//! SQL cut into tokens, as SQLite cuts it (SQLite: lang_keywords.html, lang_comment.html).
//!
//! Only for looking: what runs is always the client's own text. Nothing is refused here; what is
//! no token (an open quote, an odd byte) is one all the same, so that the tokens put together are
//! the text. It allocates nothing: every write passes through it.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blanks or a comment.
    Blank,
    /// A keyword or a bare name.
    Word,
    /// A name in `""`, `` `` `` or `[]`; SQLite may take `""` for text.
    Quoted,
    /// A literal in `''`.
    Text,
    /// A number or a variable.
    Value,
    /// One character of anything else.
    Sign,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'s> {
    /// What it is.
    pub kind: Kind,
    /// All of it, quotes included; never empty.
    pub text: &'s str,
}

impl<'s> Token<'s> {
    /// Whether this is a bare word, compared without case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is that one character.
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// What may be a name, without its quotes. Doubled quotes stay: no name that is looked for
    /// holds one.
    pub fn name(&self) -> Option<&'s str> {
        match self.kind {
            Kind::Word => Some(self.text),
            Kind::Quoted | Kind::Text => {
                Some(self.text.get(1..self.text.len() - 1).unwrap_or_default())
            }
            Kind::Blank | Kind::Value | Kind::Sign => None,
        }
    }
}

/// The tokens of a text, in order.
#[derive(Clone, Debug)]
pub struct Tokens<'s> {
    rest: &'s str,
}

impl<'s> Tokens<'s> {
    /// Begins at the beginning.
    pub fn of(sql: &'s str) -> Self {
        Self { rest: sql }
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        let first = *self.rest.as_bytes().first()?;
        let (kind, length) = measure(self.rest, first);
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Token { kind, text })
    }
}

/// The byte order mark, which SQLite takes for a blank.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Kind and length in bytes of the token that begins with `first`.
fn measure(rest: &str, first: u8) -> (Kind, usize) {
    match first {
        _ if is_blank(first) => (Kind::Blank, run(rest, is_blank)),
        b'-' if rest.starts_with("--") => (Kind::Blank, through(rest, 2, "\n")),
        b'/' if rest.starts_with("/*") => (Kind::Blank, through(rest, 2, "*/")),
        b'\'' => (Kind::Text, quoted_length(rest, '\'')),
        b'"' | b'`' => (Kind::Quoted, quoted_length(rest, char::from(first))),
        b'[' => (Kind::Quoted, through(rest, 1, "]")),
        b'0'..=b'9' => (Kind::Value, run(rest, |byte| is_name(byte) || byte == b'.')),
        b':' | b'@' | b'$' | b'#' | b'?' => (Kind::Value, 1 + run(&rest[1..], is_name)),
        0xef if rest.starts_with(BYTE_ORDER_MARK) => (Kind::Blank, BYTE_ORDER_MARK.len()),
        _ if is_name(first) => (Kind::Word, run(rest, is_name)),
        _ => (Kind::Sign, 1),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

/// What SQLite takes for a part of a name: all that is not ASCII is.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

/// Length of the bytes from the beginning that are all part of something.
fn run(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len())
}

/// Length up to and with the first `end` from `from` on, or of everything.
fn through(text: &str, from: usize, end: &str) -> usize {
    text[from..].find(end).map_or(text.len(), |place| from + place + end.len())
}

/// Length up to and with the closing quote, past doubled ones.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut place = 1;
    while let Some(found) = text[place..].find(quote) {
        place += found + 1;
        if !text[place..].starts_with(quote) {
            return place;
        }
        place += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text_cut_up() {
        let sql = "SELECT 'it''s', \"a\"\"b\", [c d],`e` -- x\n/* y */, 1.5e3, f_$\u{e9}<>?1;'open";
        let cut: Vec<_> = Tokens::of(sql).collect();
        assert_eq!(cut.iter().map(|token| token.text).collect::<String>(), sql);
        let of = |kind| -> Vec<&str> {
            cut.iter().filter(|token| token.kind == kind).map(|token| token.text).collect()
        };
        assert_eq!(of(Kind::Text), ["'it''s'", "'open"]);
        assert_eq!(of(Kind::Quoted), ["\"a\"\"b\"", "[c d]", "`e`"]);
        assert_eq!(of(Kind::Word), ["SELECT", "f_$\u{e9}"]);
        assert_eq!(of(Kind::Value), ["1.5e3", "?1"]);
        assert!(of(Kind::Blank).contains(&"-- x\n") && of(Kind::Blank).contains(&"/* y */"));
    }

    #[test]
    fn a_byte_order_mark_is_a_blank_and_hides_no_word() {
        let words: Vec<_> =
            Tokens::of("\u{feff}COMMIT \u{feff}a\u{feff}").filter_map(|t| t.name()).collect();
        assert_eq!(words, ["COMMIT", "a\u{feff}"]);
    }

    #[test]
    fn open_quotes_and_comments_end_with_the_text() {
        for sql in ["'", "\"", "[", "`", "--", "/*", "'a''", "/* a", "$"] {
            assert_eq!(Tokens::of(sql).count(), 1, "{sql}");
            let mut names = Tokens::of(sql).filter_map(|token| token.name());
            assert!(names.all(|name| name.len() <= sql.len()), "{sql}");
        }
    }
}
