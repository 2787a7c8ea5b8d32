//! fjall, a log-structured merge tree.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _,
};

use super::{Doomed, Purged, Reader, Snapshot, Store, touch};
use crate::Result;
use crate::content::Key;

/// Enough to keep all that is measured, except at 20 million records.
const CACHE_BYTES: u64 = 4 << 30;

struct Fjall {
    database: Database,
    records: Keyspace,
    doomed: Doomed,
}

/// Without compression, which would find nothing to compress.
pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let database = Database::builder(dir)
        .cache_size(CACHE_BYTES)
        .journal_compression(CompressionType::None)
        .open()?;
    let records = database.keyspace("records", || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::disabled())
    })?;
    Ok(Box::new(Fjall { database, records, doomed: Doomed::new() }))
}

impl Store for Fjall {
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()> {
        let mut batch = self.database.batch();
        for (key, value) in puts {
            batch.insert(&self.records, key.bytes(), *value);
        }
        Ok(batch.commit()?)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn purge(&mut self, last: u64) -> Result<Purged> {
        let keys = self.doomed.take(last);
        let mut batch = self.database.batch();
        for key in &keys {
            batch.remove(&self.records, key.bytes());
        }
        batch.commit()?;
        Ok(if keys.is_empty() { Purged::Done } else { Purged::Some(keys.len() as u64) })
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(FjallReader { database: &self.database, records: &self.records })
    }

    fn last(&self) -> Result<Option<u64>> {
        let Some(last) = self.records.last_key_value() else { return Ok(None) };
        Ok(Key::from_bytes(&last.key()?).map(|key| key.0))
    }
}

struct FjallReader<'d> {
    database: &'d Database,
    records: &'d Keyspace,
}

impl Reader for FjallReader<'_> {
    fn gets(&self, mains: &[u64], snapshot: Snapshot) -> Result<u64> {
        let mut sum = 0;
        let mut held = self.database.snapshot();
        for &main in mains {
            if snapshot == Snapshot::Fresh {
                held = self.database.snapshot();
            }
            let value = held.get(self.records, Key(main).bytes())?.ok_or("a record is missing")?;
            sum += touch(&value);
        }
        Ok(sum)
    }

    fn scans(&self, mains: &[u64], count: usize) -> Result<u64> {
        let (mut sum, mut items) = (0, 0);
        for &main in mains {
            let held = self.database.snapshot();
            for item in held.range(self.records, Key(main).bytes()..).take(count) {
                sum += touch(&item.value()?);
                items += 1;
            }
        }
        std::hint::black_box(sum);
        Ok(items)
    }
}
