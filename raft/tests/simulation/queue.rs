//! What is to happen, ordered by virtual time, and in order of arrival within one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use revd_raft::{FetchNumber, Message, NodeId, SnapshotOutcome};

/// Virtual time. A member's tick is about [`TICK`] long.
pub(crate) type Time = u64;

/// The nominal length of a tick.
pub(crate) const TICK: Time = 1_000;

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

    /// When the next event is due.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.order.peek().map(|Reverse((time, ..))| *time)
    }
}
