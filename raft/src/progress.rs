//! What a leader knows of one other member, and how it feeds it (section 5.3 of the paper; the
//! three ways are those of section 10.2.1 of the dissertation).
//!
//! ```text
//!                  refused, unreachable
//!        ┌────────────────────────────────────┐
//!        ▼              accepted              │
//!   ┌─ Probe ───────────────────────────▶ Replicate
//!   │    ▲  one append a heartbeat            │  appends ahead of their answers,
//!   │    │                                    │  bounded in messages and bytes
//!   │    │ delivered, failed                  │
//!   └▶ Snapshot ◀─────────────────────────────┘
//!        what it needs has left the log
//! ```

use std::collections::VecDeque;

use crate::config::Config;
use crate::number::{Index, NodeId, Position};
use crate::output::Fetch;
use crate::status::{Feed, PeerStatus};

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// It holds the leader's log up to here, durably.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) feed: Feed,
    /// A probe is under way: nothing is sent before it is answered or a heartbeat is.
    pub(crate) paused: bool,
    /// Heard of since the quorum was last checked.
    pub(crate) active: bool,
    /// What it acknowledges counts; a member that is recovering does not.
    pub(crate) counts: bool,
    /// The latest round of heartbeats that it has answered.
    pub(crate) round: u64,
    /// The commit index that it was last told.
    pub(crate) commit_sent: Index,
    /// A heartbeat has been sent, and its answer may set off one append.
    pub(crate) nudge_due: bool,
    /// `matched` when the last but one heartbeat was sent.
    pub(crate) matched_before: Index,
    /// A position below those that the leader knows the terms of, learned by a fetch.
    pub(crate) known: Option<Position>,
    /// Entries that are being read from the log for it.
    pub(crate) fetching: Option<Fetch>,
    /// It has got a snapshot up to here and is installing it: acknowledging less, it speaks of the
    /// log before.
    installing: Index,
    /// The last entry of the probe under way, and its bytes.
    probed: (Index, usize),
    /// The appends under way: the last index and the bytes of each.
    window: VecDeque<(Index, usize)>,
    window_bytes: usize,
}

