//! Random requests, compactions, checkpoints, power cuts: the store always answers like a list of
//! all versions ever written.
//!
//! `SEED=n cargo test -p revd-mvcc --test model` runs one seed; `SEEDS=n` runs the first n.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod model;
mod random;
mod watching;
#[path = "../rules/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_mvcc::{LeaseId, OpDone, Options, Ranged, ReadError, Rejected, Store, TxnDone, View};

use model::{Did, Found, Model};
use random::Random;
use watching::Watching;

const STEPS: usize = 1_000;
const TREE: &str = "tree";

fn options() -> Options {
    let mut options = Options::new([5; 16]);
    options.map_bytes = 1 << 30;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 16 * 1024;
    options.sweep_keys = 7;
    options
}

struct World {
    random: Random,
    disk: Sim,
    store: Store,
    model: Model,
    /// What the last publish showed.
    published: Model,
    /// The model at each checkpoint, by its note.
    checkpoints: BTreeMap<u64, Model>,
    notes: u64,
    /// A job that has been taken and not been handed back yet.
    sweep: Option<revd_mvcc::SweepJob>,
    watching: Vec<Watching>,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Sim::new(seed);
        let files = Arc::new(disk.clone());
        let note = 0u64.to_le_bytes();
        let store = Store::create(files, Path::new(TREE), options(), &note).unwrap();
        let model = Model::new();
        Self {
            random: Random::new(seed),
            disk,
            store,
            published: model.clone(),
            checkpoints: BTreeMap::from([(0, model.clone())]),
            model,
            notes: 0,
            sweep: None,
            watching: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let kind = match self.random.below(100) {
            0..=24 => self.put(),
            25..=33 => self.delete(),
            34..=53 => self.txn(),
            54..=73 => self.read(),
            74..=77 => self.leases(),
            78..=80 => self.compact(),
            81..=86 => self.sweep(),
            87..=91 => self.checkpoint(),
            92 if self.random.one_in(4) => self.crash(),
            92..=95 => self.watch(),
            _ => self.publish(),
        };
        *self.counts.entry(kind).or_default() += 1;
        assert_eq!(self.store.revision().0, self.model.revision, "after {kind}");
    }

