//! A node that has a transport and nothing else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use quorlite::http::{Count, Limits, Listener, Server};
use quorlite::raft::{
    Append, Configuration, EntryId, EntryKind, Index, Message, NodeId, Payload, Term,
};
use quorlite::storage::bodies::Bodies;
use quorlite::storage::{Entry, Log, Options, Reader};
use quorlite::transport::{
    BodySource, Events, Inbound, Inbox, Known, Links, Own, ReceivedSnapshot, Secret,
    SnapshotSource, SnapshotStream,
};
use tempfile::TempDir;

/// Long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CLUSTER: &str = "c1";

/// What a node was told, by its own links or by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Answer(NodeId, Message),
    AppendEnded(NodeId),
    SnapshotEnded(NodeId, Option<EntryId>),
    BodyHeld(NodeId, String),
    Reachable(NodeId),
    Unreachable(NodeId, bool),
    Removed(NodeId, Index),
    Message(NodeId, Message, Vec<Entry>),
    BodyCame(String, u64),
    SnapshotCame(NodeId, Term, ReceivedSnapshot),
}

/// Both ends of what the transport asks and tells.
pub(crate) struct Ears {
    told: Sender<Told>,
    pub(crate) known: Mutex<Known>,
    pub(crate) is_silent: AtomicBool,
    pub(crate) delay_millis: AtomicU64,
    pub(crate) bodies: Bodies,
    /// What is sent as the state.
    pub(crate) state: Mutex<Arc<[u8]>>,
    /// Instead of as many bytes as are announced.
    pub(crate) state_breaks_at: AtomicU64,
    /// One more than the states that are open.
    pub(crate) open_states: Arc<()>,
    /// Whether anything is written down but answers; speed is measured without.
    pub(crate) is_forgetful: AtomicBool,
}

impl Ears {
    fn tell(&self, told: Told) {
        if !self.is_forgetful.load(Ordering::Relaxed) || matches!(told, Told::Answer(..)) {
            self.told.send(told).expect("it works on this machine");
        }
    }

    fn answer(&self, reply: &Sender<Message>, message: &Message) {
        std::thread::sleep(Duration::from_millis(self.delay_millis.load(Ordering::Relaxed)));
        if self.is_silent.load(Ordering::Relaxed) {
            return;
        }
        let payload = match &message.payload {
            Payload::Heartbeat { round, .. } => {
                Payload::HeartbeatReply { round: *round, matched: 0, last: 0 }
            }
            Payload::Vote { .. } => Payload::VoteReply { granted: true },
            Payload::Append { prev, entries, round, .. } => {
                Payload::Appended { matched: prev.index + entries.len() as u64, round: *round }
            }
            _ => return,
        };
        drop(reply.try_send(Message { term: message.term, payload }));
    }
}

impl Events for Ears {
    fn received(&self, from: &NodeId, message: Message) {
        self.tell(Told::Answer(from.clone(), message));
    }
    fn append_ended(&self, to: &NodeId) {
        self.tell(Told::AppendEnded(to.clone()));
    }
    fn snapshot_ended(&self, to: &NodeId, sent: Option<EntryId>) {
        self.tell(Told::SnapshotEnded(to.clone(), sent));
    }
    fn body_held(&self, to: &NodeId, sha256: &str) {
        self.tell(Told::BodyHeld(to.clone(), sha256.to_owned()));
    }
    fn reachable(&self, to: &NodeId) {
        self.tell(Told::Reachable(to.clone()));
    }
    fn unreachable(&self, to: &NodeId, is_refused: bool) {
        self.tell(Told::Unreachable(to.clone(), is_refused));
    }
    fn removed(&self, by: &NodeId, membership_index: Index) {
        self.tell(Told::Removed(by.clone(), membership_index));
    }
}

