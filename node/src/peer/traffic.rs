//! What is counted of the connections with each other member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use revd_raft::SnapshotOutcome;

use super::{Event, Listener};

/// Members that are counted, at most; those past it are not. Ids are never used again, so there may
/// be more in the life of a process than a cluster ever has.
const MEMBERS: usize = 1024;

/// The counters of all other members; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<BTreeMap<u64, Arc<Link>>>>);

/// The counters of one other member.
#[derive(Debug, Default)]
pub(super) struct Link {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    send_failures: AtomicU64,
    disconnections: AtomicU64,
    snapshots_sent: AtomicU64,
    snapshots_not_sent: AtomicU64,
    snapshots_begun: AtomicU64,
    snapshots_received: AtomicU64,
    snapshots_not_received: AtomicU64,
}

/// The numbers of one other member at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Bytes of messages sent to it, or handed to the system for that.
    pub sent_bytes: u64,
    /// Bytes of messages received from it.
    pub received_bytes: u64,
    /// Streams to it that broke or could not be made, and messages that found their queue full.
    pub send_failures: u64,
    /// How often its last stream has ended.
    pub disconnections: u64,
    /// Snapshots that it has in full.
    pub snapshots_sent: u64,
    /// Snapshots for it that were given up.
    pub snapshots_not_sent: u64,
    /// Snapshots on their way to it.
    pub snapshots_under_way: u64,
    /// Snapshots that it has sent in full.
    pub snapshots_received: u64,
    /// Connections that were to bring a snapshot, and ended before all of it was there.
    pub snapshots_not_received: u64,
}

impl Traffic {
    /// The counters of a member.
    pub(super) fn of(&self, member: u64) -> Arc<Link> {
        let mut all = self.0.lock();
        let is_full = all.len() >= MEMBERS;
        match all.get(&member) {
            Some(link) => Arc::clone(link),
            None if is_full => Arc::default(),
            None => Arc::clone(all.entry(member).or_default()),
        }
    }

    /// The numbers of a member.
    #[must_use]
    pub fn counts(&self, member: u64) -> LinkCounts {
        self.0.lock().get(&member).map(|link| link.counts()).unwrap_or_default()
    }
}

impl Link {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn not_sent(&self) {
        self.send_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.disconnections.fetch_add(1, Relaxed);
    }

    /// Counts a snapshot that begins now, and how it ends, by what `listener` is told.
    pub(super) fn sends_snapshot(self: Arc<Self>, listener: Listener) -> Listener {
        self.snapshots_begun.fetch_add(1, Relaxed);
        Arc::new(move |event| {
            if let Event::SnapshotSent { outcome, .. } = &event {
                let count = match outcome {
                    SnapshotOutcome::Delivered(_) => &self.snapshots_sent,
                    _ => &self.snapshots_not_sent,
                };
                count.fetch_add(1, Relaxed);
            }
            listener(event)
        })
    }

    /// Counts what becomes of a snapshot that arrives: whether `listener` has heard of it when
    /// the returned value is dropped.
    pub(super) fn receives_snapshot(self: Arc<Self>, listener: Listener) -> (Arrival, Listener) {
        let arrival = Arrival { link: Arc::clone(&self), before: self.counts().snapshots_received };
        let counted: Listener = Arc::new(move |event| {
            if let Event::Snapshot { .. } = &event {
                self.snapshots_received.fetch_add(1, Relaxed);
            }
            listener(event)
        });
        (arrival, counted)
    }

    fn counts(&self) -> LinkCounts {
        let load = |number: &AtomicU64| number.load(Relaxed);
        let (sent, not_sent) = (load(&self.snapshots_sent), load(&self.snapshots_not_sent));
        LinkCounts {
            sent_bytes: load(&self.sent_bytes),
            received_bytes: load(&self.received_bytes),
            send_failures: load(&self.send_failures),
            disconnections: load(&self.disconnections),
            snapshots_sent: sent,
            snapshots_not_sent: not_sent,
            snapshots_under_way: load(&self.snapshots_begun).saturating_sub(sent + not_sent),
            snapshots_received: load(&self.snapshots_received),
            snapshots_not_received: load(&self.snapshots_not_received),
        }
    }
}

/// A snapshot that arrives; a member sends one at a time.
pub(super) struct Arrival {
    link: Arc<Link>,
    before: u64,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.link.counts().snapshots_received == self.before {
            self.link.snapshots_not_received.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revd_raft::NodeId;

    #[test]
    fn snapshots_are_counted_by_their_end() {
        let traffic = Traffic::default();
        let listener = traffic.of(7).sends_snapshot(Arc::new(|_| true));
        assert_eq!(traffic.counts(7).snapshots_under_way, 1);
        listener(Event::Unreachable(NodeId(7)));
        listener(Event::SnapshotSent { to: NodeId(7), outcome: SnapshotOutcome::Failed });
        let expected = LinkCounts { snapshots_not_sent: 1, ..LinkCounts::default() };
        assert_eq!(traffic.counts(7), expected);
        let (arrival, _) = traffic.of(8).receives_snapshot(Arc::new(|_| true));
        drop(arrival);
        assert_eq!(traffic.counts(8).snapshots_not_received, 1);
    }

    #[test]
    fn members_past_the_bound_are_not_counted() {
        let traffic = Traffic::default();
        for member in 0..=MEMBERS as u64 {
            traffic.of(member).sent(3);
        }
        assert_eq!(traffic.counts(0).sent_bytes, 3);
        assert_eq!(traffic.counts(MEMBERS as u64), LinkCounts::default());
    }
}
