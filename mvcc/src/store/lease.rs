//! Grant and revoke.

use revd_btree::{Growth, Key, Reserve};

use super::tables::LEASES;
use super::{Outcome, Store};
use crate::error::{Fatal, Rejected};
use crate::key_value::{LeaseId, Revision};
use crate::leases::{LEASE_TTL_MAX, Lease};
use crate::view::leased_keys;

/// The row of a lease in the tree.
pub(super) fn row(id: LeaseId) -> Key {
    Key { main: id.0 as u64, sub: 0, kind: 0 }
}

/// True if this is the row of a lease.
pub(crate) fn is_lease_row(key: Key, value: &[u8]) -> bool {
    let id = LeaseId(key.main as i64);
    id.0 != 0 && key == row(id) && Lease::decode(value).is_some()
}

impl Store {
    /// All leases, in order of their ids.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, Lease)> {
        self.leases.iter()
    }

    /// Grants a lease for `ttl` seconds. Changes no revision.
    ///
    /// Rejected with [`Rejected::LeaseNotFound`] for the id 0, which means "no lease"; then
    /// [`Rejected::LeaseTtlTooLarge`] above [`LEASE_TTL_MAX`]; then [`Rejected::LeaseExists`].
    ///
    /// # Errors
    /// [`Fatal::Full`]: nothing was changed. Any other [`Fatal`]: the store must not be used any
    /// more.
    pub fn grant(&mut self, id: LeaseId, ttl: i64) -> Outcome<()> {
        self.writing(|store| {
            if id.0 == 0 {
                return Ok(Err(Rejected::LeaseNotFound));
            }
            if ttl > LEASE_TTL_MAX {
                return Ok(Err(Rejected::LeaseTtlTooLarge));
            }
            if store.leases.get(id).is_some() {
                return Ok(Err(Rejected::LeaseExists));
            }
            let lease = Lease::new(ttl);
            store.admit(Growth { records: 1, ..Growth::default() }, Reserve::Half)?;
            store.put_lease(id, lease)?;
            store.leases.grant(&mut store.numbers, id, lease);
            store.is_changed = true;
            Ok(Ok(()))
        })
    }

    /// Notes how many seconds a lease had left (0 unsets it). Changes no revision.
    ///
    /// Rejected with [`Rejected::LeaseNotFound`].
    ///
    /// # Errors
    /// [`Fatal::Full`]: nothing was changed. Any other [`Fatal`]: the store must not be used any
    /// more.
    pub fn set_remaining(&mut self, id: LeaseId, remaining: i64) -> Outcome<()> {
        self.writing(|store| {
            let Some(mut lease) = store.leases.get(id) else {
                return Ok(Err(Rejected::LeaseNotFound));
            };
            lease.remaining = remaining;
            store.put_lease(id, lease)?;
            store.leases.set(id, lease);
            store.is_changed = true;
            Ok(Ok(()))
        })
    }

    /// Ends a lease and deletes its keys, in ascending order and one revision; without keys the
    /// revision stays (rule 6.7). Returns the store's revision afterwards.
    ///
    /// Rejected with [`Rejected::LeaseNotFound`].
    ///
    /// # Errors
    /// [`Fatal::Full`]: nothing was changed. Any other [`Fatal`]: the store must not be used any
    /// more.
    pub fn revoke(&mut self, id: LeaseId) -> Outcome<Revision> {
        self.writing(|store| {
            if store.leases.get(id).is_none() {
                return Ok(Err(Rejected::LeaseNotFound));
            }
            let keys = leased_keys(&store.leases, &store.reading().records, id)?;
            store.admit_tombstones(&keys)?;
            let mut writing = store.begin();
            for key in &keys {
                store.write_tombstone(&mut writing, key)?;
            }
            store.tree.delete(LEASES, row(id))?;
            store.leases.remove(&mut store.numbers, id);
            store.finish(&writing);
            store.is_changed = true;
            Ok(Ok(writing.revision()))
        })
    }

    fn put_lease(&mut self, id: LeaseId, lease: Lease) -> Result<(), Fatal> {
        let put = self.tree.put_from_reserve(LEASES, row(id), &lease.encode());
        put.map_err(Fatal::before_change)
    }
}
