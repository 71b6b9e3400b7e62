//! Values as SQL literals that give the same value back, in `sqlite3` and here.
//!
//! Works on bytes and appends to a buffer; it must not allocate for a plain value, for it is what
//! a dump spends its time on.

use std::io::Write as _;

use rusqlite::types::ValueRef;

/// Writes to a `Vec<u8>`, which takes everything.
const ENDLESS: &str = "a Vec takes all";

/// Appends a value.
pub(super) fn push_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"NULL"),
        ValueRef::Integer(number) => push_integer(out, number),
        ValueRef::Real(number) => push_real(out, number),
        ValueRef::Text(text) => push_text(out, text),
        ValueRef::Blob(bytes) => push_blob(out, bytes),
    }
}

/// Appends a name in double quotes.
pub fn push_name(out: &mut Vec<u8>, name: &str) {
    push_quoted(out, name.as_bytes(), b'"');
}

/// A name in double quotes.
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn push_integer(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below 10");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest digits that name this double and no other.
fn push_real(out: &mut Vec<u8>, number: f64) {
    if number.is_infinite() {
        // A number beyond all doubles: SQLite has no word for infinity.
        out.extend_from_slice(if number > 0.0 { b"9.0e+999" } else { b"-9.0e+999" });
        return;
    }
    let size = number.abs();
    if size == 0.0 || (1e-5..1e15).contains(&size) {
        write!(out, "{number:?}").expect(ENDLESS);
        return;
    }
    let start = out.len();
    write!(out, "{number:e}").expect(ENDLESS);
    let exponent =
        out[start..].iter().rposition(|byte| *byte == b'e').expect("printed with an exponent")
            + start;
    if !out[start..exponent].contains(&b'.') {
        out.splice(exponent..exponent, *b".0");
    }
}

/// Text in quotes; what a program that reads lines would change goes through `replace` and `char`.
pub fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let has_nul = memory_contains(text, 0);
    // The sqlite3 shell drops a carriage return at the end of a line.
    let has_return = memory_contains(text, b'\r');
    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
        out.extend_from_slice(b"CAST(");
        push_blob(out, text);
        out.extend_from_slice(b" AS TEXT)");
        return;
    }
    if !has_nul && !has_return {
        push_quoted(out, text, b'\'');
        return;
    }
    let replaced: &[(u8, &str)] = &[(0, "char(0)"), (b'\r', "char(13)")];
    let mut text = text.to_vec();
    let mut endings = Vec::new();
    for (byte, sql) in replaced {
        if memory_contains(&text, *byte) {
            let stand_in = stand_in(&text);
            text = substitute(&text, *byte, stand_in.as_bytes());
            endings.push(format!(",'{stand_in}',{sql})"));
            out.extend_from_slice(b"replace(");
        }
    }
    push_quoted(out, &text, b'\'');
    for ending in endings {
        out.extend_from_slice(ending.as_bytes());
    }
}

/// Letters that the text does not contain.
fn stand_in(text: &[u8]) -> String {
    let is_free = |candidate: &String| {
        !text.windows(candidate.len()).any(|window| window == candidate.as_bytes())
    };
    (0_u32..).map(|number| format!("<{number}>")).find(is_free).expect("a text is finite")
}

fn substitute(text: &[u8], byte: u8, by: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len() + by.len());
    for other in text {
        if *other == byte {
            result.extend_from_slice(by);
        } else {
            result.push(*other);
        }
    }
    result
}

/// Appends bytes in hexadecimal.
pub fn push_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2 + 3);
    out.extend_from_slice(b"X'");
    push_digits(out, bytes);
    out.push(b'\'');
}

/// Appends two hexadecimal digits a byte.
pub(super) fn push_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        out.extend_from_slice(&[DIGITS[high], DIGITS[low]]);
    }
}

/// Appends what stands between the quotes of a text.
pub(super) fn push_doubled(out: &mut Vec<u8>, text: &[u8]) {
    push_inner(out, text, b'\'');
}

fn push_quoted(out: &mut Vec<u8>, bytes: &[u8], quote: u8) {
    out.reserve(bytes.len() + 2);
    out.push(quote);
    push_inner(out, bytes, quote);
    out.push(quote);
}

fn push_inner(out: &mut Vec<u8>, bytes: &[u8], quote: u8) {
    let mut pieces = bytes.split(|byte| *byte == quote);
    out.extend_from_slice(pieces.next().expect("a split has a first piece"));
    for piece in pieces {
        out.extend_from_slice(&[quote, quote]);
        out.extend_from_slice(piece);
    }
}

/// Whether a text can stand in quotes as it is.
pub(super) fn is_plain(text: &[u8]) -> bool {
    !memory_contains(text, 0)
        && !memory_contains(text, b'\r')
        && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

fn memory_contains(bytes: &[u8], wanted: u8) -> bool {
    // Without a way out, which the compiler turns into vector instructions.
    bytes.chunks(256).any(|chunk| chunk.iter().fold(false, |found, byte| found | (*byte == wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(value: ValueRef<'_>) -> String {
        let mut out = Vec::new();
        push_value(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_what_sqlite_reads() {
        assert_eq!(literal(ValueRef::Integer(i64::MIN)), "-9223372036854775808");
        assert_eq!(literal(ValueRef::Real(1e308)), "1.0e308");
        assert_eq!(literal(ValueRef::Real(1.0)), "1.0");
        assert_eq!(literal(ValueRef::Real(f64::NEG_INFINITY)), "-9.0e+999");
        assert_eq!(literal(ValueRef::Text(b"it's")), "'it''s'");
        assert_eq!(literal(ValueRef::Text(b"a\0<0>")), "replace('a<1><0>','<1>',char(0))");
        assert_eq!(literal(ValueRef::Text(b"\xff")), "CAST(X'FF' AS TEXT)");
        assert_eq!(literal(ValueRef::Blob(b"\x00\xab")), "X'00AB'");
    }
}
