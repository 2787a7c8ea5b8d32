//! A model of the tree, and workloads that drive both.

#![allow(dead_code, reason = "each test uses its own part")]
#![allow(missing_docs, unreachable_pub, reason = "the modules of a test are nobody else's")]

pub mod forge;
pub mod layout;
pub mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use revd_btree::{
    Checkpoint, Error, Key, Options, Pin, Reader, Sweep, Swept, Table, Tree, Written,
};
use revd_disk::Disk;

pub const PATH: &str = "/data/tree";
pub const TABLES: [Table; 3] = [Table(0), Table(1), Table(15)];

pub fn options() -> Options {
    let mut options = Options::new(*b"the store's name");
    options.map_bytes = 256 << 20;
    options.reserve_bytes = 64 << 10;
    options
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Arc<[u8]> {
        let seed = self.next();
        (0..len).map(|i| (seed.rotate_left((i % 61) as u32) as u8) ^ (i / 61) as u8).collect()
    }
}

type Bytes = Arc<[u8]>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub records: BTreeMap<Key, (Bytes, Bytes)>,
    pub rows: BTreeMap<(u8, Key), Bytes>,
    pub note: Vec<u8>,
}

impl Model {
    /// Compares a view with the model, in all ways of reading.
    pub fn check(&self, pin: &Pin<'_>, rng: &mut Rng) {
        let from = Key::new(rng.below(self.last_main() + 2), rng.below(3), 0);
        let mut cursor = pin.history(from);
        let mut wanted = self.records.range(from..);
        for record in cursor.by_ref() {
            let record = record.unwrap();
            let (key, (head, value)) = wanted.next().expect("no more records than in the model");
            assert_eq!(record.key, *key);
            assert_eq!(record.head, &**head);
            assert_eq!(record.value_len(), value.len());
            assert!(record.value().unwrap() == &**value, "value of {key}");
        }
        assert_eq!(wanted.next(), None);
        for (key, _) in self.records.iter().rev() {
            assert_eq!(cursor.prev().unwrap().unwrap().key, *key);
        }
        assert!(cursor.prev().is_none());
        for key in self.records.keys().filter(|_| rng.one_in(7)) {
            let record = pin.get(*key).unwrap().expect("it is in the model");
            assert_eq!(record.head, &*self.records[key].0);
            let missing = Key { kind: key.kind + 1, ..*key };
            assert!(pin.get(missing).unwrap().is_none());
        }
        let from = Key::new(rng.below(300), 0, 0);
        for table in TABLES {
            let rows = pin.table(table, from).map(|row| row.unwrap());
            let wanted = self.rows.range((table.0, from)..=(table.0, Key::MAX));
            let wanted = wanted.map(|((_, key), value)| (*key, &**value));
            assert!(rows.eq(wanted), "rows of {table:?}");
        }
    }

    /// Reads everything, as long as there are no errors. Panics on an answer that is not the
    /// model's.
    pub fn read_all(&self, reader: &Reader) -> Result<(), Error> {
        let pin = reader.pin();
        let mut wanted = self.records.iter();
        let mut cursor = pin.history(Key::MIN);
        for record in cursor.by_ref() {
            let record = record?;
            let (key, (head, value)) = wanted.next().expect("no more records than there were");
            assert_eq!((&record.key, record.head), (key, &**head));
            assert!(record.value()? == &**value, "value of {key}");
        }
        assert!(wanted.next().is_none(), "records are missing without an error");
        for wanted in self.records.keys().rev() {
            assert_eq!(cursor.prev().expect("no fewer records backwards")?.key, *wanted);
        }
        assert!(cursor.prev().is_none(), "more records backwards than forwards");
        for table in TABLES {
            let mut wanted = self.rows.range((table.0, Key::MIN)..=(table.0, Key::MAX));
            for row in pin.table(table, Key::MIN) {
                let (key, value) = row?;
                let ((_, wanted), bytes) = wanted.next().expect("no more rows than there were");
                assert_eq!((key, value), (*wanted, &**bytes));
            }
            assert!(wanted.next().is_none(), "rows are missing without an error");
        }
        Ok(())
    }

    pub fn last_main(&self) -> u64 {
        self.records.keys().next_back().map_or(0, |key| key.main)
    }
}

