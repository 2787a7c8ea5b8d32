//! Puts and deletions.

use bytes::Bytes;

use super::{Outcome, Store};
use crate::answer::{Deleted, PutDone};
use crate::error::{Fatal, Rejected};
use crate::events::Change;
use crate::index::{Known, Place};
use crate::key_value::{KeyValue, LeaseId, Revision};
use crate::record::{encode_head, tree_key};
use crate::request::{DeleteRange, Put, Range};

/// The revision that a request is writing. Its changes are numbered as they come (rule 1.4); the
/// store moves to it when the request is over, if there was any.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) main: i64,
    pub(super) changes: u64,
}

impl Writing {
    /// The revision to put into an answer's header (rule 4.13).
    pub(super) fn revision(&self) -> Revision {
        Revision(if self.changes > 0 { self.main } else { self.main - 1 })
    }

    fn next(&mut self, is_tombstone: bool) -> Place {
        let place = Place::new(self.main as u64, self.changes, is_tombstone);
        self.changes += 1;
        place
    }
}

impl Store {
    /// Writes one key. The request must have passed [`Put::check`].
    ///
    /// Rejected with [`Rejected::LeaseNotFound`], then [`Rejected::KeyNotFound`] (rule 3.8).
    ///
    /// # Errors
    /// [`Fatal::Full`]: nothing was changed. Any other [`Fatal`]: the store must not be used any
    /// more.
    pub fn put(&mut self, put: &Put) -> Outcome<PutDone> {
        self.writing(|store| {
            if let Err(rejected) = store.check_put(put) {
                return Ok(Err(rejected));
            }
            store.admit_put(put)?;
            let mut writing = store.begin();
            let done = store.apply_put(&mut writing, put)?;
            store.finish(&writing);
            Ok(Ok(done))
        })
    }

    /// Deletes the keys of a range, all in one revision. The request must have passed
    /// [`DeleteRange::check`]. Never rejected.
    ///
    /// # Errors
    /// [`Fatal::Full`], if even the reserve is used up: nothing was changed. Any other [`Fatal`]:
    /// the store must not be used any more.
    pub fn delete_range(&mut self, delete: &DeleteRange) -> Outcome<Deleted> {
        self.writing(|store| {
            let mut writing = store.begin();
            let done = store.apply_delete(&mut writing, delete)?;
            store.finish(&writing);
            Ok(Ok(done))
        })
    }

    pub(super) fn begin(&self) -> Writing {
        Writing { main: self.revision + 1, changes: 0 }
    }

    pub(super) fn finish(&mut self, writing: &Writing) {
        self.revision = writing.revision().0;
    }

    /// Whether lease and key that a put relies on exist.
    pub(super) fn check_put(&self, put: &Put) -> Result<(), Rejected> {
        if put.lease != 0 && self.leases.get(LeaseId(put.lease)).is_none() {
            return Err(Rejected::LeaseNotFound);
        }
        let needs_key = put.ignore_value || put.ignore_lease;
        if needs_key && !self.keys.get(&put.key).is_some_and(|entry| entry.is_live()) {
            return Err(Rejected::KeyNotFound);
        }
        Ok(())
    }

    pub(super) fn apply_put(&mut self, writing: &mut Writing, put: &Put) -> Result<PutDone, Fatal> {
        let before = if put.prev_kv || put.ignore_value {
            let reading = self.reading();
            reading.get(&put.key, writing.main as u64)?.map(|kv| kv.to_owned())
        } else {
            None
        };
        let value = match &before {
            Some(before) if put.ignore_value => before.value.clone(),
            _ => put.value.clone(),
        };
        let lease = if put.ignore_lease { self.lease_of(&put.key) } else { LeaseId(put.lease) };
        self.write_put(writing, &put.key, value, lease)?;
        let prev_kv = before.filter(|_| put.prev_kv);
        Ok(PutDone { revision: writing.revision(), prev_kv })
    }

