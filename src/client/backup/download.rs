//! The bytes of a copy as they come: counted, hashed, and refused as soon as they cannot be it.
//!
//! What is known without looking into the copy is checked here: that the transfer ended properly,
//! its announced length and digest, the first bytes, and the length that a database's header
//! promises. Works in the memory of one buffer.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::source::Form;
use crate::client::connection::Answer;
use crate::client::failure::{Failure, Status};
use crate::client::terminal::Terminal;

/// Bytes taken and handed on at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Bytes by which a copy is recognised: a database's header.
const START_BYTES: usize = 100;

/// Bytes by which the end of SQL text is recognised.
const END_BYTES: usize = 16;

/// Headers that announce the SHA-256 of the body (RFC 9530; `Digest` is their ancestor).
const DIGEST_HEADERS: [&str; 3] = ["repr-digest", "content-digest", "digest"];

/// What came.
pub(super) struct Copied {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// Why nothing whole came.
pub(super) enum Broken {
    /// The transfer broke off, after so many bytes were handed on; another may go well.
    Cut(u64, String),
    Failed(Failure),
}

/// Hands the body on to `write`, piece by piece.
///
/// # Errors
/// [`Broken`]; what was handed on by then is no copy.
pub(super) fn copy(
    answer: &mut Answer,
    form: &Form,
    terminal: Terminal,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Copied, Broken> {
    let announced = answer.length();
    if announced.is_none() && answer.header("transfer-encoding").is_none() {
        let text =
            "the server does not say where the copy ends, so nobody knows whether it is whole";
        return Err(Broken::Failed(bad(text.to_owned())));
    }
    let digests = announced_digests(answer);
    let progress = terminal.progress("copying", announced);
    let mut reader = answer.reader();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let (mut start, mut end) = (Vec::new(), Vec::new());
    loop {
        let count = fill(&mut reader, &mut buffer)
            .map_err(|error| Broken::Cut(bytes, error.to_string()))?;
        let piece = &buffer[..count];
        if bytes == 0 {
            start.extend_from_slice(&piece[..count.min(START_BYTES)]);
            let is_cut = count == 0 && announced.is_some_and(|announced| announced > 0);
            if !is_cut && !form.may_begin_with(&start) {
                return Err(Broken::Failed(bad(format!(
                    "the server did not send {}",
                    form.noun()
                ))));
            }
        }
        if count == 0 {
            break;
        }
        end.extend_from_slice(&piece[count.saturating_sub(END_BYTES)..]);
        end.drain(..end.len().saturating_sub(END_BYTES));
        hash.update(piece);
        write(piece).map_err(Broken::Failed)?;
        bytes += count as u64;
        progress.add(count as u64);
    }
    if let Some(announced) = announced.filter(|&announced| announced != bytes) {
        return Err(Broken::Cut(bytes, format!("{bytes} of {announced} bytes came")));
    }
    if !form.may_end_with(&end) {
        let text = "the copy is cut short: SQL text of a server ends with COMMIT;";
        return Err(Broken::Failed(bad(text.to_owned())));
    }
    let copied = Copied { bytes, sha256: hash.finalize().into() };
    copied.check(form, &start, &digests).map_err(Broken::Failed)?;
    Ok(copied)
}

impl Copied {
    fn check(&self, form: &Form, start: &[u8], digests: &[String]) -> Result<(), Failure> {
        if let Some(fault) = form.length_fault(start, self.bytes) {
            return Err(bad(format!("the copy is bad: {fault}")));
        }
        let found = STANDARD.encode(self.sha256);
        match digests.iter().find(|announced| **announced != found) {
            None => Ok(()),
            Some(announced) => Err(bad(format!(
                "the copy is not what the server announced: its SHA-256 is {found}, not {announced}"
            ))),
        }
    }
}

fn bad(text: String) -> Failure {
    Failure::new(Status::BadFile, text)
}

/// Fills the buffer unless the end comes first.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Every SHA-256 that the answer announces, in base64.
fn announced_digests(answer: &Answer) -> Vec<String> {
    let headers = DIGEST_HEADERS.iter().filter_map(|name| answer.header(name));
    headers.flat_map(digests_in).collect()
}

/// `sha-256=:BASE64:` among others, or `SHA-256=BASE64` in the old header.
fn digests_in(header: &str) -> Vec<String> {
    let pairs = header.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| name.eq_ignore_ascii_case("sha-256"))
        .map(|(_, value)| value.trim_matches(':').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_both_notations() {
        assert_eq!(digests_in("sha-512=:x:, sha-256=:Yg==:"), ["Yg=="]);
        assert_eq!(digests_in("SHA-256=Yg==,MD5=z"), ["Yg=="]);
        assert!(digests_in("md5=z").is_empty());
    }
}
