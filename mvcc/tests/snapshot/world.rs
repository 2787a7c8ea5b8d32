//! A store that is written at random, with a list of all versions ever written beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use revd_disk::Sim;
use revd_mvcc::{
    DeleteRange, Hashed, Import, Imported, Key, KeyValue, LeaseId, Options, Put, Range, ReadError,
    Rejected, Store, SweepJob, Table,
};

use crate::wire;

pub(crate) const TREE: &str = "tree";
const ROWS: Table = Table(9);

pub(crate) fn options() -> Options {
    let mut options = Options::new([6; 16]);
    options.map_bytes = 1 << 30;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 16 * 1024;
    options.sweep_keys = 7;
    options.import_bytes = 100_000;
    options
}

/// A small generator: a failure is repeated by its seed alone.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) % bound
    }
}

/// What a snapshot must hold.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) revision: i64,
    pub(crate) floor: i64,
    versions: Vec<KeyValue>,
    leases: BTreeMap<i64, i64>,
    rows: BTreeMap<u64, Vec<u8>>,
    hashes: Vec<Hashed>,
}

pub(crate) struct World {
    pub(crate) disk: Sim,
    pub(crate) store: Store,
    pub(crate) random: Random,
    model: Frozen,
    sweep: Option<SweepJob>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = Sim::new(seed);
        let store = Store::create(Arc::new(disk.clone()), Path::new(TREE), options(), b"").unwrap();
        let model = Frozen {
            revision: 1,
            floor: -1,
            versions: Vec::new(),
            leases: BTreeMap::new(),
            rows: BTreeMap::new(),
            hashes: Vec::new(),
        };
        Self { disk, store, random: Random::new(seed), model, sweep: None }
    }

    pub(crate) fn steps(&mut self, count: u64) {
        for _ in 0..count {
            match self.random.below(40) {
                0..=21 => self.put(),
                22..=27 => self.delete(),
                28..=30 => self.lease(),
                31 => self.row(),
                32 => self.compact(),
                33..=36 => self.sweep(),
                37 => self.checkpoint(),
                _ => self.store.publish(),
            }
        }
    }

    fn key(&mut self) -> Bytes {
        let number = self.random.below(60);
        // One key is too long for the head of a record.
        let len = if number == 59 { 9_000 } else { 0 };
        Bytes::from(format!("k{number:02}{}", "-".repeat(len)))
    }

    pub(crate) fn put(&mut self) {
        let key = self.key();
        let len = if self.random.below(30) == 0 { 6_000 } else { self.random.below(90) };
        let value = Bytes::from(vec![b'a' + self.random.below(26) as u8; len as usize]);
        let lease = match self.random.below(3) {
            0 => self.model.leases.keys().next().copied().unwrap_or(0),
            _ => 0,
        };
        let put = Put { key: key.clone(), value: value.clone(), lease, ..Put::default() };
        self.store.put(&put).unwrap().unwrap();
        let main = self.model.revision + 1;
        let before = self.model.at(main).remove(&key);
        let (create, version) = before.map_or((main, 1), |kv| (kv.create_revision, kv.version + 1));
        let (create_revision, mod_revision) = (create, main);
        let kv = KeyValue { key, create_revision, mod_revision, version, value, lease };
        self.model.versions.push(kv);
        self.model.revision = main;
    }

    /// Notes a put of a new key that was made by hand.
    pub(crate) fn note_put(&mut self, put: &Put) {
        let main = self.model.revision + 1;
        let (key, value) = (put.key.clone(), put.value.clone());
        let (create_revision, mod_revision, version, lease) = (main, main, 1, 0);
        let kv = KeyValue { key, create_revision, mod_revision, version, value, lease };
        self.model.versions.push(kv);
        self.model.revision = main;
    }

    fn delete(&mut self) {
        let (key, mut range_end) = (self.key(), Bytes::new());
        if self.random.below(4) == 0 {
            range_end = Bytes::from([&key[..2], b"~"].concat());
        }
        let delete = DeleteRange { key: key.clone(), range_end: range_end.clone(), prev_kv: false };
        self.store.delete_range(&delete).unwrap().unwrap();
        let is_in = |other: &Bytes| {
            *other == key || (!range_end.is_empty() && *other >= key && *other < range_end)
        };
        let gone = self.model.at(self.model.revision).into_keys().filter(is_in).collect();
        self.model.bury(gone);
    }

    fn lease(&mut self) {
        let id = self.random.below(6) as i64 - 3;
        if self.model.leases.remove(&id).is_some() {
            self.store.revoke(LeaseId(id)).unwrap().unwrap();
            let live = self.model.at(self.model.revision).into_values();
            self.model.bury(live.filter(|kv| kv.lease == id).map(|kv| kv.key).collect());
        } else if id != 0 {
            self.store.grant(LeaseId(id), 100 - id).unwrap().unwrap();
            self.model.leases.insert(id, 100 - id);
        }
    }

    fn row(&mut self) {
        let (row, len) = (self.random.below(9), self.random.below(3_000));
        let key = Key { main: row, sub: 0, kind: 0 };
        if self.model.rows.remove(&row).is_some() {
            assert!(self.store.delete_record(ROWS, key).unwrap());
        } else {
            let value = vec![row as u8; len as usize];
            self.store.put_record(ROWS, key, &value).unwrap();
            self.model.rows.insert(row, value);
        }
    }

    pub(crate) fn compact(&mut self) {
        let above = (self.model.revision - self.model.floor) as u64;
        let floor = self.model.floor + self.random.below(above + 1) as i64;
        if self.store.compact(floor).unwrap().is_ok() {
            self.model.floor = floor;
        }
    }

    pub(crate) fn sweep(&mut self) {
        self.store.publish();
        match self.sweep.take() {
            Some(job) => {
                let done = job.run().unwrap();
                self.store.swept(done).unwrap();
            }
            None => self.sweep = self.store.sweep(),
        }
    }

    pub(crate) fn checkpoint(&mut self) {
        if let Some(checkpoint) = self.store.checkpoint(b"").unwrap() {
            self.store.checkpointed(checkpoint.write().unwrap());
        }
    }

    /// What an export that begins now must hold.
    pub(crate) fn freeze(&mut self) -> Frozen {
        self.store.publish();
        let mut frozen = self.model.clone();
        frozen.hashes = frozen.hashes_of(&self.store);
        frozen
    }
}

