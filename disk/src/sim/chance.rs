//! Faults by chance.

use super::fault::Effect;
use super::state::Asked;
use super::survival::Random;
use crate::{BLOCK, Operation};

/// How often each fault strikes, in a million operations that it could strike: see
/// [`Sim::fail_by_chance`](super::Sim::fail_by_chance). None does by default.
///
/// At most one of those that decide how an operation ends strikes it, so what is set for one kind
/// of operation should not add up to more than a million. Rot and slowness come on top.
///
/// ```
/// use revd_disk::Chances;
///
/// // One sync of a thousand fails, and one operation of a hundred is slow.
/// let chances = Chances { sync_error: 1_000, slow: 10_000, ..Chances::default() };
/// # let _ = chances;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chances {
    /// A read fails: [`Effect::Io`].
    pub read_error: u32,
    /// A write, or another change that is not a sync, fails and does nothing: [`Effect::Io`].
    pub write_error: u32,
    /// A sync of a file or directory fails, that of a file for good: [`Effect::Io`].
    pub sync_error: u32,
    /// A write fails after some of its sectors: [`Effect::Torn`].
    pub torn_write: u32,
    /// A write ends early because the disk is full: [`Effect::Short`].
    pub short_write: u32,
    /// A write, allocation or creation finds the disk full: [`Effect::Full`].
    pub full: u32,
    /// A write reports success and does nothing: [`Effect::Lost`].
    pub lost_write: u32,
    /// A write goes to another block of the file: [`Effect::Misdirected`].
    pub misdirected_write: u32,
    /// A write of several blocks swaps the first and the last: [`Effect::Swapped`].
    pub swapped_write: u32,
    /// A bit of the file that is read, written or synced flips: [`Effect::Rot`].
    pub rot: u32,
    /// An operation takes 1 to 512 milliseconds longer: [`Effect::Slow`].
    pub slow: u32,
}

/// A million, of which the chances are parts.
const WHOLE: u64 = 1_000_000;

/// The chances, and the seeded generator that they are drawn with.
#[derive(Clone, Debug)]
pub(super) struct Lottery {
    chances: Chances,
    random: Random,
}

impl Lottery {
    pub(super) fn new(seed: u64, chances: Chances) -> Lottery {
        Lottery { chances, random: Random::new(seed) }
    }

    /// What strikes an operation on a file of `len` bytes: what comes on top of it, and what
    /// decides how it ends. Each call draws the same number of times unless something strikes.
    pub(super) fn draw(&mut self, asked: &Asked<'_>, len: u64) -> (Vec<Effect>, Option<Effect>) {
        let mut beside = Vec::new();
        let (slow, rot) = (self.random.below(WHOLE), self.random.below(WHOLE));
        if slow < u64::from(self.chances.slow) {
            beside.push(Effect::Slow(1_000_000 << self.random.below(10)));
        }
        let moves = [Operation::Read, Operation::Write, Operation::Sync].contains(&asked.operation);
        if moves && rot < u64::from(self.chances.rot) {
            beside.push(Effect::Rot);
        }
        (beside, self.draw_end(asked, len))
    }

    fn draw_end(&mut self, asked: &Asked<'_>, len: u64) -> Option<Effect> {
        let mut drawn = self.random.below(WHOLE);
        let mut struck = None;
        for (chance, effect) in self.ends(asked) {
            if drawn < u64::from(chance) {
                struck = Some(effect);
                break;
            }
            drawn -= u64::from(chance);
        }
        match struck? {
            Effect::Short(_) => Some(Effect::Short(self.random.below(asked.bytes.max(1)))),
            Effect::Misdirected(_) => self.misdirect(asked.offset, len),
            effect => Some(effect),
        }
    }

    /// The effects that may end an operation, with their chances; offsets are chosen later.
    fn ends(&self, asked: &Asked<'_>) -> Vec<(u32, Effect)> {
        let chances = &self.chances;
        let creation = vec![(chances.write_error, Effect::Io), (chances.full, Effect::Full)];
        match asked.operation {
            Operation::Read => vec![(chances.read_error, Effect::Io)],
            Operation::Sync | Operation::SyncDir => vec![(chances.sync_error, Effect::Io)],
            Operation::Write => vec![
                (chances.write_error, Effect::Io),
                (chances.torn_write, Effect::Torn),
                (chances.short_write, Effect::Short(0)),
                (chances.full, Effect::Full),
                (chances.lost_write, Effect::Lost),
                (chances.misdirected_write, Effect::Misdirected(0)),
                (chances.swapped_write, Effect::Swapped),
            ],
            Operation::CreateDir
            | Operation::Rename
            | Operation::Remove
            | Operation::PunchHole
            | Operation::Truncate => vec![(chances.write_error, Effect::Io)],
            Operation::Allocate => creation,
            Operation::Open if asked.creates => creation,
            _ => Vec::new(),
        }
    }

    /// Another block of the file, at the same place within it; none if there is no other.
    fn misdirect(&mut self, offset: u64, len: u64) -> Option<Effect> {
        let block = BLOCK as u64;
        let target = self.random.below(len / block + 1) * block + offset % block;
        (target != offset).then_some(Effect::Misdirected(target))
    }
}
