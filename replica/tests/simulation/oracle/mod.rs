//! What must hold, told from outside: by what is committed, and by what clients are told.
//!
//! Every entry that any member hands out is carried out once on a plain model (`model`), in log
//! order; no member may ever hand out another one in its place. So each write has its place, and a
//! call that its client has given up either stands in this history or does not. What a client is
//! told is compared with the model: a write's answer at its place, a read's at the revision that it
//! names. Both must lie behind all that anybody was told before the call began. All of it is linear
//! in the number of calls.

pub(crate) mod done;
mod model;

use std::collections::BTreeMap;

use bytes::Bytes;
use revd_mvcc::{Range, Ranged, ReadError, Rejected as Refused};
use revd_raft::{EntryKind, Position, Term};
use revd_replica::comparison::HashAt;
use revd_replica::{Applied, Command, Member, Membership, Rejected, RequestId, entry};
use revd_sim::{Checked, Time, Violation, ensure};

use self::done::Done;
pub(crate) use self::model::{Lease, Model};
use crate::event::SECOND;

/// What anybody was told before a call began: the call must not see less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    index: u64,
    revision: i64,
    compacted: i64,
}

/// A committed entry.
struct Seen {
    term: Term,
    kind: EntryKind,
    data: Bytes,
}

/// What a command must be answered with.
struct Expected {
    index: u64,
    revision: i64,
    term: u64,
    done: Result<Done, Rejected>,
}

pub(crate) struct Oracle {
    pub(crate) model: Model,
    founders: Vec<Member>,
    /// The committed entries behind the founding.
    entries: Vec<Seen>,
    expected: BTreeMap<RequestId, Expected>,
    /// Requests so far.
    issued: u64,
    told: Floor,
    /// For each lease that somebody was told of, until when it lives at least, and from which entry
    /// on it was there.
    promises: BTreeMap<i64, Promise>,
    /// Clocks run faster than the world's by up to so many thousandths.
    skew: u64,
    /// HashKV of each revision and floor, as the first member told it.
    hashes: BTreeMap<(i64, i64), u32>,
    /// The state hash after each entry, as the first member told it.
    state_hashes: BTreeMap<u64, u64>,
    /// Leases that ran out.
    pub(crate) expired: u64,
    /// Nothing has changed who votes since the last seal.
    is_sealed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    until: Time,
    granted: u64,
}

/// The founding of the cluster: the model begins behind it, and so do the founders.
const FOUNDING: u64 = 1;

impl Oracle {
    pub(crate) fn new(model: Model, skew: u64) -> Oracle {
        Oracle {
            founders: model.members.values().cloned().collect(),
            model,
            entries: Vec::new(),
            expected: BTreeMap::new(),
            issued: 0,
            told: Floor { compacted: -1, ..Floor::default() },
            promises: BTreeMap::new(),
            skew,
            hashes: BTreeMap::new(),
            state_hashes: BTreeMap::new(),
            expired: 0,
            is_sealed: true,
        }
    }

    /// A number for a new request.
    pub(crate) fn issue(&mut self) -> RequestId {
        self.issued += 1;
        RequestId(self.issued)
    }

    /// What a call that begins now must not see less than.
    pub(crate) fn floor(&self) -> Floor {
        self.told
    }

