//! From a directory to a member: bootstrap of a new one, recovery of one that ran before.
//!
//! ```text
//! <data dir>/vote    identity, term and vote; made last, so that it marks a finished bootstrap
//! <data dir>/tree    everything replicated, as of the last checkpoint
//! <data dir>/wal/    the log
//! ```
//!
//! A directory without a vote file is new, whatever an interrupted bootstrap has left there:
//! nothing has been promised to anybody yet. Entry 1 of term 1 is the founding of the cluster with
//! its first members. A new member starts with this entry in its log, and with its effects in the
//! tree, so that it is committed from the start. A member that joins a running cluster begins from
//! nothing, at entry 0, and gets the founding with everything else from its leader.
//!
//! Recovery opens the tree, then the log, and checks that they fit:
//!
//! | the log | the tree | verdict |
//! |---|---|---|
//! | begins at the entry after the tree's, or is empty there | any | entries are handed to
//! consensus |
//! | begins before it and reaches the tree's entry | grown from the log | those behind it are |
//! | begins before it, wherever it ends | installed from a snapshot | the log is reset |
//! | ends below the tree's entry | grown from the log | corruption: durable entries are missing |
//! | begins behind the entry that the tree needs next | any | corruption |
//!
//! A log that is reset was to be so by the installation that a crash has cut short. It may have
//! reached beyond the snapshot, with entries that nobody has committed.
//!
//! What is damaged or missing is set aside, if others can fill the gap: [`crate::refill`].

use std::path::Path;
use std::sync::Arc;

use revd_disk::Disk;
use revd_mvcc::Store;
use revd_raft::{
    Config, Configuration, Entry, EntryKind, HardState, Index, NodeId, Position, Raft, Restart,
    Term,
};

use crate::command::{Command, Membership, RequestId};
use crate::consensus::{Consensus, Retention};
use crate::entry::{self, Author};
use crate::error::OpenError;
use crate::log_store::{self, LogStore};
use crate::machine::Machine;
use crate::members::{Member, Members};
use crate::note::{Note, Origin};
use crate::planted::{Bug, planted};
use crate::refill::{self, Lost, Refill};
use crate::snapshot::{Incoming, TreeFile};
use crate::state_hash::{self, Effects, StateHash};
use crate::vote::{self, Identity, VoteFile};

/// The file of the tree in the data directory.
pub const TREE_FILE: &str = "tree";

/// A tree that takes the place of one that was set aside, until it has its name.
const FRESH_FILE: &str = "tree.fresh";

/// The founding of the cluster.
const FOUNDING: Position = Position { index: Index(1), term: Term(1) };

/// The revision of a key space before its first change.
const FIRST_REVISION: i64 = 1;

/// How a member is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who the member is, if it is new. One that has run before keeps what its vote file says.
    pub identity: Identity,
    /// The founding members, if it is new; none if it joins a cluster that runs already.
    pub founders: Vec<Member>,
    /// The settings of consensus; the id is replaced by the identity's.
    pub raft: Config,
    /// The settings of the log; the owner is replaced by the identity's.
    pub log: revd_wal::Options,
    /// The settings of the key space; the owner is replaced by the identity's.
    pub store: revd_mvcc::Options,
    /// How much of the log is kept.
    pub retention: Retention,
    /// Where chance comes from.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether the member was made just now.
    pub is_new: bool,
    /// Who the member is.
    pub identity: Identity,
    /// What the tree held.
    pub applied: Position,
    /// The last entry of the log.
    pub last: Index,
    /// Whether the newest checkpoint was unreadable and the one before it was taken.
    pub fell_back: bool,
    /// What the end of the log looked like.
    pub log: revd_wal::Recovery,
    /// Whether the member is being refilled: see [`crate::refill`].
    pub is_refilled: bool,
    /// What was found damaged just now, and set aside.
    pub damage: Option<String>,
}

/// A member ready to run.
#[derive(Debug)]
pub struct Opened {
    /// Consensus, before its first tick.
    pub consensus: Consensus,
    /// The machine, as of the last checkpoint.
    pub machine: Machine,
    /// The leases, for the [`crate::Lessor`].
    pub leases: Vec<(i64, revd_mvcc::Lease)>,
    /// What was found.
    pub report: Report,
}

