//! What a leader does about leases: it renews them, has them expire, and confirms that it leads
//! before it does either after a long silence.
//!
//! [`Lessor`] is the clock; this joins it to consensus, and keeps the renewals that wait: for an
//! expiry or a checkpoint that is on its way through the log, or until the leadership is confirmed.

use std::collections::BTreeMap;

use revd_mvcc::Lease;
use revd_raft::{Input, Position, ReadId, Role, RoleChange};

use crate::command::Command;
use crate::consensus::Consensus;
use crate::lessor::{Due, Lessor, Now, Options, Renewal};
use crate::machine::LeaseChange;

/// The ids of confirmations begin here, those of [`crate::Reads`] at 1.
const CONFIRMATIONS: u64 = 1 << 62;

/// This member does not lead: whoever does renews leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader;

/// What became of a renewal: the seconds that its lease counts down again, or `None` if there is no
/// such lease.
pub type Renewed = Result<Option<i64>, NotLeader>;

/// See the module's first lines. `C` is what a call is answered by. As many wait as whoever drives
/// takes in.
#[derive(Debug)]
pub struct Leases<C> {
    lessor: Lessor,
    /// Renewals, by lease, for it to be gone or its checkpoint to be unset.
    waiting: BTreeMap<i64, Vec<C>>,
    /// Renewals, for the leadership to be confirmed.
    unconfirmed: Vec<(i64, C)>,
    /// The read index that confirms it.
    confirmation: Option<ReadId>,
    confirmations: u64,
    answers: Vec<(C, Renewed)>,
}

impl<C> Leases<C> {
    /// The leases of a member that has been opened.
    pub fn new(options: Options, leases: impl IntoIterator<Item = (i64, Lease)>) -> Self {
        Self {
            lessor: Lessor::new(options, leases),
            waiting: BTreeMap::new(),
            unconfirmed: Vec::new(),
            confirmation: None,
            confirmations: 0,
            answers: Vec::new(),
        }
    }

    /// The clock.
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// How often the leadership had to be confirmed.
    pub fn confirmations(&self) -> u64 {
        self.confirmations
    }

    /// Other leases take their place: those of a snapshot.
    pub fn replace(&mut self, leases: impl IntoIterator<Item = (i64, Lease)>) {
        self.lessor.replace(leases);
    }

    /// A call wants a lease renewed. Its answer comes out of [`Leases::answers`].
    pub fn renew(&mut self, consensus: &mut Consensus, id: i64, call: C, now: Now) {
        match self.lessor.renew(id, now) {
            Renewal::Renewed(ttl) => self.answers.push((call, Ok(Some(ttl)))),
            Renewal::Unknown => self.answers.push((call, Ok(None))),
            Renewal::Expired => self.waiting.entry(id).or_default().push(call),
            Renewal::Checkpointed { term } => {
                self.waiting.entry(id).or_default().push(call);
                let remaining = vec![(id, 0)];
                // If it is refused or lost, the client renews again.
                let _ = consensus.propose_own(Command::LeaseCheckpoint { remaining, term });
            }
            Renewal::Unconfirmed => {
                self.unconfirmed.push((id, call));
                self.confirm(consensus);
            }
            Renewal::Following => self.answers.push((call, Err(NotLeader))),
        }
    }

    /// What a batch of entries has done to leases, and whether it has begun this leader's term.
    pub fn applied(
        &mut self,
        consensus: &mut Consensus,
        changes: Vec<LeaseChange>,
        begun: Option<Position>,
        role: RoleChange,
        now: Now,
    ) {
        for change in changes {
            match change {
                LeaseChange::Granted { id, ttl } => self.lessor.granted(id, ttl, now),
                LeaseChange::Checkpointed { id, remaining } => {
                    self.lessor.checkpointed(id, remaining);
                    self.renew_again(consensus, id, now);
                }
                LeaseChange::Revoked { id } => {
                    self.lessor.revoked(id);
                    self.renew_again(consensus, id, now);
                }
            }
        }
        // After the changes: those of earlier terms, out of the log, were made before it began.
        if let Some(begun) = begun
            && role.role == Role::Leader
            && begun.term == role.term
        {
            self.lessor.lead(begun.term.0, now);
        }
    }

    fn renew_again(&mut self, consensus: &mut Consensus, id: i64, now: Now) {
        for call in self.waiting.remove(&id).into_iter().flatten() {
            self.renew(consensus, id, call, now);
        }
    }

    /// Has what has run out expire, and writes down how long the others have left.
    pub fn expire(&mut self, consensus: &mut Consensus, now: Now) {
        match self.lessor.due(now) {
            Due::Nothing => {}
            Due::Propose { expired, checkpoints: remaining, term } => {
                let expiries = expired.into_iter().map(|id| Command::LeaseExpire { id, term });
                let checkpoint =
                    (!remaining.is_empty()).then_some(Command::LeaseCheckpoint { remaining, term });
                for command in expiries.chain(checkpoint) {
                    // What is refused or lost is due again.
                    let _ = consensus.propose_own(command);
                }
            }
            Due::Confirm => self.confirm(consensus),
        }
    }

    /// When [`Leases::expire`] has something to do next. While the leadership is being confirmed,
    /// that is what it waits for.
    pub fn next_deadline(&self) -> Option<Now> {
        self.lessor.next_deadline().filter(|_| self.confirmation.is_none())
    }

    /// Asks for a read index: who gets one leads.
    fn confirm(&mut self, consensus: &mut Consensus) {
        if self.confirmation.is_some() {
            return;
        }
        self.confirmations += 1;
        let id = ReadId(CONFIRMATIONS + self.confirmations);
        match consensus.step(Input::Read(id)) {
            Ok(()) => self.confirmation = Some(id),
            Err(_) => self.refuse_all(),
        }
    }

    /// A read index is known; it may be the one that confirms the leadership.
    pub fn read_known(&mut self, consensus: &mut Consensus, id: ReadId, now: Now) {
        if self.confirmation.take_if(|confirmation| *confirmation == id).is_some() {
            self.lessor.confirm(now);
            for (lease, call) in std::mem::take(&mut self.unconfirmed) {
                self.renew(consensus, lease, call, now);
            }
        }
    }

    /// There will be no such read index.
    pub fn read_failed(&mut self, id: ReadId) {
        if self.confirmation.take_if(|confirmation| *confirmation == id).is_some() {
            self.refuse_all();
        }
    }

    /// This member does not lead, or not any more.
    pub fn follow(&mut self) {
        self.lessor.follow();
        self.refuse_all();
    }

    fn refuse_all(&mut self) {
        let unconfirmed = std::mem::take(&mut self.unconfirmed).into_iter().map(|(_, call)| call);
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        self.answers.extend(unconfirmed.chain(waiting).map(|call| (call, Err(NotLeader))));
    }

    /// What calls are to be told, since this was last asked.
    pub fn answers(&mut self) -> impl Iterator<Item = (C, Renewed)> {
        self.answers.drain(..)
    }
}
