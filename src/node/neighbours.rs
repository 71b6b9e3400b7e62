//! The thread that joins, and the answers to other nodes' small questions, tied to this node.
//!
//! What is asked and answered is decided in `calls`, `joining` and `founding`; here are only the
//! sockets and the handle that they need.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;

use super::answers::MemberError;
use super::calls::{self, ChangeError, Door, Doorstep};
use super::changes::ChangeRequest;
use super::consensus::Event;
use super::handle::Handle;
use super::joining::{Caller, Joining};
use super::membership::Membership;
use super::start::ClusterSettings;
use crate::os;
use crate::transport::{self, Own};

/// What answers other nodes' questions.
pub struct Neighbours {
    handle: Handle,
    own: Arc<Own>,
    doorstep: Doorstep,
    /// Longest silence of a node that was asked. A join is answered once it is committed.
    silence_max: Duration,
}

impl Neighbours {
    pub(super) fn new(
        handle: Handle,
        own: Arc<Own>,
        doorstep: Doorstep,
        silence_max: Duration,
    ) -> Self {
        Self { handle, own, doorstep, silence_max }
    }

    /// Leaves the cluster, for good.
    ///
    /// # Errors
    /// A sentence: this node may still be a member.
    pub(super) fn leave(&self) -> Result<(), String> {
        let own = self.doorstep.own();
        match self.change(ChangeRequest::Remove { id: own.id.clone() }) {
            Ok(()) => return Ok(()),
            Err(ChangeError::Refused(why) | ChangeError::Unknown(why)) => return Err(why),
            Err(ChangeError::NotLeader) => {}
        }
        let leader = self.leader().ok_or("leader not found")?;
        let membership = self.membership();
        let leader = membership.members.get(&leader).ok_or("the leader is no member")?;
        let answer = self.call(&leader.raft_address, "leave", &self.doorstep.introduction())?;
        match answer.get("leader") {
            None => Ok(()),
            Some(_) => Err("another node has become the leader".to_owned()),
        }
    }

    /// Answers the question called `name`.
    ///
    /// # Errors
    /// A sentence for whoever asked.
    pub fn answer(&self, name: &str, question: &Value) -> Result<Value, String> {
        calls::answer(name, question, &self.doorstep, self)
    }

    /// Who may ask: the header that carries the cluster's secret.
    pub fn admits(&self, header: Option<&str>) -> bool {
        self.own.admits(header)
    }

    /// Starts the thread that brings this node to its cluster. It ends when what is returned is
    /// dropped, and by itself when there is nothing to do any more.
    ///
    /// # Errors
    /// The system's: there is no room for a thread.
    pub(super) fn start_joining(
        self: &Arc<Self>,
        settings: ClusterSettings,
    ) -> std::io::Result<Sender<()>> {
        let (running, stop): (Sender<()>, Receiver<()>) = bounded(0);
        let neighbours = Arc::clone(self);
        os::spawn("joining", move || {
            let joining = Joining {
                settings: &settings,
                doorstep: &neighbours.doorstep,
                door: neighbours.as_ref(),
                caller: neighbours.as_ref(),
                stop: &stop,
            };
            if let Err(why) = joining.run() {
                os::die(&why);
            }
        })?;
        Ok(running)
    }
}

impl Door for Neighbours {
    fn membership(&self) -> Membership {
        self.handle.inner.board.with_raft(|view| view.membership.clone())
    }

    fn leader(&self) -> Option<String> {
        self.handle.inner.board.with_raft(|view| view.leader.clone())
    }

    fn change(&self, request: ChangeRequest) -> Result<(), ChangeError> {
        self.handle.change(request).map_err(|error| match error {
            MemberError::NotLeader => ChangeError::NotLeader,
            MemberError::Refused(why) => ChangeError::Refused(why),
            MemberError::Unknown(why) => ChangeError::Unknown(why),
        })
    }

    fn found(&self, membership: Membership) -> Result<(), String> {
        let (reply, result) = bounded(1);
        let stopping = || "the node is stopping".to_owned();
        let event = Event::Found { membership, reply };
        self.handle.inner.events.send(event).map_err(|_| stopping())?;
        result.recv().map_err(|_| stopping())?
    }

    fn adopted(&self, cluster: &str) {
        self.own.set_cluster(cluster);
    }
}

impl Caller for Neighbours {
    fn call(&self, address: &str, name: &str, question: &Value) -> Result<Value, String> {
        let answer = transport::call(address, name, question, self.own.secret(), self.silence_max);
        answer.map_err(|error| error.to_string())
    }
}
