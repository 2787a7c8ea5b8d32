//! A store, its disk, its watchers and the model beside it: one random step after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_mvcc::{
    Checkpoint, LeaseId, OpDone, Options, Ranged, ReadError, Rejected, ScrubAt, ScrubJob, Store,
    SweepJob, TxnDone, View,
};

use crate::copying::Copying;
use crate::model::{Did, Found, Granted, Mark, Model};
use crate::random::{ROWS, Random, TABLES, row};
use crate::verify;
use crate::watching::{Counts, Watching};
use crate::wire;

const TREE: &str = "tree";
/// Streams that are open at most.
const STREAMS: usize = 5;

pub(crate) fn options() -> Options {
    let mut options = Options::new([5; 16]);
    options.map_bytes = 1 << 30;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 16 * 1024;
    options.sweep_keys = 7;
    options
}

/// A checkpoint on its way: its note, and what it holds.
struct InFlight {
    checkpoint: Checkpoint,
    note: u64,
    mark: Mark,
}

pub(crate) struct World {
    random: Random,
    disk: Sim,
    /// `None` only while it is being opened again.
    store: Option<Store>,
    model: Model,
    /// What the last publish showed.
    published: Mark,
    /// The last checkpoint that was acknowledged.
    durable: (u64, Mark),
    in_flight: Option<InFlight>,
    notes: u64,
    /// The floor before each compaction of this process.
    floors: BTreeMap<i64, i64>,
    /// A job that has been taken and not been handed back yet.
    sweep: Option<SweepJob>,
    /// As the sweep.
    scrub: Option<ScrubJob>,
    scrub_at: ScrubAt,
    /// A snapshot on its way into another store.
    copying: Option<Copying>,
    streams: Vec<Watching>,
    /// How often each kind of step was taken, and each kind of response received.
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = Sim::new(seed);
        let files = Arc::new(disk.clone());
        let note = 0u64.to_le_bytes();
        let store = Store::create(files, Path::new(TREE), options(), &note).unwrap();
        let model = Model::new();
        Self {
            random: Random::new(seed),
            disk,
            store: Some(store),
            published: model.now.clone(),
            durable: (0, model.now.clone()),
            model,
            in_flight: None,
            notes: 0,
            floors: BTreeMap::new(),
            sweep: None,
            scrub: None,
            scrub_at: ScrubAt::default(),
            copying: None,
            streams: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    pub(crate) fn step(&mut self) {
        let kind = match self.random.below(200) {
            0..=43 => self.put(),
            44..=57 => self.delete(),
            58..=87 => self.txn(),
            88..=123 => self.read(),
            124..=130 => self.leases(),
            131..=133 => self.compact(),
            134..=145 => self.sweep(),
            146..=153 => self.checkpoint(),
            154 if self.random.one_in(8) => self.crash(),
            155 if self.random.one_in(8) => self.reopen(),
            154..=157 => self.record(),
            158..=181 => self.watch(),
            182..=183 => self.scrub(),
            184..=186 => self.snapshot(),
            187 => self.hash(),
            _ => self.publish(),
        };
        *self.counts.entry(kind).or_default() += 1;
        assert_eq!(self.store().revision().0, self.model.now.revision, "after {kind}");
    }

    fn put(&mut self) -> &'static str {
        let put = self.random.put();
        put.check().unwrap();
        let done = self
            .store()
            .put(&put)
            .unwrap()
            .map(|done| Did::Put { revision: done.revision.0, prev: done.prev_kv });
        assert_eq!(done, self.model.put(&put), "{put:?}");
        if done.is_ok() { "put" } else { "put refused" }
    }

