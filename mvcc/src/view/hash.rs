//! `HashKV`: a checksum over the bytes that etcd keeps, which this store does not keep in that
//! form.

use revd_btree::Key;

use super::{Snapshot, View};
use crate::encode::crc_of_key_value;
use crate::error::{Fatal, ReadError, Rejected};
use crate::index::Place;
use crate::key_value::KeyValueRef;
use crate::record;

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
    /// 7.18. Equal data, revision and floor give equal hashes on every replica, however far sweeps
    /// have come.
    ///
    /// Reads all of the history; the pages it may see are pinned until it returns.
    ///
    /// # Errors
    /// [`Rejected::FutureRevision`] or [`Rejected::Compacted`]; [`Fatal`] if storage fails.
    pub fn hash_kv(&self, revision: i64) -> Result<Hashed, ReadError> {
        let (snapshot, pin) = self.pinned();
        let revision = if revision == 0 { snapshot.revision } else { revision };
        if revision > 0 && revision < snapshot.compacted {
            return Err(Rejected::Compacted.into());
        }
        if revision > snapshot.revision {
            return Err(Rejected::FutureRevision.into());
        }
        let counts = Counts::new(&snapshot, revision);
        let mut crc = crc32c::crc32c(b"key");
        let mut scratch = Vec::new();
        for stored in pin.history(Key { main: 0, sub: 0, kind: 0 }) {
            let stored = stored?;
            if stored.key.main as i64 > revision {
                break;
            }
            let place = record::place(stored.key)?;
            if counts.counts(place, || record::user_key(&stored))? {
                let kv = record::key_value(&stored)?;
                crc = append(crc, place, kv, &mut scratch);
            }
        }
        let compact_revision = snapshot.compacted;
        Ok(Hashed { hash: crc, compact_revision, hash_revision: revision })
    }
}

/// Which records count (rule 7.15).
struct Counts<'s> {
    snapshot: &'s Snapshot,
    revision: u64,
    /// Some key is visible at `revision`.
    any_live: bool,
}

impl<'s> Counts<'s> {
    fn new(snapshot: &'s Snapshot, revision: i64) -> Self {
        let at = u64::try_from(revision).unwrap_or(0);
        let any_live = if revision == snapshot.revision {
            snapshot.keys.weight().live > 0
        } else {
            snapshot.keys.range(b"", None).any(|(_, entry)| entry.visible_at(at).is_some())
        };
        Self { snapshot, revision: at, any_live }
    }

    /// Everything above the floor counts. Up to the floor only what is visible at the revision; if
    /// nothing is, what compaction kept. No tombstone does.
    fn counts<'k>(
        &self,
        place: Place,
        key: impl FnOnce() -> Result<&'k [u8], Fatal>,
    ) -> Result<bool, Fatal> {
        if place.main as i64 > self.snapshot.compacted {
            return Ok(true);
        }
        if place.is_tombstone() {
            return Ok(false);
        }
        let Some(entry) = self.snapshot.keys.get(key()?) else { return Ok(false) };
        let at = if self.any_live { self.revision } else { self.snapshot.compacted as u64 };
        Ok(entry.visible_at(at).is_some_and(|version| version.place == place))
    }
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
