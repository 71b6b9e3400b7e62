//! One value of a row: what it is, and how it reads as text.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A value as the API gives it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Boolean(bool),
    /// With every digit that came.
    Number(&'a str),
    Text(Cow<'a, str>),
    Blob(Vec<u8>),
    /// No value of this API; shown as it came.
    Other(&'a str),
}

impl<'a> Cell<'a> {
    pub(super) fn of(raw: &'a RawValue) -> Cell<'a> {
        let json = raw.get();
        let other = Cell::Other(json);
        match json.as_bytes().first() {
            Some(b'n') => Cell::Null,
            Some(b't') => Cell::Boolean(true),
            Some(b'f') => Cell::Boolean(false),
            Some(b'"') if json.contains('\\') => {
                serde_json::from_str(json).map_or(other, |text: String| Cell::Text(text.into()))
            }
            Some(b'"') => Cell::Text(json[1..json.len() - 1].into()),
            Some(b'[') => serde_json::from_str(json).map_or(other, Cell::Blob),
            Some(b'{') | None => other,
            Some(_) => Cell::Number(json),
        }
    }

    /// As people read it; `null` stands for NULL.
    pub(super) fn text(self, null: &'a str) -> Cow<'a, str> {
        match self {
            Cell::Null => null.into(),
            Cell::Boolean(true) => "true".into(),
            Cell::Boolean(false) => "false".into(),
            Cell::Number(text) | Cell::Other(text) => text.into(),
            Cell::Text(text) => text,
            Cell::Blob(bytes) => byte_list(&bytes).into(),
        }
    }
}

/// `[0 255]`, as Go prints bytes.
fn byte_list(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 + 2);
    text.push('[');
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            text.push(' ');
        }
        text.push_str(&byte.to_string());
    }
    text.push(']');
    text
}