impl Inbox for Ears {
    fn knows(&self, _: &NodeId, _: Index) -> Known {
        *self.known.lock().expect("nobody panics holding it")
    }
    fn configuration(&self, membership: &[u8]) -> Option<Configuration> {
        let text = str::from_utf8(membership).ok().filter(|text| !text.is_empty())?;
        Some(Configuration::new(text.split(',').map(str::to_owned), []))
    }
    fn deliver(&self, from: NodeId, message: Message, entries: Vec<Entry>, reply: Sender<Message>) {
        self.answer(&reply, &message);
        self.tell(Told::Message(from, message, entries));
        if self.is_silent.load(Ordering::Relaxed) {
            // Kept, as by a node that is still writing.
            std::mem::forget(reply);
        }
    }
    fn holds_body(&self, sha256: &str) -> bool {
        self.bodies.path_of(sha256).is_some()
    }
    fn body_received(&self, path: PathBuf, sha256: &str, bytes: u64) -> io::Result<()> {
        assert_eq!(self.bodies.path_of(sha256), Some(path), "it lies where it was received");
        self.tell(Told::BodyCame(sha256.to_owned(), bytes));
        Ok(())
    }
    fn snapshot_received(
        &self,
        from: NodeId,
        term: Term,
        snapshot: ReceivedSnapshot,
        reply: Sender<Message>,
    ) {
        let payload = Payload::Appended { matched: snapshot.last.index, round: 0 };
        reply.send(Message { term, payload }).expect("it works on this machine");
        self.tell(Told::SnapshotCame(from, term, snapshot));
    }
}

/// A state being read; the second part counts those that are open.
struct Source(
    io::Take<io::Cursor<Arc<[u8]>>>,
    #[expect(dead_code, reason = "counted by others")] Arc<()>,
);

impl io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl SnapshotSource for Ears {
    fn open(&self) -> io::Result<SnapshotStream> {
        let state = Arc::clone(&self.state.lock().expect("nobody panics holding it"));
        let bytes = state.len() as u64;
        let end = self.state_breaks_at.load(Ordering::Relaxed);
        let source = io::Read::take(io::Cursor::new(state), end);
        Ok(SnapshotStream {
            last: EntryId { term: 3, index: 30 },
            membership: "a,b".to_owned(),
            settings: vec![1, 255],
            bytes,
            reader: Box::new(Source(source, Arc::clone(&self.open_states))),
        })
    }
}

impl BodySource for Ears {
    fn open(&self, sha256: &str) -> io::Result<(u64, File)> {
        let path = self.bodies.path_of(sha256).ok_or(io::ErrorKind::NotFound)?;
        let file = File::open(path)?;
        Ok((file.metadata()?.len(), file))
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) own: Arc<Own>,
    pub(crate) ears: Arc<Ears>,
    pub(crate) links: Links,
    pub(crate) log: Log,
    told: Receiver<Told>,
    server: Option<Server>,
    folder: TempDir,
}

impl Node {
    pub(crate) fn new(id: &str) -> Self {
        Self::with(id, CLUSTER, None)
    }

    pub(crate) fn with(id: &str, cluster: &str, secret: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("it works on this machine");
        let bodies = Bodies::open(&folder.path().join("bodies")).expect("it works on this machine");
        let (log, _) = Log::open(&folder.path().join("raft"), Options::default())
            .expect("it works on this machine");
        let (sender, told) = unbounded();
        let ears = Arc::new(Ears {
            told: sender,
            known: Mutex::new(Known::Member),
            is_silent: AtomicBool::new(false),
            delay_millis: AtomicU64::new(0),
            bodies: bodies.clone(),
            state: Mutex::new(Arc::from([])),
            state_breaks_at: AtomicU64::new(u64::MAX),
            open_states: Arc::new(()),
            is_forgetful: AtomicBool::new(false),
        });
        let secret = secret.map(|secret| Secret::new(secret.as_bytes()));
        let own = Arc::new(Own::new(id.to_owned(), secret));
        own.set_cluster(cluster);
        let links = links(&own, log.reader(), &ears);
        let server = serve("127.0.0.1:0", &own, log.reader(), &ears);
        let (server, address) = server.expect("it works on this machine");
        Self {
            id: id.to_owned(),
            address,
            own,
            ears,
            links,
            log,
            told,
            server: Some(server),
            folder,
        }
    }

