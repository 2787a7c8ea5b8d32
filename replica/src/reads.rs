//! Calls that wait for a read index, with which they read what is at least as new as all that was
//! acknowledged before (dissertation 6.4).
//!
//! All that have come since the last one was asked for share the next. A member that does not lead
//! gets it from the one that does, so it may be lost on the way: it is asked for again.

use std::collections::VecDeque;

use revd_raft::{Index, Input, ReadId, ReadReady, Refused};

use crate::consensus::Consensus;
use crate::lessor::Now;
use crate::planted::{Bug, planted};

/// After this long a read index is asked for again (etcd's figure).
pub const ASK_AGAIN: u64 = 500_000_000;

/// See the module's first lines. `C` is what a call is answered by. As many wait as whoever drives
/// takes in.
#[derive(Debug)]
pub struct Reads<C> {
    /// For a read index that has not been asked for yet.
    waiting: Vec<C>,
    /// For its answer, with when it was asked for; in the order of their ids.
    asked: VecDeque<(ReadId, Now, Vec<C>)>,
    /// For it to be applied.
    known: Vec<(Index, Vec<C>)>,
    last: u64,
}

impl<C> Default for Reads<C> {
    fn default() -> Self {
        Self { waiting: Vec::new(), asked: VecDeque::new(), known: Vec::new(), last: 0 }
    }
}

impl<C> Reads<C> {
    /// A call waits from now on.
    pub fn push(&mut self, call: C) {
        self.waiting.push(call);
    }

    /// Asks for one read index for all that wait. Without a leader they wait on.
    ///
    /// # Errors
    /// Why it is refused, and to whom.
    pub fn ask(&mut self, consensus: &mut Consensus, now: Now) -> Result<(), (Refused, Vec<C>)> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let calls = std::mem::take(&mut self.waiting);
        if planted(Bug::ReadByOwnCommit) {
            self.known.push((consensus.status().commit, calls));
            return Ok(());
        }
        self.last += 1;
        let id = ReadId(self.last);
        match consensus.step(Input::Read(id)) {
            Ok(()) => self.asked.push_back((id, now, calls)),
            Err(Refused::NoLeader) => self.waiting = calls,
            Err(refused) => return Err((refused, calls)),
        }
        Ok(())
    }

    /// Those whose answer is overdue wait again; the ids that they had.
    pub fn overdue(&mut self, now: Now) -> Vec<ReadId> {
        let mut ids = Vec::new();
        while let Some((_, at, _)) = self.asked.front()
            && at.0 + ASK_AGAIN <= now.0
            && let Some((id, _, calls)) = self.asked.pop_front()
        {
            ids.push(id);
            self.waiting.extend(calls);
        }
        ids
    }

    /// Calls whose caller has given up are not asked for any more.
    pub fn forget(&mut self, mut is_gone: impl FnMut(&C) -> bool) {
        self.waiting.retain(|call| !is_gone(call));
    }

    /// An answer has come: those that it is for wait for its index to be applied.
    pub fn known(&mut self, read: ReadReady) {
        let calls = self.take_asked(read.id);
        if !calls.is_empty() {
            self.known.push((read.index, calls));
        }
    }

    /// There will be no answer: those whom it was for are to be told.
    pub fn failed(&mut self, id: ReadId) -> Vec<C> {
        self.take_asked(id)
    }

    fn take_asked(&mut self, id: ReadId) -> Vec<C> {
        let at = self.asked.iter().position(|(asked, ..)| *asked == id);
        at.and_then(|at| self.asked.remove(at)).map(|(.., calls)| calls).unwrap_or_default()
    }

    /// Those that may read now, with what is applied and published.
    pub fn ready(&mut self, applied: Index) -> impl Iterator<Item = C> {
        let at_once = planted(Bug::ReadBeforeApplied);
        let ready = self.known.extract_if(.., move |(index, _)| *index <= applied || at_once);
        ready.flat_map(|(_, calls)| calls)
    }
}
