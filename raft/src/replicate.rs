//! How entries get to the other members: batched, pipelined, and from the log on disk where they
//! have left the memory.

use crate::config::Config;
use crate::entry::Entry;
use crate::error::Refused;
use crate::input::Fetched;
use crate::log::Log;
use crate::message::{Body, Message};
use crate::number::{FetchNumber, Index, NodeId, Position, Term};
use crate::output::{Fetch, Role, SnapshotRequest};
use crate::progress::Peer;
use crate::raft::Raft;
use crate::spare::Spare;
use crate::status::{Feed, Stats};

/// What feeding a member needs of the leader.
struct Feeder<'a> {
    config: &'a Config,
    term: Term,
    commit: Index,
    log: &'a Log,
    outbox: &'a mut Vec<Message>,
    fetches: &'a mut Vec<Fetch>,
    last_fetch: &'a mut FetchNumber,
    snapshots: &'a mut Vec<SnapshotRequest>,
    snapshots_under_way: &'a mut Vec<NodeId>,
    spare: &'a mut Spare,
    stats: &'a mut Stats,
}

impl Raft {
    /// Sends every member what it lacks, as far as its window allows.
    pub(crate) fn feed_peers(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        let (mut feeder, peers) = self.feeder();
        for peer in peers {
            feeder.feed(peer);
        }
    }

    fn feeder(&mut self) -> (Feeder<'_>, &mut Vec<Peer>) {
        let feeder = Feeder {
            config: &self.config,
            term: self.hard_state.term,
            commit: self.commit,
            log: &self.log,
            outbox: &mut self.outbox,
            fetches: &mut self.fetches,
            last_fetch: &mut self.last_fetch,
            snapshots: &mut self.snapshots,
            snapshots_under_way: &mut self.snapshots_under_way,
            spare: &mut self.spare,
            stats: &mut self.stats,
        };
        (feeder, &mut self.lead.peers)
    }

    /// A follower does not hold `previous`: the place where the logs part is before it. The leader
    /// goes back to the last of its own entries that may agree with the follower's `hint`.
    pub(crate) fn append_refused(&mut self, from: NodeId, previous: Index, hint: Position) {
        let agrees = self.log.may_agree(hint).map_or(hint.index, |position| position.index);
        let Some(peer) = self.lead.peer_mut(from) else { return };
        if peer.is_news(previous) {
            peer.probe_from(agrees.min(previous.previous()).next());
        } else {
            self.stats.messages_ignored += 1;
        }
    }

    /// A member has answered a heartbeat: it can be reached. If nothing that was sent to it has
    /// been answered for as long, it may be lost: one append finds out.
    pub(crate) fn nudge(&mut self, from: NodeId) {
        let (mut feeder, peers) = self.feeder();
        let Some(peer) = peers.iter_mut().find(|peer| peer.id == from) else { return };
        if !std::mem::take(&mut peer.nudge_due) {
            return;
        }
        match peer.feed {
            Feed::Probe => peer.paused = false,
            Feed::Replicate if peer.window_is_empty() => {}
            Feed::Replicate if feeder.position(peer, peer.next.previous()).is_some() => {
                feeder.tell_commit(peer);
            }
            // What was sent last has left the log meanwhile.
            Feed::Replicate => peer.probe_from(Index(0)),
            Feed::Snapshot => {}
        }
    }

    /// [`Input::Unreachable`](crate::Input::Unreachable).
    pub(crate) fn unreachable(&mut self, id: NodeId) {
        if let Some(peer) = self.lead.peer_mut(id)
            && peer.feed == Feed::Replicate
        {
            peer.probe_from(Index(0));
        }
    }

    /// The answer to a fetch for another member, if it is still wanted.
    pub(crate) fn fetched_for_peer(&mut self, fetched: &Fetched) -> Result<(), Refused> {
        let (mut feeder, peers) = self.feeder();
        let asked = |peer: &Peer| peer.fetching.is_some_and(|fetch| fetch.number == fetched.number);
        let Some(peer) = peers.iter_mut().find(|peer| asked(peer)) else { return Ok(()) };
        if let Some(fetch) = &peer.fetching {
            fetch.check(&fetched.entries, feeder.log)?;
        }
        peer.fetching = None;
        feeder.fetched(peer, &fetched.entries);
        Ok(())
    }
}

