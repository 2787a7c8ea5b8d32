//! What can happen, and the units of virtual time.

use revd_raft::{Message, NodeId};
use revd_sim::{Life, Time};

pub(crate) const MS: Time = 1_000_000;
pub(crate) const SECOND: Time = 1_000 * MS;

#[derive(Debug)]
pub(crate) enum Event {
    /// A member's clock ticks.
    Tick(Life),
    /// A member carries out what has become due.
    Turn(Life),
    /// A message reaches its receiver.
    Deliver(Message),
    /// A call reaches a member; true if another one has handed it on.
    Call(Life, usize, bool),
    /// The disk gets to the entries that are to be made durable.
    Persist(Life),
    /// The disk gets to one of the other jobs.
    Work(Life),
    /// A member hears that a connection broke.
    LeaderLost(Life, NodeId),
    /// A member hears that its messages got lost.
    Unreachable(Life, NodeId),
    /// A member that is down starts.
    Start(usize),
    /// A client makes its next call.
    Client(usize),
    /// A client gives up its call.
    GiveUp(usize),
    /// A watching client looks what there is.
    Watch(usize),
    /// Something goes wrong.
    Fault,
    /// Every link works again.
    Reconnect,
    /// A member's disk has room again.
    MakeRoom(usize),
    /// The next chunk of a snapshot.
    Chunk(u64),
    /// Somebody compares what the members hold.
    Compare,
    /// Somebody changes who belongs to the cluster, or who leads.
    Operate,
}
