//! The sidecar `NAME.json` beside a backup NAME: what it is, and how it can be known again.
//!
//! It is a hint, never an authority: one that cannot be read, or that does not fit its file, is
//! as good as none. But a file of that name which is no sidecar is somebody's, and never touched.
//! The same object is what `--json` prints.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::{Failure, Status};
use super::terminal::{Progress, Terminal};

/// Longest sidecar that is read; those written here have some hundred bytes.
const BYTES_MAX: u64 = 64 << 10;

/// How those written here begin: their fields are in order.
const SIDECAR_START: &[u8] = b"{\n  \"bytes\": ";

/// What is known of a backup.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sidecar(Value);

/// Where the sidecar of this backup is.
pub(super) fn path_of(backup: &Path) -> PathBuf {
    let mut path = backup.as_os_str().to_owned();
    path.push(".json");
    PathBuf::from(path)
}

/// Whether the sidecar of this backup may be replaced: there is none, or it is one, or a power cut
/// has left nothing of it.
pub(super) fn is_replaceable(backup: &Path) -> bool {
    let path = path_of(backup);
    let Some(text) = read(&path) else { return std::fs::symlink_metadata(path).is_err() };
    text.iter().all(|&byte| byte == 0) || Sidecar::parse(&text).is_some() || is_damaged(&text)
}

/// Whether this is what a power cut, or a bad disk, has left of a sidecar.
fn is_damaged(text: &[u8]) -> bool {
    if !text.starts_with(b"{") || serde_json::from_slice::<Value>(text).is_ok() {
        return false;
    }
    // One that is cut before any word of its own is all there is of its beginning.
    let is_start = SIDECAR_START.starts_with(text) || text.starts_with(SIDECAR_START);
    let text = String::from_utf8_lossy(text);
    is_start || text.contains("\"sha256\"") || text.contains("\"sequence\"")
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A time as sidecars have it.
pub(super) fn stamp(at: OffsetDateTime) -> String {
    // It fails for years beyond 9999 only.
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

impl Sidecar {
    pub(super) fn new(object: Value) -> Sidecar {
        Sidecar(object)
    }

    /// The sidecar of this backup, if there is one that can be read.
    pub(super) fn read(backup: &Path) -> Option<Sidecar> {
        read(&path_of(backup)).as_deref().and_then(Sidecar::parse)
    }

    /// The sidecar of this backup after a look at all of the backup; `None` where there is none.
    ///
    /// # Errors
    /// [`Status::BadFile`] when the file is not the one that was written: bytes have changed since
    /// the backup was taken, and no check of pages or text need notice. [`Status::LocalFile`] when
    /// it cannot be read.
    pub(super) fn proven(backup: &Path, terminal: Terminal) -> Result<Option<Sidecar>, Failure> {
        let Some(sidecar) = Sidecar::read(backup) else { return Ok(None) };
        let found = backup.metadata().and_then(|found| {
            Ok(sidecar.fits(found.len()) && sidecar.describes(backup, terminal)?)
        });
        let unreadable =
            |error| Failure::local(format!("cannot read {}", backup.display()), &error);
        if found.map_err(unreadable)? {
            return Ok(Some(sidecar));
        }
        let (shown, beside) = (backup.display(), path_of(backup));
        let text = format!(
            "{shown} is not the file that {0} describes: it has changed since it was taken \
             (remove {0} if that was on purpose)",
            beside.display()
        );
        Err(Failure::new(Status::BadFile, text))
    }

    fn parse(text: &[u8]) -> Option<Sidecar> {
        let object: Value = serde_json::from_slice(text).ok()?;
        let is_sidecar = object["sha256"].is_string() && object["sequence"].is_u64();
        is_sidecar.then_some(Sidecar(object))
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// What `--json` prints in a line: this and more.
    pub(super) fn with(&self, more: Value) -> Value {
        let mut object = self.0.clone();
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    }

    pub(super) fn sequence(&self) -> Option<u64> {
        self.0["sequence"].as_u64()
    }

    pub(super) fn is_verified(&self) -> bool {
        self.0["verified"] == json!(true)
    }

    /// The tag, where it is one that a header can hold.
    pub(super) fn etag(&self) -> Option<&str> {
        self.0["etag"].as_str().filter(|tag| tag.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    pub(super) fn raft_index(&self) -> Option<u64> {
        self.0["raft_index"].as_u64()
    }

    pub(super) fn raft_term(&self) -> Option<u64> {
        self.0["raft_term"].as_u64()
    }

    /// When the backup was taken (RFC 3339, UTC).
    pub(super) fn taken_at(&self) -> Option<&str> {
        self.0["taken_at"].as_str()
    }

    /// The node that it was taken from.
    pub(super) fn node(&self) -> Option<&str> {
        self.0["node"].as_str()
    }

    /// Whether the file has the length that it says.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.0["bytes"] == json!(bytes)
    }

    /// Whether the file's content is the one that it says; reads all of it.
    ///
    /// # Errors
    /// The system's: nothing is known of what cannot be read.
    pub(super) fn describes(&self, backup: &Path, terminal: Terminal) -> io::Result<bool> {
        let progress = terminal.progress("reading", self.0["bytes"].as_u64());
        let digest = digest(backup, &progress)?;
        Ok(self.0["sha256"] == json!(hexadecimal(&digest)))
    }
}

fn digest(path: &Path, progress: &Progress) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..count]);
        progress.add(count as u64);
    }
}

