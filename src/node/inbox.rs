//! The door for other nodes: what their requests become, and what is told of those to them.
//!
//! It runs on threads of the listener and of the links. It decides nothing: it translates, and
//! asks the consensus thread.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::backups;
use super::board::Board;
use super::claims::Claims;
use super::consensus::{Arrival, Copy, Event};
use super::membership::Membership;
use super::writer::{Order, Pinned};
use crate::db::mark::Standing;
use crate::db::pages::{Journal, Pages};
use crate::db::readers::Readers;
use crate::raft::{Configuration, EntryId, Index, Message, NodeId, Term};
use crate::storage::Entry;
use crate::transport::{
    BodySource, Events, Inbox, Known, ReceivedSnapshot, SnapshotSource, SnapshotStream,
};

/// What requests of other nodes are translated with.
pub(super) struct Gate {
    pub(super) events: Sender<Event>,
    pub(super) board: Arc<Board>,
    pub(super) claims: Arc<Claims>,
}

impl Gate {
    /// Whoever is told nothing any more is stopping.
    fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }
}

impl Events for Gate {
    fn received(&self, from: &NodeId, message: Message) {
        let from = from.clone();
        self.tell(Event::Message(Arrival { from, message, entries: Vec::new(), reply: None }));
    }

    fn append_ended(&self, to: &NodeId) {
        self.tell(Event::AppendEnded { to: to.clone() });
    }

    fn snapshot_ended(&self, to: &NodeId, sent: Option<EntryId>) {
        self.tell(Event::CopyEnded { to: to.clone(), sent });
    }

    fn body_held(&self, to: &NodeId, sha256: &str) {
        self.tell(Event::BodyHeld { by: to.clone(), sha256: sha256.to_owned() });
    }

    fn reachable(&self, to: &NodeId) {
        log::info!("{to} can be reached");
    }

    fn unreachable(&self, to: &NodeId, is_refused: bool) {
        self.tell(Event::Unreachable { from: to.clone(), is_refused });
    }

    fn removed(&self, _by: &NodeId, membership_index: Index) {
        self.tell(Event::Removed { index: membership_index });
    }
}

impl Inbox for Gate {
    fn knows(&self, sender: &NodeId, membership_index: Index) -> Known {
        self.board.with_raft(|view| {
            let knows = view.membership.members.values().any(|one| one.node_id() == *sender);
            // Who knows of later members than this node does may be one of them.
            let is_behind = membership_index < view.membership_index;
            let is_settled = view.membership_index <= view.commit;
            if !knows && is_behind && is_settled {
                Known::Removed { index: view.membership_index }
            } else {
                Known::Member
            }
        })
    }

    fn configuration(&self, membership: &[u8]) -> Option<Configuration> {
        let members = Membership::decode(membership)?;
        // One from before a recovery by hand changes nothing.
        let latest = self.board.with_raft(|view| {
            (members.since < view.membership.since).then(|| view.membership.configuration())
        });
        Some(latest.unwrap_or_else(|| members.configuration()))
    }

    fn deliver(&self, from: NodeId, message: Message, entries: Vec<Entry>, reply: Sender<Message>) {
        self.tell(Event::Message(Arrival { from, message, entries, reply: Some(reply) }));
    }

    fn holds_body(&self, sha256: &str) -> bool {
        self.claims.path_of(sha256).is_some()
    }

    fn body_received(&self, _path: PathBuf, sha256: &str, _bytes: u64) -> io::Result<()> {
        self.claims.visit(sha256);
        Ok(())
    }

    fn snapshot_received(
        &self,
        from: NodeId,
        term: Term,
        snapshot: ReceivedSnapshot,
        reply: Sender<Message>,
    ) {
        match Standing::decode(&snapshot.settings) {
            Some(standing) if standing.applied == snapshot.last => {
                let copy = Copy { file: snapshot.path, standing };
                self.tell(Event::Copy { from, term, copy, reply });
            }
            _ => {
                log::error!("{from} has sent a database of another version: it is not used");
                std::fs::remove_file(&snapshot.path).ok();
            }
        }
    }
}

impl BodySource for Claims {
    fn open(&self, sha256: &str) -> io::Result<(u64, File)> {
        let path = self.path_of(sha256).ok_or(io::ErrorKind::NotFound)?;
        let file = File::open(path)?;
        Ok((file.metadata()?.len(), file))
    }
}

/// Where copies of this node's database come from.
pub(super) struct Copies {
    pub(super) orders: Sender<Order>,
    pub(super) readers: Arc<Readers>,
}

impl SnapshotSource for Copies {
    fn open(&self) -> io::Result<SnapshotStream> {
        let pinned = backups::pin(&self.readers, &self.orders);
        let Pinned { snapshot, standing } = pinned.map_err(io::Error::other)?;
        let bytes = snapshot.bytes();
        Ok(SnapshotStream {
            last: standing.applied,
            membership: standing.membership.clone(),
            settings: standing.encode(),
            bytes,
            reader: Box::new(Pages::new(snapshot, Journal::Wal)?),
        })
    }
}
