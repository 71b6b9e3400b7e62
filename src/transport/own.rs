//! Who this node is, as far as the others have to be told, and the secret that they share.
//!
//! A secret is never printed, and compared in a time that says nothing about it.

use std::fmt;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::limits::NAME_BYTES_MAX;
use crate::os;
use crate::raft::NodeId;

/// The header that carries the secret, on every request from node to node.
pub const SECRET_HEADER: &str = "x-quorlite-secret";

/// This node, as it introduces itself.
#[derive(Debug)]
pub struct Own {
    id: NodeId,
    secret: Option<Secret>,
    /// Empty until the node belongs to one.
    cluster: Mutex<Arc<str>>,
}

impl Own {
    /// A node that belongs to no cluster yet.
    ///
    /// # Panics
    /// When the name is longer than [`NAME_BYTES_MAX`].
    pub fn new(id: NodeId, secret: Option<Secret>) -> Self {
        assert!(id.len() <= NAME_BYTES_MAX, "names of nodes are checked where they are given");
        Self { id, secret, cluster: Mutex::new(Arc::from("")) }
    }

    /// Says to which cluster the node belongs from now on.
    ///
    /// # Panics
    /// When the name is longer than [`NAME_BYTES_MAX`].
    pub fn set_cluster(&self, cluster: &str) {
        assert!(cluster.len() <= NAME_BYTES_MAX, "clusters get short names");
        *os::lock(&self.cluster) = Arc::from(cluster);
    }

    /// Its cluster; empty while there is none.
    pub fn cluster(&self) -> Arc<str> {
        Arc::clone(&os::lock(&self.cluster))
    }

    /// Its name in the protocol.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// What it proves itself by.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// Whether a request may come in, given its header [`SECRET_HEADER`].
    pub fn admits(&self, header: Option<&str>) -> bool {
        self.secret.as_ref().is_none_or(|secret| secret.check(header))
    }
}

/// What all nodes of a cluster know and nobody else does.
#[derive(Clone)]
pub struct Secret {
    /// The SHA-256 of the file's content, so that any bytes may be in it.
    header: String,
}

impl Secret {
    /// The secret that is these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        Self { header: hash.iter().map(|byte| format!("{byte:02x}")).collect() }
    }

    /// The value of [`SECRET_HEADER`].
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether this is the header's value, found out in a time that depends on nothing but the
    /// length of what was sent.
    pub fn check(&self, header: Option<&str>) -> bool {
        let Some(header) = header else { return false };
        let (own, other) = (self.header.as_bytes(), header.as_bytes());
        let differences =
            own.iter().zip(other).fold(0, |found, (left, right)| found | (left ^ right));
        std::hint::black_box(differences) == 0 && own.len() == other.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_opens() {
        let secret = Secret::new(b"correct horse battery");
        let own = Own::new("a/1".to_owned(), Some(secret.clone()));
        assert!(own.admits(Some(Secret::new(b"correct horse battery").header())));
        assert!(!own.admits(Some(Secret::new(b"correct horse batterz").header())));
        assert!(!own.admits(Some(&secret.header()[..63])));
        assert!(!own.admits(Some(&format!("{}0", secret.header()))));
        assert!(!own.admits(Some("")) && !own.admits(None));
        assert!(Own::new("a/1".to_owned(), None).admits(None));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