impl Feeder<'_> {
    fn feed(&mut self, peer: &mut Peer) {
        match peer.feed {
            Feed::Probe if !peer.paused => self.probe(peer),
            Feed::Replicate => self.stream(peer),
            Feed::Probe | Feed::Snapshot => {}
        }
    }

    /// One append, with what follows if that is in memory; it costs little and often fits.
    fn probe(&mut self, peer: &mut Peer) {
        let Some(previous) = self.position(peer, peer.next.previous()) else {
            return self.fetch(peer);
        };
        let (entries, bytes) = self.batch(peer.next, self.config.max_append_bytes);
        peer.probed(entries.last().map_or(previous.index, |entry| entry.index), bytes);
        self.append(peer, previous, entries);
    }

    /// As many appends as the window allows, and the commit index if nothing else carries it.
    fn stream(&mut self, peer: &mut Peer) {
        while peer.next <= self.log.last().index {
            let Some(room) = peer.room(self.config) else { break };
            let previous = self.position(peer, peer.next.previous());
            let Some(previous) = previous.filter(|_| peer.next >= self.log.tail_first()) else {
                return self.fetch(peer);
            };
            let (entries, bytes) = self.batch(peer.next, room);
            let Some(last) = entries.last().map(|entry| entry.index) else { break };
            peer.sent(last, bytes);
            self.append(peer, previous, entries);
        }
        if peer.commit_sent < self.commit {
            self.tell_commit(peer);
        }
    }

    /// An append without entries, behind everything that was sent.
    fn tell_commit(&mut self, peer: &mut Peer) {
        if let Some(previous) = self.position(peer, peer.next.previous()) {
            self.append(peer, previous, Vec::new());
        }
    }

    fn append(&mut self, peer: &mut Peer, previous: Position, entries: Vec<Entry>) {
        peer.commit_sent = self.commit;
        self.outbox.push(Message {
            from: self.config.id,
            to: peer.id,
            term: self.term,
            body: Body::Append { previous, entries, commit: self.commit },
        });
    }

    /// The entries in memory from `first` on, within `limit` bytes but at least one, and their
    /// bytes.
    fn batch(&mut self, first: Index, limit: usize) -> (Vec<Entry>, usize) {
        let log = self.log;
        let Some(ahead) = log.in_memory(first) else { return (Vec::new(), 0) };
        let (mut count, mut bytes) = (0, 0);
        for entry in ahead {
            if count > 0 && entry.bytes() > limit - bytes {
                break;
            }
            count += 1;
            bytes += entry.bytes();
            if bytes >= limit {
                break;
            }
        }
        if count == 0 {
            return (Vec::new(), 0);
        }
        let mut entries = self.spare.list(count);
        entries.extend(log.in_memory(first).into_iter().flatten().take(count).cloned());
        (entries, bytes)
    }

    fn position(&self, peer: &Peer, index: Index) -> Option<Position> {
        self.log.position(index).or(peer.known.filter(|known| known.index == index))
    }

    /// Asks for the entries that a member needs next, or for a snapshot if they have left the log.
    /// Where the term of the entry before them is not known either, that one is fetched first.
    fn fetch(&mut self, peer: &mut Peer) {
        if peer.fetching.is_some() {
            return;
        }
        let before = peer.next.previous();
        let known = self.position(peer, before).is_some();
        let first = if known { peer.next } else { before };
        if first < self.log.first() {
            return self.ask_for_snapshot(peer);
        }
        self.last_fetch.0 += 1;
        self.stats.fetches += 1;
        let fetch = Fetch {
            number: *self.last_fetch,
            first,
            last: self.log.tail_first().previous().max(first),
            max_bytes: self.config.max_append_bytes,
        };
        peer.fetching = Some(fetch);
        self.fetches.push(fetch);
    }

    fn fetched(&mut self, peer: &mut Peer, entries: &[Entry]) {
        let Some(first) = entries.first() else {
            // It has left the log since it was asked for.
            if peer.feed != Feed::Snapshot {
                self.ask_for_snapshot(peer);
            }
            return;
        };
        let mut entries = entries;
        if first.index.next() == peer.next {
            peer.known = Some(first.position());
            entries = &entries[1..];
        }
        let sendable = peer.feed == Feed::Replicate
            && entries.first().is_some_and(|entry| entry.index == peer.next);
        let previous = self.position(peer, peer.next.previous());
        if let (true, Some(previous), Some(last)) = (sendable, previous, entries.last()) {
            let mut list = self.spare.list(entries.len());
            list.extend(entries.iter().cloned());
            let bytes = list.iter().map(Entry::bytes).sum();
            peer.known = Some(last.position());
            peer.sent(last.index, bytes);
            self.append(peer, previous, list);
        }
    }

    /// A member needs what has left the log. Nobody is sent a snapshot before it has been heard of,
    /// and nobody two at once.
    fn ask_for_snapshot(&mut self, peer: &mut Peer) {
        if !peer.active || self.snapshots_under_way.contains(&peer.id) {
            peer.probe_from(peer.next);
            peer.paused = true;
            return;
        }
        peer.wait_for_snapshot();
        self.snapshots_under_way.push(peer.id);
        self.snapshots.push(SnapshotRequest {
            to: peer.id,
            term: self.term,
            after: self.log.first().previous(),
        });
    }
}
