//! History as events, for watchers that are behind.

use revd_btree::{Key, Pin};

use super::{Snapshot, View};
use crate::error::{Fatal, ReadError, Rejected};
use crate::index::Place;
use crate::key_value::{KeyValue, KeyValueRef};
use crate::record::{self, Records};
use crate::watch::{EventBound, History, PastEvent, Scanned};

/// A record of the past, within one pinned state.
struct Past<'p> {
    place: Place,
    kv: KeyValueRef<'p>,
    snapshot: &'p Snapshot,
    records: &'p Records<'p>,
}

impl PastEvent for Past<'_> {
    fn is_put(&self) -> bool {
        !self.place.is_tombstone()
    }

    fn kv(&self) -> KeyValueRef<'_> {
        self.kv
    }

    fn previous(&self) -> Result<Option<KeyValueRef<'_>>, Fatal> {
        if self.kv.create_revision == self.kv.mod_revision {
            return Ok(None);
        }
        visible(self.snapshot, self.records, self.kv.key, self.kv.mod_revision - 1)
    }
}

/// The record of `key` at a revision that may be compacted: then there is none.
fn visible<'r>(
    snapshot: &Snapshot,
    records: &'r Records<'_>,
    key: &[u8],
    revision: i64,
) -> Result<Option<KeyValueRef<'r>>, Fatal> {
    if revision < 1 || revision < snapshot.compacted {
        return Ok(None);
    }
    let version = snapshot.keys.get(key).and_then(|entry| entry.visible_at(revision as u64));
    version.map(|version| records.load(key, version.place)).transpose()
}

/// What a scan has found so far, against its bounds.
#[derive(Default)]
struct Progress {
    revisions: usize,
    bytes: usize,
    records: usize,
    last_found: u64,
}

impl Progress {
    fn is_at(&self, bound: &EventBound) -> bool {
        self.revisions >= bound.revisions
            || self.bytes >= bound.bytes
            || self.records >= bound.records
    }

    fn found(&mut self, kv: KeyValueRef<'_>) {
        self.bytes += kv.key.len() + kv.value.len();
        self.revisions += usize::from(kv.mod_revision as u64 != self.last_found);
        self.last_found = kv.mod_revision as u64;
    }
}

impl History for View {
    fn revision(&self) -> i64 {
        View::revision(self).0
    }

    fn compacted(&self) -> i64 {
        View::compacted(self)
    }

    fn events(
        &self,
        from: i64,
        bound: EventBound,
        wanted: &mut dyn FnMut(&[u8], i64) -> bool,
        each: &mut dyn FnMut(&dyn PastEvent) -> Result<(), ReadError>,
    ) -> Result<Scanned, ReadError> {
        let (snapshot, pin) = self.pinned();
        if from < snapshot.compacted {
            return Err(Rejected::Compacted.into());
        }
        let records = Records::new(pin, &[]);
        scan(&snapshot, &records, from, bound, wanted, each)
    }

    fn record_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fatal> {
        let (snapshot, pin) = self.pinned();
        let records = Records::new(pin, &[]);
        Ok(visible(&snapshot, &records, key, revision)?.map(|kv| kv.to_owned()))
    }
}

fn scan(
    snapshot: &Snapshot,
    records: &Records<'_>,
    from: i64,
    bound: EventBound,
    wanted: &mut dyn FnMut(&[u8], i64) -> bool,
    each: &mut dyn FnMut(&dyn PastEvent) -> Result<(), ReadError>,
) -> Result<Scanned, ReadError> {
    let newest = snapshot.revision;
    let from = from.max(1);
    let done = Scanned { next: from.max(newest.saturating_add(1)), revision: newest };
    let pin: &Pin<'_> = records.pin();
    let mut progress = Progress::default();
    let mut last_main = 0;
    for stored in pin.history(Key { main: from as u64, sub: 0, kind: 0 }) {
        let stored = stored?;
        let main = stored.key.main;
        if main as i64 > newest {
            break;
        }
        if main != last_main && progress.is_at(&bound) {
            return Ok(Scanned { next: main as i64, revision: newest });
        }
        last_main = main;
        progress.records += 1;
        let place = record::place(stored.key)?;
        let key = record::user_key(&stored)?;
        if wanted(key, main as i64) && survives(snapshot, key, place) {
            let kv = record::key_value(&stored)?;
            progress.found(kv);
            each(&Past { place, kv, snapshot, records })?;
        }
    }
    Ok(done)
}

/// At the floor itself only what compaction keeps is part of history, whether the sweep has come
/// by or not (rules 5.6, 5.7).
fn survives(snapshot: &Snapshot, key: &[u8], place: Place) -> bool {
    if place.main as i64 != snapshot.compacted {
        return true;
    }
    let entry = snapshot.keys.get(key);
    entry.and_then(|entry| entry.survivor(place.main)) == Some(place)
}