impl Frozen {
    /// The keys that are visible at a revision.
    fn at(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut live = BTreeMap::new();
        for kv in self.versions.iter().take_while(|kv| kv.mod_revision <= revision) {
            match kv.version {
                0 => live.remove(&kv.key),
                _ => live.insert(kv.key.clone(), kv.clone()),
            };
        }
        live
    }

    /// Deletes keys, all in one revision.
    fn bury(&mut self, keys: Vec<Bytes>) {
        let mod_revision = self.revision + 1;
        self.revision += i64::from(!keys.is_empty());
        let tombstone = |key| KeyValue { key, mod_revision, ..KeyValue::default() };
        self.versions.extend(keys.into_iter().map(tombstone));
    }

    fn hashes_of(&self, store: &Store) -> Vec<Hashed> {
        let revisions = self.floor.max(1)..=self.revision;
        revisions.rev().take(20).map(|at| store.view().hash_kv(at).unwrap()).collect()
    }

    /// Checks that a store answers as the exporting one did when it was frozen.
    pub(crate) fn check(&self, store: &Store) {
        store.verify().unwrap();
        assert_eq!((store.revision().0, store.compacted()), (self.revision, self.floor));
        assert!(!store.is_compacting(), "there is nothing to be swept");
        let view = store.view();
        let range = |revision| {
            let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
            view.range(&Range { key, range_end, revision, ..Range::default() })
        };
        for revision in self.floor.max(1)..=self.revision {
            let expected: Vec<_> = self.at(revision).into_values().collect();
            let found = range(revision).unwrap();
            assert_eq!(wire::records(&found), expected, "at revision {revision}");
        }
        if self.floor > 1 {
            let refused = range(self.floor - 1).unwrap_err();
            assert!(matches!(refused, ReadError::Rejected(Rejected::Compacted)), "{refused}");
        }
        let live = self.at(self.revision);
        let leases: Vec<_> = store.leases().map(|(id, lease)| (id.0, lease.ttl)).collect();
        assert_eq!(leases, self.leases.clone().into_iter().collect::<Vec<_>>());
        for (id, _) in leases {
            let keys = live.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone());
            let found = view.lease_keys(LeaseId(id)).unwrap();
            assert_eq!(found, keys.collect::<Vec<_>>(), "lease {id}");
        }
        let mut rows = BTreeMap::new();
        let mut each = |key: Key, row: &[u8]| rows.insert(key.main, row.to_vec()).is_none();
        store.scan(ROWS, Key { main: 0, sub: 0, kind: 0 }, &mut each).unwrap();
        assert!(rows == self.rows, "rows of the owner differ");
        assert_eq!(self.hashes_of(store), self.hashes);
    }
}

/// Where copies are made.
pub(crate) const COPY: &str = "copy";

pub(crate) fn begin(disk: &Sim) -> Import {
    Import::begin(Arc::new(disk.clone()), Path::new(COPY), options()).unwrap()
}

pub(crate) fn install(imported: Imported, disk: &Sim) -> Store {
    imported.install().unwrap();
    open(disk)
}

pub(crate) fn open(disk: &Sim) -> Store {
    Store::open(Arc::new(disk.clone()), Path::new(COPY), options()).unwrap().0
}