    fn delete(&mut self) -> &'static str {
        let delete = self.random.delete();
        let done = self.store().delete_range(&delete).unwrap().unwrap();
        let prev = self.model.delete_range(&delete.interval());
        assert_eq!(done.revision.0, self.model.now.revision);
        assert_eq!(done.deleted, prev.len() as i64, "{delete:?}");
        assert_eq!(done.prev_kvs, if delete.prev_kv { prev } else { Vec::new() });
        if done.deleted > 0 { "delete" } else { "delete of nothing" }
    }

    fn txn(&mut self) -> &'static str {
        let newest = self.model.now.revision;
        let txn = self.random.txn(newest, 2);
        if txn.check(128).is_err() {
            return "txn that is invalid";
        }
        let done = self.store().txn(&txn).unwrap();
        match (done, self.model.txn(&txn)) {
            (Ok(done), Ok((revision, succeeded, did))) => {
                assert_eq!((done.revision.0, done.succeeded), (revision, succeeded), "{txn:?}");
                assert_eq!(responses(&done), did, "{txn:?}");
                let is_nested = did.iter().any(|did| matches!(did, Did::Txn { .. }));
                if is_nested { "txn that nests" } else { "txn" }
            }
            (done, expected) => {
                assert_eq!(done.err(), expected.err(), "{txn:?}");
                "txn refused"
            }
        }
    }

    fn read(&mut self) -> &'static str {
        let view = self.store().view();
        assert_eq!(view.revision().0, self.published.revision);
        if self.random.one_in(10) {
            return self.read_txn(&view);
        }
        let range = self.random.range(self.published.revision);
        let done = view.range(&range).map(|ranged| found(&ranged)).map_err(refusal);
        assert_eq!(done, self.model.range(&self.published, &range), "{range:?}");
        match done {
            Ok(_) if range.revision > 0 => "range of the past",
            Ok(_) => "range",
            Err(_) => "range refused",
        }
    }

    fn read_txn(&mut self, view: &View) -> &'static str {
        let mut txn = self.random.txn(self.published.revision, 0);
        for ops in [&mut txn.success, &mut txn.failure] {
            ops.retain(|op| matches!(op, revd_mvcc::Op::Range(_)));
        }
        txn.check(128).unwrap();
        let done = view.txn(&txn).map_err(refusal);
        match (done, self.model.read_txn(&self.published, &txn)) {
            (Ok(done), Ok((succeeded, did))) => {
                assert_eq!(done.succeeded, succeeded, "{txn:?}");
                assert_eq!(responses(&done), did, "{txn:?}");
            }
            (done, expected) => assert_eq!(done.err(), expected.err(), "{txn:?}"),
        }
        "txn that reads"
    }

    fn leases(&mut self) -> &'static str {
        let id = self.random.lease();
        let seconds = self.random.below(1_000) as i64;
        let is_there = self.model.now.leases.contains_key(&id);
        match self.random.below(3) {
            0 => {
                let done = self.store().revoke(LeaseId(id)).unwrap().map(|revision| revision.0);
                assert_eq!(done, self.model.revoke(id), "revoke {id}");
                if done.is_ok() { "revoke" } else { "revoke refused" }
            }
            1 => {
                let done = self.store().set_remaining(LeaseId(id), seconds).unwrap();
                assert_eq!(done.is_ok(), is_there, "remaining {id}");
                let granted = self.model.now.leases.get_mut(&id);
                granted.into_iter().for_each(|granted| granted.remaining = seconds);
                if is_there { "remaining time" } else { "remaining time refused" }
            }
            _ => {
                let expected = match id {
                    0 => Err(Rejected::LeaseNotFound),
                    _ if is_there => Err(Rejected::LeaseExists),
                    _ => Ok(()),
                };
                assert_eq!(self.store().grant(LeaseId(id), seconds).unwrap(), expected, "{id}");
                if expected.is_err() {
                    return "grant refused";
                }
                self.model.now.leases.insert(id, Granted { ttl: seconds, remaining: 0 });
                "grant"
            }
        }
    }

    /// A row of the owner's, which is durable with the same checkpoint.
    fn record(&mut self) -> &'static str {
        let table = TABLES[self.random.below(2) as usize];
        let number = self.random.below(ROWS);
        let at = (table.0, number);
        if self.random.one_in(3) {
            let was_there = self.store().delete_record(table, row(number)).unwrap();
            assert_eq!(was_there, self.model.now.rows.remove(&at).is_some());
            return "row deleted";
        }
        let value = vec![number as u8; self.random.below(300) as usize];
        self.store().put_record(table, row(number), &value).unwrap();
        assert_eq!(self.store().get(table, row(number)).unwrap().as_ref(), Some(&value));
        self.model.now.rows.insert(at, value);
        "row"
    }

    fn compact(&mut self) -> &'static str {
        // Left to chance alone, nearly every compaction overtakes the one before.
        if self.random.one_in(2) {
            while self.sweep() != "nothing to sweep" {}
        }
        let now = &mut self.model.now;
        let revision = self.random.revision(now.revision);
        let expected = if revision <= now.floor {
            Err(Rejected::Compacted)
        } else if revision > now.revision {
            Err(Rejected::FutureRevision)
        } else {
            if revision > 0 {
                self.floors.insert(revision, now.floor);
            }
            now.floor = revision;
            Ok(now.revision)
        };
        let done = self.store().compact(revision).unwrap().map(|revision| revision.0);
        assert_eq!(done, expected, "compact {revision}");
        if done.is_ok() { "compact" } else { "compact refused" }
    }

    fn sweep(&mut self) -> &'static str {
        if let Some(job) = self.sweep.take() {
            self.store().swept(job.run().unwrap()).unwrap();
            return "swept";
        }
        self.sweep = self.store().sweep();
        if self.sweep.is_some() { "sweep" } else { "nothing to sweep" }
    }

    /// Takes a step of a scrub, or runs the one that was taken. Nothing is damaged.
    fn scrub(&mut self) -> &'static str {
        let Some(job) = self.scrub.take() else {
            let max_bytes = self.random.below(100_000);
            self.scrub = Some(ScrubJob::new(self.store().view(), self.scrub_at, max_bytes));
            return "scrub";
        };
        let next = job.run().unwrap().next;
        self.scrub_at = next.unwrap_or_default();
        if next.is_some() { "scrubbed" } else { "scrubbed to the end" }
    }

    /// Begins a snapshot, or takes the one that is on its way some chunks further.
    fn snapshot(&mut self) -> &'static str {
        let Some(mut copying) = self.copying.take() else {
            if !self.random.one_in(6) {
                return "no snapshot";
            }
            self.publish();
            let (disk, mark) = (self.disk.clone(), self.model.now.clone());
            self.copying = Some(Copying::begin(self.store.as_mut().unwrap(), disk, mark));
            return "snapshot";
        };
        if self.random.one_in(8) {
            self.copying = copying.break_off();
            return if self.copying.is_some() { "snapshot resumed" } else { "snapshot given up" };
        }
        let chunks = 1 + self.random.below(3);
        if (0..chunks).all(|_| copying.take(self.random.below(20_000) as usize)) {
            self.copying = Some(copying);
            return "snapshot chunks";
        }
        let newest = self.published.revision;
        let some: Vec<i64> = (0..5).map(|_| self.random.revision(newest)).collect();
        copying.compare(&self.model, some);
        "snapshot installed"
    }

    fn watch(&mut self) -> &'static str {
        if self.streams.len() < STREAMS {
            let hub = self.store().hub();
            self.streams.push(Watching::begin(&mut self.random, &hub));
        }
        let at = self.random.below(self.streams.len() as u64) as usize;
        match self.random.below(30) {
            0 => {
                self.streams.swap_remove(at);
                "stream dropped"
            }
            1..=7 => self.streams[at].ask(&mut self.random, &self.published),
            // The first streams are slow, the last are read to their end each time.
            some => {
                let at_most = if at > 2 { usize::MAX } else { 1 + some as usize % 4 };
                let stream = &mut self.streams[at];
                stream.read(&self.model, &self.published, at_most, &mut self.counts);
                "watch read"
            }
        }
    }

    fn hash(&mut self) -> &'static str {
        if self.random.one_in(3) {
            return self.remembered_hash();
        }
        let published = self.published.clone();
        let revision = self.random.revision(published.revision).min(published.revision);
        if revision <= published.floor || revision < 1 {
            return "nothing to hash";
        }
        let done = self.store().view().hash_kv(revision).unwrap();
        assert_eq!(done.compact_revision, published.floor, "no compaction was at {revision}");
        let expected = verify::hash(&self.model, published.floor, revision);
        assert_eq!(done.hash, expected, "at {revision}");
        "hash"
    }

    /// The hash of a compaction, if it is remembered.
    fn remembered_hash(&mut self) -> &'static str {
        let back = self.random.below(12) as usize;
        let Some((&revision, &floor)) = self.floors.iter().rev().nth(back) else {
            return "nothing to hash";
        };
        match self.store().view().hash_kv(revision) {
            Ok(found) if found.compact_revision == floor => {
                let expected = verify::hash_of_compaction(&self.model, floor, revision);
                assert_eq!(found.hash, expected, "at {revision}, floor {floor} before");
                "hash remembered"
            }
            Ok(found) => {
                assert_eq!(found.compact_revision, self.published.floor, "at {revision}");
                "hash at the floor"
            }
            Err(error) => {
                let is_ahead = revision > self.published.revision;
                let expected =
                    if is_ahead { Rejected::FutureRevision } else { Rejected::Compacted };
                assert_eq!(refusal(error), expected, "at {revision}");
                "hash forgotten"
            }
        }
    }

    pub(crate) fn publish(&mut self) -> &'static str {
        self.store().publish();
        self.published = self.model.now.clone();
        "publish"
    }

    /// Begins a checkpoint, or ends the one that is on its way.
    fn checkpoint(&mut self) -> &'static str {
        let Some(InFlight { checkpoint, note, mark }) = self.in_flight.take() else {
            return self.begin_checkpoint();
        };
        let is_cut = self.random.one_in(30);
        if is_cut {
            let moment = self.disk.operations() + self.random.below(6);
            self.disk.crash_at(moment);
        }
        match checkpoint.write() {
            Ok(written) => {
                self.durable = (note, mark);
                self.store().checkpointed(written);
                if is_cut {
                    self.come_back(None, true);
                    return "crash after a checkpoint";
                }
                "checkpoint"
            }
            Err(error) => {
                assert!(is_cut, "{error}");
                self.come_back(Some((note, mark)), true);
                "crash in a checkpoint"
            }
        }
    }

    fn begin_checkpoint(&mut self) -> &'static str {
        self.notes += 1;
        self.publish();
        let note = self.notes;
        // A new note is a change.
        let checkpoint = self.store().checkpoint(&note.to_le_bytes()).unwrap().unwrap();
        self.in_flight = Some(InFlight { checkpoint, note, mark: self.model.now.clone() });
        "checkpoint begun"
    }

    fn end_checkpoint(&mut self) {
        let InFlight { checkpoint, note, mark } = self.in_flight.take().unwrap();
        let written = checkpoint.write().unwrap();
        self.store().checkpointed(written);
        self.durable = (note, mark);
    }

    fn crash(&mut self) -> &'static str {
        let is_power_lost = self.random.one_in(2);
        self.in_flight = None;
        self.come_back(None, is_power_lost);
        if is_power_lost { "crash" } else { "kill" }
    }

    /// Ends in good order, and opens again: nothing is lost.
    fn reopen(&mut self) -> &'static str {
        if self.in_flight.is_some() {
            self.end_checkpoint();
        }
        self.begin_checkpoint();
        self.end_checkpoint();
        let now = self.model.now.clone();
        self.come_back(None, self.notes.is_multiple_of(2));
        assert_eq!(self.model.now.revision, now.revision);
        "reopen"
    }

    /// Opens what a loss of power, or the end of the process, has left: the last checkpoint that
    /// was acknowledged, or the one that was being written.
    fn come_back(&mut self, in_flight: Option<(u64, Mark)>, is_power_lost: bool) {
        (self.sweep, self.scrub, self.copying, self.store) = (None, None, None, None);
        self.streams.clear();
        self.floors.clear();
        if is_power_lost {
            self.disk.crash(self.random.below(1 << 30));
        } else {
            self.disk.kill();
        }
        let files = Arc::new(self.disk.clone());
        let (store, _) = Store::open(files, Path::new(TREE), options()).unwrap();
        let found = u64::from_le_bytes(store.note().try_into().unwrap());
        self.store = Some(store);
        if let Some((note, mark)) = in_flight.filter(|(note, _)| *note == found) {
            self.durable = (note, mark);
        }
        assert_eq!(found, self.durable.0, "the note of no checkpoint that may be there");
        self.model.back_to(&self.durable.1);
        self.published = self.model.now.clone();
        self.verify();
    }

    /// Compares everything that can be seen, at some of the revisions that can be read, and what
    /// the watchers have seen.
    pub(crate) fn verify(&mut self) {
        assert_eq!(self.published.revision, self.model.now.revision);
        let newest = self.published.revision;
        let some: Vec<i64> = (0..20).map(|_| self.random.revision(newest)).collect();
        let store = self.store.as_ref().unwrap();
        verify::compare(store, &self.model, &self.published, some);
        for stream in &mut self.streams {
            stream.read(&self.model, &self.published, usize::MAX, &mut self.counts);
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
