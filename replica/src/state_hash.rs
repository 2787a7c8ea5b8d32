//! The state hash: one number that tells whether two members have done the same.
//!
//! After entry n it is H(n) = hash(H(n - 1), n, what entry n did). Members that differ at an index
//! differ from there on, so one comparison at any later index finds them. It is about mistakes of
//! ours and memory that failed; rot on a disk is found by the checksums of log and tree. It is no
//! protection against somebody who wants two states with one hash.
//!
//! One block is hashed for each entry (XXH3, 64 bits), put together from numbers of eight bytes,
//! little-endian:
//!
//! | field | holds |
//! |---|---|
//! | H(n - 1) | 0 before the first entry |
//! | index | n |
//! | outcome | kind of the entry; in the second byte why it was rejected, 0 if it was not; in the
//! upper half how many leases came, went or changed |
//! | standing | members; in the upper half alarms, both as the entry leaves them |
//! | revision | of the key space, as the entry leaves it |
//! | changes | of keys, how many |
//! | length, bytes | the entry itself, unless it is about keys alone: then the length is 0 |
//! | each change | twice its place in the revision, and one if it is a put; create revision;
//! version; lease; lengths of key and, in the upper half, value; key; value |
//!
//! A byte string of more than 512 bytes (`LONG`) is not copied into the block: the block so far is
//! hashed, then the string, and both hashes begin the next block. Before a change that finds more
//! than 4,096 bytes (`FULL`) in the block, its hash begins the next one.
//!
//! So the changes enter as they were *made*, not as they were asked for: a command that was kept
//! beside its place in the log and is not the one in the log shows. What is not in the block:
//!
//! * What a lease, member, alarm or version has become. The entry says that in full, and the
//!   outcome, with the counts, says whether it was so carried out. Members that disagree about a
//!   lease or an alarm disagree about the next entry that needs or meets it.
//! * Compaction: the floor follows from the entry and its outcome; how far it has been carried out
//!   and where records lie is each member's own business.
//! * Answers (what a transaction has read): they change nothing.
//! * How entries were batched, checkpointed, or decoded.
//!
//! The algorithm has a number, which the note of a checkpoint and of a snapshot carries with the
//! value. A hash of another algorithm is not gone on with: it stays unknown, and is compared with
//! none.

use revd_mvcc::Change;
use revd_raft::{EntryKind, Index};
use xxhash_rust::xxh3::xxh3_64;

use crate::command::Rejected;
use crate::log_store::kind_number;

/// The number of the algorithm that this version keeps.
pub const ALGORITHM: u8 = 1;

/// Longer byte strings are hashed where they are.
const LONG: usize = 512;

/// A block does not grow much longer.
const FULL: usize = 4_096;

/// What an entry did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effects<'a> {
    pub(crate) index: Index,
    pub(crate) kind: EntryKind,
    pub(crate) outcome: Result<(), Rejected>,
    /// Leases that came, went or changed.
    pub(crate) leases: usize,
    /// How many members and alarms there are now.
    pub(crate) members: usize,
    pub(crate) alarms: usize,
    /// Of the key space, now.
    pub(crate) revision: i64,
    pub(crate) changes: &'a [Change],
    /// The entry, unless it is about keys alone.
    pub(crate) entry: &'a [u8],
}

/// The hash of all entries so far; see the module's first lines.
#[derive(Debug)]
pub(crate) struct StateHash {
    value: Option<u64>,
    /// Where blocks are put together.
    block: Vec<u8>,
}

impl StateHash {
    /// The hash before the first entry.
    pub(crate) fn new() -> Self {
        Self { value: Some(0), block: Vec::new() }
    }

    /// The hash that a note tells of.
    pub(crate) fn from_note(algorithm: u8, value: u64) -> Self {
        Self { value: (algorithm == ALGORITHM).then_some(value), block: Vec::new() }
    }

    /// Algorithm and value for a note.
    pub(crate) fn to_note(&self) -> (u8, u64) {
        self.value.map_or((0, 0), |value| (ALGORITHM, value))
    }

    /// `None` if it is unknown.
    pub(crate) fn value(&self) -> Option<u64> {
        self.value
    }

