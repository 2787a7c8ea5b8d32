//! LMDB, by heed: plain, and with the flag for keys that rise.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, PutFlags, RwTxn};

use super::{Doomed, Purged, Reader, Snapshot, Store, touch};
use crate::Result;
use crate::content::Key;

/// Address space; more than any workload fills.
const MAP_BYTES: usize = 64 << 30;

type Records = Database<'static, Bytes, Bytes>;

struct Lmdb {
    env: &'static Env,
    records: Records,
    flags: PutFlags,
    open: Option<RwTxn<'static>>,
    doomed: Doomed,
}

/// Plain: what etcd does with bbolt.
pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    open_with(dir, PutFlags::empty())
}

/// With `MDB_APPEND`: each key is known to be the last.
pub(super) fn open_appending(dir: &Path) -> Result<Box<dyn Store>> {
    open_with(dir, PutFlags::APPEND)
}

fn open_with(dir: &Path, flags: PutFlags) -> Result<Box<dyn Store>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // A transaction borrows its environment, and both are kept in one value: so it is never
    // dropped. A process measures one store and ends.
    let env: &'static Env = Box::leak(Box::new(open_env(&options, dir)?));
    let records = env
        .create_databases_and_commit(env.write_txn()?, |opener, txn| {
            opener.create_database(txn, None).map(CommitOrAbort::<Records, ()>::Commit)
        })?
        .commit()
        .ok_or("LMDB made no database")?;
    Ok(Box::new(Lmdb { env, records, flags, open: None, doomed: Doomed::new() }))
}

#[expect(unsafe_code, reason = "heed cannot know who else writes to the file")]
fn open_env(options: &EnvOpenOptions, dir: &Path) -> Result<Env> {
    // SAFETY: the files in `dir`, a directory of this program's own, are on a local disk and are
    // changed by LMDB alone, which keeps its lock file beside them. One process at a time has them
    // open: its parent starts the next one when it is gone.
    Ok(unsafe { options.open(dir) }?)
}

impl Lmdb {
    fn transaction(&mut self) -> Result<&mut RwTxn<'static>> {
        if self.open.is_none() {
            self.open = Some(self.env.write_txn()?);
        }
        self.open.as_mut().ok_or_else(|| "there is a transaction".into())
    }
}

impl Store for Lmdb {
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()> {
        let (records, flags) = (self.records, self.flags);
        let transaction = self.transaction()?;
        for (key, value) in puts {
            records.put_with_flags(transaction, flags, &key.bytes(), value)?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.open.take().map_or(Ok(()), RwTxn::commit)?)
    }

    fn purge(&mut self, last: u64) -> Result<Purged> {
        let keys = self.doomed.take(last);
        let records = self.records;
        let transaction = self.transaction()?;
        for key in &keys {
            records.delete(transaction, &key.bytes())?;
        }
        Ok(if keys.is_empty() { Purged::Done } else { Purged::Some(keys.len() as u64) })
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(LmdbReader { env: self.env, records: self.records })
    }

    fn last(&self) -> Result<Option<u64>> {
        let txn = self.env.read_txn()?;
        let last = self.records.last(&txn)?;
        Ok(last.and_then(|(key, _)| Key::from_bytes(key)).map(|key| key.0))
    }
}

struct LmdbReader {
    env: &'static Env,
    records: Records,
}

impl Reader for LmdbReader {
    fn gets(&self, mains: &[u64], snapshot: Snapshot) -> Result<u64> {
        let mut sum = 0;
        let mut txn = Some(self.env.read_txn()?);
        for &main in mains {
            if snapshot == Snapshot::Fresh {
                // A thread has one at a time.
                drop(txn.take());
                txn = Some(self.env.read_txn()?);
            }
            let txn = txn.as_ref().ok_or("there is a snapshot")?;
            let value = self.records.get(txn, &Key(main).bytes())?.ok_or("a record is missing")?;
            sum += touch(value);
        }
        Ok(sum)
    }

    fn scans(&self, mains: &[u64], count: usize) -> Result<u64> {
        let (mut sum, mut items) = (0, 0);
        for &main in mains {
            let txn = self.env.read_txn()?;
            let from = Key(main).bytes();
            let range = (Bound::Included(from.as_slice()), Bound::Unbounded);
            for item in self.records.range(&txn, &range)?.take(count) {
                sum += touch(item?.1);
                items += 1;
            }
        }
        std::hint::black_box(sum);
        Ok(items)
    }
}
