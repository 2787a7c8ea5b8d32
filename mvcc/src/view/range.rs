//! Ranges: find in the index, order, cut, and copy once from the page into the answer.
//!
//! The index alone answers counts, existence, mod revisions, and (of newest records) create
//! revisions and versions. A record's head is read only where an older record's create revision or
//! version is asked for, its value only to be returned or sorted by.
//!
//! A range costs what it returns, and what is dead or newer in between, wherever the keys can be
//! counted without a walk: at the newest revision, and at recent ones. An order of its own with a
//! limit looks at the whole range, but holds no more than twice the limit of it.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;

use crate::answer::Ranged;
use crate::encode::{encode_range_element, key_value_len, varint_len};
use crate::error::Fatal;
use crate::index::{Entries, Map, Recent, Version};
use crate::key_value::{KeyValueRef, Revision};
use crate::record::Records;
use crate::request::{Range, SortOrder, SortTarget};

/// Records up to which an ordered range does not bother to drop what it will not return.
const FOUND_MIN: usize = 1024;

/// A state of the key space that is being read: a published one, or the writer's own.
pub(crate) struct Reading<'a> {
    pub(crate) keys: &'a Map<Entries>,
    /// Belongs to `keys`.
    pub(crate) recent: &'a Recent,
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
    /// Known only if it is what to sort by.
    value: &'a [u8],
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
    pub(crate) fn new(
        keys: &'a Map<Entries>,
        recent: &'a Recent,
        records: Records<'a>,
        revision: i64,
    ) -> Self {
        Self { keys, recent, records, revision, abandoned: None }
    }

    /// Answers `range` at revision `at`, which exists and is not compacted.
    pub(crate) fn range(&self, range: &Range, at: u64) -> Result<Ranged, Fatal> {
        let revision = Revision(self.revision);
        if range.count_only {
            let count = self.counted(range, at)?;
            return Ok(Ranged { count, revision, ..Ranged::default() });
        }
        let count = self.count(range, at);
        let Walked { found, visible } = self.walk(range, at, count.is_some())?;
        let (kvs, returned, more) = self.collect(range, found, usize::MAX)?;
        Ok(Ranged { kvs, returned, more, count: count.unwrap_or(visible as i64), revision })
    }

    /// Answers the beginning of `range`; see [`View::piece`](crate::View::piece).
    pub(crate) fn piece(
        &self,
        range: &Range,
        at: u64,
        bytes_max: usize,
        is_counted: bool,
    ) -> Result<Ranged, Fatal> {
        let revision = Revision(self.revision);
        let count = if is_counted { self.counted(range, at)? } else { 0 };
        if range.count_only {
            return Ok(Ranged { count, revision, ..Ranged::default() });
        }
        let Walked { found, .. } = self.walk(range, at, true)?;
        let (kvs, returned, more) = self.collect(range, found, bytes_max)?;
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
        let entries = if self.is_newest(at) {
            self.keys.range_live(&range.key, end)
        } else {
            self.keys.range(&range.key, end)
        };
        for (key, entry) in entries {
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

    /// Keys in the range, if they can be counted without a walk: now, less what was gained since.
    fn count(&self, range: &Range, at: u64) -> Option<i64> {
        let interval = range.interval();
        if interval.is_single() {
            return None;
        }
        if interval.is_empty() {
            return Some(0);
        }
        let end = interval.end().map(|end| &end[..]);
        let growth =
            if self.is_newest(at) { 0 } else { self.recent.growth(at, &range.key, end)? };
        Some(self.keys.count(&range.key, end) as i64 - growth)
    }

    fn counted(&self, range: &Range, at: u64) -> Result<i64, Fatal> {
        self.count(range, at).map_or_else(|| self.count_by_walk(range, at), Ok)
    }

    fn count_by_walk(&self, range: &Range, at: u64) -> Result<i64, Fatal> {
        let mut count = 0;
        self.visit(range, at, &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    /// Finds what passes the filters and may be returned, in key order. Unless the keys are counted
    /// already, it walks to the end.
    fn walk<'s>(
        &'s self,
        range: &'s Range,
        at: u64,
        is_counted: bool,
    ) -> Result<Walked<'s>, Fatal> {
        let mut walked = Walked { found: Vec::new(), visible: 0 };
        let cap = cap(range);
        self.visit(range, at, &mut |key, version| {
            let walk = self.step(range, cap, &mut walked, Found { key, version, value: &[] })?;
            Ok(walk == Walk::On || !is_counted)
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
            if range.sort_target == SortTarget::Value {
                found.value = self.records.load(found.key, found.version.place)?.value;
            }
            walked.found.push(found);
            shorten(range, &mut walked.found);
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

    /// Orders, cuts to the limit and to `bytes_max`, and encodes. One record is never too long.
    fn collect(
        &self,
        range: &Range,
        mut found: Vec<Found<'_>>,
        bytes_max: usize,
    ) -> Result<(Bytes, usize, bool), Fatal> {
        order(range, &mut found);
        let mut more = found.len() > limit(range);
        found.truncate(limit(range));
        let mut records = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for found in &found {
            if self.is_abandoned() {
                break;
            }
            let kv = self.returned(range, found)?;
            let len = key_value_len(kv);
            let after = bytes + 1 + varint_len(len as u64) + len;
            if after > bytes_max && !records.is_empty() {
                more = true;
                break;
            }
            bytes = after;
            records.push(kv);
        }
        let mut out = Vec::with_capacity(bytes);
        for kv in records.iter().take_while(|_| !self.is_abandoned()) {
            encode_range_element(*kv, &mut out);
        }
        Ok((out.into(), records.len(), more))
    }

    fn returned<'s>(&'s self, range: &Range, found: &Found<'s>) -> Result<KeyValueRef<'s>, Fatal> {
        if range.sort_target == SortTarget::Value && range.keys_only {
            let kv = self.records.load(found.key, found.version.place)?;
            return Ok(KeyValueRef { value: &[], ..kv });
        }
        if range.keys_only {
            return Ok(bare(found));
        }
        self.records.load(found.key, found.version.place)
    }
}

/// A record as the index knows it, without value and lease (rule 2.13).
fn bare<'s>(found: &Found<'s>) -> KeyValueRef<'s> {
    let (create, version) = found.version.known.expect("filled in by the walk for keys_only");
    KeyValueRef {
        key: found.key,
        create_revision: create as i64,
        mod_revision: found.version.place.main as i64,
        version: version as i64,
        ..KeyValueRef::default()
    }
}

/// Drops what the limit will not let through from an ordered range that has found twice as much.
fn shorten(range: &Range, found: &mut Vec<Found<'_>>) {
    let kept = limit(range).saturating_add(1);
    if cap(range) == usize::MAX && found.len() >= kept.saturating_mul(2).max(FOUND_MIN) {
        order(range, found);
        found.truncate(kept);
        // Those that follow come behind their equals, as they do in key order.
        if is_by_falling_key(range) {
            found.reverse();
        }
    }
}

fn is_by_falling_key(range: &Range) -> bool {
    range.sort_target == SortTarget::Key && range.sort_order == SortOrder::Descend
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

/// Records come in key order, which is kept among equals.
fn order(range: &Range, found: &mut [Found<'_>]) {
    let generation = |found: &Found<'_>| found.version.known.unwrap_or_default();
    match range.sort_target {
        SortTarget::Key if is_by_falling_key(range) => found.reverse(),
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
        SortTarget::Value => sort(found, range.sort_order, |a, b| a.value.cmp(b.value)),
        SortTarget::Key | SortTarget::Unknown(_) => {}
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
#[path = "range_tests.rs"]
mod tests;
