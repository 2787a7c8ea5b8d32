//! Compares everything that a store shows with a state of the model.

use bytes::Bytes;
use prost::Message;
use revd_api::mvccpb;
use revd_mvcc::{Interval, KeyValue, Lease, LeaseId, Range, ReadError, Store};

use crate::model::{Granted, Mark, Model};
use crate::random::{LEASES, ROWS, TABLES, row};
use crate::wire;

/// All keys.
fn everything() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

/// Compares a store that shows `mark`, at these revisions besides the floor and the newest.
///
/// # Panics
/// At the first difference, or if anything cannot be read.
pub(crate) fn compare(
    store: &Store,
    model: &Model,
    mark: &Mark,
    revisions: impl IntoIterator<Item = i64>,
) {
    store.verify().unwrap();
    read_all(store, model, mark, revisions).unwrap();
}

/// Reads all that [`compare`] does; the first error of storage, if there is one.
///
/// # Panics
/// At the first wrong answer.
pub(crate) fn read_all(
    store: &Store,
    model: &Model,
    mark: &Mark,
    revisions: impl IntoIterator<Item = i64>,
) -> Result<(), ReadError> {
    let view = store.view();
    assert_eq!(store.revision().0, mark.revision);
    assert_eq!((view.revision().0, view.compacted()), (mark.revision, mark.floor));
    let oldest = mark.floor.max(1);
    let between = revisions.into_iter().filter(|at| (oldest..=mark.revision).contains(at));
    for at in [oldest, mark.revision].into_iter().chain(between) {
        read_at(store, model, at)?;
    }
    for id in LEASES {
        let found = view.lease(LeaseId(id)).map(granted);
        assert_eq!(found, mark.leases.get(&id).copied(), "lease {id}");
        let keys = if found.is_some() { model.lease_keys(mark, id) } else { Vec::new() };
        assert_eq!(view.lease_keys(LeaseId(id)).unwrap(), keys, "keys of lease {id}");
    }
    let ids: Vec<i64> = view.lease_ids().into_iter().map(|id| id.0).collect();
    assert_eq!(ids, mark.leases.keys().copied().collect::<Vec<_>>());
    for table in TABLES {
        for number in 0..ROWS {
            let found = store.get(table, row(number))?;
            assert_eq!(found.as_ref(), mark.rows.get(&(table.0, number)), "row {number}");
        }
    }
    Ok(())
}

fn granted(lease: Lease) -> Granted {
    Granted { ttl: lease.ttl, remaining: lease.remaining }
}

fn read_at(store: &Store, model: &Model, at: i64) -> Result<(), ReadError> {
    let (key, range_end) = everything();
    let keys = Interval::new(&key, &range_end);
    let range = Range { key, range_end, revision: at, ..Range::default() };
    let found = wire::records(&store.view().range(&range)?);
    let expected: Vec<KeyValue> = model.state(&keys, at).into_iter().cloned().collect();
    assert_eq!(found, expected, "at {at}");
    Ok(())
}

/// What `HashKV` must be at a revision above the floor (rules 1.10, 7.15, 7.16).
pub(crate) fn hash(model: &Model, floor: i64, revision: i64) -> u32 {
    let (key, range_end) = everything();
    let is_any_live = !model.state(&Interval::new(&key, &range_end), revision).is_empty();
    hash_of(model, floor, revision, if is_any_live { revision } else { floor })
}

/// What a compaction to this revision remembers (rule 7.19): a tombstone of this very revision is
/// something that is kept, too.
pub(crate) fn hash_of_compaction(model: &Model, floor: i64, revision: i64) -> u32 {
    let (key, range_end) = everything();
    let is_any_live = !model.state(&Interval::new(&key, &range_end), revision).is_empty();
    let is_any_left = is_any_live || model.written.iter().any(|written| written.main == revision);
    hash_of(model, floor, revision, if is_any_left { revision } else { floor })
}

/// Up to the floor only what is visible at that revision counts.
fn hash_of(model: &Model, floor: i64, revision: i64, visible: i64) -> u32 {
    let mut crc = crc32c::crc32c(b"key");
    let (mut main, mut sub) = (0, 0u64);
    for written in model.written.iter().take_while(|written| written.main <= revision) {
        sub = if written.main == main { sub + 1 } else { 0 };
        main = written.main;
        let is_newest = || {
            let newest = model.newest(&written.key, visible);
            newest.is_some_and(|newest| std::ptr::eq(newest, written))
        };
        if main <= floor && (written.kv.is_none() || !is_newest()) {
            continue;
        }
        let mut covered = main.to_be_bytes().to_vec();
        covered.push(b'_');
        covered.extend(sub.to_be_bytes());
        covered.extend(written.kv.is_none().then_some(b't'));
        covered.extend(encoded(written.kv.as_ref(), &written.key));
        crc = crc32c::crc32c_append(crc, &covered);
    }
    crc
}

/// The record as etcd stores it: of a deletion only the key.
fn encoded(kv: Option<&KeyValue>, key: &Bytes) -> Vec<u8> {
    let kv = kv.cloned().unwrap_or_else(|| KeyValue { key: key.clone(), ..KeyValue::default() });
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease }.encode_to_vec()
}
