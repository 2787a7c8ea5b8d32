//! Group commit: entries of concurrent appenders gather while a batch is being written.
//!
//! Who comes first to a group is its *leader* and waits for the writer. Those who come meanwhile
//! add their entries, checksums included, and wait for the leader. As soon as the writer is free,
//! the leader takes the group, whatever it holds by then, writes it as one batch, and tells the
//! others. So nobody ever has to be appointed, and each group has somebody who writes it.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::append::Gathered;
use crate::error::Error;

/// The longest group of several appenders. Longer ones would gain nothing: while one is written,
/// the next one gathers.
const SHARED_BYTES_MAX: u64 = 4 << 20;

/// Who has more than this goes alone, and writes in pieces, which stay in the processor's cache.
const JOIN_BYTES_MAX: u64 = SHARED_BYTES_MAX / 3;

/// Where appenders meet.
#[derive(Debug)]
pub(crate) struct Groups {
    open: Mutex<Group>,
    /// The open group was taken, and another one has begun.
    vacated: Condvar,
    /// How much memory a group takes at first use.
    room: usize,
}

/// Entries that become one batch, and those who wait for it.
#[derive(Debug, Default)]
struct Group {
    gathered: Gathered,
    ticket: Arc<Ticket>,
}

impl Group {
    fn has_room(&self, bytes: u64) -> bool {
        self.gathered.count == 0 || self.gathered.bytes() + bytes <= SHARED_BYTES_MAX
    }
}

/// What becomes of a group: shared by its appenders.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// The index of the group's first entry, once it is durable.
    outcome: Mutex<Option<Result<u64, Error>>>,
    told: Condvar,
}

impl Ticket {
    /// Waits until the group was written; returns the index of its first entry.
    pub(crate) fn wait(&self) -> Result<u64, Error> {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            self.told.wait(&mut outcome);
        }
    }

    /// Tells those who wait.
    pub(crate) fn tell(&self, outcome: &Result<u64, Error>) {
        *self.outcome.lock() = Some(outcome.clone());
        self.told.notify_all();
    }
}

/// What an appender has to do.
#[derive(Debug)]
pub(crate) enum Role {
    /// Take the group, write it, and tell. The appender's own entries come first.
    Leader,
    /// Wait for the leader. The appender's own entries are `position` entries behind the first.
    Follower { ticket: Arc<Ticket>, position: u64 },
}

impl Groups {
    /// No group. At first use, each of the two that take turns takes `room` bytes of memory.
    pub(crate) fn new(room: usize) -> Groups {
        Groups { open: Mutex::default(), vacated: Condvar::new(), room }
    }

    /// True if a batch of `bytes` can be part of a group.
    pub(crate) fn takes(bytes: u64) -> bool {
        bytes <= JOIN_BYTES_MAX
    }

    /// Adds entries, which alone would make a batch of `bytes`, to the open group, as soon as there
    /// is room.
    pub(crate) fn join<T: AsRef<[u8]>>(&self, entries: &[T], bytes: u64) -> Role {
        let mut group = self.open.lock();
        while !group.has_room(bytes) {
            self.vacated.wait(&mut group);
            if group.has_room(bytes) {
                // Who takes a group wakes one of those who wait; there may be room for more.
                self.vacated.notify_one();
            }
        }
        let position = u64::from(group.gathered.count);
        group.gathered.extend(entries, bytes, self.room);
        if position == 0 {
            return Role::Leader;
        }
        Role::Follower { ticket: Arc::clone(&group.ticket), position }
    }

    /// Takes the open group in exchange for `gathered`, whose content was written; only its leader
    /// does. Returns what its followers wait for.
    pub(crate) fn take(&self, gathered: &mut Gathered) -> Arc<Ticket> {
        gathered.clear();
        let mut group = self.open.lock();
        std::mem::swap(&mut group.gathered, gathered);
        let ticket = std::mem::take(&mut group.ticket);
        drop(group);
        self.vacated.notify_one();
        ticket
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const FOLLOWERS: u32 = 5;

    /// Waits until so many entries are in the open group.
    fn await_gathered(groups: &Groups, count: u32) {
        while groups.open.lock().gathered.count < count {
            thread::yield_now();
        }
    }

    fn join(groups: &Groups, entry: &[u8]) -> Role {
        groups.join(&[entry], entry.len() as u64 + 56)
    }

    /// Five come while the leader waits for the writer; then they go together.
    fn gather(outcome: Result<u64, Error>) -> Vec<String> {
        let groups = Groups::new(0);
        assert!(matches!(join(&groups, b"first"), Role::Leader));
        thread::scope(|scope| {
            let follow = || match join(&groups, b"entry") {
                Role::Follower { ticket, position } => {
                    format!("{:?}", ticket.wait().map(|first| first + position))
                }
                Role::Leader => panic!("a second leader"),
            };
            let followers: Vec<_> = (1..=FOLLOWERS)
                .map(|count| {
                    let follower = scope.spawn(follow);
                    await_gathered(&groups, 1 + count);
                    follower
                })
                .collect();
            let mut gathered = Gathered::default();
            let ticket = groups.take(&mut gathered);
            assert_eq!(gathered.count, 1 + FOLLOWERS);
            assert_eq!(groups.open.lock().gathered.count, 0);
            ticket.tell(&outcome);
            followers.into_iter().map(|follower| follower.join().unwrap()).collect()
        })
    }

    #[test]
    fn those_who_wait_go_together_and_each_learns_its_own_index() {
        let told = gather(Ok(100));
        assert_eq!(told, ["Ok(101)", "Ok(102)", "Ok(103)", "Ok(104)", "Ok(105)"]);
    }

    #[test]
    fn a_failure_reaches_all_who_were_in_the_group() {
        assert_eq!(gather(Err(Error::Poisoned)), ["Err(Poisoned)"; FOLLOWERS as usize]);
    }

    #[test]
    fn who_does_not_fit_waits_for_the_next_group() {
        let groups = Groups::new(0);
        let large = vec![7; JOIN_BYTES_MAX as usize];
        assert!(matches!(join(&groups, b"first"), Role::Leader));
        for _ in 1..SHARED_BYTES_MAX / JOIN_BYTES_MAX {
            assert!(matches!(join(&groups, &large), Role::Follower { .. }));
        }
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| join(&groups, &large))).collect();
            let mut gathered = Gathered::default();
            groups.take(&mut gathered).tell(&Ok(1));
            assert_eq!(u64::from(gathered.count), SHARED_BYTES_MAX / JOIN_BYTES_MAX);
            let leads = |role: &Role| matches!(role, Role::Leader);
            let roles: Vec<Role> =
                waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
            assert_eq!(roles.iter().filter(|role| leads(role)).count(), 1);
        });
    }
}