    /// Whether the last change of who votes is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// The last entry that is known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        FOUNDING + self.entries.len() as u64
    }

    /// The term of a committed entry.
    pub(crate) fn term_of(&self, index: u64) -> Option<Term> {
        match index.checked_sub(FOUNDING + 1) {
            None => Some(Term(index)),
            Some(place) => self.entries.get(place as usize).map(|seen| seen.term),
        }
    }

    /// A member hands an entry out to be applied.
    pub(crate) fn committed_entry(
        &mut self,
        at: Position,
        kind: EntryKind,
        data: &Bytes,
        now: Time,
    ) -> Checked {
        let Some(place) = at.index.0.checked_sub(FOUNDING + 1) else {
            return self.founded(at, data);
        };
        let place = place as usize;
        if let Some(seen) = self.entries.get(place) {
            ensure!(
                (seen.term, seen.kind, &seen.data) == (at.term, kind, data),
                "hands out {at}, committed there is another entry of term {}",
                seen.term
            );
            return Ok(());
        }
        ensure!(place == self.entries.len(), "hands out {at} before what comes before it");
        self.entries.push(Seen { term: at.term, kind, data: data.clone() });
        match kind {
            EntryKind::Empty => return Ok(()),
            EntryKind::Configuration if data.is_empty() => {
                self.model.leave();
                self.is_sealed = true;
                return Ok(());
            }
            EntryKind::Normal | EntryKind::Configuration => {}
        }
        let decoded = entry::decode(data)
            .map_err(|error| Violation(format!("hands out {at}, unreadable: {error}")))?;
        self.carry_out(at, decoded.request, &decoded.command, now)
    }

    /// Who joins gets the founding like any other entry.
    fn founded(&self, at: Position, data: &Bytes) -> Checked {
        let found = entry::decode(data).map(|decoded| decoded.command);
        let Ok(Command::Membership(Membership::Found(founders))) = found else {
            return Err(Violation(format!("hands out {at}, which is not the founding: {found:?}")));
        };
        ensure!(founders == self.founders, "hands out the founding with {founders:?}");
        Ok(())
    }

    fn carry_out(
        &mut self,
        at: Position,
        request: RequestId,
        command: &Command,
        now: Time,
    ) -> Checked {
        self.check_expiry(command, at.term.0, now)?;
        let voters = self.model.configuration.voters().to_vec();
        let done = self.model.apply(command, at.term.0);
        self.is_sealed &= voters == self.model.configuration.voters();
        if request == RequestId(0) {
            return Ok(());
        }
        ensure!(request.0 <= self.issued, "{at} carries request {request:?} of nobody");
        let (index, revision) = (at.index.0, self.model.revision);
        let expected = Expected { index, revision, term: at.term.0, done };
        let earlier = self.expected.insert(request, expected);
        ensure!(
            earlier.is_none(),
            "{at} carries {request:?}, which {} carried already",
            earlier.map_or(0, |earlier| earlier.index)
        );
        Ok(())
    }

    /// A client is told what came of its command.
    pub(crate) fn answered(
        &mut self,
        request: RequestId,
        result: &Result<Applied, Rejected>,
        floor: Floor,
    ) -> Checked {
        let Some(expected) = self.expected.get(&request) else {
            ensure!(false, "answers {request:?}, which is not committed");
            return Ok(());
        };
        ensure!(
            expected.index > floor.index,
            "answers {request:?} at {}, {} was answered before it began",
            expected.index,
            floor.index
        );
        let done = result.as_ref().map(|applied| Done::of(&applied.answer)).map_err(|r| *r);
        ensure!(
            done == expected.done,
            "answers {request:?} at {} with {done:?}, it should be {:?}",
            expected.index,
            expected.done
        );
        if let Ok(applied) = result {
            ensure!(
                (applied.revision, applied.term) == (expected.revision, expected.term),
                "answers {request:?} at {} with revision {} in term {}, it should be {} in {}",
                expected.index,
                applied.revision,
                applied.term,
                expected.revision,
                expected.term
            );
        }
        self.told.index = self.told.index.max(expected.index);
        self.told.revision = self.told.revision.max(expected.revision);
        Ok(())
    }

    /// A client is told that what is below a revision is gone.
    pub(crate) fn compacted(&mut self, revision: i64) {
        self.told.compacted = self.told.compacted.max(revision);
    }

    /// A client is told what a range held. `floor` is given for a linearizable read.
    pub(crate) fn read(
        &mut self,
        range: &Range,
        result: &Result<Ranged, ReadError>,
        floor: Option<Floor>,
    ) -> Checked {
        let floor = floor.unwrap_or_default();
        let ranged = match result {
            Ok(ranged) => ranged,
            Err(ReadError::Rejected(Refused::Compacted)) => {
                ensure!(
                    range.revision < self.model.compacted,
                    "calls revision {} compacted, the floor is {}",
                    range.revision,
                    self.model.compacted
                );
                return Ok(());
            }
            Err(ReadError::Rejected(Refused::FutureRevision)) => {
                ensure!(
                    range.revision > floor.revision,
                    "calls revision {} a future one, told was {}",
                    range.revision,
                    floor.revision
                );
                return Ok(());
            }
            Err(error) => {
                ensure!(false, "a read fails: {error}");
                return Ok(());
            }
        };
        let revision = ranged.revision.0;
        ensure!(
            (floor.revision..=self.model.revision).contains(&revision),
            "reads at revision {revision}, told was {}, committed is {}",
            floor.revision,
            self.model.revision
        );
        let at = if range.revision > 0 { range.revision } else { revision };
        ensure!(
            at >= floor.compacted && at <= revision,
            "reads revision {at} at {revision}, told was a floor of {}",
            floor.compacted
        );
        let expected = self.model.range(&range.key, &range.range_end, at);
        let found = done::records(ranged);
        ensure!(
            found == expected && ranged.count == expected.len() as i64,
            "reads {range:?} at {revision}: {found:?}, it should be {expected:?}"
        );
        self.told.revision = self.told.revision.max(revision);
        Ok(())
    }

    /// A client is told that a lease lives so many seconds from a call on that began then.
    pub(crate) fn promised(&mut self, id: i64, ttl: i64, begun: Time) {
        // A clock that is fast ends a lease early by the world's, and one that is slow lets a
        // leader that was cut off renew for longer.
        let until = begun + ttl as u64 * SECOND * 1_000 / (1_000 + self.skew);
        let granted = self.told.index;
        let promise = self.promises.entry(id).or_insert(Promise { until, granted });
        promise.until = promise.until.max(until);
    }

    /// A client is told that there is no such lease.
    pub(crate) fn unknown_lease(&self, id: i64, floor: Floor) -> Checked {
        let granted = self.promises.get(&id).map(|promise| promise.granted);
        ensure!(
            !self.model.leases.contains_key(&id) || granted.is_none_or(|at| at > floor.index),
            "does not know lease {id}, which is there"
        );
        Ok(())
    }

    fn check_expiry(&mut self, command: &Command, term: u64, now: Time) -> Checked {
        let Command::LeaseExpire { id, term: at } = command else { return Ok(()) };
        if *at != term || !self.model.leases.contains_key(id) {
            return Ok(());
        }
        self.expired += 1;
        let until = self.promises.get(id).map_or(0, |promise| promise.until);
        ensure!(
            now >= until,
            "lease {id} runs out {} ms before the time that was promised",
            (until - now) / crate::event::MS
        );
        Ok(())
    }

    /// A member's state hashes after some entries.
    pub(crate) fn state_hashed(&mut self, hashes: &[HashAt]) -> Checked {
        for HashAt { index, hash } in hashes {
            let first = *self.state_hashes.entry(*index).or_insert(*hash);
            ensure!(
                first == *hash,
                "has the state hash {hash:016x} after entry {index}, another member {first:016x}"
            );
        }
        Ok(())
    }

    /// A member's hash of the history up to a revision, with its floor: the same on all of them.
    pub(crate) fn hashed(&mut self, hashed: revd_mvcc::Hashed) -> Checked {
        let key = (hashed.hash_revision, hashed.compact_revision);
        let first = *self.hashes.entry(key).or_insert(hashed.hash);
        ensure!(
            first == hashed.hash,
            "hashes revision {} to {:x}, another member to {first:x}",
            hashed.hash_revision,
            hashed.hash
        );
        Ok(())
    }
}
