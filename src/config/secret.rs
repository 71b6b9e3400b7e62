//! What all nodes of a cluster know and strangers do not, read from a file.
//!
//! It must never be printed: neither a log line nor a dump of the configuration shows it.

use std::fmt;
use std::path::Path;

/// Fewer bytes could be guessed.
const BYTES_MIN: usize = 16;

/// More are a wrong file.
const BYTES_MAX: usize = 4096;

/// The shared secret of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The file's bytes, without white space around them; or a sentence.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let secret = bytes.trim_ascii();
        if (BYTES_MIN..=BYTES_MAX).contains(&secret.len()) {
            return Ok(Self(secret.to_owned()));
        }
        Err(format!(
            "{} holds {} bytes: a cluster's secret has from {BYTES_MIN} to {BYTES_MAX}",
            path.display(),
            secret.len()
        ))
    }

    /// To be compared in constant time, and sent to nobody but other nodes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for (bytes, is_good) in [
            (&b""[..], false),
            (b"   too short   \n\n", false),
            (&[b'x'; 4097], false),
            (b" \xff123456789abcdef\n", true),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(Secret::read(&file).is_ok(), is_good, "{} bytes", bytes.len());
        }
        assert!(Secret::read(folder.path()).is_err(), "a folder");
    }
}
