//! The outbound side: to each peer two connections, each with its thread.
//!
//! Nothing here waits for a peer. What cannot be taken is refused or dropped, since whoever asks
//! is the consensus thread, and everything it says may be lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::bulk;
use super::exchange::{Connection, Shared};
use super::limits::{NAME_BYTES_MAX, STACK_BYTES};
use super::now;
use super::own::Own;
use super::peer::{AppendOrder, Lane, Peer, SnapshotOrder};
use super::seams::{BodySource, Events, SnapshotSource};
use crate::os;
use crate::raft::{Append, Index, Message, NodeId, Term};
use crate::stats::{self, Stat};
use crate::storage::{Entry, Reader};

/// The connections to all peers, and their threads. Dropping it ends them.
pub struct Links {
    shared: Arc<Shared>,
    peers: BTreeMap<NodeId, Arc<Peer>>,
    /// Also those of peers that are gone, until they have ended.
    threads: Vec<JoinHandle<()>>,
}

/// How one peer is doing, for whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct PeerStatus {
    /// Which one.
    pub id: NodeId,
    /// Where it is called.
    pub address: String,
    /// Whether the last attempt got through; `None` before the first.
    pub is_reachable: Option<bool>,
    /// Time since it last answered.
    pub last_contact: Option<Duration>,
    /// Why the last failure failed.
    pub last_error: Option<String>,
    /// Bytes of messages, bodies and snapshots sent.
    pub bytes_sent: u64,
    /// Messages sent on the now connection.
    pub messages: u64,
    /// Appends sent.
    pub appends: u64,
    /// What did not get through, or was refused.
    pub failures: u64,
    /// Messages dropped because the peer was too slow.
    pub dropped: u64,
    /// Bytes sent of the snapshot that is being sent, and all of them.
    pub snapshot: Option<(u64, u64)>,
    /// Bodies waiting to be handed to it.
    pub bodies_waiting: usize,
}

impl Links {
    /// Without peers.
    pub fn new(
        own: Arc<Own>,
        log: Reader,
        source: Arc<dyn SnapshotSource>,
        bodies: Arc<dyn BodySource>,
        events: Arc<dyn Events>,
    ) -> Self {
        let epoch = AtomicU64::new(0);
        let shared = Arc::new(Shared { own, log, source, bodies, events, epoch });
        Self { shared, peers: BTreeMap::new(), threads: Vec::new() }
    }

    /// Says who the peers are, and where. Threads start and end, and addresses change; nothing is
    /// told any more of one who is gone. This node itself may be among them, and is left out.
    pub fn set_peers(&mut self, peers: &[(NodeId, String)]) {
        let wanted: BTreeMap<&NodeId, &String> = peers
            .iter()
            .map(|(id, address)| (id, address))
            .filter(|(id, _)| *id != self.shared.own.id() && id.len() <= NAME_BYTES_MAX)
            .collect();
        self.peers.retain(|id, peer| {
            let stays = wanted.contains_key(id);
            if !stays {
                peer.stop();
            }
            stays
        });
        self.threads.retain(|thread| !thread.is_finished());
        for (id, address) in wanted {
            match self.peers.get(id) {
                Some(peer) => peer.set_address(address),
                None => match self.start(id, address) {
                    Ok(peer) => drop(self.peers.insert(id.clone(), peer)),
                    // It is tried again with the next change of members, or at the next start.
                    Err(error) => log::error!("no threads for the connections to {id}: {error}"),
                },
            }
        }
    }

    fn start(&mut self, id: &NodeId, address: &str) -> io::Result<Arc<Peer>> {
        let peer = Arc::new(Peer::new(id, address));
        // The system takes no zeros in a thread's name, and shows only its beginning.
        let name: String = id.chars().filter(char::is_ascii_graphic).collect();
        for lane in [Lane::Now, Lane::Bulk] {
            let connection = Connection::new(Arc::clone(&self.shared), Arc::clone(&peer), lane);
            let (name, work): (_, fn(Connection)) = match lane {
                Lane::Now => (format!("now-{name}"), now::run),
                Lane::Bulk => (format!("bulk-{name}"), bulk::run),
            };
            let thread = os::spawn_with_stack(&name, STACK_BYTES, move || work(connection));
            match thread {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    peer.stop();
                    return Err(error);
                }
            }
        }
        Ok(peer)
    }

    /// Sends on the now connection. A newer heartbeat replaces one that waits; of too many
    /// messages the oldest is dropped.
    ///
    /// # Panics
    /// Appends and states have ways of their own.
    pub fn send(&self, to: &NodeId, message: Message, membership_index: Index) {
        if let Some(peer) = self.peers.get(to)
            && !peer.push(message, membership_index)
        {
            stats::add(Stat::TransportDropped, 1);
        }
    }

    /// Sends entries; false: the last append to this peer is not over yet, or there is no such
    /// peer. `recent` are entries from behind `prev` on that need not be read from the log.
    pub fn append(&self, append: Append, recent: Vec<Entry>, membership_index: Index) -> bool {
        let Some(peer) = self.peers.get(&append.to) else { return false };
        let epoch = self.shared.epoch();
        peer.order_append(AppendOrder { append, recent, membership_index, epoch })
    }

    /// Sends the state, as soon as there is time. Its end is told by `Events::snapshot_ended`.
    pub fn snapshot(&self, to: &NodeId, term: Term, membership_index: Index) {
        if let Some(peer) = self.peers.get(to) {
            let epoch = self.shared.epoch();
            peer.order_snapshot(SnapshotOrder { term, membership_index, epoch });
        }
    }

    /// Sends a body ahead of its entry, until the peer holds it or it is withdrawn; false: there
    /// is no such peer, or too many bodies wait.
    pub fn hand_body(&self, to: &NodeId, sha256: &str) -> bool {
        self.peers.get(to).is_some_and(|peer| peer.order_body(sha256))
    }

    /// Takes back what `hand_body` asked of all peers.
    pub fn withdraw_body(&self, sha256: &str) {
        self.peers.values().for_each(|peer| peer.withdraw_body(sha256));
    }

    /// This node leads no more: appends, snapshots and bodies that wait are given up, and nothing
    /// is told of them; of an append on its way its end is told as always. To be called before the log is cut by another leader's entries: an append
    /// that was read from the log is not sent if this was called meanwhile, since its entries may
    /// not be the ones that this leader had there.
    pub fn withdraw(&self) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.peers.values().for_each(|peer| peer.withdraw());
    }

    /// Asks whether the peer's process is there; if its machine says no, that is told as
    /// unreachable, and refused.
    pub fn probe(&self, to: &NodeId) {
        if let Some(peer) = self.peers.get(to) {
            peer.ask_for_probe();
        }
    }

    /// How the peers are doing, in order of their names.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| peer.status()).collect()
    }

    /// Ends all threads, and what they have on their way.
    pub fn stop(&mut self) {
        self.peers.values().for_each(|peer| peer.stop());
        self.peers.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of a peer's connection panicked");
            }
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}
