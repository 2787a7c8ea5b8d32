//! What is to happen, ordered by virtual time, and in order of arrival within one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time, in the unit of the simulation.
pub type Time = u64;

/// One life of one member: what was begun in an earlier one is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which member, counted from 0.
    pub member: usize,
    /// How many times it has been started.
    pub incarnation: u32,
}

/// The queue of events. Events are kept aside, so that only small keys move about.
#[derive(Debug)]
pub struct Queue<E> {
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    arrivals: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { order: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), arrivals: 0 }
    }
}

impl<E> Queue<E> {
    /// Something is to happen then.
    pub fn push(&mut self, time: Time, event: E) {
        let slot = self.free.pop().unwrap_or(self.events.len());
        if slot == self.events.len() {
            self.events.push(Some(event));
        } else {
            self.events[slot] = Some(event);
        }
        self.arrivals += 1;
        self.order.push(Reverse((time, self.arrivals, slot)));
    }

    /// What happens next, and when.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse((time, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.events[slot].take().map(|event| (time, event))
    }

    /// When the next event is due.
    pub fn next_time(&self) -> Option<Time> {
        self.order.peek().map(|Reverse((time, ..))| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_then_what_came_first() {
        let mut queue = Queue::default();
        for (time, event) in [(5, "b"), (9, "d"), (5, "c"), (1, "a")] {
            queue.push(time, event);
        }
        assert_eq!(queue.pop(), Some((1, "a")));
        queue.push(9, "e");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [(5, "b"), (5, "c"), (9, "d"), (9, "e")]);
    }
}