impl Peer {
    /// A member that nothing is known of, and that is asked first about what is before `next`.
    pub(crate) fn new(id: NodeId, next: Index) -> Peer {
        Peer {
            id,
            matched: Index(0),
            next,
            feed: Feed::Probe,
            paused: false,
            active: false,
            counts: true,
            round: 0,
            commit_sent: Index(0),
            nudge_due: false,
            matched_before: Index(0),
            known: None,
            fetching: None,
            installing: Index(0),
            probed: (Index(0), 0),
            window: VecDeque::new(),
            window_bytes: 0,
        }
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            id: self.id,
            matched: self.matched,
            next: self.next,
            feed: self.feed,
            active: self.active,
        }
    }

    /// Asks where the logs agree, beginning before `next`.
    pub(crate) fn probe_from(&mut self, next: Index) {
        self.feed = Feed::Probe;
        self.paused = false;
        self.next = next.max(self.matched.next());
        self.installing = Index(0);
        self.probed = (Index(0), 0);
        self.clear_window();
    }

    /// A snapshot up to `index` has been delivered. Whether it could be installed is asked at the
    /// next heartbeat that is answered.
    pub(crate) fn has_got_snapshot(&mut self, index: Index) {
        self.probe_from(index.next());
        self.installing = index;
    }

    /// A probe has been sent, with entries up to `last`.
    pub(crate) fn probed(&mut self, last: Index, bytes: usize) {
        self.paused = true;
        self.probed = (last, bytes);
    }

    /// Needs a snapshot: nothing else is sent meanwhile.
    pub(crate) fn wait_for_snapshot(&mut self) {
        self.feed = Feed::Snapshot;
        self.fetching = None;
        self.clear_window();
    }

    /// The member holds everything up to `matched`. Whether that is more than was known.
    pub(crate) fn acknowledged(&mut self, matched: Index, log_first: Index) -> bool {
        let more = matched > self.matched;
        self.matched = self.matched.max(matched);
        while let Some(&(last, bytes)) = self.window.front() {
            if last > self.matched {
                break;
            }
            self.window_bytes -= bytes;
            self.window.pop_front();
        }
        let fed = match self.feed {
            Feed::Probe => self.matched >= self.installing,
            // It has got what it needed in another way.
            Feed::Snapshot => self.matched.next() >= log_first,
            Feed::Replicate => {
                self.next = self.next.max(self.matched.next());
                false
            }
        };
        if fed {
            // What the probe brought was accepted with it, durable or not.
            let (probed, bytes) = self.probed;
            let accepted = self.feed == Feed::Probe && self.matched.next() >= self.next;
            self.feed = Feed::Replicate;
            self.paused = false;
            self.next = self.matched.next();
            self.clear_window();
            if accepted && probed > self.matched {
                self.sent(probed, bytes);
            }
        }
        more
    }

    /// Whether the refusal of an append behind `previous` is news: an answer to something that is
    /// under way, and not a late one.
    pub(crate) fn is_news(&self, previous: Index) -> bool {
        previous > self.matched
            && match self.feed {
                Feed::Probe => previous.next() == self.next,
                Feed::Replicate => previous < self.next,
                Feed::Snapshot => false,
            }
    }

    /// How many bytes may go into the next append; none when nothing may be sent. Whoever has
    /// nothing under way gets at least one entry.
    pub(crate) fn room(&self, config: &Config) -> Option<usize> {
        let left = config.max_inflight_bytes.saturating_sub(self.window_bytes);
        let open = self.window.len() < config.max_inflight_appends && left > 0;
        (self.window.is_empty() || open).then(|| left.min(config.max_append_bytes))
    }

    /// Whether nothing is under way.
    pub(crate) fn window_is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// Entries up to `last` have been sent ahead.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        self.window.push_back((last, bytes));
        self.window_bytes += bytes;
        self.next = last.next();
    }

    fn clear_window(&mut self) {
        self.window.clear();
        self.window_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating(matched: u64) -> Peer {
        let mut peer = Peer::new(NodeId(2), Index(matched + 1));
        peer.acknowledged(Index(matched), Index(1));
        assert_eq!(peer.feed, Feed::Replicate);
        peer
    }

    #[test]
    fn the_window_is_bounded_in_messages_and_bytes() {
        let mut config = Config::new(NodeId(1));
        config.max_inflight_appends = 2;
        config.max_inflight_bytes = 1_000;
        config.max_append_bytes = 600;
        let mut peer = replicating(3);
        assert_eq!(peer.room(&config), Some(600));
        peer.sent(Index(5), 600);
        assert_eq!(peer.room(&config), Some(400));
        peer.sent(Index(6), 100);
        assert_eq!(peer.room(&config), None, "two messages");
        peer.acknowledged(Index(4), Index(1));
        assert_eq!(peer.room(&config), None, "the first is not answered whole");
        peer.acknowledged(Index(5), Index(1));
        assert_eq!(peer.room(&config), Some(600));
        peer.sent(Index(7), 5_000);
        assert_eq!(peer.room(&config), None, "bytes");
        peer.acknowledged(Index(7), Index(1));
        assert_eq!((peer.room(&config), peer.next), (Some(600), Index(8)));
    }

    #[test]
    fn late_answers_are_told_from_news() {
        let mut peer = replicating(3);
        peer.sent(Index(9), 1);
        assert!(!peer.is_news(Index(3)), "known to match");
        assert!(peer.is_news(Index(5)));
        assert!(!peer.is_news(Index(10)), "never sent");
        peer.probe_from(Index(6));
        assert!(peer.is_news(Index(5)) && !peer.is_news(Index(4)));
        peer.probe_from(Index(2));
        assert_eq!(peer.next, Index(4), "never behind what matches");
        peer.wait_for_snapshot();
        assert!(!peer.is_news(Index(5)));
        peer.acknowledged(Index(6), Index(8));
        assert_eq!(peer.feed, Feed::Snapshot, "what is behind it has left the log");
        peer.acknowledged(Index(7), Index(8));
        assert_eq!((peer.feed, peer.next), (Feed::Replicate, Index(8)));
    }

    #[test]
    fn what_is_acknowledged_before_a_snapshot_is_installed_leads_nowhere() {
        let mut peer = replicating(3);
        peer.wait_for_snapshot();
        peer.has_got_snapshot(Index(9));
        peer.acknowledged(Index(4), Index(10));
        assert_eq!((peer.feed, peer.next), (Feed::Probe, Index(10)));
        peer.acknowledged(Index(9), Index(10));
        assert_eq!((peer.feed, peer.next), (Feed::Replicate, Index(10)));
        // Where it could not be installed, the next refusal tells.
        peer.wait_for_snapshot();
        peer.has_got_snapshot(Index(20));
        assert!(peer.is_news(Index(20)));
        peer.probe_from(Index(10));
        peer.acknowledged(Index(9), Index(10));
        assert_eq!(peer.feed, Feed::Replicate);
    }
}
