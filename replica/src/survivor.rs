//! A cluster that has lost its quorum for good goes on with one surviving member alone.
//!
//! The operator chooses the member whose log is the best of those that are left. Everything in that
//! log counts as committed: what was, as far as anybody still can tell, and also the end of it, of
//! which nobody can know any more. So the whole log is applied, and behind it goes one more entry,
//! of a new term, which removes all other members and makes this one the only voter. The steps, and
//! what a crash behind each of them leaves:
//!
//! 1. A new term: it begins without a vote, as any other.
//! 2. The entry in the log, uncommitted: the next attempt finds and applies it with all the others.
//! 3. A checkpoint of the tree with all of it: done.
//!
//! The cluster keeps its id, so that the removed members, should they come back, are known as such
//! and told to end. There may be some among them of which this member has never heard; for them
//! the cluster counts its *generations*: who is unknown and of an earlier one was removed, too.

use std::path::Path;
use std::sync::Arc;

use revd_disk::Disk;
use revd_mvcc::Store;
use revd_raft::{
    Configuration, Entry, EntryKind, HardState, Index, NodeId, Persist, PersistNumber, Term,
};

use crate::command::{Command, Membership, RequestId};
use crate::consensus::Committed;
use crate::entry::{self, Author};
use crate::error::OpenError;
use crate::job::JobDone;
use crate::log_store::{self, LogStore};
use crate::machine::Machine;
use crate::members::Member;
use crate::note::Note;
use crate::recover::{self, Settings, TREE_FILE};
use crate::refill;
use crate::snapshot::TreeFile;
use crate::vote::{self, Identity, VoteFile};

/// Entries that are applied at a time.
const BATCH: usize = 1_000;

/// What has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Who goes on.
    pub identity: Identity,
    /// Those who were removed.
    pub removed: Vec<Member>,
    /// The entry that did it.
    pub index: u64,
}

/// Makes the member in `dir`, which does not run, the only one of its cluster; `peer_urls` is where
/// it is reached if it does not know that itself. `None` if there is no member, or its log has made
/// it the only one already.
///
/// # Errors
/// [`OpenError`], also if the member was removed from its cluster itself.
pub fn survive(
    disk: Arc<dyn Disk>,
    dir: &Path,
    settings: &Settings,
    peer_urls: &[String],
) -> Result<Option<Survival>, OpenError> {
    if !disk.exists(&dir.join(vote::FILE_NAME))? {
        return Ok(None);
    }
    if refill::is_under_way(&*disk, dir)? {
        return Err(OpenError::Refilled);
    }
    let vote = VoteFile::open(&*disk, dir)?;
    let (identity, hard_state) = (vote.identity(), vote.state());
    let own = NodeId(identity.member);
    let mut options = settings.store.clone();
    options.owner = identity.owner();
    let file = TreeFile::new(Arc::clone(&disk), dir.join(TREE_FILE), options);
    let (store, _) = Store::open(Arc::clone(&disk), &file.path, file.options.clone())?;
    let note = Note::decode(store.note())?;
    let (log, _) = LogStore::open(disk, dir, vote, settings.log.clone())?;
    recover::join(&log, &note)?;
    let mut machine = Machine::new(store, note, file)?;
    apply_all(&mut machine, &log)?;

    if machine.members().was_removed(own.0) {
        return Err(OpenError::Removed(own.0));
    }
    let mut survival = None;
    if *machine.configuration() != Configuration::lone(own) {
        let others = machine.members().iter().filter(|member| member.id != own.0);
        let removed = others.cloned().collect();
        let itself = Member { id: own.0, peer_urls: peer_urls.to_vec(), ..Member::default() };
        let index = remove_others(&mut machine, &log, hard_state.term.next(), itself)?;
        survival = Some(Survival { identity, removed, index: index.0 });
    }
    if let Some(checkpoint) = machine.checkpoint(machine.applied().index)?
        && let JobDone::Tree(done) = checkpoint.run()?
    {
        machine.done(done)?;
    }
    Ok(survival)
}

/// Makes the entry that leaves a member alone durable in the log, and applies it.
fn remove_others(
    machine: &mut Machine,
    log: &LogStore,
    term: Term,
    itself: Member,
) -> Result<Index, OpenError> {
    let index = machine.applied().index.next();
    let survive = Command::Membership(Membership::Survive(itself));
    let data = entry::encode(&survive, RequestId(0), &Author::default());
    let entry = Entry { term, index, kind: EntryKind::Configuration, data };
    log.persist(&Persist {
        number: PersistNumber(0),
        hard_state: Some(HardState { term, vote: None }),
        truncate_from: None,
        entries: vec![entry.clone()],
    })?;
    apply(machine, vec![Committed::read(entry)])?;
    Ok(index)
}

/// Applies everything that the log holds.
fn apply_all(machine: &mut Machine, log: &LogStore) -> Result<(), OpenError> {
    let mut batch = Vec::new();
    for record in log.wal().replay(machine.applied().index.0 + 1)? {
        let (index, record) = record?;
        let entry = log_store::decode(index, record).ok_or(OpenError::NoEntry { index })?;
        let ends = entry.kind == EntryKind::Configuration;
        batch.push(Committed::read(entry));
        if ends || batch.len() >= BATCH {
            apply(machine, std::mem::take(&mut batch))?;
        }
    }
    apply(machine, batch)
}

fn apply(machine: &mut Machine, entries: Vec<Committed>) -> Result<(), OpenError> {
    match machine.apply(entries)?.stalled_by {
        None => Ok(()),
        Some(full) => Err(full.into()),
    }
}
