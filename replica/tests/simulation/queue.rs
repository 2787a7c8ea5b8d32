//! What is to happen, ordered by virtual time, and in order of arrival within one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use revd_raft::{Message, NodeId};

/// Virtual time, in nanoseconds: that of the world, not of any member's clock.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000_000;
pub(crate) const SECOND: Time = 1_000 * MS;

/// One life of one member: what was begun in an earlier one is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Which member, counted from 0.
    pub(crate) member: usize,
    /// How many times it has been started.
    pub(crate) incarnation: u32,
}

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

/// The queue of events. Events are kept aside, so that only small keys move about.
#[derive(Default)]
pub(crate) struct Queue {
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    arrivals: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, time: Time, event: Event) {
        let slot = self.free.pop().unwrap_or(self.events.len());
        if slot == self.events.len() {
            self.events.push(Some(event));
        } else {
            self.events[slot] = Some(event);
        }
        self.arrivals += 1;
        self.order.push(Reverse((time, self.arrivals, slot)));
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Event)> {
        let Reverse((time, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.events[slot].take().map(|event| (time, event))
    }
}
