//! Numbers of bytes as people write them: `4096`, `100M`, `2g`.
//!
//! Flags of the server and options of the client use this notation, so it is read in this one
//! place.

/// Units with the power of 2 that they stand for.
const UNITS: [(u8, u32); 4] = [(b'K', 10), (b'M', 20), (b'G', 30), (b'T', 40)];

/// Reads digits that may end in K, M, G or T, large or small, which are powers of 1024; `None` for
/// all else, and for what does not fit.
pub fn parse(text: &str) -> Option<u64> {
    let last = text.as_bytes().last()?.to_ascii_uppercase();
    let (digits, shift) = match UNITS.iter().find(|(unit, _)| *unit == last) {
        Some((_, shift)) => (&text[..text.len() - 1], *shift),
        None => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("2K", Some(2048)),
            ("3m", Some(3 << 20)),
            ("1g", Some(1 << 30)),
            ("2T", Some(2 << 40)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999T", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("1 G", None),
            ("1.5G", None),
            ("1KB", None),
            ("1P", None),
            ("1\u{212a}", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
