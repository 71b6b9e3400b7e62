//! Who this data directory is: the file `identity`, one JSON object and its checksum.
//!
//! ```text
//! {"version":1,"id":"1","incarnation":"9a3e...","cluster":"5f0c...","forced":{...}}
//! crc32c 0badc0de
//! ```
//!
//! * `id` is what people call the node, and never changes.
//! * `incarnation` was drawn when the directory was made. It is what votes are bound to.
//! * `cluster` is there once the node belongs to one. It never changes either: whoever has promised
//!   something to one cluster promises nothing to another.
//! * `forced` is the membership of a recovery by hand (see `peers_file`).
//!
//! The file is written before anything is promised, and replaced whole. It must not be copied to
//! another directory: two nodes would vote as one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::membership::Membership;
use crate::os;
use crate::raft::NodeId;
use crate::storage::durable;

/// The file's name, in the data directory.
const NAME: &str = "identity";

/// Version of the format; a higher one was written by a later program.
const VERSION: u64 = 1;

/// Longest file that is read: a membership of a thousand nodes is a tenth of it.
const BYTES_MAX: u64 = 4 << 20;

/// The identity, as the file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdentityFile {
    path: PathBuf,
    pub(super) id: String,
    pub(super) incarnation: String,
    cluster: Option<String>,
    forced: Option<Membership>,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum IdentityError {
    /// The file system's.
    Files(io::Error),
    /// The bytes are not those that were written; why, in words.
    Damaged(PathBuf, &'static str),
    /// The directory belongs to another cluster.
    OtherCluster { own: String, other: String },
}

impl IdentityFile {
    /// Reads it; `None` when the directory has none.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(NAME);
        let bytes = match std::fs::metadata(&path) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(IdentityError::Damaged(path, "it is too long"));
            }
            Ok(_) => std::fs::read(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| IdentityError::Files(durable::at(&path, &error)))?;
        match parse(&path, &bytes) {
            Ok(identity) => Ok(Some(identity)),
            Err(why) => Err(IdentityError::Damaged(path, why)),
        }
    }

    /// Makes the file. `incarnation` is what an older program's entries call this directory.
    pub(super) fn create(
        directory: &Path,
        id: String,
        incarnation: Option<String>,
    ) -> Result<Self, IdentityError> {
        let incarnation = incarnation.unwrap_or_else(os::random_name);
        let path = directory.join(NAME);
        let identity = Self { path, id, incarnation, cluster: None, forced: None };
        identity.write()?;
        Ok(identity)
    }

    /// What the core calls this node.
    pub(super) fn node_id(&self) -> NodeId {
        format!("{}/{}", self.id, self.incarnation)
    }

    /// The cluster it belongs to, once it does.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Becomes part of a cluster, durably, for good.
    pub(super) fn adopt(&mut self, cluster: &str) -> Result<(), IdentityError> {
        match &self.cluster {
            Some(own) if own == cluster => return Ok(()),
            Some(own) => {
                let (own, other) = (own.clone(), cluster.to_owned());
                return Err(IdentityError::OtherCluster { own, other });
            }
            None => {}
        }
        let adopted = Self { cluster: Some(cluster.to_owned()), ..self.clone() };
        adopted.write()?;
        *self = adopted;
        Ok(())
    }

    /// The membership of a recovery by hand, if there was one.
    pub(super) fn forced(&self) -> Option<&Membership> {
        self.forced.as_ref()
    }

    /// Notes the membership of a recovery by hand, durably.
    pub(super) fn force(&mut self, membership: Membership) -> Result<(), IdentityError> {
        let forced = Self { forced: Some(membership), ..self.clone() };
        forced.write()?;
        *self = forced;
        Ok(())
    }

    fn write(&self) -> Result<(), IdentityError> {
        let mut value = json!({"version": VERSION, "id": self.id, "incarnation": self.incarnation});
        if let Some(cluster) = &self.cluster {
            value["cluster"] = json!(cluster);
        }
        if let Some(forced) = &self.forced {
            value["forced"] = forced.to_json();
        }
        let line = value.to_string();
        let text = format!("{line}\n{}", sum_of(&line));
        durable::replace(&self.path, text.as_bytes()).map_err(IdentityError::Files)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<IdentityFile, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let (line, sum) = text.split_once('\n').ok_or("it is cut short")?;
    if sum != sum_of(line) {
        return Err("its checksum is wrong");
    }
    let value: Value = serde_json::from_str(line).map_err(|_| "it is not JSON")?;
    if value["version"].as_u64() != Some(VERSION) {
        return Err("another version has written it");
    }
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let forced = match value.get("forced") {
        None => None,
        Some(forced) => Some(Membership::from_json(forced).ok_or("its members cannot be read")?),
    };
    let incarnation = text("incarnation").filter(|name| !name.contains('/'));
    Ok(IdentityFile {
        path: path.to_owned(),
        id: text("id").filter(|id| !id.is_empty()).ok_or("it names no node")?,
        incarnation: incarnation.ok_or("it names no incarnation")?,
        cluster: text("cluster"),
        forced,
    })
}

/// The file's second line.
fn sum_of(line: &str) -> String {
    format!("crc32c {:08x}\n", crc32c::crc32c(line.as_bytes()))
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => write!(f, "{error}"),
            Self::Damaged(path, why) => write!(
                f,
                "{} is damaged: {why}; remove this data directory and let the node join again, or \
                 restore a backup into an empty one",
                path.display()
            ),
            Self::OtherCluster { own, other } => write!(
                f,
                "this node belongs to cluster {own}, and cannot join cluster {other}: start it \
                 with an empty data directory"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_and_its_cluster_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(IdentityFile::read(folder.path()).unwrap().is_none(), "an empty directory");
        let mut identity = IdentityFile::create(folder.path(), "a/b".to_owned(), None).unwrap();
        let second = tempfile::tempdir().unwrap();
        let other = IdentityFile::create(second.path(), "c".to_owned(), None).unwrap();
        assert_ne!(identity.incarnation, other.incarnation, "drawn anew");
        identity.adopt("red").unwrap();
        identity.adopt("red").unwrap();
        let refused = identity.adopt("blue").unwrap_err().to_string();
        assert!(refused.contains("belongs to cluster red"), "{refused}");
        let forced = Membership { cluster: "red".to_owned(), since: 9, ..Membership::default() };
        identity.force(forced).unwrap();
        let read = IdentityFile::read(folder.path()).unwrap();
        assert_eq!(read.as_ref(), Some(&identity));
        assert_eq!(read.unwrap().cluster(), Some("red"));
    }

    #[test]
    fn a_damaged_identity_is_never_taken_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        IdentityFile::create(folder.path(), "a".to_owned(), None).unwrap();
        let path = folder.path().join(NAME);
        let text = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = IdentityFile::read(folder.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged(..)), "{what}: {error}");
        };
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 4;
            refused(&flipped, &format!("byte {at} flipped"));
            refused(&text[..at], &format!("cut at {at}"));
        }
        for line in ["{", "{\"version\":2}", r#"{"version":1,"id":"","incarnation":"x"}"#] {
            refused(format!("{line}\n{}", sum_of(line)).as_bytes(), line);
        }
    }
}
