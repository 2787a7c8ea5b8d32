//! What the driver counts, for `/metrics`: plain atomics, written on the hot path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::http::Verdicts;
use crate::rpc::traffic::Traffic;

/// Upper bounds of the buckets of a [`Histogram`]: 1 ms, doubled 13 times. The last bucket is
/// open.
pub const BOUNDS: usize = 14;

/// A histogram of durations with etcd's bucket bounds for disk operations, which do for all others
/// that are shown.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Adds one observation.
    pub fn observe(&self, took: Duration) {
        let mut bound = 1_000_000;
        let nanoseconds = took.as_nanos() as u64;
        let mut bucket = 0;
        while bucket < BOUNDS && nanoseconds > bound {
            bucket += 1;
            bound *= 2;
        }
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// The number of observations in each bucket, the open one last, and the sum in seconds.
    pub fn read(&self) -> ([u64; BOUNDS + 1], f64) {
        let counts = std::array::from_fn(|n| self.buckets[n].load(Relaxed));
        (counts, self.nanoseconds.load(Relaxed) as f64 / 1e9)
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Sets it to a value that has been counted elsewhere.
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All counters of one member.
#[derive(Debug, Default)]
pub struct Meters {
    /// Puts applied, those in transactions included.
    pub puts: Counter,
    /// Delete ranges applied, those in transactions included.
    pub deletes: Counter,
    /// Transactions applied or read.
    pub txns: Counter,
    /// Ranges answered.
    pub ranges: Counter,
    /// Proposals that failed: refused, timed out or cut off.
    pub proposals_failed: Counter,
    /// Changes of leader that this member has seen, the first election included.
    pub leader_changes: Counter,
    /// Batches of entries and ranges that took too long.
    pub slow_applies: Counter,
    /// Heartbeats that the leader sent too late.
    pub late_heartbeats: Counter,
    /// Read indexes that had to be asked for again.
    pub slow_read_indexes: Counter,
    /// Read indexes that were lost with their leader.
    pub failed_read_indexes: Counter,
    /// Bytes appended to the log.
    pub wal_bytes: Counter,
    /// How long making a batch of entries durable took.
    pub wal_sync: Histogram,
    /// How long writing a checkpoint of the tree took.
    pub checkpoint: Histogram,
    /// How long each step of compaction held up everything else.
    pub sweep_pause: Histogram,
    /// How long compactions took until nothing was left to remove.
    pub compaction: Histogram,
    /// Records that compactions have removed.
    pub compacted_records: Counter,
    /// Bytes of the tree that were read again to find rot.
    pub scrubbed_bytes: Counter,
    /// What came of health checks.
    pub verdicts: Verdicts,
    /// What goes over the services.
    pub traffic: Arc<Traffic>,
}

impl Meters {
    /// Nothing counted yet; `takes_times` says whether it is counted how long calls take.
    pub(super) fn new(takes_times: bool) -> Self {
        Self { traffic: Arc::new(Traffic::new(takes_times)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_their_buckets() {
        let histogram = Histogram::default();
        for micros in [0, 1_000, 1_001, 2_000, 8_192_000, 8_192_001, 99_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.read();
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (2, 2, 1, 2));
        assert!((sum - 115.388_002).abs() < 1e-9, "{sum}");
    }
}