/// A tree, what it should hold, and what is outstanding.
pub struct Run {
    pub tree: Tree,
    pub rng: Rng,
    pub next: u64,
    pub live: Model,
    pub published: Model,
    /// What the last acknowledged checkpoint holds.
    pub durable: Model,
    /// What the checkpoint holds that is being written.
    pub in_flight: Option<Model>,
    frozen: Option<Checkpoint>,
    swept: Option<(Swept, Vec<Key>)>,
    /// Batches of appends are larger.
    pub big: bool,
    /// What a sweep has made was adopted since the last checkpoint was begun.
    pub adopted: bool,
    /// So it was before the outstanding checkpoint was begun.
    pub sweep_in_flight: bool,
}

impl Run {
    pub fn new(tree: Tree, seed: u64) -> Run {
        Run {
            tree,
            rng: Rng(seed),
            next: 1,
            live: Model::default(),
            published: Model::default(),
            durable: Model::default(),
            in_flight: None,
            frozen: None,
            swept: None,
            big: seed.is_multiple_of(3),
            adopted: false,
            sweep_in_flight: false,
        }
    }

    /// Goes on with a tree that was opened and has the state of `model`.
    pub fn resume(tree: Tree, model: &Model, seed: u64) -> Run {
        let mut run = Run::new(tree, seed);
        run.next = run.tree.last_key().map_or(1, |key| key.main);
        (run.live, run.published, run.durable) = (model.clone(), model.clone(), model.clone());
        run
    }

    /// One step at random. `Err` only when the disk fails.
    pub fn step(&mut self) -> Result<(), Error> {
        match self.rng.below(20) {
            0..7 => self.append(),
            7..10 => self.put(),
            10..12 => self.delete(),
            12..14 => {
                self.publish();
                Ok(())
            }
            14..16 => self.begin_checkpoint(),
            16..18 => self.end_checkpoint(),
            18 => {
                self.sweep();
                Ok(())
            }
            _ => self.adopt(),
        }
    }

    pub fn append(&mut self) -> Result<(), Error> {
        for _ in 0..=self.rng.below(if self.big { 60 } else { 12 }) {
            let len = match self.rng.below(40) {
                0 => 5_000 + self.rng.below(30_000),
                1 => 4_000 + self.rng.below(200),
                2..5 => self.rng.below(3_000),
                _ => self.rng.below(300),
            };
            let head = match self.rng.below(200) {
                0 => self.rng.below(20_000),
                _ => self.rng.below(40),
            };
            if self.rng.one_in(50) {
                self.next += self.rng.below(1 << 33);
            }
            self.next += self.rng.below(3);
            let last = self.tree.last_key().unwrap_or_default();
            let sub = if last.main == self.next { last.sub + 1 } else { self.rng.below(2) };
            let key = Key::new(self.next, sub, (self.rng.below(2)) as u8);
            let (head, value) = (self.rng.bytes(head as usize), self.rng.bytes(len as usize));
            self.tree.append(key, &head, &value)?;
            self.live.records.insert(key, (head, value));
        }
        Ok(())
    }

    pub fn put(&mut self) -> Result<(), Error> {
        for _ in 0..=self.rng.below(20) {
            let len = match self.rng.below(20) {
                0 => 1_000 + self.rng.below(12_000),
                _ => self.rng.below(200),
            };
            let (table, key) = self.row();
            let value = self.rng.bytes(len as usize);
            self.tree.put(table, key, &value)?;
            self.live.rows.insert((table.0, key), value);
        }
        Ok(())
    }

    pub fn delete(&mut self) -> Result<(), Error> {
        let many = self.rng.one_in(8);
        for _ in 0..=self.rng.below(if many { 400 } else { 10 }) {
            let (table, key) = self.row();
            let removed = self.tree.delete(table, key)?;
            assert_eq!(removed, self.live.rows.remove(&(table.0, key)).is_some());
        }
        let (table, key) = self.row();
        let value = self.live.rows.get(&(table.0, key)).map(|value| value.to_vec());
        assert_eq!(self.tree.get(table, key)?, value);
        Ok(())
    }

    fn row(&mut self) -> (Table, Key) {
        let table = TABLES[self.rng.below(3) as usize];
        (table, Key::new(self.rng.below(300), self.rng.below(2), 0))
    }

