//! A store on a simulated disk, with short ways of asking it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use revd_disk::Sim;
use revd_mvcc::{
    Compare, DeleteRange, Deleted, KeyValue, LeaseId, Op, Operand, Options, Put, PutDone, Range,
    Ranged, ReadError, Rejected, Revision, Store, Txn, TxnDone, View,
};

use crate::wire;

pub(crate) struct KeySpace {
    pub(crate) disk: Sim,
    pub(crate) store: Store,
    pub(crate) view: View,
}

pub(crate) const TREE: &str = "tree";

pub(crate) fn options() -> Options {
    let mut options = Options::new([3; 16]);
    options.map_bytes = 1 << 30;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 64 * 1024;
    options
}

impl KeySpace {
    pub(crate) fn new() -> Self {
        let disk = Sim::new(1);
        let files = Arc::new(disk.clone());
        let store = Store::create(files, Path::new(TREE), options(), b"").unwrap();
        let view = store.view();
        Self { disk, store, view }
    }

    /// Puts and publishes; returns the revision.
    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.write(&put(key, value)).unwrap().revision.0
    }

    pub(crate) fn write(&mut self, put: &Put) -> Result<PutDone, Rejected> {
        put.check().unwrap();
        let done = self.store.put(put).unwrap();
        self.store.publish();
        done
    }

    /// Deletes and publishes.
    pub(crate) fn delete(&mut self, key: &str, end: &str) -> Deleted {
        self.delete_range(&DeleteRange { prev_kv: true, ..delete(key, end) })
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Deleted {
        delete.check().unwrap();
        let done = self.store.delete_range(delete).unwrap().unwrap();
        self.store.publish();
        done
    }

    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<TxnDone, Rejected> {
        txn.check(128).unwrap();
        let done = self.store.txn(txn).unwrap();
        self.store.publish();
        done
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<Revision, Rejected> {
        let done = self.store.compact(revision).unwrap();
        self.store.publish();
        done
    }

    pub(crate) fn grant(&mut self, id: i64) {
        self.store.grant(LeaseId(id), 60).unwrap().unwrap();
        self.store.publish();
    }

    pub(crate) fn range(&self, range: &Range) -> Ranged {
        range.check().unwrap();
        self.view.range(range).unwrap()
    }

    pub(crate) fn refused(&self, range: &Range) -> Rejected {
        rejected(self.view.range(range))
    }

    /// The record of one key, now.
    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        self.get_at(key, 0)
    }

    /// The record of one key at a revision.
    pub(crate) fn get_at(&self, key: &str, revision: i64) -> Option<KeyValue> {
        let range = Range { revision, ..range(key, "") };
        wire::records(&self.range(&range)).into_iter().next()
    }

    /// The keys of an answer.
    pub(crate) fn keys(&self, range: &Range) -> Vec<String> {
        keys(&self.range(range))
    }

    pub(crate) fn revision(&self) -> i64 {
        self.view.revision().0
    }

    pub(crate) fn checkpoint(&mut self) {
        if let Some(checkpoint) = self.store.checkpoint(b"note").unwrap() {
            let written = checkpoint.write().unwrap();
            self.store.checkpointed(written);
        }
    }

    /// Runs all sweep jobs that are due, with the checkpoints that they wait for.
    pub(crate) fn sweep_all(&mut self) {
        for _ in 0..1_000 {
            self.checkpoint();
            while let Some(job) = self.store.sweep() {
                self.store.swept(job.run().unwrap()).unwrap();
                self.store.publish();
            }
            if !self.store.is_compacting() {
                return;
            }
        }
        panic!("compaction does not end: {:?}", self.store.stats());
    }

    /// Checkpoints, lets go of the store and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { disk, mut store, view } = self;
        if let Some(checkpoint) = store.checkpoint(b"note").unwrap() {
            store.checkpointed(checkpoint.write().unwrap());
        }
        drop((store, view));
        let files = Arc::new(disk.clone());
        let (store, _) = Store::open(files, Path::new(TREE), options()).unwrap();
        let view = store.view();
        Self { disk, store, view }
    }
}

pub(crate) fn rejected<T: std::fmt::Debug>(result: Result<T, ReadError>) -> Rejected {
    match result {
        Err(ReadError::Rejected(rejected)) => rejected,
        other => panic!("not rejected: {other:?}"),
    }
}

pub(crate) fn keys(ranged: &Ranged) -> Vec<String> {
    let text = |kv: KeyValue| String::from_utf8(kv.key.to_vec()).unwrap();
    wire::records(ranged).into_iter().map(text).collect()
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> Put {
    Put { key: bytes(key), value: bytes(value), ..Put::default() }
}

pub(crate) fn delete(key: &str, end: &str) -> DeleteRange {
    DeleteRange { key: bytes(key), range_end: bytes(end), prev_kv: false }
}

pub(crate) fn range(key: &str, end: &str) -> Range {
    Range { key: bytes(key), range_end: bytes(end), ..Range::default() }
}

/// All keys.
pub(crate) fn all() -> Range {
    range("\0", "\0")
}

pub(crate) fn success(ops: Vec<Op>) -> Txn {
    Txn { success: ops, ..Txn::default() }
}

pub(crate) fn compare(target: i32, result: i32, key: &str, operand: Operand) -> Compare {
    Compare { result, target, key: bytes(key), range_end: Bytes::new(), operand }
}