    pub(crate) fn meets(&mut self, others: &[(&Node, &str)]) {
        let peers: Vec<_> =
            others.iter().map(|(node, address)| (node.id.clone(), (*address).to_owned())).collect();
        self.links.set_peers(&peers);
    }

    /// As when its process is killed: nobody listens any more.
    pub(crate) fn die(&mut self) {
        drop(self.server.take());
    }

    pub(crate) fn come_back(&mut self) {
        let served = serve(&self.address, &self.own, self.log.reader(), &self.ears);
        self.server = Some(served.expect("it works on this machine").0);
    }

    /// Appends entries of this term, from the log's end on.
    pub(crate) fn write(&mut self, term: Term, kind: EntryKind, bodies: &[&[u8]]) {
        for body in bodies {
            let index = self.log.last().index + 1;
            let id = EntryId { term, index };
            self.log.append(&Entry { id, kind, body: Arc::from(*body) });
        }
        self.log.sync().expect("it works on this machine");
    }

    /// Sends entries behind `prev` of the log, from nothing in memory.
    pub(crate) fn append(&self, to: &Node, prev: Index, last: Index) -> bool {
        let term = self.log.last().term;
        let prev = EntryId { term: self.log.term_at(prev).unwrap_or(0), index: prev };
        let append = Append { to: to.id.clone(), term, prev, last, commit: 1, round: 5 };
        self.links.append(append, Vec::new(), 0)
    }

    /// The next thing that was told of which `is_wanted` holds; others are skipped.
    pub(crate) fn wait_for(&self, is_wanted: impl Fn(&Told) -> bool) -> Told {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left).expect("it is told in time");
            if is_wanted(&told) {
                return told;
            }
        }
    }

    /// All that was told up to now.
    pub(crate) fn heard(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }

    pub(crate) fn answer(&self) -> Message {
        match self.wait_for(|told| matches!(told, Told::Answer(..))) {
            Told::Answer(_, message) => message,
            told => panic!("{told:?}"),
        }
    }

    pub(crate) fn message(&self) -> (NodeId, Message, Vec<Entry>) {
        match self.wait_for(|told| matches!(told, Told::Message(..))) {
            Told::Message(from, message, entries) => (from, message, entries),
            told => panic!("{told:?}"),
        }
    }

    /// Connections that were made to it.
    pub(crate) fn connections(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.counters().get(Count::Accepted))
    }

    pub(crate) fn wait_until(&self, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "{} waits in vain", self.id);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Files that are there in place of bodies, whole or not.
    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(self.bodies_folder()).expect("it works on this machine").count()
    }

    fn bodies_folder(&self) -> PathBuf {
        self.folder.path().join("bodies")
    }
}

fn links(own: &Arc<Own>, log: Reader, ears: &Arc<Ears>) -> Links {
    let (source, bodies): (Arc<dyn SnapshotSource>, Arc<dyn BodySource>) =
        (Arc::<Ears>::clone(ears), Arc::<Ears>::clone(ears));
    Links::new(Arc::clone(own), log, source, bodies, Arc::<Ears>::clone(ears))
}

fn serve(
    address: &str,
    own: &Arc<Own>,
    log: Reader,
    ears: &Arc<Ears>,
) -> io::Result<(Server, String)> {
    let inbox: Arc<dyn Inbox> = Arc::<Ears>::clone(ears);
    let inbound = Inbound::new(Arc::clone(own), log, inbox, ears.bodies.clone());
    let listener = Listener::bind(address, Limits::default())?;
    let address = listener.local_address().to_string();
    Ok((listener.start("peers", Arc::new(inbound))?, address))
}

pub(crate) fn heartbeat(round: u64) -> Message {
    Message { term: 3, payload: Payload::Heartbeat { commit: 0, round } }
}

/// A body of this length in the node's folder, and its name.
pub(crate) fn body(node: &Node, bytes: usize) -> String {
    let mut staging = node.ears.bodies.stage().expect("it works on this machine");
    io::Write::write_all(&mut staging, &noise(bytes)).expect("it works on this machine");
    staging.finish().expect("it works on this machine").sha256
}

/// Bytes that no two pieces have in common.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

pub(crate) fn is_same(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).expect("it works on this machine") == bytes
}
