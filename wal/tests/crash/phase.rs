//! What a log was about when the power failed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use revd_disk::Operation;

use super::model::Step;
use super::trace::Moment;

/// The work that a crash cut short. Each moment belongs to one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The first opening, of a log that is not there.
    Creation,
    /// A batch of entries.
    Append,
    /// A new file becomes the next segment, or is made for that.
    Roll,
    /// A released segment becomes a spare file, or a spare file a segment again.
    Recycling,
    /// The marker that removes a suffix.
    Truncation,
    /// A released segment is removed.
    Release,
    /// All that a reset does.
    Reset,
    /// Zeros ahead of the end.
    ZeroFill,
    /// A log is opened.
    Recovery,
    /// A log is opened whose last opening was cut short.
    RecoveryAgain,
    /// Several threads append, and one does upkeep.
    Threads,
}

impl Phase {
    /// Those of which every run must have many.
    pub(crate) const REQUIRED: [Phase; 9] = [
        Phase::Append,
        Phase::Roll,
        Phase::Recycling,
        Phase::Truncation,
        Phase::Release,
        Phase::Reset,
        Phase::ZeroFill,
        Phase::Recovery,
        Phase::RecoveryAgain,
    ];
}

/// Tells the phases of a run's moments, which come in order.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    /// Spare files that were segments.
    recycled: BTreeSet<PathBuf>,
    /// The last phase that was no sync of a directory, which belongs to it.
    last: Option<Phase>,
}

impl Phases {
    /// The phase of a moment during `step`.
    pub(crate) fn of(&mut self, moment: &Moment, step: &Step) -> Phase {
        let phase = match step {
            Step::Reset(_) => Phase::Reset,
            Step::Reopen => Phase::Recovery,
            _ if moment.operation == Operation::SyncDir => self.last.unwrap_or(Phase::Roll),
            _ => self.of_change(moment, step),
        };
        if is(&moment.path, "wal") && moment.operation == Operation::Rename {
            self.recycled.extend(moment.target.clone());
        }
        self.last = Some(phase);
        phase
    }

    fn of_change(&self, moment: &Moment, step: &Step) -> Phase {
        let in_log = is(&moment.path, "wal");
        match (moment.operation, step) {
            (Operation::Write, Step::Upkeep) => Phase::ZeroFill,
            (Operation::Remove, _) => Phase::Release,
            (Operation::Rename, _) if in_log => Phase::Recycling,
            (_, Step::Truncate(_)) if in_log => Phase::Truncation,
            (_, Step::Append(_) | Step::Push(_)) if in_log => Phase::Append,
            _ if self.recycled.contains(&moment.path) => Phase::Recycling,
            _ => Phase::Roll,
        }
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

/// How many points each phase has had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram(BTreeMap<Phase, u64>);

impl Histogram {
    /// Counts a point.
    pub(crate) fn count(&mut self, phase: Phase) {
        *self.0.entry(phase).or_default() += 1;
    }

    /// The points of a phase.
    pub(crate) fn of(&self, phase: Phase) -> u64 {
        self.0.get(&phase).copied().unwrap_or(0)
    }

    /// The points of all phases.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// True if there are so many points in all, and so many in each phase that is required.
    pub(crate) fn reaches(&self, total: u64, each: u64) -> bool {
        let poor = |phase: &&Phase| self.of(**phase) < each;
        self.total() >= total && !Phase::REQUIRED.iter().any(|phase| poor(&phase))
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (phase, points) in &self.0 {
            writeln!(f, "{points:>9}  {phase:?}")?;
        }
        write!(f, "{:>9}  in all", self.total())
    }
}
