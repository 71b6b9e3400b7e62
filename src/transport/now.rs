//! The thread of a peer's now connection: small messages, one at a time, in order.

use super::contents::Contents;
use super::exchange::{Connection, Reply, Trouble};
use super::limits::NOW_PAUSE;
use super::peer::{Lane, Now};
use crate::raft::{Index, Message};
use crate::stats::{self, Stat};

/// Where messages are posted to.
pub(super) const MESSAGE_PATH: &str = "/raft/message";

/// Sends until the peer is given up.
pub(super) fn run(mut connection: Connection) {
    loop {
        match connection.peer.next_now() {
            Now::Send(message, membership_index) => {
                let ended = send(&mut connection, message, membership_index);
                if ended.is_err() {
                    connection.peer.pause(Lane::Now, NOW_PAUSE);
                }
            }
            Now::Probe => connection.probe(),
            Now::Stop => return,
        }
    }
}

fn send(
    connection: &mut Connection,
    message: Message,
    membership_index: Index,
) -> Result<(), Trouble> {
    let envelope = connection.envelope(message.term, membership_index);
    let contents = Contents::Message(message.payload);
    connection.peer.count(|figures| figures.messages += 1);
    stats::add(Stat::TransportMessagesSent, 1);
    let reply = connection.exchange(MESSAGE_PATH, &envelope, &contents)?;
    if let Reply::Message(answer) = reply
        && !connection.peer.is_stopping()
    {
        connection.shared.events.received(&connection.peer.id, answer);
    }
    Ok(())
}
