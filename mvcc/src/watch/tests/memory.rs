//! A list of all versions ever written, as the history behind the hub and as the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{WatchOptions, WatchStream};
use crate::encode::take_varint;
use crate::error::{Fatal, ReadError, Rejected};
use crate::events::{Batch, Change};
use crate::key_value::{KeyValue, KeyValueRef};
use crate::watch::Hub;
use crate::watch::history::{EventBound, History, PastEvent, Scanned};

/// A writer, its history, and the hub.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) past: Arc<Memory>,
    pub(super) hub: Hub,
}

/// A change to be made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op<'a> {
    Put(&'a str, &'a str),
    Delete(&'a str),
}

impl World {
    pub(super) fn new() -> World {
        let past = Arc::new(Memory::default());
        past.state.lock().revision = 1;
        past.state.lock().compacted = -1;
        World { hub: Hub::over(past.clone()), past }
    }

    pub(super) fn stream(&self) -> WatchStream {
        self.hub.stream(WatchOptions::default())
    }

    pub(super) fn put(&self, key: &str, value: &str) -> i64 {
        self.batch(&[&[Op::Put(key, value)]])
    }

    pub(super) fn delete(&self, key: &str) -> i64 {
        self.batch(&[&[Op::Delete(key)]])
    }

    /// Makes all changes in one revision.
    pub(super) fn txn(&self, ops: &[Op<'_>]) -> i64 {
        self.batch(&[ops])
    }

    /// Makes several revisions visible at once; returns the last.
    pub(super) fn batch(&self, revisions: &[&[Op<'_>]]) -> i64 {
        let batch = self.past.write(revisions);
        self.hub.publish(&batch);
        batch.revision
    }

    pub(super) fn compact(&self, revision: i64) {
        self.past.state.lock().compact(revision);
    }
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) state: Mutex<Versions>,
}

#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) revision: i64,
    pub(super) compacted: i64,
    /// In order of (main, sub), less what compaction took.
    changes: Arc<Vec<Change>>,
    /// The same, whole.
    pub(super) all: Vec<Change>,
    live: BTreeMap<Bytes, KeyValue>,
    /// Reads of history so far.
    pub(super) reads: usize,
    /// Reads of single records so far.
    pub(super) lookups: usize,
    pub(super) is_broken: bool,
}

impl Memory {
    /// Writes without telling the hub.
    pub(super) fn write(&self, revisions: &[&[Op<'_>]]) -> Batch {
        let mut state = self.state.lock();
        let before = state.all.len();
        for ops in revisions {
            state.revision += 1;
            for (sub, op) in ops.iter().enumerate() {
                let change = state.change(sub as u64, *op);
                Arc::make_mut(&mut state.changes).push(change.clone());
                state.all.push(change);
            }
        }
        Batch { changes: state.all[before..].to_vec(), revision: state.revision }
    }

    pub(super) fn is_live(&self, key: &str) -> bool {
        self.state.lock().live.contains_key(key.as_bytes())
    }
}

impl Versions {
    fn change(&mut self, sub: u64, op: Op<'_>) -> Change {
        let main = self.revision;
        match op {
            Op::Put(key, value) => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                let before = self.live.get(&key);
                let kv = KeyValue {
                    create_revision: before.map_or(main, |before| before.create_revision),
                    mod_revision: main,
                    version: before.map_or(1, |before| before.version + 1),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                    lease: 0,
                    key: key.clone(),
                };
                self.live.insert(key, kv.clone());
                Change { is_put: true, sub, kv }
            }
            Op::Delete(key) => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                self.live.remove(&key).expect("a deleted key was there");
                let kv = KeyValue { key, mod_revision: main, ..KeyValue::default() };
                Change { is_put: false, sub, kv }
            }
        }
    }

    /// Keeps what rule 7.5 keeps.
    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = revision;
        let mut newest = BTreeMap::new();
        for (place, change) in self.changes.iter().enumerate() {
            if change.kv.mod_revision <= revision {
                newest.insert(change.kv.key.clone(), place);
            }
        }
        let mut place = 0;
        Arc::make_mut(&mut self.changes).retain(|change| {
            let main = change.kv.mod_revision;
            let is_newest = newest.get(&change.kv.key) == Some(&place);
            place += 1;
            main > revision || (is_newest && (change.is_put || main == revision))
        });
    }

    pub(super) fn record_at(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        if revision < self.compacted {
            return None;
        }
        let of_key = |change: &&Change| change.kv.key == key && change.kv.mod_revision <= revision;
        let newest = self.changes.iter().rev().find(of_key)?;
        newest.is_put.then(|| newest.kv.clone())
    }
}

