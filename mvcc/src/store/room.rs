//! Room: what a write needs is known, and checked, before anything is changed.
//!
//! On a full disk a write is [`Fatal::Full`], which is the one failure after which the store goes
//! on: nothing was changed, and the same write succeeds once there is room. How much must be left
//! free depends on what the write leads to:
//!
//! | write | leaves |
//! | --- | --- |
//! | let in at the door ([`Store::has_room`]) | the tree's whole reserve |
//! | put, transaction with a put, grant | half of the reserve |
//! | deletion, revoke, compaction, rows of the owner, sweeps, checkpoints | nothing |
//!
//! So whatever the door has let in still fits when its turn comes, although others were let in
//! meanwhile, as long as all of them together take no more than half of the reserve; and what leads
//! to room always goes on.

use revd_btree::{Growth, Reserve};

use super::Store;
use super::tables::{FORMAT, FORMAT_ROW, META};
use crate::error::Fatal;
use crate::request::{DeleteRange, Op, Put, Range, Txn};
use crate::view::Branch;

/// Bytes of a record's head besides its key, at most.
const HEAD_BYTES: usize = 40;
/// Values of more bytes get blocks of their own in the tree.
const LONG_BYTES: usize = 4096;

/// What one record needs.
fn record(key: usize, value: usize) -> Growth {
    let bytes = (HEAD_BYTES + key + value) as u64;
    Growth { records: 1, bytes, long: u64::from(key + value > LONG_BYTES) }
}

impl Put {
    /// The room that it needs; nothing is known of a value that it keeps.
    #[must_use]
    pub fn growth(&self) -> Growth {
        record(self.key.len(), self.value.len())
    }
}

impl Txn {
    /// The room that its puts need, in the branch that needs more.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let branch = |ops: &[Op]| {
            let mut sum = Growth::default();
            for op in ops {
                match op {
                    Op::Put(put) => sum.add(put.growth()),
                    Op::Txn(txn) => sum.add(txn.growth()),
                    _ => {}
                }
            }
            sum
        };
        let (success, failure) = (branch(&self.success), branch(&self.failure));
        if success.bytes >= failure.bytes { success } else { failure }
    }
}

impl Store {
    /// Whether there is room for so much growth besides the whole reserve. Asks the file system for
    /// it if need be, and keeps what it gets, so that a write that was let in will find it.
    ///
    /// # Errors
    /// [`Fatal`] if the file system fails in another way: the store must not be used any more.
    pub fn has_room(&mut self, growth: Growth) -> Result<bool, Fatal> {
        match self.writing(|store| store.admit(growth, Reserve::Whole)) {
            Ok(()) => Ok(true),
            Err(Fatal::Full { .. }) => Ok(false),
            Err(fatal) => Err(fatal),
        }
    }

    /// Has the next write ask the file system for room, although it was full a moment ago.
    pub fn look_for_room(&mut self) {
        self.tree.look_for_room();
    }

    /// Bytes that the key space takes on the disk, and will take with the next checkpoint, about.
    #[must_use]
    pub fn bytes_in_use(&self) -> u64 {
        self.tree.bytes_in_use()
    }

    /// Has the next checkpoint written although nothing has changed.
    ///
    /// # Errors
    /// [`Fatal::Full`], if even the reserve is used up: nothing was changed. Any other [`Fatal`]:
    /// the store must not be used any more.
    pub fn touch(&mut self) -> Result<(), Fatal> {
        self.writing(|store| {
            let put = store.tree.put_from_reserve(META, FORMAT_ROW, &[FORMAT]);
            put.map_err(Fatal::before_change)
        })
    }

    pub(super) fn admit(&mut self, growth: Growth, reserve: Reserve) -> Result<(), Fatal> {
        self.tree.admit(growth, reserve).map_err(Fatal::before_change)
    }

    /// Makes sure that a put which was checked fits.
    pub(super) fn admit_put(&mut self, put: &Put) -> Result<(), Fatal> {
        let growth = self.growth_of(put)?;
        self.admit(growth, Reserve::Half)
    }

    /// Makes sure that all records of a branch which was checked fit.
    pub(super) fn admit_branch(&mut self, branch: &Branch<'_>) -> Result<(), Fatal> {
        let (mut puts, mut tombstones) = (Growth::default(), Growth::default());
        self.sum_branch(branch, &mut puts, &mut tombstones)?;
        if puts.records + tombstones.records == 0 {
            return Ok(());
        }
        let reserve = if puts.records > 0 { Reserve::Half } else { Reserve::None };
        puts.add(tombstones);
        self.admit(puts, reserve)
    }

    fn sum_branch(
        &self,
        branch: &Branch<'_>,
        puts: &mut Growth,
        tombstones: &mut Growth,
    ) -> Result<(), Fatal> {
        let mut nested = branch.nested.iter();
        for op in branch.ops {
            match op {
                Op::Put(put) => {
                    puts.add(self.growth_of(put)?);
                    // A deletion that comes later in the transaction may delete the key again.
                    tombstones.add(record(put.key.len(), 0));
                }
                Op::DeleteRange(delete) => self.sum_deletion(delete, tombstones)?,
                Op::Txn(_) => {
                    let inner = nested.next().expect("one branch for each nested transaction");
                    self.sum_branch(inner, puts, tombstones)?;
                }
                Op::Range(_) | Op::Empty => {}
            }
        }
        Ok(())
    }

    fn sum_deletion(&self, delete: &DeleteRange, sum: &mut Growth) -> Result<(), Fatal> {
        let range = Range {
            key: delete.key.clone(),
            range_end: delete.range_end.clone(),
            ..Range::default()
        };
        self.reading().visit(&range, self.revision as u64, &mut |key, _| {
            sum.add(record(key.len(), 0));
            Ok(true)
        })
    }

    fn growth_of(&self, put: &Put) -> Result<Growth, Fatal> {
        if !put.ignore_value {
            return Ok(put.growth());
        }
        let reading = self.reading();
        let kept = reading.get(&put.key, self.revision as u64)?.map_or(0, |kv| kv.value.len());
        Ok(record(put.key.len(), kept))
    }

    /// Makes sure that the tombstones of these keys fit.
    pub(super) fn admit_tombstones(&mut self, keys: &[bytes::Bytes]) -> Result<(), Fatal> {
        let mut sum = Growth::default();
        keys.iter().for_each(|key| sum.add(record(key.len(), 0)));
        if sum.records == 0 { Ok(()) } else { self.admit(sum, Reserve::None) }
    }
}
