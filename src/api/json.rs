//! JSON, written straight into bytes.
//!
//! Answers are made of millions of small values, so nothing here builds a tree. Numbers and
//! escapes look as Go prints them, which is what existing clients have seen: `<`, `>` and `&`
//! escaped, doubles with the fewest digits that read back, an exponent below 1e-6 and from 1e21.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Appends `"text"`.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends the inside of a string.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut place = 0;
    while let Some(found) = bytes[place..].iter().position(|byte| NEEDS_LOOK[usize::from(*byte)]) {
        place += found;
        let byte = bytes[place];
        let is_separator = bytes[place..].starts_with(b"\xe2\x80\xa8")
            || bytes[place..].starts_with(b"\xe2\x80\xa9");
        let width = match byte {
            0xe2 if is_separator => 3,
            0xe2 => {
                place += 1;
                continue;
            }
            _ => 1,
        };
        out.extend_from_slice(&bytes[copied..place]);
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            0xe2 => out.extend([b"\\u2028", b"\\u2029"][usize::from(bytes[place + 2] & 1)]),
            _ => {
                out.extend(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        place += width;
        copied = place;
    }
    out.extend_from_slice(&bytes[copied..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that are not simply copied; 0xe2 begins U+2028 and U+2029, among others.
const NEEDS_LOOK: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[0xe2] = true;
    table
};

/// Appends an integer.
pub(super) fn push_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(out, value.unsigned_abs());
}

/// Appends an integer that has no sign.
pub(super) fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[usize::try_from(value % 10).expect("a digit is below 10")];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a double. JSON has no infinity: it becomes the string `"Infinity"` or `"-Infinity"`,
/// from which most languages can make a number again, while null would hide that there is one.
pub(super) fn push_double(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend(if value > 0.0 { &b"\"Infinity\""[..] } else { b"\"-Infinity\"" });
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let start = out.len();
        write!(out, "{value:e}").expect("a Vec takes everything");
        if size >= 1e21 {
            let exponent = out[start..].iter().position(|byte| *byte == b'e');
            out.insert(start + exponent.expect("printed with an exponent") + 1, b'+');
        }
    } else {
        write!(out, "{value}").expect("a Vec takes everything");
    }
}

/// Appends `"base64"`.
pub(super) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let length =
        STANDARD.encode_slice(bytes, &mut out[start..]).expect("room for all of it was made");
    out.truncate(start + length);
    out.push(b'"');
}

/// Appends `[0,255]`.
pub(super) fn push_byte_array(out: &mut Vec<u8>, bytes: &[u8]) {
    push_array(out, bytes, |out, byte| push_unsigned(out, u64::from(*byte)));
}

/// Appends `[...]`, each item by `push`.
pub(super) fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

/// The same JSON with four blanks a level, `"key": value`, and empty arrays and objects closed
/// at once.
pub(super) fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut bytes = compact.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match byte {
            b'"' => copy_string(&mut bytes, &mut out),
            b'{' | b'[' => {
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                out.pop();
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    out
}

fn copy_string(bytes: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match byte {
            b'"' => return,
            b'\\' => out.extend(bytes.next()),
            _ => {}
        }
    }
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 4 * depth, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_look_as_go_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(text(|out| push_double(out, value)), expected);
        }
    }

    #[test]
    fn integers_keep_all_digits() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(text(|out| push_integer(out, value)), value.to_string());
        }
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let raw = "a\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}<>&\u{2028}\u{2029}\u{2030}\u{e9}z";
        let expected = "\"a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}\\u003c\\u003e\\u0026\
                        \\u2028\\u2029\u{2030}\u{e9}z\"";
        assert_eq!(text(|out| push_string(out, raw)), expected);
        let read: String = serde_json::from_str(expected).unwrap();
        assert_eq!(read, raw);
    }

    #[test]
    fn bytes_are_base64_or_numbers() {
        assert_eq!(text(|out| push_base64(out, b"\x00\xff")), "\"AP8=\"");
        assert_eq!(text(|out| push_base64(out, b"")), "\"\"");
        assert_eq!(text(|out| push_byte_array(out, b"\x00\xff")), "[0,255]");
    }

    #[test]
    fn indented_json_is_the_same_json() {
        let compact = br#"{"a":[1,{"b":"x,\"{}"}],"c":{},"d":[]}"#;
        let expected = "{\n    \"a\": [\n        1,\n        {\n            \"b\": \"x,\\\"{}\"\n        \
                        }\n    ],\n    \"c\": {},\n    \"d\": []\n}";
        assert_eq!(String::from_utf8(indent(compact)).unwrap(), expected);
    }
}