struct Past<'a> {
    versions: &'a Versions,
    change: &'a Change,
    previous: Option<KeyValue>,
}

impl PastEvent for Past<'_> {
    fn is_put(&self) -> bool {
        self.change.is_put
    }

    fn kv(&self) -> KeyValueRef<'_> {
        self.change.kv.as_ref()
    }

    fn previous(&self) -> Result<Option<KeyValueRef<'_>>, Fatal> {
        assert!(self.versions.revision >= self.change.kv.mod_revision);
        Ok(self.previous.as_ref().map(KeyValue::as_ref))
    }
}

impl Past<'_> {
    fn new<'a>(versions: &'a Versions, change: &'a Change) -> Past<'a> {
        let kv = &change.kv;
        let is_creation = change.is_put && kv.create_revision == kv.mod_revision;
        let previous = versions.record_at(&kv.key, kv.mod_revision - 1);
        Past { versions, change, previous: previous.filter(|_| !is_creation) }
    }
}

impl History for Memory {
    fn revision(&self) -> i64 {
        self.state.lock().revision
    }

    fn compacted(&self) -> i64 {
        self.state.lock().compacted
    }

    fn events(
        &self,
        from: i64,
        bound: EventBound,
        wanted: &mut dyn FnMut(&[u8], i64) -> bool,
        each: &mut dyn FnMut(&dyn PastEvent) -> Result<(), ReadError>,
    ) -> Result<Scanned, ReadError> {
        let versions = {
            let mut state = self.state.lock();
            state.reads += 1;
            Versions {
                revision: state.revision,
                compacted: state.compacted,
                changes: state.changes.clone(),
                is_broken: state.is_broken,
                ..Versions::default()
            }
        };
        if versions.is_broken {
            return Err(Fatal::Poisoned.into());
        }
        if from < versions.compacted {
            return Err(Rejected::Compacted.into());
        }
        let (mut revisions, mut bytes, mut records, mut last) = (0, 0, 0, 0);
        let begin = versions.changes.partition_point(|change| change.kv.mod_revision < from);
        for change in &versions.changes[begin..] {
            let main = change.kv.mod_revision;
            let is_full =
                revisions >= bound.revisions || bytes >= bound.bytes || records >= bound.records;
            if main != last && is_full {
                return Ok(Scanned { next: main, revision: versions.revision });
            }
            records += 1;
            if wanted(&change.kv.key, main) {
                each(&Past::new(&versions, change))?;
                bytes += change.kv.key.len() + change.kv.value.len();
                revisions += usize::from(main != last);
            }
            last = main;
        }
        Ok(Scanned { next: from.max(versions.revision + 1), revision: versions.revision })
    }

    fn record_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fatal> {
        let mut state = self.state.lock();
        state.lookups += 1;
        if state.is_broken { Err(Fatal::Poisoned) } else { Ok(state.record_at(key, revision)) }
    }
}

/// A decoded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) is_put: bool,
    pub(super) kv: KeyValue,
    pub(super) previous: Option<KeyValue>,
}

/// Reads an encoded `mvccpb.Event`; panics on anything that is not one.
pub(super) fn decode(event: &[u8]) -> Seen {
    let mut seen = Seen { is_put: true, kv: KeyValue::default(), previous: None };
    fields(event, |field, number, bytes| match field {
        1 => seen.is_put = number == 0,
        2 => seen.kv = decode_key_value(bytes),
        3 => seen.previous = Some(decode_key_value(bytes)),
        other => panic!("field {other} in an event"),
    });
    seen
}

fn decode_key_value(message: &[u8]) -> KeyValue {
    let mut kv = KeyValue::default();
    fields(message, |field, number, bytes| match field {
        1 => kv.key = Bytes::copy_from_slice(bytes),
        2 => kv.create_revision = number,
        3 => kv.mod_revision = number,
        4 => kv.version = number,
        5 => kv.value = Bytes::copy_from_slice(bytes),
        6 => kv.lease = number,
        other => panic!("field {other} in a key-value"),
    });
    kv
}

fn fields(mut message: &[u8], mut each: impl FnMut(u64, i64, &[u8])) {
    while !message.is_empty() {
        let tag = take_varint(&mut message).unwrap();
        let number = take_varint(&mut message).unwrap();
        match tag & 7 {
            0 => each(tag >> 3, number as i64, &[]),
            2 => {
                let (bytes, rest) = message.split_at(usize::try_from(number).unwrap());
                message = rest;
                each(tag >> 3, 0, bytes);
            }
            other => panic!("wire type {other}"),
        }
    }
}
