//! The compaction floors that exports hold.
//!
//! A sweep removes records that the exports of a lower floor still have to send, so it is not
//! planned while there is such an export. The owner of the store ends that, if it lasts too long,
//! by releasing all of them; this crate knows no time.

use std::collections::BTreeMap;
use std::sync::Arc;

use revd_btree::Pin;

use crate::lock::Mutex;

/// Exports at once.
pub(crate) const EXPORTS_MAX: usize = 16;

/// What one export holds.
#[derive(Debug)]
struct Held {
    floor: i64,
    /// The state of the tables, until they have been sent.
    tables: Option<Arc<Pin<'static>>>,
}

#[derive(Debug, Default)]
struct All {
    held: BTreeMap<u64, Held>,
    next: u64,
}

/// All floors that are held in a store.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    all: Mutex<All>,
}

impl Floors {
    /// True if an export of a lower floor than this needs what a sweep would remove.
    pub(crate) fn is_any_below(&self, floor: i64) -> bool {
        self.all.lock().held.values().any(|held| held.floor < floor)
    }

    pub(crate) fn count(&self) -> usize {
        self.all.lock().held.len()
    }

    /// Ends all holds.
    pub(crate) fn release(&self) {
        let released = std::mem::take(&mut self.all.lock().held);
        drop(released);
    }

    /// Holds a floor, with the tables as they are now; `None` if there are too many holds.
    pub(super) fn hold(self: &Arc<Self>, floor: i64, tables: Pin<'static>) -> Option<Hold> {
        let mut all = self.all.lock();
        if all.held.len() >= EXPORTS_MAX {
            return None;
        }
        let number = all.next;
        all.next += 1;
        all.held.insert(number, Held { floor, tables: Some(Arc::new(tables)) });
        Some(Hold { floors: Arc::clone(self), number })
    }
}

/// A hold on a compaction floor, to its drop or until it is released.
#[derive(Debug)]
pub(super) struct Hold {
    floors: Arc<Floors>,
    number: u64,
}

impl Hold {
    /// False once it was released. Whatever was pinned in the tree before this said true has all
    /// that the floor promises.
    pub(super) fn is_valid(&self) -> bool {
        self.floors.all.lock().held.contains_key(&self.number)
    }

    /// The state of the tables; `None` once they were sent, or the hold was released.
    pub(super) fn tables(&self) -> Option<Arc<Pin<'static>>> {
        self.floors.all.lock().held.get(&self.number)?.tables.clone()
    }

    /// The tables have been sent.
    pub(super) fn drop_tables(&self) {
        let mut all = self.floors.all.lock();
        let tables = all.held.get_mut(&self.number).and_then(|held| held.tables.take());
        drop(all);
        drop(tables);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = self.floors.all.lock().held.remove(&self.number);
        drop(held);
    }
}
