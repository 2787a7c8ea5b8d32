//! redb.

use std::path::Path;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use super::{Doomed, Purged, Reader, Snapshot, Store, touch};
use crate::Result;
use crate::content::{KEY_BYTES, Key};

/// Keys have a fixed length, which saves redb an offset for each.
const RECORDS: TableDefinition<'_, &[u8; KEY_BYTES], &[u8]> = TableDefinition::new("records");
/// Enough to keep all that is measured, except at 20 million records.
const CACHE_BYTES: usize = 4 << 30;

struct Redb {
    database: Database,
    open: Option<WriteTransaction>,
    doomed: Doomed,
}

/// With default options but for the cache.
pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("redb"))?;
    Ok(Box::new(Redb { database, open: None, doomed: Doomed::new() }))
}

impl Redb {
    fn transaction(&mut self) -> Result<&WriteTransaction> {
        if self.open.is_none() {
            self.open = Some(self.database.begin_write()?);
        }
        self.open.as_ref().ok_or_else(|| "there is a transaction".into())
    }
}

impl Store for Redb {
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()> {
        let mut table = self.transaction()?.open_table(RECORDS)?;
        for (key, value) in puts {
            table.insert(&key.bytes(), *value)?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.open.take().map_or(Ok(()), WriteTransaction::commit)?)
    }

    fn purge(&mut self, last: u64) -> Result<Purged> {
        let keys = self.doomed.take(last);
        let mut table = self.transaction()?.open_table(RECORDS)?;
        for key in &keys {
            table.remove(&key.bytes())?;
        }
        Ok(if keys.is_empty() { Purged::Done } else { Purged::Some(keys.len() as u64) })
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(RedbReader(&self.database))
    }

    fn last(&self) -> Result<Option<u64>> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let last = table.last()?;
        Ok(last.and_then(|(key, _)| Key::from_bytes(key.value())).map(|key| key.0))
    }
}

struct RedbReader<'d>(&'d Database);

impl RedbReader<'_> {
    fn table(&self) -> Result<ReadOnlyTable<&'static [u8; KEY_BYTES], &'static [u8]>> {
        Ok(self.0.begin_read()?.open_table(RECORDS)?)
    }
}

impl Reader for RedbReader<'_> {
    fn gets(&self, mains: &[u64], snapshot: Snapshot) -> Result<u64> {
        let mut sum = 0;
        let mut table = self.table()?;
        for &main in mains {
            if snapshot == Snapshot::Fresh {
                table = self.table()?;
            }
            let value = table.get(&Key(main).bytes())?.ok_or("a record is missing")?;
            sum += touch(value.value());
        }
        Ok(sum)
    }

    fn scans(&self, mains: &[u64], count: usize) -> Result<u64> {
        let (mut sum, mut items) = (0, 0);
        for &main in mains {
            let (table, from) = (self.table()?, Key(main).bytes());
            for item in table.range::<&[u8; KEY_BYTES]>(&from..)?.take(count) {
                sum += touch(item?.1.value());
                items += 1;
            }
        }
        std::hint::black_box(sum);
        Ok(items)
    }
}
