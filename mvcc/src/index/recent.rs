//! Which keys came and went lately, so that an older revision can be counted like the newest.
//!
//! The map counts the keys that exist now. What differed at an older revision are the keys that
//! were made or deleted since; changes of a key that stays do not matter. So the last of those
//! events are kept: the newest in a short tail, the others in blocks, each sorted by key with
//! running sums. Counting what a range has gained since a revision takes two searches in each block
//! after it, and a look at each event of the tail and of the block that the revision falls into.
//!
//! A persistent tree for each of some recent revisions would answer in one logarithm, but holds a
//! copy of nearly each leaf that was written since: by estimate thirty megabytes for ten thousand
//! writes spread over a big map, where their events take half of one, and writes to keys that stay
//! have none.
//!
//! Both bounds, in events and in bytes, drop the oldest block; then revisions before its end are
//! counted by a walk, as those from before the store was opened are.

use std::sync::Arc;

use super::keys::Keys;

/// Events of a block. The tail is copied when it is written to for the first time after it was
/// shared with readers, so it is short.
const BLOCK_EVENTS: usize = 128;
/// Blocks that are kept at most.
const BLOCKS_MAX: usize = 512;
/// Bytes of keys that are kept at most, the tail aside.
const BYTES_MAX: usize = 4 << 20;

/// Keys that were made and deleted, in the order of their revisions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    /// Every event after this revision is here.
    since: u64,
    blocks: Arc<[Arc<Block>]>,
    tail: Arc<Events>,
}

#[derive(Clone, Debug, Default)]
struct Events {
    keys: Keys,
    whats: Vec<What>,
}

#[derive(Clone, Copy, Debug)]
struct What {
    main: u64,
    /// 1 if the key was made, -1 if it was deleted.
    gain: i64,
}

/// Events sorted by key.
#[derive(Debug)]
struct Block {
    events: Events,
    /// For each event the sum of the gains before it, and at last the sum of all.
    sums: Vec<i64>,
    first: u64,
    last: u64,
}

impl Recent {
    /// Knows of nothing that happened up to `revision`.
    pub(crate) fn since(revision: i64) -> Self {
        Self { since: u64::try_from(revision).unwrap_or(0), ..Self::default() }
    }

    /// Notes that revision `main`, not below those before, made or deleted a key.
    pub(crate) fn push(&mut self, main: u64, key: &[u8], gain: i64) {
        let tail = Arc::make_mut(&mut self.tail);
        tail.keys.insert(tail.keys.len(), key);
        tail.whats.push(What { main, gain });
        if tail.whats.len() >= BLOCK_EVENTS {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let mut blocks = Vec::with_capacity(self.blocks.len() + 1);
        blocks.extend(self.blocks.iter().cloned());
        blocks.push(Arc::new(Block::new(&tail)));
        let mut bytes: usize = blocks.iter().map(|block| block.events.keys.bytes_len()).sum();
        let mut dropped = 0;
        while blocks.len() - dropped > BLOCKS_MAX || (bytes > BYTES_MAX && dropped < blocks.len()) {
            bytes -= blocks[dropped].events.keys.bytes_len();
            self.since = self.since.max(blocks[dropped].last);
            dropped += 1;
        }
        self.blocks = blocks.drain(dropped..).collect();
    }

    /// By how much a range has grown after `revision`; no `end` means to the last key. `None` if
    /// that is too long ago to be known.
    pub(crate) fn growth(&self, revision: u64, start: &[u8], end: Option<&[u8]>) -> Option<i64> {
        if revision < self.since {
            return None;
        }
        let after = self.blocks.partition_point(|block| block.last <= revision);
        let blocks = self.blocks[after..].iter().map(|block| block.growth(revision, start, end));
        Some(blocks.sum::<i64>() + self.tail.growth(revision, start, end))
    }
}

impl Events {
    /// Looks at each event.
    fn growth(&self, revision: u64, start: &[u8], end: Option<&[u8]>) -> i64 {
        let is_inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        let events = self.whats.iter().enumerate();
        events
            .filter(|(at, what)| what.main > revision && is_inside(self.keys.get(*at)))
            .map(|(_, what)| what.gain)
            .sum()
    }
}

impl Block {
    fn new(tail: &Events) -> Self {
        let mut order: Vec<usize> = (0..tail.whats.len()).collect();
        order.sort_by(|a, b| tail.keys.get(*a).cmp(tail.keys.get(*b)));
        let mut events = Events::default();
        let mut sums = vec![0];
        for at in order {
            events.keys.insert(events.keys.len(), tail.keys.get(at));
            events.whats.push(tail.whats[at]);
            sums.push(sums[sums.len() - 1] + tail.whats[at].gain);
        }
        let main = |what: Option<&What>| what.map_or(0, |what| what.main);
        Self { events, sums, first: main(tail.whats.first()), last: main(tail.whats.last()) }
    }