/// Opens the member in `dir`, or makes a new one there. If its log is damaged and the others can do
/// without it for a while, the log is set aside, and the member begins to be refilled.
///
/// # Errors
/// [`OpenError`]; a damaged file is left as it is. Without its tree nobody knows whether the others
/// can do without it: whoever finds out goes on with [`refill::begin`] and
/// opens it again ([`OpenError::lost`]).
pub fn open(disk: Arc<dyn Disk>, dir: &Path, settings: Settings) -> Result<Opened, OpenError> {
    match open_once(&disk, dir, settings.clone()) {
        Err(error) if error.lost() == Some(Lost::Log) => {
            refill::begin(&*disk, dir, Lost::Log)?;
            let mut opened = open_once(&disk, dir, settings)?;
            opened.report.damage = Some(error.to_string());
            Ok(opened)
        }
        opened => opened,
    }
}

fn open_once(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    mut settings: Settings,
) -> Result<Opened, OpenError> {
    let is_new = !disk.exists(&dir.join(vote::FILE_NAME))?;
    if is_new {
        bootstrap(disk, dir, &settings)?;
    }
    let vote = VoteFile::open(&**disk, dir)?;
    let identity = vote.identity();
    let refill = Refill::open(disk, dir)?;
    let is_refilled = refill.is_some();
    settings.store.owner = identity.owner();
    settings.raft.id = NodeId(identity.member);
    let path = dir.join(TREE_FILE);
    let file = TreeFile::new(Arc::clone(disk), path, settings.store.clone());
    Incoming::clear(&file)?;
    if is_refilled && !disk.exists(&file.path)? {
        renew_tree(disk, &file)?;
    }
    let (store, opened) = Store::open(Arc::clone(disk), &file.path, file.options.clone())?;
    let note = Note::decode(store.note())?;
    let begun = begin_consensus(Arc::clone(disk), dir, vote, &settings, &note, refill);
    let (consensus, log) = begun.map_err(|error| unless_spare(error, &settings, &note))?;
    let leases = store.leases().filter(|_| !planted(Bug::ForgetLeases));
    let leases = leases.map(|(id, lease)| (id.0, lease)).collect();
    let report = Report {
        is_new,
        identity,
        applied: note.applied,
        last: Index(consensus.log().wal().bounds().1),
        fell_back: opened.fell_back,
        log,
        is_refilled,
        damage: None,
    };
    let machine = Machine::new(store, note, file)?;
    Ok(Opened { consensus, machine, leases, report })
}

/// Opens the log, and has consensus begin with it.
fn begin_consensus(
    disk: Arc<dyn Disk>,
    dir: &Path,
    vote: VoteFile,
    settings: &Settings,
    note: &Note,
    refill: Option<Refill>,
) -> Result<(Consensus, revd_wal::Recovery), OpenError> {
    let hard_state = vote.state();
    let (log, recovery) = LogStore::open(disk, dir, vote, settings.log.clone())?;
    match join(&log, note) {
        // The log is new, and does not know yet where it begins.
        Err(error) if refill.is_some() && error.lost().is_some() => {
            log.wal().reset(note.applied.index.0 + 1)?;
        }
        joined => joined?,
    }
    let config = settings.raft.clone();
    let mut restart = Restart::new(&config, hard_state, note.applied, note.configuration.clone());
    restart.log_begins_at(Index(log.wal().bounds().0));
    for record in log.wal().replay(note.applied.index.0 + 1)? {
        let (index, record) = record?;
        let entry = log_store::decode(index, record).ok_or(OpenError::NoEntry { index })?;
        restart.push(entry)?;
    }
    if refill.is_some() && !planted(Bug::ForgetRefill) {
        restart.recovering();
    }
    let raft = Raft::new(config, restart, settings.seed)?;
    Ok((Consensus::new(raft, Arc::new(log), settings.retention, refill), recovery))
}

/// What is wrong with the log is the end of the matter for a member that is needed.
fn unless_spare(error: OpenError, settings: &Settings, note: &Note) -> OpenError {
    if error.lost().is_none() || refill::is_spare(&note.configuration, settings.raft.id) {
        return error;
    }
    OpenError::Alone { source: Box::new(error) }
}

