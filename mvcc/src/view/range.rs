//! Ranges: find in the index, order, cut, and copy once from the page into the answer.
//!
//! The index alone answers counts, existence, mod revisions, and (of newest records) create
//! revisions and versions. A record's head is read only where an older record's create revision or
//! version is asked for, its value only to be returned or sorted by.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;

use crate::answer::Ranged;
use crate::encode::{encode_range_element, key_value_len, varint_len};
use crate::error::Fatal;
use crate::index::{Entry, Map, Version};
use crate::key_value::{KeyValueRef, Revision};
use crate::record::Records;
use crate::request::{Range, SortOrder, SortTarget};

/// A state of the key space that is being read: a published one, or the writer's own.
pub(crate) struct Reading<'a> {
    pub(crate) keys: &'a Map<Entry>,
    pub(crate) records: Records<'a>,
    /// The newest revision in `keys`, and what answers say in their header.
    pub(crate) revision: i64,
    /// Once set, whatever runs may stop at any record: nobody looks at its result.
    pub(crate) abandoned: Option<&'a AtomicBool>,
}

/// A record that belongs into an answer.
#[derive(Clone, Copy)]
struct Found<'a> {
    key: &'a [u8],
    version: Version,
}

/// Whether the walk goes on.
#[derive(PartialEq)]
enum Walk {
    On,
    Stop,
}

/// What a walk has found.
struct Walked<'a> {
    found: Vec<Found<'a>>,
    /// Keys visible, filters aside.
    visible: u64,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(keys: &'a Map<Entry>, records: Records<'a>, revision: i64) -> Self {
        Self { keys, records, revision, abandoned: None }
    }

    /// Answers `range` at revision `at`, which exists and is not compacted.
    pub(crate) fn range(&self, range: &Range, at: u64) -> Result<Ranged, Fatal> {
        let revision = Revision(self.revision);
        if range.count_only {
            let count = self.count(range, at)?;
            return Ok(Ranged { count, revision, ..Ranged::default() });
        }
        let is_newest = self.is_newest(at);
        let Walked { found, visible } = self.walk(range, at, cap(range), is_newest)?;
        let count = if is_newest { self.count(range, at)? } else { visible as i64 };
        let (kvs, returned, more) = self.collect(range, found)?;
        Ok(Ranged { kvs, returned, more, count, revision })
    }

    /// The record of `key` that is visible at revision `at`.
    pub(crate) fn get(&self, key: &[u8], at: u64) -> Result<Option<KeyValueRef<'_>>, Fatal> {
        let version = self.keys.get(key).and_then(|entry| entry.visible_at(at));
        version.map(|version| self.records.load(key, version.place)).transpose()
    }

    /// Shows `each` all records of an interval that are visible at revision `at`, in key order,
    /// until it returns false or the read is abandoned.
    pub(crate) fn visit<'s>(
        &'s self,
        range: &'s Range,
        at: u64,
        each: &mut dyn FnMut(&'s [u8], Version) -> Result<bool, Fatal>,
    ) -> Result<(), Fatal> {
        let interval = range.interval();
        if interval.is_single() {
            if let Some(version) = self.keys.get(&range.key).and_then(|e| e.visible_at(at)) {
                each(&range.key, version)?;
            }
            return Ok(());
        }
        if interval.is_empty() {
            return Ok(());
        }
        let end = interval.end().map(|_| &range.range_end[..]);
        for (key, entry) in self.keys.range(&range.key, end) {
            if self.is_abandoned() {
                break;
            }
            if let Some(version) = entry.visible_at(at)
                && !each(key, version)?
            {
                break;
            }
        }
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.is_some_and(|abandoned| abandoned.load(Relaxed))
    }

    fn is_newest(&self, at: u64) -> bool {
        at as i64 >= self.revision
    }

    fn count(&self, range: &Range, at: u64) -> Result<i64, Fatal> {
        let interval = range.interval();
        if self.is_newest(at) && !interval.is_single() {
            if interval.is_empty() {
                return Ok(0);
            }
            let end = interval.end().map(|end| &end[..]);
            return Ok(self.keys.count(&range.key, end) as i64);
        }
        let mut count = 0;
        self.visit(range, at, &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// Finds what passes the filters, in key order, at most `cap` records of it.
    fn walk<'s>(
        &'s self,
        range: &'s Range,
        at: u64,
        cap: usize,
        is_newest: bool,
    ) -> Result<Walked<'s>, Fatal> {
        let mut walked = Walked { found: Vec::new(), visible: 0 };
        self.visit(range, at, &mut |key, version| {
            let walk = self.step(range, cap, &mut walked, Found { key, version })?;
            // At the newest revision the index counts; at an older one, only a walk to the end
            // does.
            Ok(walk == Walk::On || !is_newest)
        })?;
        Ok(walked)
    }

    fn step<'s>(
        &'s self,
        range: &Range,
        cap: usize,
        walked: &mut Walked<'s>,
        mut found: Found<'s>,
    ) -> Result<Walk, Fatal> {
        walked.visible += 1;
        if walked.found.len() >= cap {
            return Ok(Walk::Stop);
        }
        let by_create = range.min_create_revision != 0 || range.max_create_revision != 0;
        let sorted = matches!(range.sort_target, SortTarget::Version | SortTarget::Create);
        if by_create || sorted || range.keys_only {
            found.version.known = Some(self.generation(found)?);
        }
        if passes(range, found.version) {
            walked.found.push(found);
        }
        Ok(if walked.found.len() >= cap { Walk::Stop } else { Walk::On })
    }

    /// Create revision and version of a record.
    fn generation(&self, found: Found<'_>) -> Result<(u64, u64), Fatal> {
        if let Some(known) = found.version.known {
            return Ok(known);
        }
        let meta = self.records.load_head(found.key, found.version.place)?;
        Ok((meta.create, meta.version))
    }

    /// Orders, cuts to the limit and encodes.
    fn collect(
        &self,
        range: &Range,
        mut found: Vec<Found<'_>>,
    ) -> Result<(Bytes, usize, bool), Fatal> {
        let limit = limit(range);
        let more = found.len() > limit;
        if range.sort_target == SortTarget::Value {
            let mut records = self.load_all(&found)?;
            sort(&mut records, range.sort_order, |a, b| a.value.cmp(b.value));
            records.truncate(limit);
            if range.keys_only {
                records.iter_mut().for_each(|kv| kv.value = &[]);
            }
            return Ok((self.encode_all(&records), records.len(), more));
        }
        order(range, &mut found);
        found.truncate(limit);
        let records = if range.keys_only { bare(&found) } else { self.load_all(&found)? };
        Ok((self.encode_all(&records), records.len(), more))
    }

    fn load_all<'s>(&'s self, found: &[Found<'_>]) -> Result<Vec<KeyValueRef<'s>>, Fatal> {
        let found = found.iter().take_while(|_| !self.is_abandoned());
        found.map(|found| self.records.load(found.key, found.version.place)).collect()
    }

    fn encode_all(&self, records: &[KeyValueRef<'_>]) -> Bytes {
        let len = |kv: &KeyValueRef<'_>| {
            let len = key_value_len(*kv);
            1 + varint_len(len as u64) + len
        };
        let mut out = Vec::with_capacity(records.iter().map(len).sum());
        for kv in records.iter().take_while(|_| !self.is_abandoned()) {
            encode_range_element(*kv, &mut out);
        }
        out.into()
    }
}

