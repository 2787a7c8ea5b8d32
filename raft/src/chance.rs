//! Chance from a seed: the same seed gives the same run.

/// A generator of the splitmix64 family: one multiplication chain over a counter. Its quality is
/// ample for spreading election timeouts, its only use.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// A number below `bound`, which is not 0. The bias of the remainder is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let drawn = self.next() % u64::from(bound);
        u32::try_from(drawn).expect("a remainder is below its divisor, which fits")
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
