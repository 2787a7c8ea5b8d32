//! Which of the pending changes survive a loss of power.

use std::path::Path;

/// What a loss of power left of the changes that were pending: see [`Sim::recover`].
///
/// A change is one sector of one write, one length of a file, or one step of a directory.
///
/// [`Sim::recover`]: super::Sim::recover
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Survivors {
    /// How many changes were pending.
    pub pending: u64,
    /// How many of them have survived.
    pub kept: u64,
    /// Tells which survivors decide what is on the disk now. A survivor that a later one hides, or
    /// that lies in a file without a name or behind its end, does not count: as far as 64 bits can
    /// tell, two outcomes of one crash have equal digests only if they left the same disk.
    pub digest: u64,
}

impl Survivors {
    /// Counts changes.
    pub(super) fn count(&mut self, pending: u64, kept: u64) {
        self.pending += pending;
        self.kept += kept;
    }

    /// Takes a survivor, told apart by these numbers, into the digest, in whatever order.
    pub(super) fn digest(&mut self, change: [u64; 4]) {
        let hash = change.into_iter().fold(0, |hash, number| mix(hash ^ number));
        self.digest = self.digest.wrapping_add(hash);
    }
}

/// A number for a path.
pub(super) fn number_of(path: &Path) -> u64 {
    path.as_os_str().as_encoded_bytes().iter().fold(0, |hash, &byte| mix(hash ^ u64::from(byte)))
}

/// Spreads a number over all 64 bits (the finish of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(GOLDEN);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The step of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small generator (SplitMix64), so that a run is repeated by its seed alone.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        let mixed = mix(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        mixed
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        self.next() % bound
    }
}

/// How the survivors of one loss of power are chosen. Independent coins alone would hardly ever
/// show the plain cases (nothing, everything, all up to some moment), where most mistakes sit.
#[derive(Clone, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// What was issued before this moment.
    Before(u64),
    /// Each change by itself, with this chance in 256.
    Each(u8),
}

impl Survival {
    /// Chooses a way; `now` is the number of changes issued so far, `oldest` that of the first one
    /// that is still pending.
    pub(super) fn choose(random: &mut Random, oldest: u64, now: u64) -> Survival {
        match random.below(8) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 | 3 => Survival::Before(oldest + random.below(now.saturating_sub(oldest) + 1)),
            4 => Survival::Each(32),
            5 => Survival::Each(224),
            _ => Survival::Each(128),
        }
    }

    /// Decides about one change, or one sector of it.
    pub(super) fn spares(&self, order: u64, random: &mut Random) -> bool {
        match self {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Before(moment) => order < *moment,
            Survival::Each(chance) => random.below(256) < u64::from(*chance),
        }
    }
}
