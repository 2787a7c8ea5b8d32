//! `HashKV`: a checksum over the bytes that etcd keeps, which this store does not keep in that
//! form.

use std::sync::Arc;

use revd_btree::{Key, Pin};

use super::View;
use crate::encode::crc_of_key_value;
use crate::error::{Fatal, ReadError, Rejected};
use crate::index::{Entries, Entry, Map, Place};
use crate::key_value::KeyValueRef;
use crate::record;

/// Hashes of compactions that are remembered: the newest.
const REMEMBERED: usize = 10;

/// The answer of [`View::hash_kv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// CRC-32C over all records that count.
    pub hash: u32,
    /// The compaction floor at that time; -1 if nothing was ever compacted.
    pub compact_revision: i64,
    /// The revision hashed.
    pub hash_revision: i64,
}

impl View {
    /// Hashes the history up to `revision` (0 means the newest, nothing is below 0): rules 7.15 to
    /// 7.19. Equal data, revision and `compact_revision` give equal hashes on every replica,
    /// however far sweeps have come.
    ///
    /// The revisions of the last ten compactions that this process has finished are answered from
    /// memory, with the hash of what was there before and the floor before as `compact_revision`.
    /// For any other this reads all of the history; the pages that it may see are pinned until it
    /// returns.
    ///
    /// # Errors
    /// [`Rejected::FutureRevision`] or [`Rejected::Compacted`]; [`Fatal`] if storage fails.
    pub fn hash_kv(&self, revision: i64) -> Result<Hashed, ReadError> {
        let (snapshot, pin) = self.pinned();
        if let Some(known) = snapshot.hashes.iter().find(|known| known.hash_revision == revision) {
            return Ok(*known);
        }
        let revision = if revision == 0 { snapshot.revision } else { revision };
        if revision > 0 && revision < snapshot.compacted {
            return Err(Rejected::Compacted.into());
        }
        if revision > snapshot.revision {
            return Err(Rejected::FutureRevision.into());
        }
        let at = u64::try_from(revision).unwrap_or(0);
        let counts_live = |entry: Entry<'_>| entry.visible_at(at).is_some();
        let is_filtered = if revision == snapshot.revision {
            snapshot.keys.weight().live > 0
        } else {
            snapshot.keys.range(b"", None).any(|(_, entry)| counts_live(entry))
        };
        let mut hashing = Hashing::new(snapshot.keys.clone(), snapshot.compacted, revision);
        hashing.is_filtered = Some(is_filtered);
        hashing.step(&pin, usize::MAX)?;
        Ok(hashing.hashed())
    }
}

/// The hash of the history up to a revision, on its way.
#[derive(Debug)]
pub(crate) struct Hashing {
    /// The index before anything above the floor was given up.
    keys: Map<Entries>,
    /// The compaction floor.
    compacted: i64,
    revision: i64,
    /// Something is left at the revision, so up to the floor only that counts. `None` before the
    /// first step, which asks what compaction to the revision keeps.
    is_filtered: Option<bool>,
    /// No record below this is left to hash.
    next: Key,
    crc: u32,
    scratch: Vec<u8>,
}

impl Hashing {
    /// Begins the hash of a store with this index and floor, up to a revision that is not below it.
    pub(crate) fn new(keys: Map<Entries>, compacted: i64, revision: i64) -> Self {
        let (next, crc) = (Key::MIN, crc32c::crc32c(b"key"));
        let (is_filtered, scratch) = (None, Vec::new());
        Self { keys, compacted, revision, is_filtered, next, crc, scratch }
    }

    /// Hashes about `max_bytes` of records; true once all of them are.
    pub(crate) fn step(&mut self, pin: &Pin<'_>, max_bytes: usize) -> Result<bool, Fatal> {
        let revision = u64::try_from(self.revision).unwrap_or(0);
        let is_left = |(_, entry): (&[u8], Entry<'_>)| entry.survivor(revision).is_some();
        let is_filtered =
            *self.is_filtered.get_or_insert_with(|| self.keys.range(b"", None).any(is_left));
        // With nothing left at the revision, what compaction to the floor kept counts.
        let visible = if is_filtered { revision } else { self.compacted.max(0) as u64 };
        let mut bytes = 0;
        for stored in pin.history(self.next) {
            let stored = stored?;
            if stored.key.main as i64 > self.revision {
                break;
            }
            if bytes >= max_bytes {
                self.next = stored.key;
                return Ok(false);
            }
            bytes += stored.head.len() + stored.value_len();
            let place = record::place(stored.key)?;
            if self.counts(place, visible, || record::user_key(&stored))? {
                let kv = record::key_value(&stored)?;
                self.crc = append(self.crc, place, kv, &mut self.scratch);
            }
        }
        Ok(true)
    }

    /// What was hashed.
    pub(crate) fn hashed(&self) -> Hashed {
        let (compact_revision, hash_revision) = (self.compacted, self.revision);
        Hashed { hash: self.crc, compact_revision, hash_revision }
    }

    /// Rule 7.15: everything above the floor counts. Up to it only what is visible at a revision,
    /// and no tombstone.
    fn counts<'k>(
        &self,
        place: Place,
        visible: u64,
        key: impl FnOnce() -> Result<&'k [u8], Fatal>,
    ) -> Result<bool, Fatal> {
        if place.main as i64 > self.compacted {
            return Ok(true);
        }
        if place.is_tombstone() {
            return Ok(false);
        }
        let Some(entry) = self.keys.get(key()?) else { return Ok(false) };
        Ok(entry.visible_at(visible).is_some_and(|version| version.place == place))
    }
}

/// Adds the hash of a compaction, which is newer than the others, and forgets the oldest.
pub(crate) fn remember(hashes: &mut Arc<[Hashed]>, hashed: Hashed) {
    let dropped = (hashes.len() + 1).saturating_sub(REMEMBERED);
    *hashes = hashes[dropped..].iter().copied().chain([hashed]).collect();
}

/// Continues the hash over the key and the value under which etcd stores a record.
fn append(crc: u32, place: Place, kv: KeyValueRef<'_>, scratch: &mut Vec<u8>) -> u32 {
    let mut stored_key = [0u8; 18];
    stored_key[..8].copy_from_slice(&place.main.to_be_bytes());
    stored_key[8] = b'_';
    stored_key[9..17].copy_from_slice(&place.sub().to_be_bytes());
    stored_key[17] = b't';
    let len = if place.is_tombstone() { 18 } else { 17 };
    let crc = crc32c::crc32c_append(crc, &stored_key[..len]);
    // A tombstone's stored record holds the key and nothing else (rule 1.7).
    let kv = if place.is_tombstone() {
        KeyValueRef { key: kv.key, ..KeyValueRef::default() }
    } else {
        kv
    };
    crc_of_key_value(crc, kv, scratch)
}