/// Bytes as `sha256sum` prints them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Terminal = Terminal { is_quiet: true };

    #[test]
    fn a_sidecar_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        std::fs::write(&path, b"abc").unwrap();
        assert!(Sidecar::read(&path).is_none() && is_replaceable(&path));
        let sha256 = hexadecimal(&Sha256::digest(b"abc"));
        let object = json!({"bytes": 3, "sha256": sha256, "sequence": 7, "etag": "\"x\""});
        let sidecar = Sidecar::new(object);
        std::fs::write(path_of(&path), sidecar.text()).unwrap();
        assert_eq!(Sidecar::read(&path).unwrap(), sidecar);
        assert!(is_replaceable(&path));
        assert!(sidecar.fits(3) && !sidecar.fits(4));
        assert!(sidecar.describes(&path, QUIET).unwrap());
        assert!(!sidecar.is_verified() && sidecar.sequence() == Some(7));
        std::fs::write(&path, b"abd").unwrap();
        assert!(!sidecar.describes(&path, QUIET).unwrap());
        for others in ["[1]", "{}", "{ // mine\n}", "{\"sequence\": 1}", "nonsense"] {
            std::fs::write(path_of(&path), others).unwrap();
            assert!(Sidecar::read(&path).is_none() && !is_replaceable(&path), "{others}");
        }
        let cut = &sidecar.text()[..30];
        let damaged = "{\"sequ\0\0\": 1, \"sha256\": \"\"";
        for nothing in ["", "\0\0", "{", cut, damaged] {
            std::fs::write(path_of(&path), nothing).unwrap();
            assert!(Sidecar::read(&path).is_none() && is_replaceable(&path), "{nothing:?}");
        }
        let broken = Sidecar::new(json!({"etag": "a\nb"}));
        assert_eq!(broken.etag(), None);
    }

    #[test]
    fn what_cannot_be_read_has_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        // The system opens a folder, and fails to read it.
        let path = folder.path().join("a.db");
        std::fs::create_dir(&path).unwrap();
        let bytes = path.metadata().unwrap().len();
        let sidecar = Sidecar::new(json!({"bytes": bytes, "sha256": "00", "sequence": 1}));
        std::fs::write(path_of(&path), sidecar.text()).unwrap();
        assert!(sidecar.describes(&path, QUIET).is_err());
        assert_eq!(Sidecar::proven(&path, QUIET).unwrap_err().status, Status::LocalFile);
    }

    #[test]
    fn stamps_have_seconds() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_005_123_456_789).unwrap();
        assert_eq!(stamp(at), "2023-11-14T22:13:25Z");
    }
}
