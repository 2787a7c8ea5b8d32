//! What a member finds when it starts.

use crate::config::Config;
use crate::configuration::Configuration;
use crate::entry::Entry;
use crate::error::StartError;
use crate::log::Log;
use crate::number::{Index, NUMBER_MAX, Position};
use crate::output::HardState;

/// What a member finds on its disk when it starts, gathered entry by entry so that a long log never
/// has to fit into memory: only as many of the last entries stay as
/// [`Config::tail_bytes`] allows.
///
/// ```
/// use revd_raft::*;
/// let config = Config::new(NodeId(1));
/// let applied = Position::new(Index(7), Term(2));
/// let durable = HardState { term: Term(3), vote: Some(NodeId(1)) };
/// let mut restart = Restart::new(&config, durable, applied, Configuration::lone(NodeId(1)));
/// restart.push(Entry { // for each entry of the log behind the applied one
///     term: Term(3), index: Index(8), kind: EntryKind::Normal, data: "payload".into(),
/// })?;
/// let raft = Raft::new(config, restart, 42)?;
/// assert_eq!(raft.status().last.index, Index(8));
/// # Ok::<(), StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Restart {
    pub(crate) hard_state: HardState,
    pub(crate) applied: Position,
    pub(crate) configuration: Configuration,
    pub(crate) log: Log,
    pub(crate) recovering: bool,
    /// Whether anything was pushed.
    pushed: bool,
    tail_bytes: usize,
}

impl Restart {
    /// The durable term and vote, what the state machine has applied, and the configuration there.
    /// Everything at its default is a member that has just been born; a cluster may as well be
    /// born with a first configuration at any position. A member that joins such a cluster begins
    /// with it too; or with nothing at position 0, and gets a snapshot, or the log from its first
    /// entry on, if that is a change of configuration which leads to the first one.
    #[must_use]
    pub fn new(
        config: &Config,
        hard_state: HardState,
        applied: Position,
        configuration: Configuration,
    ) -> Restart {
        Restart {
            hard_state,
            applied,
            configuration,
            log: Log::behind(applied),
            recovering: false,
            pushed: false,
            tail_bytes: config.tail_bytes,
        }
    }

    /// The next entry of the durable log. The first may stand anywhere up to the one behind the
    /// applied position, and from there on every one must be pushed, to the end of the log.
    /// Entries before the applied position spare a leader from fetching them for others.
    ///
    /// # Errors
    /// When the log has a gap, its terms fall, or it contradicts what was applied.
    pub fn push(&mut self, entry: Entry) -> Result<(), StartError> {
        self.log.restore(entry, self.applied, !self.pushed)?;
        self.pushed = true;
        self.log.evict(self.tail_bytes, Index(u64::MAX));
        Ok(())
    }

    /// The durable log begins at `first`, before what is pushed: so far back can others be brought
    /// up to date without a snapshot.
    pub fn log_begins_at(&mut self, first: Index) {
        self.log.begins_at(first);
    }

    /// The log was damaged: it may lack entries that this member has acknowledged. The member then
    /// begins a term of its own, so that no leader counts on what it acknowledged in earlier ones,
    /// and neither votes nor acknowledges until it holds everything up to a commit index that a
    /// quorum without it has confirmed since. [`Status::recovering`](crate::Status::recovering)
    /// tells when that is done; until then the driver must keep in mind, over restarts, that it is
    /// not.
    pub fn recovering(&mut self) {
        self.recovering = true;
    }

    /// What must hold between the parts.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let (last, term) = (self.log.last(), self.hard_state.term);
        for number in [self.applied.index.0, self.applied.term.0, term.0] {
            if number > NUMBER_MAX {
                return Err(StartError::OutOfRange(number));
            }
        }
        if last.index < self.applied.index {
            return Err(StartError::BehindApplied { applied: self.applied, found: None });
        }
        if last.term > term {
            return Err(StartError::AheadOfTerm { found: last, term });
        }
        if self.applied.term > term {
            return Err(StartError::AheadOfTerm { found: self.applied, term });
        }
        Ok(())
    }
}