    fn growth(&self, revision: u64, start: &[u8], end: Option<&[u8]>) -> i64 {
        if self.first <= revision {
            return self.events.growth(revision, start, end);
        }
        let from = self.events.keys.below(start);
        let to = end.map_or(self.events.keys.len(), |end| self.events.keys.below(end));
        if from < to { self.sums[to] - self.sums[from] } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Recent::growth`] should say, from a plain list.
    fn expected(events: &[(u64, Vec<u8>, i64)], at: u64, start: &[u8], end: Option<&[u8]>) -> i64 {
        let is_inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        let since = events.iter().filter(|(main, key, _)| *main > at && is_inside(key));
        since.map(|(_, _, gain)| gain).sum()
    }

    #[test]
    fn growth_is_that_of_a_plain_list() {
        let (mut recent, mut events) = (Recent::since(9), Vec::new());
        let mut state = 1_u64;
        let mut drawn = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        let mut kept = Vec::new();
        let mut main = 10;
        for step in 0..2_000 {
            main += drawn(3);
            let key = drawn(300).to_string().into_bytes();
            let gain = if drawn(2) == 0 { 1 } else { -1 };
            recent.push(main, &key, gain);
            events.push((main, key, gain));
            let (start, end) = (drawn(300).to_string(), drawn(300).to_string());
            let end = (step % 5 > 0).then_some(end.as_bytes());
            let at = 9 + drawn(main - 8);
            let found = recent.growth(at, start.as_bytes(), end);
            let wanted = expected(&events, at, start.as_bytes(), end);
            assert_eq!(found, Some(wanted), "step {step} at {at}: {start} to {end:?}");
            if step % 500 == 0 {
                kept.push((recent.clone(), events.clone()));
            }
        }
        assert_eq!(recent.growth(8, b"", None), None, "before the first");
        for (recent, events) in kept {
            assert_eq!(recent.growth(9, b"", None), Some(expected(&events, 9, b"", None)));
        }
    }

    #[test]
    fn both_bounds_drop_the_oldest() {
        let mut recent = Recent::since(0);
        let many = (BLOCK_EVENTS * (BLOCKS_MAX + 2)) as u64;
        for main in 1..=many {
            recent.push(main, b"k", 1);
        }
        let dropped = 2 * BLOCK_EVENTS as u64;
        assert_eq!(recent.growth(dropped - 1, b"", None), None);
        assert_eq!(recent.growth(dropped, b"", None), Some((many - dropped) as i64));
        let long = vec![b'x'; BYTES_MAX / BLOCK_EVENTS / 3];
        for main in many + 1..=many + 4 * BLOCK_EVENTS as u64 {
            recent.push(main, &long, 1);
        }
        let dropped = many + BLOCK_EVENTS as u64;
        assert_eq!(recent.growth(dropped - 1, b"", None), None);
        assert_eq!(recent.growth(dropped, b"", None), Some(3 * BLOCK_EVENTS as i64));
    }
}
