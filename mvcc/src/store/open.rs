//! Making and opening a store.
//!
//! The index is not stored: it follows from the heads of all records, read in the order in which
//! they were written, which leaves large values alone. Records that a compaction has given up but
//! no sweep has come to are dropped on the way, so that the index starts out compacted.

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Key, Tree};
use revd_disk::Disk;

use super::compact::Compaction;
use super::tables::{FINISHED_ROW, FORMAT, FORMAT_ROW, LEASES, META, SCHEDULED_ROW};
use super::{Store, lease};
use crate::Options;
use crate::error::{Fatal, OpenError};
use crate::index::{Entries, Loading, Map, Recent, Written};
use crate::key_value::LeaseId;
use crate::leases::{Lease, Leases, Numbers};
use crate::record::{self, Head, Name};
use crate::view::{Snapshot, View};
use crate::watch::Hub;

/// What opening a store found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The newest checkpoint was torn; this is the one before.
    pub fell_back: bool,
    /// Records read to rebuild the index.
    pub records: u64,
}

impl Store {
    /// Makes a new, empty store whose first checkpoint carries `note`. Durable on return.
    ///
    /// # Errors
    /// [`OpenError`] if the file exists or cannot be written.
    pub fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: Options,
        note: &[u8],
    ) -> Result<Self, OpenError> {
        let mut tree = Tree::create(disk, path, options.tree())?;
        tree.put(META, FORMAT_ROW, &[FORMAT])?;
        if let Some(checkpoint) = tree.checkpoint(note)? {
            tree.checkpointed(checkpoint.write()?);
        }
        let snapshot = Snapshot { revision: 1, compacted: -1, ..Snapshot::default() };
        Ok(Self::assemble(tree, snapshot, Numbers::default(), Compaction::none(), options))
    }

    /// Opens the last checkpoint of a store.
    ///
    /// # Errors
    /// [`OpenError`] if the tree cannot be opened or a record cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: Options,
    ) -> Result<(Self, Opened), OpenError> {
        let (tree, opened) = Tree::open(disk, path, options.tree())?;
        check_format(&tree)?;
        let scheduled = read_revision(&tree, SCHEDULED_ROW)?;
        let finished = read_revision(&tree, FINISHED_ROW)?;
        let mut numbers = Numbers::default();
        let mut leases = read_leases(&tree, &mut numbers)?;
        let (keys, records) = read_keys(&tree, &leases, scheduled)?;
        for (_, entry) in keys.range(b"", None).filter(|(_, entry)| entry.lease() > 0) {
            leases.attach(entry.lease(), entry.place());
        }
        // The newest records may have been compacted away; the revision never goes back (1.13).
        let last = tree.last_key().map_or(0, |key| key.main as i64);
        let revision = last.max(1).max(scheduled).max(finished);
        let recent = Recent::since(revision);
        let hashes = Arc::default();
        let snapshot = Snapshot { keys, recent, leases, revision, compacted: scheduled, hashes };
        let compaction = Compaction::resume(scheduled, finished);
        let store = Self::assemble(tree, snapshot, numbers, compaction, options);
        Ok((store, Opened { fell_back: opened.fell_back, records }))
    }

    fn assemble(
        tree: Tree,
        snapshot: Snapshot,
        numbers: Numbers,
        compaction: Compaction,
        options: Options,
    ) -> Self {
        let view = View::new(snapshot.clone(), tree.reader());
        Self {
            tree,
            keys: snapshot.keys,
            recent: snapshot.recent,
            leases: snapshot.leases,
            numbers,
            revision: snapshot.revision,
            pending: Vec::new(),
            is_changed: false,
            compaction,
            hashes: snapshot.hashes,
            floors: Arc::default(),
            hub: Hub::new(view.clone()),
            view,
            is_poisoned: false,
            head: Vec::new(),
            checkpoint_at: std::time::Duration::ZERO,
            options,
        }
    }
}

fn check_format(tree: &Tree) -> Result<(), Fatal> {
    match tree.get(META, FORMAT_ROW)?.as_deref() {
        Some([FORMAT]) => Ok(()),
        Some(other) => Err(Fatal::damaged(format!("format {other:?} of the key space is unknown"))),
        None => Err(Fatal::damaged("the tree holds no key space".to_owned())),
    }
}

fn read_revision(tree: &Tree, row: Key) -> Result<i64, Fatal> {
    let Some(value) = tree.get(META, row)? else { return Ok(-1) };
    let bytes = value.try_into();
    bytes.map(i64::from_le_bytes).map_err(|value: Vec<u8>| {
        Fatal::damaged(format!("revision in row {} has {} bytes", row.main, value.len()))
    })
}

fn read_leases(tree: &Tree, numbers: &mut Numbers) -> Result<Leases, Fatal> {
    let mut leases = Leases::default();
    let mut bad = None;
    tree.scan(LEASES, Key { main: 0, sub: 0, kind: 0 }, &mut |key, row| {
        let id = LeaseId(key.main as i64);
        let decoded = Lease::decode(row).filter(|_| key == lease::row(id));
        match decoded {
            Some(lease) => leases.grant(numbers, id, lease),
            None => bad = Some(id),
        }
        bad.is_none()
    })?;
    match bad {
        Some(id) => Err(Fatal::damaged(format!("record of lease {id} does not decode"))),
        None => Ok(leases),
    }
}

/// Rebuilds the index, and counts the records read.
fn read_keys(tree: &Tree, leases: &Leases, floor: i64) -> Result<(Map<Entries>, u64), Fatal> {
    let mut loading = Loading::new(floor);
    let mut records = 0;
    let reader = tree.reader();
    let pin = reader.pin();
    for stored in pin.history(Key { main: 0, sub: 0, kind: 0 }) {
        let stored = stored?;
        let place = record::place(stored.key)?;
        let Head { name, create, version, lease } = record::decode_head(place, stored.head)?;
        let key = match name {
            Name::InHead(key) => key,
            Name::InValue(_) => record::key_and_value(&stored, name)?.0,
        };
        let lease = if lease == 0 { 0 } else { leases.number(LeaseId(lease)) };
        loading.add(key, Written { place, create, version, lease });
        records += 1;
    }
    Ok((loading.finish(), records))
}
