//! The bounded queue in front of the core thread, and of the one that writes the log.
//!
//! Many tasks push, one thread takes everything that waits at once: that is where a batch comes
//! from. A push costs one short lock and, only if the core sleeps, one wake-up.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// The queue was full, or nobody takes from it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The bound is reached; the caller is told to come again.
    Full,
    /// The core has ended.
    Closed,
}

/// A queue of requests with many senders and one receiver.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    bound: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    receiver_sleeps: bool,
    closed: bool,
}

impl<T> Inbox<T> {
    /// An empty queue that refuses more than `bound` waiting items.
    pub(super) fn new(bound: usize) -> Self {
        let waiting = Waiting { items: Vec::new(), receiver_sleeps: false, closed: false };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new(), bound }
    }

    /// Adds an item unless the bound is reached.
    pub(super) fn push(&self, item: T) -> Result<(), NotTaken> {
        self.add(item, self.bound)
    }

    /// Adds an item whatever the bound: for the few whose number is bounded elsewhere, such as
    /// the results of jobs.
    pub(super) fn push_always(&self, item: T) -> Result<(), NotTaken> {
        self.add(item, usize::MAX)
    }

    fn add(&self, item: T, bound: usize) -> Result<(), NotTaken> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(NotTaken::Closed);
        }
        if waiting.items.len() >= bound {
            return Err(NotTaken::Full);
        }
        waiting.items.push(item);
        let wake = std::mem::take(&mut waiting.receiver_sleeps);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes all that waits into `items`, which must be empty; sleeps until something arrives, the
    /// deadline passes, or the inbox is closed. False if nothing can arrive any more.
    pub(super) fn take_until(&self, items: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        assert!(items.is_empty(), "{} items were not handled", items.len());
        let mut waiting = self.waiting.lock();
        while waiting.items.is_empty() && !waiting.closed {
            waiting.receiver_sleeps = true;
            match deadline {
                None => self.arrived.wait(&mut waiting),
                Some(at) => {
                    if self.arrived.wait_until(&mut waiting, at).timed_out() {
                        break;
                    }
                }
            }
        }
        waiting.receiver_sleeps = false;
        std::mem::swap(&mut waiting.items, items);
        !waiting.closed
    }

    /// Refuses everything from now on, and returns what was still waiting.
    pub(super) fn close(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let rest = std::mem::take(&mut waiting.items);
        drop(waiting);
        self.arrived.notify_one();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn all_that_waits_is_one_batch() {
        let inbox = Inbox::new(3);
        for n in 0..3 {
            inbox.push(n).unwrap();
        }
        assert_eq!(inbox.push(9), Err(NotTaken::Full));
        inbox.push_always(3).unwrap();
        let mut items = Vec::new();
        inbox.take_until(&mut items, None);
        assert_eq!(items, [0, 1, 2, 3]);
    }

    #[test]
    fn a_sleeping_receiver_is_woken() {
        let inbox = Arc::new(Inbox::new(1));
        let sender = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || sender.push(7));
        let mut items = Vec::new();
        inbox.take_until(&mut items, None);
        assert_eq!(items, [7]);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn the_deadline_ends_the_sleep() {
        let inbox: Inbox<u8> = Inbox::new(1);
        let mut items = Vec::new();
        inbox.take_until(&mut items, Some(Instant::now() + Duration::from_millis(1)));
        assert!(items.is_empty());
    }

    #[test]
    fn a_closed_inbox_refuses() {
        let inbox = Inbox::new(2);
        inbox.push(1).unwrap();
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.push(2), Err(NotTaken::Closed));
        assert!(!inbox.take_until(&mut Vec::new(), None), "nothing can arrive any more");
    }
}
