//! State hashes of several members, compared at the same index.
//!
//! Each member keeps its hashes of the last few entries, which cluster mates share when little
//! happens, and of round indexes further back, which they share when much does ([`HashTrail`]).
//! Whoever has asked all others for theirs judges *itself* ([`judge`]): it differs if more than
//! half of all members agree on another hash at some index. So nobody needs to be believed but a
//! majority, and a leader can find itself wrong like anybody else.
//!
//! If all members have answered and no majority agrees, somebody is wrong and nobody can tell who.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// So many of the newest hashes are kept, one for each entry.
const NEWEST: usize = 64;

/// Behind each of so many entries, a hash is kept for longer.
const ROUND: u64 = 1_024;

/// So many of these are kept: of 131,072 entries.
const ROUNDS: usize = 128;

/// The state hash after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashAt {
    /// The index of the entry.
    pub index: u64,
    /// The hash.
    pub hash: u64,
}

/// The hashes that one member can be compared by.
#[derive(Clone, Debug, Default)]
pub struct HashTrail {
    newest: VecDeque<HashAt>,
    rounds: VecDeque<HashAt>,
}

impl HashTrail {
    /// Adds the hash of the next entry.
    pub(crate) fn push(&mut self, index: u64, hash: u64) {
        let at = HashAt { index, hash };
        if self.newest.len() == NEWEST {
            self.newest.pop_front();
        }
        self.newest.push_back(at);
        if index.is_multiple_of(ROUND) {
            if self.rounds.len() == ROUNDS {
                self.rounds.pop_front();
            }
            self.rounds.push_back(at);
        }
    }

    /// All of them, by rising index.
    pub fn hashes(&self) -> Vec<HashAt> {
        let first = self.newest.front().map_or(u64::MAX, |at| at.index);
        let rounds = self.rounds.iter().filter(|at| at.index < first);
        rounds.chain(&self.newest).copied().collect()
    }
}

/// What a member knows about itself after a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Too few have a hash of an index that it has one of.
    Unknown,
    /// It is one of a majority.
    Agrees,
    /// A majority agrees on another hash.
    Differs(Difference),
    /// All members have a hash of this index, two or more different ones, and none is that of a
    /// majority.
    Split {
        /// The entry.
        index: u64,
        /// Each member with its hash.
        hashes: Vec<(u64, u64)>,
    },
}

/// In what a member differs from a majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The newest entry at which it was compared: the first one that it got wrong is this or an
    /// earlier one.
    pub index: u64,
    /// Its own hash there.
    pub own: u64,
    /// That of the majority.
    pub agreed: u64,
    /// The members that agree on it.
    pub by: Vec<u64>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, own, agreed, by } = self;
        write!(f, "its state hash after entry {index} is {own:016x}, that of members ")?;
        for (n, member) in by.iter().enumerate() {
            write!(f, "{}{member:x}", if n > 0 { ", " } else { "" })?;
        }
        write!(f, " is {agreed:016x}")
    }
}

/// Compares a member's own hashes with those of the others that have answered, in a cluster of so
/// many `members`. All hashes are by rising index.
pub fn judge(
    (me, own): (u64, &[HashAt]),
    others: &[(u64, Vec<HashAt>)],
    members: usize,
) -> Judgement {
    for HashAt { index, hash } in own.iter().rev().copied() {
        let there = |hashes: &Vec<HashAt>| {
            let place = hashes.binary_search_by_key(&index, |at| at.index).ok()?;
            Some(hashes[place].hash)
        };
        let found = others.iter().filter_map(|(id, hashes)| Some((*id, there(hashes)?)));
        let hashes: Vec<(u64, u64)> = found.chain([(me, hash)]).collect();
        let mut agreed: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (id, hash) in &hashes {
            agreed.entry(*hash).or_default().push(*id);
        }
        let is_split = agreed.len() > 1 && hashes.len() >= members;
        match agreed.into_iter().find(|(_, by)| 2 * by.len() > members) {
            Some((agreed, _)) if agreed == hash => return Judgement::Agrees,
            Some((agreed, by)) => {
                return Judgement::Differs(Difference { index, own: hash, agreed, by });
            }
            None if is_split => return Judgement::Split { index, hashes },
            None => {}
        }
    }
    Judgement::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(entries: std::ops::RangeInclusive<u64>, wrong_from: u64) -> Vec<HashAt> {
        let mut trail = HashTrail::default();
        entries.for_each(|index| trail.push(index, index + u64::from(index >= wrong_from)));
        trail.hashes()
    }

    fn sound(last: u64) -> Vec<HashAt> {
        trail(1..=last, u64::MAX)
    }

    #[test]
    fn a_trail_is_bounded_and_rises() {
        let hashes = sound(1_000_000);
        assert_eq!(hashes.len(), NEWEST + ROUNDS);
        assert!(hashes.is_sorted());
        assert_eq!(hashes.last(), Some(&HashAt { index: 1_000_000, hash: 1_000_000 }));
        assert_eq!(sound(1_030).len(), NEWEST, "a round entry is there once");
        assert_eq!(sound(3).len(), 3);
    }

    #[test]
    fn a_member_finds_itself_among_a_majority_or_not() {
        let others = [(2, sound(5_000)), (3, sound(4_990))];
        assert_eq!(judge((1, &sound(5_000)), &others, 3), Judgement::Agrees);
        let own = trail(1..=5_000, 4_995);
        // The third has not come so far: at 4,990 all agree, at 5,000 nobody has a majority.
        assert_eq!(judge((1, &own), &others, 3), Judgement::Agrees);
        let others = [(2, sound(5_000)), (3, sound(5_000))];
        let expected = Difference { index: 5_000, own: 5_001, agreed: 5_000, by: vec![2, 3] };
        assert_eq!(judge((1, &own), &others, 3), Judgement::Differs(expected));
        // Nor do the others doubt themselves.
        let others = [(1, own), (3, sound(5_000))];
        assert_eq!(judge((2, &sound(5_000)), &others, 3), Judgement::Agrees);
    }

    #[test]
    fn members_far_apart_are_compared_at_round_indexes() {
        let others = [(2, sound(10_000)), (3, sound(20_000))];
        let own = trail(1..=3_000, 1_500);
        let expected = Difference { index: 2_048, own: 2_049, agreed: 2_048, by: vec![2, 3] };
        assert_eq!(judge((1, &own), &others, 3), Judgement::Differs(expected));
        let own = trail(1..=3_000, 2_500);
        assert_eq!(judge((1, &own), &others, 3), Judgement::Agrees, "not seen yet");
    }

    #[test]
    fn without_a_majority_nobody_is_right() {
        let own = trail(1..=100, 90);
        let split = |hashes: &[(u64, u64)]| Judgement::Split { index: 100, hashes: hashes.into() };
        let other = [(2, sound(100))];
        assert_eq!(judge((1, &own), &other, 2), split(&[(2, 100), (1, 101)]));
        // A third one has yet to answer.
        assert_eq!(judge((1, &trail(1..=100, 1)), &other, 3), Judgement::Unknown);
        assert_eq!(judge((1, &own), &[], 3), Judgement::Unknown);
        assert_eq!(judge((1, &[]), &other, 2), Judgement::Unknown);
    }
}
