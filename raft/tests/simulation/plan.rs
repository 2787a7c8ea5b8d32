//! What a seed chooses: the cluster, its settings, and which faults come how often.

use revd_raft::*;
use revd_sim::{Chance, Conditions, Time};

use crate::event::TICK;

/// No run has more members than this, all that ever lived counted.
pub(crate) const MEMBERS_MAX: usize = 24;

/// At most so many run at the same time.
pub(crate) const RUNNING_MAX: usize = 9;

/// No cluster has more voters than this.
pub(crate) const VOTERS_MAX: usize = 7;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Messages delivered, persists answered and calls made before the cluster is healed.
    pub(crate) steps: u64,
    /// The first voters; learners come behind them.
    pub(crate) voters: u64,
    pub(crate) learners: u64,
    /// Where the cluster is born. At 0, members that join later are told of the first members;
    /// otherwise they know nothing and need a snapshot.
    pub(crate) born: Position,
    /// The settings of every member, but for its id.
    pub(crate) config: Config,

    /// Messages in a thousand that get lost, and that arrive twice.
    pub(crate) loss: u64,
    pub(crate) repeats: u64,
    /// The shortest and the longest way of a message, and how many in a thousand take up to an
    /// outage longer.
    pub(crate) delay: (Time, Time),
    pub(crate) stragglers: u64,
    /// Links keep the order of messages.
    pub(crate) in_order: bool,

    /// How long a write to a disk takes, a fetch, and an apply, at most.
    pub(crate) write: Time,
    pub(crate) fetch: Time,
    pub(crate) apply: Time,
    /// Inputs in a thousand after which the driver waits for more before it takes.
    pub(crate) puts_off: u64,

    /// Clocks differ by up to so many thousandths either way.
    pub(crate) skew: u64,
    /// Between two rounds of calls, two faults, two rounds of upkeep.
    pub(crate) calls: Time,
    pub(crate) faults: Time,
    pub(crate) upkeep: Time,
    /// How long a fault lasts, at most.
    pub(crate) outage: Time,
    /// Which faults, by weight.
    pub(crate) crashes: u64,
    pub(crate) power_cuts: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    pub(crate) slow_disks: u64,
    /// Crashes in a thousand that damage the log. Fewer where the members change: there the end may
    /// be a cluster that rightly stands still, because those that do not know of a change yet count
    /// on others than those that are whole.
    pub(crate) damage: u64,
    /// Calls in a thousand that change the configuration, that transfer leadership, that read.
    pub(crate) changes: u64,
    pub(crate) transfers: u64,
    pub(crate) reads: u64,
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
            healed: 20,
        }
    }

    pub(crate) fn new(chance: &mut Chance, steps: u64) -> Plan {
        let voters = chance.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
        let config = config(chance);
        let election = u64::from(config.election_ticks) * TICK;
        let changes = chance.pick(&[0, 0, 5, 20, 60]);
        let damage = chance.pick(&[0, 200, 600]);
        let delay = chance.pick(&[(5, 40), (20, 200), (50, 900), (200, 3_000)]);
        Plan {
            steps,
            voters,
            learners: chance.pick(&[0, 0, 0, 1, 2]),
            born: chance.pick(&[Position::default(), Position::new(Index(3), Term(1))]),
            config,
            loss: chance.pick(&[0, 0, 5, 30, 120]),
            repeats: chance.pick(&[0, 5, 50]),
            delay,
            stragglers: chance.pick(&[0, 5, 50]),
            in_order: chance.permille(400),
            write: chance.pick(&[10, 100, 1_000, election / 2]),
            fetch: chance.pick(&[10, 300, 3_000]),
            apply: chance.pick(&[1, 50, 1_000]),
            puts_off: chance.pick(&[0, 100, 600]),
            skew: chance.pick(&[0, 200, 500]),
            calls: chance.pick(&[50, 150, 500]),
            faults: chance.pick(&[1, 3, 6, 12]) * election,
            upkeep: chance.pick(&[2, 10, 60]) * TICK,
            outage: chance.pick(&[2, 6, 15]) * election,
            crashes: chance.pick(&[0, 5, 10, 20]),
            power_cuts: chance.pick(&[0, 1, 5]),
            cuts: chance.pick(&[0, 10, 20, 50]),
            pauses: chance.pick(&[0, 5, 20]),
            slow_disks: chance.pick(&[0, 5, 20]),
            damage: if changes == 0 { damage } else { damage / 20 },
            changes,
            transfers: chance.pick(&[0, 2, 20]),
            reads: chance.pick(&[100, 250, 400]),
        }
    }
}

/// Settings small enough that every bound is met.
fn config(chance: &mut Chance) -> Config {
    let mut config = Config::new(NodeId(1));
    config.heartbeat_ticks = chance.between(1, 3) as u32;
    config.election_ticks = config.heartbeat_ticks * chance.between(3, 7) as u32;
    config.pre_vote = chance.permille(850);
    config.check_quorum = chance.permille(600);
    config.max_append_bytes = chance.size(100, 3_000);
    config.max_inflight_appends = chance.size(1, 12);
    config.max_inflight_bytes = chance.size(200, 8_000);
    config.max_uncommitted_bytes = chance.size(400, 12_000);
    config.max_committed_bytes = chance.size(200, 6_000);
    config.tail_bytes = chance.pick(&[1, 1_000, 4_000, 40_000]);
    config.max_reads = chance.size(2, 64);
    config
}
