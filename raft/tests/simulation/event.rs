//! What can happen, and the units of virtual time.

use revd_raft::{FetchNumber, Message, NodeId, SnapshotOutcome};
use revd_sim::{Life, Time};

/// The nominal length of a tick.
pub(crate) const TICK: Time = 1_000;

#[derive(Debug)]
pub(crate) enum Event {
    /// A member's clock ticks.
    Tick(Life),
    /// A message reaches its receiver.
    Deliver(Message),
    /// A snapshot reaches its receiver; the sender in this life reports it.
    Snapshot(Life, Message),
    /// The first of a disk's jobs is done.
    Disk(Life),
    /// A fetch has read the log.
    Fetch(Life, FetchNumber),
    /// A member that has put off its `take`.
    Take(Life),
    /// The state machine gets to what was handed out.
    Apply(Life),
    /// A snapshot's sender learns what became of it.
    Report(Life, NodeId, SnapshotOutcome),
    /// A member hears that a connection broke.
    LeaderLost(Life, NodeId),
    /// A member hears that its messages got lost.
    Unreachable(Life, NodeId),
    /// A member that is down starts.
    Start(usize),
    /// Clients call.
    Client,
    /// Something goes wrong.
    Fault,
    /// Every link works again.
    Reconnect,
    /// State machines write checkpoints, logs are cut.
    Upkeep,
}