    /// Takes in the next entry.
    pub(crate) fn add(&mut self, effects: Effects<'_>) {
        let Some(before) = self.value else { return };
        let Effects { index, kind, outcome, leases, members, alarms, revision, .. } = effects;
        let rejected = outcome.err().map_or(0, Rejected::number);
        let outcome = u64::from(kind_number(kind)) | u64::from(rejected) << 8;
        self.block.clear();
        self.numbers([
            before,
            index.0,
            outcome | (leases as u64) << 32,
            members as u64 | (alarms as u64) << 32,
            revision as u64,
            effects.changes.len() as u64,
            effects.entry.len() as u64,
        ]);
        self.bytes(effects.entry);
        for Change { is_put, sub, kv } in effects.changes {
            if self.block.len() > FULL {
                let hash = xxh3_64(&self.block);
                self.block.clear();
                self.numbers([hash]);
            }
            self.numbers([
                sub << 1 | u64::from(*is_put),
                kv.create_revision as u64,
                kv.version as u64,
                kv.lease as u64,
                kv.key.len() as u64 | (kv.value.len() as u64) << 32,
            ]);
            self.bytes(&kv.key);
            self.bytes(&kv.value);
        }
        self.value = Some(xxh3_64(&self.block));
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.block.extend_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if bytes.len() <= LONG {
            self.block.extend_from_slice(bytes);
        } else {
            let hashes = [xxh3_64(&self.block), xxh3_64(bytes)];
            self.block.clear();
            self.numbers(hashes);
        }
    }
}

#[cfg(test)]
mod tests {
    use revd_mvcc::{KeyValue, Rejected as KeySpaceRejected};

    use super::*;

    fn put(key: &str, value: &[u8]) -> Change {
        let kv = KeyValue {
            key: key.to_owned().into(),
            value: value.to_vec().into(),
            create_revision: 5,
            mod_revision: 7,
            version: 2,
            lease: 9,
        };
        Change { is_put: true, sub: 0, kv }
    }

    fn effects<'a>(changes: &'a [Change], entry: &'a [u8]) -> Effects<'a> {
        Effects {
            index: Index(3),
            kind: EntryKind::Normal,
            outcome: Ok(()),
            leases: 1,
            members: 3,
            alarms: 0,
            revision: 7,
            changes,
            entry,
        }
    }

    fn hash(effects: Effects<'_>) -> u64 {
        let mut hash = StateHash::new();
        hash.add(effects);
        hash.value().unwrap()
    }

    #[test]
    fn the_algorithm_stays_what_it_is() {
        let changes = [put("key", b"value"), put("large", &[7; LONG + 1])];
        assert_eq!(hash(effects(&changes, b"entry")), GOLDEN);
    }

    const GOLDEN: u64 = 0xfee1_1d84_b3de_23ed;

    #[test]
    fn everything_that_an_entry_does_shows() {
        let changes = [put("key", b"value")];
        let all = effects(&changes, b"");
        let edit = |edit: fn(&mut Change)| {
            let mut change = put("key", b"value");
            edit(&mut change);
            hash(effects(&[change], b""))
        };
        let mut hashes = vec![
            hash(all),
            hash(Effects { index: Index(4), ..all }),
            hash(Effects { kind: EntryKind::Configuration, ..all }),
            hash(Effects { outcome: Err(Rejected::NoSpace), ..all }),
            hash(Effects { outcome: Err(KeySpaceRejected::Compacted.into()), ..all }),
            hash(Effects { leases: 0, ..all }),
            hash(Effects { members: 2, ..all }),
            hash(Effects { alarms: 1, ..all }),
            hash(Effects { revision: 8, ..all }),
            hash(Effects { changes: &[], ..all }),
            hash(Effects { entry: b"e", ..all }),
            edit(|change| change.is_put = false),
            edit(|change| change.sub = 1),
            edit(|change| change.kv.create_revision = 7),
            edit(|change| change.kv.version = 1),
            edit(|change| change.kv.lease = 0),
            edit(|change| change.kv.key = "kev".into()),
            edit(|change| change.kv.value = "Value".into()),
            edit(|change| change.kv.value = vec![1; LONG + 1].into()),
            edit(|change| change.kv.value = vec![2; LONG + 1].into()),
        ];
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn every_change_of_many_shows() {
        let mut changes: Vec<Change> = (0..200).map(|n| put(&format!("{n}"), b"value")).collect();
        let before = hash(effects(&changes, b""));
        for n in [0, 100, 199] {
            let kept = std::mem::replace(&mut changes[n], put("other", b"value"));
            assert_ne!(hash(effects(&changes, b"")), before, "change {n}");
            changes[n] = kept;
        }
    }

    #[test]
    fn an_entry_shows_in_all_hashes_behind_it() {
        let hash = |first: &[u8]| {
            let mut hash = StateHash::new();
            hash.add(effects(&[], first));
            hash.add(effects(&[], b"second"));
            hash.value()
        };
        assert_ne!(hash(b"one"), hash(b"other"));
        assert_eq!(hash(b"one"), hash(b"one"));
    }

    #[test]
    fn a_hash_that_was_not_kept_stays_unknown() {
        for algorithm in [0, ALGORITHM + 1] {
            let mut hash = StateHash::from_note(algorithm, 5);
            hash.add(effects(&[], b""));
            assert_eq!((hash.value(), hash.to_note()), (None, (0, 0)));
        }
        let (algorithm, value) = StateHash::new().to_note();
        assert_eq!(StateHash::from_note(algorithm, value).value(), Some(0));
    }
}