/// Makes the files of a new member; the vote file last.
fn bootstrap(disk: &Arc<dyn Disk>, dir: &Path, settings: &Settings) -> Result<(), OpenError> {
    disk.create_dir(dir)?;
    let tree = dir.join(TREE_FILE);
    let log = dir.join(log_store::FOLDER);
    for leftover in [&tree, &dir.join("tree.new")] {
        if disk.exists(leftover)? {
            disk.remove(leftover)?;
        }
    }
    if disk.exists(&log)? {
        for name in disk.list(&log)? {
            disk.remove(&log.join(name))?;
        }
    }
    let founders = &settings.founders;
    let mut options = settings.store.clone();
    options.owner = settings.identity.owner();
    let birth = create_tree(disk, &tree, options, founders)?;
    let mut log_options = settings.log.clone();
    log_options.owner = settings.identity.owner();
    let (log, _) = revd_wal::Wal::open(Arc::clone(disk), &log, log_options)?;
    if birth == FOUNDING {
        let mut record = Vec::new();
        log_store::encode(&founding(founders), &mut record);
        log.append(FOUNDING.index.0, &[&record])?;
    }
    drop(log);
    let state = HardState { term: birth.term, vote: None };
    VoteFile::create(&**disk, dir, settings.identity, state)?;
    Ok(())
}

/// Puts a tree that holds nothing in the place of one that was set aside.
fn renew_tree(disk: &Arc<dyn Disk>, file: &TreeFile) -> Result<(), OpenError> {
    let dir = file.path.parent().expect("the tree lies in the data directory");
    for leftover in [FRESH_FILE, "tree.fresh.new"].map(|name| dir.join(name)) {
        if disk.exists(&leftover)? {
            disk.remove(&leftover)?;
        }
    }
    let fresh = dir.join(FRESH_FILE);
    create_tree(disk, &fresh, file.options.clone(), &[])?;
    disk.rename(&fresh, &file.path)?;
    Ok(disk.sync_dir(dir)?)
}

/// Makes a tree that holds what founders begin with, or nothing if there are none. Returns what is
/// applied.
fn create_tree(
    disk: &Arc<dyn Disk>,
    path: &Path,
    options: revd_mvcc::Options,
    founders: &[Member],
) -> Result<Position, OpenError> {
    let birth = if founders.is_empty() { Position::default() } else { FOUNDING };
    let voters = founders.iter().map(|founder| NodeId(founder.id));
    let note = Note {
        origin: Origin::Grown,
        applied: birth,
        hash_algorithm: state_hash::ALGORITHM,
        state_hash: hash_at_birth(founders),
        configuration: Configuration::new(voters, []).map_err(OpenError::Founders)?,
    };
    let mut store = Store::create(Arc::clone(disk), path, options, &note.encode())?;
    let mut members = Members::default();
    for founder in founders {
        members.put(&mut store, founder.clone())?;
    }
    store.publish();
    if let Some(checkpoint) = store.checkpoint(&note.encode())? {
        store.checkpointed(checkpoint.write().map_err(revd_mvcc::Fatal::from)?);
    }
    Ok(birth)
}

/// The first entry.
fn founding(founders: &[Member]) -> Entry {
    let found = Command::Membership(Membership::Found(founders.to_vec()));
    let Position { index, term } = FOUNDING;
    let data = entry::encode(&found, RequestId(0), &Author::default());
    Entry { term, index, kind: EntryKind::Configuration, data }
}

/// The state hash of a founder, as whoever joins computes it when it applies the first entry; that
/// of one who joins, if there are no founders.
fn hash_at_birth(founders: &[Member]) -> u64 {
    let mut hash = StateHash::new();
    if !founders.is_empty() {
        let entry = founding(founders);
        hash.add(Effects {
            index: entry.index,
            kind: entry.kind,
            outcome: Ok(()),
            leases: 0,
            members: founders.len(),
            alarms: 0,
            revision: FIRST_REVISION,
            changes: &[],
            entry: &entry.data,
        });
    }
    hash.value().expect("a hash that begins is known")
}

/// Checks that log and tree fit together; resets the log behind an installed tree.
pub(crate) fn join(log: &LogStore, note: &Note) -> Result<(), OpenError> {
    let applied = note.applied.index.0;
    let (first, last) = log.wal().bounds();
    if note.origin == Origin::Installed && first <= applied {
        return Ok(log.wal().reset(applied + 1)?);
    }
    if last < applied {
        return Err(OpenError::LogTooShort { last, applied });
    }
    if first > applied + 1 {
        return Err(OpenError::LogTooLate { first, needed: applied + 1 });
    }
    Ok(())
}
