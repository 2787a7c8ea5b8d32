//! Random work on a store whose storage may refuse it, with the model beside it.

use std::path::Path;
use std::sync::Arc;

use revd_disk::Disk;
use revd_mvcc::{
    Checkpoint, Fatal, LeaseId, OpenError, Opened, Options, Put, Rejected, Store, SweepJob,
};

use crate::model::{Granted, Mark, Model};
use crate::random::{ROWS, Random, TABLES, row};
use crate::verify;

pub(crate) const TREE: &str = "/data/tree";

pub(crate) fn options() -> Options {
    let mut options = Options::new([5; 16]);
    options.map_bytes = 1 << 26;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 16 * 1024;
    options.sweep_keys = 7;
    options
}

pub(crate) fn create(disk: Arc<dyn Disk>) -> Result<Store, OpenError> {
    Store::create(disk, Path::new(TREE), options(), &0u64.to_le_bytes())
}

pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<(Store, Opened), OpenError> {
    Store::open(disk, Path::new(TREE), options())
}

/// The number in the note of the last checkpoint.
pub(crate) fn note(store: &Store) -> u64 {
    u64::from_le_bytes(store.note().try_into().unwrap())
}

/// What a checkpoint holds, by the number in its note.
pub(crate) type Durable = (u64, Mark);

/// A store at work.
pub(crate) struct Load {
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) model: Model,
    /// The last checkpoint that was acknowledged.
    pub(crate) durable: Durable,
    /// The one that is being written.
    pub(crate) in_flight: Option<Durable>,
    notes: u64,
    sweep: Option<SweepJob>,
}

/// What a step did; `Err` if storage refused it.
pub(crate) type Step = Result<&'static str, Fatal>;

impl Load {
    /// On a new store.
    pub(crate) fn new(store: Store, seed: u64) -> Self {
        let model = Model::new();
        let durable = (0, model.now.clone());
        Self::resume(store, model, durable, seed)
    }

    /// On a store that was opened and found to be as `durable` says.
    pub(crate) fn resume(store: Store, mut model: Model, durable: Durable, seed: u64) -> Self {
        model.back_to(&durable.1);
        let (random, notes) = (Random::new(seed), durable.0);
        Self { random, store, model, durable, in_flight: None, notes, sweep: None }
    }

    /// One change that makes no use of the disk but for growth.
    pub(crate) fn work(&mut self) -> Step {
        match self.random.below(20) {
            0..=8 => self.put(),
            9..=11 => self.delete(),
            12..=15 => self.txn(),
            16 => self.lease(),
            17 => self.record(),
            18 => self.compact(),
            _ => self.sweep(),
        }
    }

    pub(crate) fn put(&mut self) -> Step {
        let put = self.random.put();
        let done = self.store.put(&put)?;
        assert_eq!(done.is_ok(), self.model.put(&put).is_ok(), "{put:?}");
        Ok("put")
    }

    /// A put that makes the store grow.
    pub(crate) fn put_large(&mut self) -> Step {
        let value = vec![b'x'; 20_000].into();
        let put = Put { key: self.random.key(), value, ..Put::default() };
        self.store.put(&put)?.unwrap();
        self.model.put(&put).unwrap();
        Ok("large put")
    }

    fn delete(&mut self) -> Step {
        let delete = self.random.delete();
        let done = self.store.delete_range(&delete)?.unwrap();
        let prev = self.model.delete_range(&delete.interval());
        assert_eq!(done.deleted, prev.len() as i64);
        Ok("delete")
    }

    fn txn(&mut self) -> Step {
        let txn = self.random.txn(self.model.now.revision, 1);
        if txn.check(128).is_ok() {
            let done = self.store.txn(&txn)?;
            assert_eq!(done.err(), self.model.txn(&txn).err(), "{txn:?}");
        }
        Ok("txn")
    }

    fn lease(&mut self) -> Step {
        let id = self.random.lease();
        if self.model.now.leases.contains_key(&id) {
            self.store.revoke(LeaseId(id))?.unwrap();
            self.model.revoke(id).unwrap();
            return Ok("revoke");
        }
        if self.store.grant(LeaseId(id), 9)? != Err(Rejected::LeaseNotFound) {
            self.model.now.leases.insert(id, Granted { ttl: 9, remaining: 0 });
        }
        Ok("grant")
    }

    fn record(&mut self) -> Step {
        let (table, number) = (TABLES[self.random.below(2) as usize], self.random.below(ROWS));
        let value = vec![self.random.below(256) as u8; self.random.below(300) as usize];
        self.store.put_record(table, row(number), &value)?;
        self.model.now.rows.insert((table.0, number), value);
        Ok("row")
    }

    pub(crate) fn compact(&mut self) -> Step {
        let revision = self.random.revision(self.model.now.revision);
        if self.store.compact(revision)?.is_ok() {
            self.model.now.floor = revision;
        }
        Ok("compact")
    }

    /// Takes a job, or hands one back.
    pub(crate) fn sweep(&mut self) -> Step {
        match self.sweep.take() {
            Some(job) => {
                let done = job.run()?;
                self.store.swept(done)?;
            }
            None => {
                self.store.publish();
                self.sweep = self.store.sweep();
            }
        }
        Ok("sweep")
    }

    /// Freezes the store for a checkpoint that is now in flight; `None` if nothing has changed.
    pub(crate) fn begin_checkpoint(&mut self) -> Result<Option<Checkpoint>, Fatal> {
        self.notes += 1;
        let checkpoint = self.store.checkpoint(&self.notes.to_le_bytes())?;
        if checkpoint.is_some() {
            self.in_flight = Some((self.notes, self.model.now.clone()));
        }
        Ok(checkpoint)
    }

    /// Writes a checkpoint and takes its result.
    pub(crate) fn checkpoint(&mut self) -> Step {
        if let Some(checkpoint) = self.begin_checkpoint()? {
            let written = checkpoint.write()?;
            self.durable = self.in_flight.take().unwrap();
            self.store.checkpointed(written);
        }
        Ok("checkpoint")
    }

    /// Compares all that can be seen with the model.
    pub(crate) fn compare(&mut self) {
        self.store.publish();
        let some = [0; 4].map(|_| self.random.revision(self.model.now.revision));
        verify::compare(&self.store, &self.model, &self.model.now, some);
    }
}
