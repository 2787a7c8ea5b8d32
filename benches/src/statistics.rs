//! Medians and percentiles.

use std::time::Duration;

/// Latencies in buckets less than 1 % wide.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

/// Buckets for each doubling.
const STEPS: u32 = 128;

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; 64 * STEPS as usize], total: 0 }
    }
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.counts[bucket(latency.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    /// The latency that a share of all stays below; 0.5 is the median. Zero if there are none.
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Duration::from_nanos(lower_bound(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < u64::from(STEPS) {
        return nanoseconds as usize;
    }
    let doubling = nanoseconds.ilog2() - STEPS.ilog2();
    let step = (nanoseconds >> doubling) - u64::from(STEPS);
    (doubling as usize + 1) * STEPS as usize + step as usize
}

fn lower_bound(bucket: usize) -> u64 {
    let (doubling, step) = (bucket as u64 / u64::from(STEPS), bucket as u64 % u64::from(STEPS));
    match doubling {
        0 => step,
        n => (u64::from(STEPS) + step) << (n - 1),
    }
}

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
/// Without any value.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "a median needs values");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        for nanoseconds in (0..100_000).chain([1 << 40, u64::MAX / 2]) {
            let low = lower_bound(bucket(nanoseconds));
            assert!(low <= nanoseconds && nanoseconds - low <= nanoseconds / 100, "{nanoseconds}");
        }
    }

    #[test]
    fn the_median_of_latencies() {
        let mut latencies = Latencies::default();
        (1..=101).for_each(|n| latencies.add(Duration::from_nanos(n)));
        assert_eq!(latencies.percentile(0.5), Duration::from_nanos(51));
        assert_eq!(latencies.percentile(1.0), Duration::from_nanos(101));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
