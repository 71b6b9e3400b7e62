//! What a seed draws before its run: how many nodes, which faults there are, and how often
//! (swarm testing: runs that lack most faults reach states that runs with all of them never do).

use super::random::Random;

/// Units of time in a tick of an average clock.
pub(super) const TICK: u64 = 100;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) voters: u64,
    /// Nodes beside them that may become members.
    pub(super) spares: u64,
    pub(super) election_ticks: u32,
    pub(super) heartbeat_ticks: u32,
    /// Units of time until the faults stop.
    pub(super) length: u64,
    pub(super) clients: u64,
    pub(super) keys: u64,
    /// Entries an append carries at most.
    pub(super) batch: u64,
    /// In a thousand messages:
    pub(super) drops: u64,
    pub(super) duplicates: u64,
    pub(super) delays: u64,
    /// Units of time between two of each of these faults on average; 0 is never.
    pub(super) partitions: u64,
    pub(super) crashes: u64,
    pub(super) pauses: u64,
    pub(super) stalls: u64,
    pub(super) full_disks: u64,
    pub(super) jumps: u64,
    pub(super) wipes: u64,
    /// Writes that a crash interrupts leave a part behind.
    pub(super) is_torn: bool,
    /// Clocks run at half to double speed.
    pub(super) is_uneven: bool,
    pub(super) slow_disks: bool,
    /// Units of time between two requests of the operator; 0 is never.
    pub(super) changes: u64,
    pub(super) transfers: u64,
    /// Entries kept behind a checkpoint, and how many in a thousand writes make one.
    pub(super) trailing: u64,
    pub(super) checkpoints: u64,
    /// In a thousand commands, those that name a body.
    pub(super) bodies: u64,
}

impl Plan {
    pub(super) fn draw(random: &mut Random) -> Self {
        let election_ticks = [6, 10, 20][super::random::place(random.below(3))];
        let timeout = u64::from(election_ticks) * TICK;
        let mut rate = |low: u64, high: u64| {
            if random.chance(450) { random.between(low, high) } else { 0 }
        };
        let often = |timeouts: u64| timeouts * timeout;
        Self {
            drops: rate(5, 300),
            duplicates: rate(5, 400),
            delays: rate(5, 300),
            partitions: rate(often(1), often(12)),
            crashes: rate(often(1), often(12)),
            pauses: rate(often(1), often(12)),
            stalls: rate(often(1), often(12)),
            full_disks: rate(often(2), often(12)),
            jumps: rate(often(2), often(12)),
            wipes: rate(often(5), often(25)),
            changes: rate(often(1), often(8)),
            transfers: rate(often(1), often(8)),
            checkpoints: rate(10, 300),
            bodies: rate(20, 300),
            voters: [1, 2, 3, 3, 3, 4, 5, 5][super::random::place(random.below(8))],
            spares: random.below(3),
            election_ticks,
            heartbeat_ticks: if random.chance(500) { 1 } else { 2 },
            length: often(random.between(10, 60)),
            clients: random.between(1, 5),
            keys: random.between(1, 4),
            batch: [1, 3, 100][super::random::place(random.below(3))],
            is_torn: random.chance(500),
            is_uneven: random.chance(400),
            slow_disks: random.chance(400),
            trailing: random.below(10),
        }
    }

    pub(super) fn timeout(&self) -> u64 {
        u64::from(self.election_ticks) * TICK
    }
}