    pub(super) fn apply_delete(
        &mut self,
        writing: &mut Writing,
        delete: &DeleteRange,
    ) -> Result<Deleted, Fatal> {
        let range = Range {
            key: delete.key.clone(),
            range_end: delete.range_end.clone(),
            ..Range::default()
        };
        let mut keys = Vec::new();
        let mut prev_kvs = Vec::new();
        let reading = self.reading();
        reading.visit(&range, writing.main as u64, &mut |key, version| {
            keys.push(Bytes::copy_from_slice(key));
            if delete.prev_kv {
                prev_kvs.push(reading.records.load(key, version.place)?.to_owned());
            }
            Ok(true)
        })?;
        drop(reading);
        if writing.changes == 0 {
            self.admit_tombstones(&keys)?;
        }
        for key in &keys {
            self.write_tombstone(writing, key)?;
        }
        Ok(Deleted { revision: writing.revision(), deleted: keys.len() as i64, prev_kvs })
    }

    /// The lease that a key is attached to; 0 for none.
    fn lease_of(&self, key: &[u8]) -> LeaseId {
        let number = self.keys.get(key).map_or(0, |entry| entry.lease());
        self.numbers.name(number).unwrap_or_default()
    }

    fn write_put(
        &mut self,
        writing: &mut Writing,
        key: &Bytes,
        value: Bytes,
        lease: LeaseId,
    ) -> Result<(), Fatal> {
        let place = writing.next(false);
        let floor = self.compaction.scheduled;
        let number = if lease.0 == 0 { 0 } else { self.leases.number(lease) };
        let live = self.keys.weight().live;
        let ((create, version), before) = self.keys.modify(key, |entry| match entry {
            Some(mut entry) => {
                let before = entry.attachment();
                (None, (entry.put(place, number, floor), Some(before)))
            }
            None => (Some(Known::new(place, place.main, 1, number)), ((place.main, 1), None)),
        });
        if self.keys.weight().live > live {
            self.recent.push(place.main, key, 1);
        }
        self.detach(before);
        if number != 0 {
            self.leases.attach(number, place);
        }
        let kv = KeyValue {
            key: key.clone(),
            create_revision: create as i64,
            mod_revision: writing.main,
            version: version as i64,
            value,
            lease: lease.0,
        };
        self.append(place, kv)
    }

    pub(super) fn write_tombstone(
        &mut self,
        writing: &mut Writing,
        key: &Bytes,
    ) -> Result<(), Fatal> {
        let place = writing.next(true);
        let floor = self.compaction.scheduled;
        let live = self.keys.weight().live;
        let before = self.keys.modify(key, |entry| {
            let before = entry.map(|mut entry| {
                let before = entry.attachment();
                entry.delete(place, floor);
                before
            });
            (None, before)
        });
        if self.keys.weight().live < live {
            self.recent.push(place.main, key, -1);
        }
        self.detach(before);
        let kv = KeyValue { key: key.clone(), mod_revision: writing.main, ..KeyValue::default() };
        self.append(place, kv)
    }

    /// Ends the attachment that a key had by its newest record before: lease and place of that.
    fn detach(&mut self, before: Option<(u32, Place)>) {
        if let Some((number, place)) = before.filter(|(number, _)| *number != 0) {
            self.leases.detach(number, place);
        }
    }

    /// Writes the record and remembers it for readers and watchers.
    fn append(&mut self, place: Place, kv: KeyValue) -> Result<(), Fatal> {
        let is_put = !place.is_tombstone();
        let is_long = encode_head(is_put, kv.as_ref(), &mut self.head);
        // Room for the whole request was admitted before its first change.
        let key = tree_key(place);
        if is_long {
            let stored = [&kv.key[..], &kv.value].concat();
            self.tree.append_from_reserve(key, &self.head, &stored)?;
        } else {
            self.tree.append_from_reserve(key, &self.head, &kv.value)?;
        }
        self.pending.push(Change { is_put, sub: place.sub(), kv });
        Ok(())
    }
}
