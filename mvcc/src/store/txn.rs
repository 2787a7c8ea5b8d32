//! Writing transactions: decide the path, check all of it, then run it.
//!
//! Comparisons and checks look at the state before the transaction (rules 4.7, 4.8), so once the
//! first operation runs, nothing can be refused any more: a transaction is atomic without undo.

use super::write::Writing;
use super::{Outcome, Store};
use crate::answer::{OpDone, Ranged, TxnDone};
use crate::error::{Fatal, Rejected};
use crate::key_value::Revision;
use crate::request::{Op, Range, Txn};
use crate::view::{self, Branch, Reading};

impl Store {
    /// Runs a transaction. The request must have passed [`Txn::check`]. It may also be one that
    /// only reads; [`View::txn`](crate::View::txn) does those on any thread.
    ///
    /// Rejected for an unknown lease, a missing key that an `ignore_*` flag needs, or a revision
    /// that cannot be read, anywhere on the path that would run: then nothing has run.
    ///
    /// # Errors
    /// [`Fatal::Full`]: nothing was changed. Any other [`Fatal`]: the store must not be used any
    /// more.
    pub fn txn(&mut self, txn: &Txn) -> Outcome<TxnDone> {
        self.writing(|store| {
            let branch = view::branch(&store.reading(), txn)?;
            if let Err(rejected) = store.check_branch(&branch) {
                return Ok(Err(rejected));
            }
            store.admit_branch(&branch)?;
            let mut writing = store.begin();
            let responses = store.run(&mut writing, &branch)?;
            store.finish(&writing);
            let revision = writing.revision();
            Ok(Ok(TxnDone { revision, succeeded: branch.succeeded, responses }))
        })
    }

    /// All puts on the path, then all ranges.
    fn check_branch(&self, branch: &Branch<'_>) -> Result<(), Rejected> {
        self.check_puts(branch)?;
        view::check_ranges(branch, self.revision, self.compaction.scheduled)
    }

    fn check_puts(&self, branch: &Branch<'_>) -> Result<(), Rejected> {
        let mut nested = branch.nested.iter();
        for op in branch.ops {
            match op {
                Op::Put(put) => self.check_put(put)?,
                Op::Txn(_) => self.check_puts(inner(&mut nested))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, writing: &mut Writing, branch: &Branch<'_>) -> Result<Vec<OpDone>, Fatal> {
        let mut responses = Vec::with_capacity(branch.ops.len());
        let mut nested = branch.nested.iter();
        for op in branch.ops {
            responses.push(match op {
                Op::Range(range) => OpDone::Range(self.run_range(writing, range)?),
                Op::Put(put) => OpDone::Put(self.apply_put(writing, put)?),
                Op::DeleteRange(delete) => OpDone::Deleted(self.apply_delete(writing, delete)?),
                Op::Txn(_) => OpDone::Txn(self.run_nested(writing, inner(&mut nested))?),
                // Refused by `Txn::check`; a log written before that check would not hold one.
                Op::Empty => continue,
            });
        }
        Ok(responses)
    }

    /// A nested transaction goes on with the same revision; its own header is empty (rule 4.14).
    fn run_nested(&mut self, writing: &mut Writing, branch: &Branch<'_>) -> Result<TxnDone, Fatal> {
        let responses = self.run(writing, branch)?;
        Ok(TxnDone { revision: Revision(0), succeeded: branch.succeeded, responses })
    }

    /// Revision 0 sees what this transaction wrote so far; any other one does not (rules 4.10,
    /// 4.11).
    fn run_range(&self, writing: &Writing, range: &Range) -> Result<Ranged, Fatal> {
        let newest = writing.revision().0;
        let Reading { keys, recent, records, .. } = self.reading();
        Reading::new(keys, recent, records, newest).range(range, view::revision_of(range, newest))
    }
}

fn inner<'b, 't>(nested: &mut impl Iterator<Item = &'b Branch<'t>>) -> &'b Branch<'t>
where
    't: 'b,
{
    nested.next().expect("one branch for each nested transaction")
}
