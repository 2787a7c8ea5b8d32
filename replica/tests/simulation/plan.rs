//! What a seed chooses: the cluster, its settings, and which faults come how often.

use revd_raft::{Config, NodeId};
use revd_replica::{Retention, slow_disk};
use revd_sim::{Chance, Conditions, Time};

use crate::driver::{Driver, Pace};
use crate::event::{MS, SECOND};

/// No run has more members than this, all that ever lived counted.
pub(crate) const MEMBERS_MAX: usize = 16;

/// The nominal length of a tick.
pub(crate) const TICK: Time = 10 * MS;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How long faults and calls go on before the cluster is healed.
    pub(crate) length: Time,
    /// The founding members, all of them voters.
    pub(crate) voters: u64,
    /// The settings of every member's consensus, but for its id.
    pub(crate) raft: Config,
    pub(crate) retention: Retention,
    pub(crate) segment_bytes: u64,
    pub(crate) pace: Pace,

    /// Messages in a thousand that get lost, and that arrive twice.
    pub(crate) loss: u64,
    pub(crate) repeats: u64,
    /// The shortest and the longest way of a message, and how many in a thousand take up to an
    /// outage longer.
    pub(crate) delay: (Time, Time),
    pub(crate) stragglers: u64,
    /// Links keep the order of messages.
    pub(crate) in_order: bool,

    /// How long entries take to be made durable, and any other job, at most.
    pub(crate) write: Time,
    pub(crate) work: Time,
    /// How long a member waits for more to come before it carries out what is due, at most.
    pub(crate) puts_off: Time,
    /// The disks know no direct writes: each is followed by a sync.
    pub(crate) refuses_direct: bool,

    /// Clocks differ by up to so many thousandths either way.
    pub(crate) skew: u64,
    /// Between two faults, on average, and how long one lasts, at most.
    pub(crate) faults: Time,
    pub(crate) outage: Time,
    /// Which faults, by weight.
    pub(crate) weights: Weights,
    /// Between two steps of the operator, on average, and how many of them in a thousand change
    /// the members.
    pub(crate) operations: Time,
    pub(crate) changes: u64,

    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    /// How long a client waits between two calls, at most, and for an answer.
    pub(crate) think: Time,
    pub(crate) patience: Time,
    /// Keys in use.
    pub(crate) keys: u64,
    /// Calls in a thousand that compact.
    pub(crate) compactions: u64,
}

/// How often which fault comes, beside the others.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) crashes: u64,
    pub(crate) power_cuts: u64,
    pub(crate) failed_writes: u64,
    pub(crate) full_disks: u64,
    pub(crate) slow_disks: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    pub(crate) broken_connections: u64,
    pub(crate) rot: u64,
}

impl Plan {
    /// What messages meet.
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions {
            loss: self.loss,
            repeats: self.repeats,
            delay: self.delay,
            stragglers: (self.stragglers, self.outage),
            in_order: self.in_order,
            healed: MS,
        }
    }

    pub(crate) fn new(chance: &mut Chance, length: Time) -> Plan {
        let raft = raft(chance);
        let election = u64::from(raft.election_ticks) * TICK;
        let lease_checkpoint = chance.pick(&[None, Some(2 * SECOND)]);
        let heartbeat = u64::from(raft.heartbeat_ticks) * TICK;
        Plan {
            length,
            voters: chance.pick(&[3, 3, 3, 5, 5, 7]),
            retention: Retention {
                entries: chance.pick(&[5, 50, 1_000, 1_000_000]),
                bytes: chance.pick(&[64 << 10, 1 << 30]),
                upkeep_bytes: chance.pick(&[8 << 10, 64 << 10]),
                decode_again: chance.permille(300),
            },
            segment_bytes: chance.pick(&[64 << 10, 256 << 10, 1 << 20]),
            pace: Pace {
                checkpoint: chance.pick(&[20 * MS, 100 * MS, 100 * MS, 500 * MS]),
                scrub: chance.pick(&[SECOND, 10 * SECOND]),
                lessor: Driver::lessor_options(election, heartbeat, lease_checkpoint),
                // Impatient: faults are short.
                slow_disk: slow_disk::Options {
                    late: 50 * MS,
                    patience: 300 * MS,
                    rest: 2 * SECOND,
                },
            },
            loss: chance.pick(&[0, 0, 2, 10, 50]),
            repeats: chance.pick(&[0, 5, 30]),
            delay: chance.pick(&[(MS / 10, MS), (MS / 10, MS), (MS, 5 * MS), (MS, 30 * MS)]),
            stragglers: chance.pick(&[0, 2, 10]),
            in_order: chance.permille(500),
            write: chance.pick(&[MS / 2, 5 * MS, 30 * MS]),
            work: chance.pick(&[MS, 20 * MS, 300 * MS]),
            puts_off: chance.pick(&[MS / 5, 2 * MS]),
            refuses_direct: chance.permille(300),
            skew: chance.pick(&[0, 5, 50]),
            faults: chance.pick(&[1, 2, 4, 8]) * SECOND,
            outage: chance.pick(&[SECOND / 2, 2 * SECOND, 5 * SECOND]),
            weights: Weights::new(chance),
            operations: chance.pick(&[1, 3, 10]) * SECOND,
            changes: chance.pick(&[0, 500, 800]),
            clients: chance.pick(&[6, 10, 16]),
            watchers: chance.pick(&[3, 6]),
            think: chance.pick(&[50 * MS, 100 * MS, 200 * MS]),
            patience: chance.pick(&[1, 3, 7]) * SECOND,
            keys: chance.pick(&[8, 30, 100]),
            compactions: chance.pick(&[0, 2, 10]),
            raft,
        }
    }
}

impl Weights {
    fn new(chance: &mut Chance) -> Weights {
        Weights {
            crashes: chance.pick(&[2, 10, 20]),
            power_cuts: chance.pick(&[0, 1, 3]),
            failed_writes: chance.pick(&[0, 5]),
            full_disks: chance.pick(&[0, 5]),
            slow_disks: chance.pick(&[0, 5]),
            cuts: chance.pick(&[0, 10, 20]),
            pauses: chance.pick(&[0, 10]),
            broken_connections: chance.pick(&[0, 5]),
            rot: chance.pick(&[0, 5]),
        }
    }
}

/// Settings small enough that bounds are met.
fn raft(chance: &mut Chance) -> Config {
    let mut config = Config::new(NodeId(1));
    config.election_ticks = chance.pick(&[20, 50, 100]);
    config.heartbeat_ticks = config.election_ticks / 10;
    config.max_append_bytes = chance.pick(&[500, 10_000, 1 << 20]);
    config.max_inflight_appends = chance.pick(&[2, 16, 512]);
    config.max_committed_bytes = chance.pick(&[2_000, 1 << 20]);
    config.tail_bytes = chance.pick(&[1_000, 20_000, 1 << 20]);
    config
}