    fn put(&mut self) -> &'static str {
        let put = self.random.put();
        put.check().unwrap();
        let done = self
            .store
            .put(&put)
            .unwrap()
            .map(|done| Did::Put { revision: done.revision.0, prev: done.prev_kv });
        assert_eq!(done, self.model.put(&put), "{put:?}");
        "put"
    }

    fn delete(&mut self) -> &'static str {
        let delete = self.random.delete();
        let done = self.store.delete_range(&delete).unwrap().unwrap();
        let main = self.model.revision + 1;
        let prev = self.model.delete(main, &delete.interval());
        if !prev.is_empty() {
            self.model.revision = main;
        }
        assert_eq!(done.revision.0, self.model.revision);
        assert_eq!(done.deleted, prev.len() as i64, "{delete:?}");
        assert_eq!(done.prev_kvs, if delete.prev_kv { prev } else { Vec::new() });
        "delete"
    }

    fn txn(&mut self) -> &'static str {
        let txn = self.random.txn(self.model.revision, 2);
        if txn.check(128).is_err() {
            return "invalid txn";
        }
        let done = self.store.txn(&txn).unwrap();
        let expected = self.model.txn(&txn);
        match (done, expected) {
            (Ok(done), Ok((revision, succeeded, did))) => {
                assert_eq!((done.revision.0, done.succeeded), (revision, succeeded), "{txn:?}");
                assert_eq!(responses(&done), did, "{txn:?}");
                "txn"
            }
            (done, expected) => {
                assert_eq!(done.err(), expected.err(), "{txn:?}");
                "refused txn"
            }
        }
    }

    fn read(&mut self) -> &'static str {
        let view = self.store.view();
        let newest = self.published.revision;
        assert_eq!(view.revision().0, newest);
        if self.random.one_in(10) {
            return self.read_txn(&view);
        }
        let range = self.random.range(newest);
        let done = view.range(&range).map(|ranged| found(&ranged)).map_err(refusal);
        assert_eq!(done, self.published.range(&range), "{range:?}");
        "range"
    }

    fn read_txn(&mut self, view: &View) -> &'static str {
        let txn = self.random.txn(self.published.revision, 0);
        if !txn.is_read_only() || txn.check(128).is_err() {
            return "no read txn";
        }
        let done = view.txn(&txn).map_err(refusal);
        let expected = self.published.clone().txn(&txn);
        match (done, expected) {
            (Ok(done), Ok((_, succeeded, did))) => {
                assert_eq!(done.succeeded, succeeded, "{txn:?}");
                assert_eq!(responses(&done), did, "{txn:?}");
            }
            (done, expected) => assert_eq!(done.err(), expected.err(), "{txn:?}"),
        }
        "read txn"
    }

    fn leases(&mut self) -> &'static str {
        let id = self.random.lease();
        if self.random.one_in(3) {
            let done = self.store.revoke(LeaseId(id)).unwrap().map(|revision| revision.0);
            assert_eq!(done, self.model.revoke(id), "revoke {id}");
            return "revoke";
        }
        let expected = match id {
            0 => Err(Rejected::LeaseNotFound),
            id if self.model.leases.contains_key(&id) => Err(Rejected::LeaseExists),
            id => {
                self.model.leases.insert(id, 100);
                Ok(())
            }
        };
        assert_eq!(self.store.grant(LeaseId(id), 100).unwrap(), expected, "grant {id}");
        "grant"
    }

    fn compact(&mut self) -> &'static str {
        let revision = self.random.revision(self.model.revision);
        let expected = if revision <= self.model.floor {
            Err(Rejected::Compacted)
        } else if revision > self.model.revision {
            Err(Rejected::FutureRevision)
        } else {
            self.model.floor = revision;
            Ok(self.model.revision)
        };
        let done = self.store.compact(revision).unwrap().map(|revision| revision.0);
        assert_eq!(done, expected, "compact {revision}");
        "compact"
    }

    fn sweep(&mut self) -> &'static str {
        if let Some(job) = self.sweep.take() {
            self.store.swept(job.run().unwrap()).unwrap();
            return "swept";
        }
        self.sweep = self.store.sweep();
        if self.sweep.is_some() { "sweep" } else { "no sweep" }
    }

    fn watch(&mut self) -> &'static str {
        if self.watching.len() < 4 {
            let hub = self.store.hub();
            self.watching.push(Watching::begin(&mut self.random, &hub, &self.published));
            return "watch";
        }
        let (at, some) = (self.random.below(4) as usize, self.random.below(20) as usize);
        if !self.watching[at].read(&self.published, some) {
            self.watching.remove(at);
            return "watch ended";
        }
        "watch read"
    }

    fn publish(&mut self) -> &'static str {
        self.store.publish();
        self.published = self.model.clone();
        "publish"
    }

    fn checkpoint(&mut self) -> &'static str {
        self.notes += 1;
        self.publish();
        let note = self.notes.to_le_bytes();
        let Some(checkpoint) = self.store.checkpoint(&note).unwrap() else {
            self.notes -= 1;
            return "no checkpoint";
        };
        self.checkpoints.insert(self.notes, self.model.clone());
        // The writer goes on while the checkpoint is written.
        self.put();
        self.delete();
        let is_cut = self.random.one_in(30);
        if is_cut {
            let moment = self.disk.operations() + self.random.below(6);
            self.disk.crash_at(moment);
        }
        let written = checkpoint.write();
        if is_cut {
            let (is_durable, note) = (written.is_ok(), self.notes);
            self.crash();
            let found = u64::from_le_bytes(self.store.note().try_into().unwrap());
            assert!(!is_durable || found == note, "checkpoint {note} was lost, {found} is there");
            return "crashed checkpoint";
        }
        self.store.checkpointed(written.unwrap());
        "checkpoint"
    }

    fn crash(&mut self) -> &'static str {
        self.sweep = None;
        self.watching.clear();
        self.disk.crash(self.random.below(1 << 30));
        let files = Arc::new(self.disk.clone());
        let (store, _) = Store::open(files, Path::new(TREE), options()).unwrap();
        self.store = store;
        let note = u64::from_le_bytes(self.store.note().try_into().unwrap());
        self.model = self.checkpoints[&note].clone();
        // Whatever is newer is gone for good.
        self.checkpoints.split_off(&(note + 1));
        self.published = self.model.clone();
        self.verify();
        "crash"
    }

    /// Compares everything that can be seen, at every revision that can be read.
    fn verify(&mut self) {
        self.store.verify().unwrap();
        let view = self.store.view();
        assert_eq!(view.compacted(), self.model.floor);
        for revision in self.model.floor.max(1)..=self.model.revision {
            let everything = revd_mvcc::Range {
                key: "\0".into(),
                range_end: "\0".into(),
                revision,
                ..revd_mvcc::Range::default()
            };
            let seen = wire::records(&view.range(&everything).unwrap());
            let expected: Vec<_> = self.model.at(revision).into_values().collect();
            assert_eq!(seen, expected, "at {revision}");
        }
        for mut watching in self.watching.drain(..) {
            if watching.read(&self.published, usize::MAX) {
                watching.check(&self.published, true);
            }
        }
        for id in -2..3 {
            let keys = view.lease_keys(LeaseId(id));
            let attached = |kv: &&revd_mvcc::KeyValue| kv.lease == id && id != 0;
            let expected: Vec<_> =
                self.model.now.values().filter(attached).map(|kv| kv.key.clone()).collect();
            assert_eq!(keys, expected, "keys of lease {id}");
        }
    }
}

fn found(ranged: &Ranged) -> Found {
    Found {
        kvs: wire::records(ranged),
        more: ranged.more,
        count: ranged.count,
        revision: ranged.revision.0,
    }
}

fn responses(done: &TxnDone) -> Vec<Did> {
    let did = |op: &OpDone| match op {
        OpDone::Range(ranged) => Did::Range(found(ranged)),
        OpDone::Put(put) => Did::Put { revision: put.revision.0, prev: put.prev_kv.clone() },
        OpDone::Deleted(deleted) => {
            let mut prev = deleted.prev_kvs.clone();
            prev.resize(deleted.deleted as usize, revd_mvcc::KeyValue::default());
            Did::Deleted { revision: deleted.revision.0, prev }
        }
        OpDone::Txn(txn) => Did::Txn { succeeded: txn.succeeded, did: responses(txn) },
    };
    done.responses.iter().map(did).collect()
}

fn refusal(error: ReadError) -> Rejected {
    match error {
        ReadError::Rejected(rejected) => rejected,
        other => panic!("{other:?}"),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn the_store_answers_like_a_list_of_all_versions() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(40),
    };
    let mut counts = BTreeMap::<&str, u64>::new();
    for seed in seeds.clone() {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.publish();
            world.verify();
            world.counts
        });
        match std::panic::catch_unwind(run) {
            Ok(done) => done.into_iter().for_each(|(k, n)| *counts.entry(k).or_default() += n),
            Err(panic) => {
                eprintln!("SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{counts:?}");
    if seeds.end - seeds.start >= 40 {
        for kind in
            ["txn", "range", "read txn", "revoke", "compact", "swept", "crash", "watch ended"]
        {
            assert!(counts.get(kind).is_some_and(|n| *n >= 20), "{kind}: {counts:?}");
        }
    }
}