    pub fn publish(&mut self) {
        self.tree.publish();
        self.published = self.live.clone();
    }

    pub fn begin_checkpoint(&mut self) -> Result<(), Error> {
        if self.frozen.is_some() {
            let refused = self.tree.checkpoint(b"");
            assert!(matches!(refused, Err(Error::CheckpointPending)));
            return Ok(());
        }
        let len = self.rng.below(60) as usize;
        // Different from all others, so that it tells which checkpoint was found.
        self.live.note = [&self.rng.next().to_le_bytes(), &*self.rng.bytes(len)].concat();
        self.frozen = self.tree.checkpoint(&self.live.note)?;
        self.published = self.live.clone();
        self.in_flight = self.frozen.is_some().then(|| self.live.clone());
        self.sweep_in_flight = std::mem::take(&mut self.adopted);
        Ok(())
    }

    /// The checkpoint that was begun, to be written; for [`Run::written`].
    pub fn take_frozen(&mut self) -> Option<Checkpoint> {
        self.frozen.take()
    }

    pub fn end_checkpoint(&mut self) -> Result<(), Error> {
        if let Some(frozen) = self.frozen.take() {
            self.written(frozen.write()?);
        }
        Ok(())
    }

    pub fn written(&mut self, written: Written) {
        self.tree.checkpointed(written);
        self.durable = self.in_flight.take().expect("what was frozen");
        assert_eq!(self.tree.note(), self.durable.note);
    }

    pub fn plan(&mut self) -> Option<Sweep> {
        let from = Key::new(self.rng.below(self.live.last_main() + 2), 0, 0);
        let from = if self.rng.one_in(2) { Key::MIN } else { from };
        let bytes = 1 << (12 + self.rng.below(8));
        self.tree.plan_sweep(from, bytes)
    }

    pub fn sweep(&mut self) {
        if self.swept.is_some() {
            return;
        }
        let Some(sweep) = self.plan() else { return };
        let (start, end) = sweep.range();
        let (modulus, stay) = (1 + self.rng.below(6), self.rng.below(3));
        let keep = |key: Key| (key.main + key.sub) % modulus < stay;
        let Ok(swept) = sweep.run(&mut |key, _| keep(key)) else { return };
        let removed: Vec<Key> =
            self.live.records.range(start..end).map(|(k, _)| *k).filter(|k| !keep(*k)).collect();
        assert_eq!(swept.removed(), removed.len() as u64);
        self.swept = Some((swept, removed));
    }

    pub fn adopt(&mut self) -> Result<(), Error> {
        let Some((swept, removed)) = self.swept.take() else { return Ok(()) };
        self.tree.adopt(swept)?;
        self.adopted = true;
        for key in removed {
            self.live.records.remove(&key).expect("it is removed once");
        }
        Ok(())
    }

    pub fn check(&mut self) {
        let reader = self.tree.reader();
        let pin = reader.pin();
        self.published.check(&pin, &mut self.rng);
    }

    /// Compares what the writer sees, published or not, with the model.
    pub fn check_live(&self) {
        for key in self.live.records.keys() {
            let record = self.tree.record(*key).unwrap().expect("a record that was appended");
            assert!(record.value().unwrap() == &*self.live.records[key].1, "value of {key}");
        }
        for ((table, key), value) in &self.live.rows {
            let found = self.tree.get(Table(*table), *key).unwrap();
            assert_eq!(found.as_deref(), Some(&**value));
        }
    }

    /// Drops the tree, with whatever is outstanding, and opens the file again.
    pub fn reopen(self, disk: Arc<dyn Disk>) -> Run {
        let Run { tree, rng, next, durable, big, .. } = self;
        drop(tree);
        let (tree, opened) = Tree::open(disk, Path::new(PATH), options()).unwrap();
        assert!(!opened.fell_back);
        let next = next.max(tree.last_key().map_or(0, |key| key.main));
        let mut run = Run::new(tree, 0);
        (run.rng, run.next, run.big) = (rng, next, big);
        (run.live, run.published, run.durable) = (durable.clone(), durable.clone(), durable);
        assert_eq!(run.tree.note(), run.durable.note);
        run
    }
}