/// Records as the index knows them, without value and lease (rule 2.13).
fn bare<'s>(found: &[Found<'s>]) -> Vec<KeyValueRef<'s>> {
    let bare = |found: &Found<'s>| {
        let (create, version) = found.version.known.expect("filled in by the walk for keys_only");
        KeyValueRef {
            key: found.key,
            create_revision: create as i64,
            mod_revision: found.version.place.main as i64,
            version: version as i64,
            ..KeyValueRef::default()
        }
    };
    found.iter().map(bare).collect()
}

fn limit(range: &Range) -> usize {
    match usize::try_from(range.limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    }
}

/// How many records to look for: one more than the limit tells whether there are more. An explicit
/// order needs all (rule 2.16). Order NONE with another target than the key sorts only what the
/// limit let through, unless there are filters (rule 2.15).
fn cap(range: &Range) -> usize {
    let by_key = range.sort_target == SortTarget::Key && range.sort_order != SortOrder::Descend;
    let unordered = range.sort_order == SortOrder::None && !range.has_filters();
    if by_key || unordered { limit(range).saturating_add(1) } else { usize::MAX }
}

fn passes(range: &Range, version: Version) -> bool {
    let modified = version.place.main as i64;
    let created = version.known.map_or(0, |(create, _)| create as i64);
    (range.min_mod_revision == 0 || modified >= range.min_mod_revision)
        && (range.max_mod_revision == 0 || modified <= range.max_mod_revision)
        && (range.min_create_revision == 0 || created >= range.min_create_revision)
        && (range.max_create_revision == 0 || created <= range.max_create_revision)
}

/// Orders by anything but the value. Records come in key order, which is kept among equals.
fn order(range: &Range, found: &mut [Found<'_>]) {
    let generation = |found: &Found<'_>| found.version.known.unwrap_or_default();
    match range.sort_target {
        SortTarget::Key if range.sort_order == SortOrder::Descend => found.reverse(),
        SortTarget::Version => {
            sort(found, range.sort_order, |a, b| generation(a).1.cmp(&generation(b).1));
        }
        SortTarget::Create => {
            sort(found, range.sort_order, |a, b| generation(a).0.cmp(&generation(b).0));
        }
        SortTarget::Mod => {
            let main = |found: &Found<'_>| found.version.place.main;
            sort(found, range.sort_order, |a, b| main(a).cmp(&main(b)));
        }
        _ => {}
    }
}

fn sort<T>(items: &mut [T], order: SortOrder, mut compare: impl FnMut(&T, &T) -> Ordering) {
    if order == SortOrder::Descend {
        items.sort_by(|a, b| compare(b, a));
    } else {
        items.sort_by(compare);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use revd_disk::Sim;

    use super::*;
    use crate::{Options, Put, Store};

    #[test]
    fn rule_2_26_an_abandoned_read_stops_where_it_is() {
        let mut options = Options::new([3; 16]);
        options.map_bytes = 1 << 30;
        let path = Path::new("tree");
        let mut store = Store::create(Arc::new(Sim::new(1)), path, options, b"").unwrap();
        for n in 0..100 {
            let put = Put { key: format!("k{n:02}").into(), ..Put::default() };
            store.put(&put).unwrap().unwrap();
        }
        store.publish();
        let view = store.view();
        let (snapshot, pin) = view.pinned();
        let abandoned = AtomicBool::new(false);
        let reading = Reading {
            abandoned: Some(&abandoned),
            ..Reading::new(&snapshot.keys, Records::new(pin, &[]), snapshot.revision)
        };
        let all = Range { key: "k".into(), range_end: "l".into(), ..Range::default() };
        let mut seen = 0;
        let visited = reading.visit(&all, 101, &mut |_, _| {
            seen += 1;
            abandoned.store(seen == 10, Relaxed);
            Ok(true)
        });
        visited.unwrap();
        assert_eq!(seen, 10);
    }
}
