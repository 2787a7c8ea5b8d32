//! What came of health checks, for `/metrics`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// The two probes that are made of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the process should go on.
    Livez,
    /// Whether clients should be sent to it.
    Readyz,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Livez, Self::Readyz];

    /// As the path and the label have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No CORRUPT alarm stands.
    DataCorruption,
    /// The member reads its own data.
    SerializableRead,
    /// The member reads what the cluster has agreed on.
    LinearizableRead,
    /// The member votes.
    NonLearner,
}

impl Check {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] =
        [Self::DataCorruption, Self::SerializableRead, Self::LinearizableRead, Self::NonLearner];

    /// As the path and the label have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

/// How often a check passed and failed, and how it ended last.
#[derive(Debug, Default)]
pub struct Verdict {
    passed: AtomicU64,
    failed: AtomicU64,
    /// 0 before the first one, 1 failed, 2 passed.
    last: AtomicU8,
}

impl Verdict {
    /// Adds one.
    pub fn count(&self, is_well: bool) {
        if is_well { &self.passed } else { &self.failed }.fetch_add(1, Relaxed);
        self.last.store(1 + u8::from(is_well), Relaxed);
    }

    /// How often it passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    /// How often it failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Whether it passed when it was made last; `None` if it never was.
    pub fn last(&self) -> Option<bool> {
        self.last.load(Relaxed).checked_sub(1).map(|passed| passed == 1)
    }
}

/// All verdicts of one member.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Those of `/health`.
    pub health: Verdict,
    probes: [[Verdict; Check::ALL.len()]; Kind::ALL.len()],
}

impl Verdicts {
    /// Those of one check of one probe.
    pub const fn of(&self, kind: Kind, check: Check) -> &Verdict {
        &self.probes[kind as usize][check as usize]
    }
}
