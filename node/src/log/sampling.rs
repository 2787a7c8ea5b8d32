//! Keeps a flood of equal lines small: the first 100 in a second, then each hundredth.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines that pass in each period, and the distance of those that pass afterwards.
const FIRST: u64 = 100;
const THEREAFTER: u64 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// Counts lines by where they come from; as many entries as the source has such places.
#[derive(Debug)]
pub(crate) struct Sampling<K> {
    counts: HashMap<K, (Instant, u64)>,
}

impl<K: Hash + Eq> Sampling<K> {
    pub(crate) fn new() -> Sampling<K> {
        Sampling { counts: HashMap::new() }
    }

    /// Counts a line and tells whether it is to be written.
    pub(crate) fn admits(&mut self, place: K, now: Instant) -> bool {
        let (since, count) = self.counts.entry(place).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= PERIOD {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= FIRST || (*count - FIRST).is_multiple_of(THEREAFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_thinned_and_another_place_is_not() {
        let (mut sampling, now) = (Sampling::new(), Instant::now());
        let admitted = (0..1000).filter(|_| sampling.admits("a", now)).count();
        assert_eq!(admitted, 109);
        assert!(sampling.admits("b", now));
        assert!(sampling.admits("a", now + PERIOD));
    }
}
