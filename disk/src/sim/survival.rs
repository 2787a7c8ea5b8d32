//! Which of the pending changes survive a loss of power.

/// A small generator (SplitMix64), so that a run is repeated by its seed alone.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
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
