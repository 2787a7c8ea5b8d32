//! Work for a log, drawn from a seed.

use std::sync::Arc;

use revd_wal::Options;

use super::Random;

/// One call, in terms that fit whatever the log holds.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One batch behind the last entry.
    Append(Vec<Arc<[u8]>>),
    /// The same as a group commit of one.
    Push(Vec<Arc<[u8]>>),
    /// Keeps so many of a hundred of the entries.
    Truncate(u64),
    /// Lets go of so many of a hundred of the entries, and of those to come.
    Release(u64),
    /// Begins anew, so many indexes ahead.
    Reset(u64),
    /// One step of upkeep.
    Upkeep,
    /// Closes the log and opens it again.
    Reopen,
}

/// Options that let segments come and go quickly; the seed varies them.
pub(crate) fn options(seed: u64) -> Options {
    let mut random = Random::new(seed ^ 0x6f70_7469);
    let mut options = Options::default();
    options.segment_bytes = random.one_of(&[16 << 10, 32 << 10, 32 << 10, 64 << 10, 128 << 10]);
    options.fill_ahead_bytes = random.one_of(&[8 << 10, 16 << 10, 48 << 10]);
    options.spares_max = random.one_of(&[0, 1, 2]);
    options.salt_seed = random.below(3);
    options.owner = *b"a store in tests";
    options
}

/// Steps of all kinds. `long` batches of more than one piece are rare, and only if asked for.
pub(crate) fn workload(seed: u64, steps: usize, long: bool) -> Vec<Step> {
    let mut random = Random::new(seed);
    (0..steps)
        .map(|_| match random.below(24) {
            0 | 1 => Step::Truncate(random.below(101)),
            2..=4 => Step::Release(random.below(130)),
            5 if random.below(2) == 0 => Step::Reset(1 + random.below(40)),
            5..=8 => Step::Upkeep,
            9 if random.below(3) == 0 => Step::Reopen,
            10 if long && random.below(3) == 0 => {
                Step::Append((0..4).map(|_| entry(&mut random, 400 << 10)).collect())
            }
            10..=14 => Step::Push(entries(&mut random)),
            _ => Step::Append(entries(&mut random)),
        })
        .collect()
}

fn entries(random: &mut Random) -> Vec<Arc<[u8]>> {
    let bound = random.one_of(&[0, 1, 300, 300, 300, 4000, 4000, 9000, 30_000]);
    let count = 1 + random.below(if bound > 5000 { 2 } else { 8 });
    (0..count).map(|_| entry(random, bound)).collect()
}

fn entry(random: &mut Random, bound: u64) -> Arc<[u8]> {
    let len = random.below(bound + 1) as usize;
    random.bytes(len).into()
}
