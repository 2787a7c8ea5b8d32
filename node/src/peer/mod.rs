//! The connections between members.
//!
//! A member dials each of the others and sends on what it has dialled; what comes in on such a
//! connection is never answered on it. Two streams go to each member, so that a large append never
//! delays a heartbeat:
//!
//! | stream | carries | waits at most |
//! |---|---|---|
//! | `append` | entries, in order | 1,024 messages |
//! | `rest` | everything else | 4,096 messages |
//!
//! A stream is an HTTP/1.1 request on the peer port that is upgraded (`greeting`), and then a row
//! of checksummed frames (`frame`) with a message of [`revd_replica::wire`] in each. What finds its
//! queue full, or its stream broken, is dropped: consensus repeats what matters, and is told that
//! the member is out of reach. A broken stream is dialled again after a pause that grows.
//!
//! A snapshot, for a member that lacks what has left the log, has a connection of its own for as
//! long as it takes (`sending`, `receiving`).
//!
//! What only the leader knows is asked beside these streams (`call`), and so is who the members are
//! by one that joins them.
//!
//! When the last stream *from* a member ends, its process is gone or cut off; consensus gets to
//! know at once, and need not wait for a clock.

mod background;
pub mod call;
mod dial;
mod frame;
mod greeting;
mod incoming;
mod outgoing;
mod receiving;
mod sending;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use revd_raft::{Body, Message, NodeId, SnapshotOutcome};
use revd_replica::{Identity, Member, Members, Outgoing, Received};
use tokio::runtime::Handle as Runtime;

pub use greeting::{Acquaintance, GENERATION};
use greeting::{Greeting, Kind};
pub use incoming::{Arrivals, PATH, Presence, accept};
pub use receiving::Reception;
pub use traffic::{LinkCounts, Traffic};

use outgoing::{Stream, Target};
use sending::Sending;

/// What the transport tells the core.
#[derive(Debug)]
pub enum Event {
    /// A message has arrived.
    Message(Message),
    /// What was sent to this member got lost.
    Unreachable(NodeId),
    /// The last stream from this member has ended.
    Gone(NodeId),
    /// A snapshot lies beside the tree, and this is to be told to consensus.
    Snapshot {
        /// What has arrived.
        received: Box<Received>,
        /// In the name of the leader that has sent it.
        message: Message,
    },
    /// What has become of a snapshot for this member.
    SnapshotSent {
        /// The member.
        to: NodeId,
        /// How it went.
        outcome: SnapshotOutcome,
    },
    /// This member was removed from the cluster: another member says so.
    Removed,
    /// A member has dialled this one, and is reached at these addresses.
    Met {
        /// Who.
        id: NodeId,
        /// Where.
        urls: Vec<String>,
    },
}

/// Takes events; says whether anybody still wants them.
pub type Listener = Arc<dyn Fn(Event) -> bool + Send + Sync>;

/// Those that a member has met and does not know from its own data, at most.
const MET: usize = 64;

/// Streams to all other members.
pub struct Peers {
    identity: Identity,
    runtime: Runtime,
    listener: Listener,
    /// Where this member is reached.
    urls: Vec<String>,
    /// The generation of the cluster, as far as it is known.
    generation: u64,
    /// Members that are not known from this one's own data yet: it is behind.
    met: BTreeMap<u64, Vec<String>>,
    to: BTreeMap<u64, Peer>,
    traffic: Traffic,
}

struct Peer {
    urls: Vec<String>,
    /// It was removed, and is talked to until [`Peers::part`].
    is_leaving: bool,
    append: Stream,
    rest: Stream,
    snapshot: Option<Sending>,
}

impl Peers {
    /// Talks to those that are `met` for now, in a cluster of that generation. `urls` are its own.
    /// Streams run on `runtime`, tell what happens to the listener, and are counted.
    #[must_use]
    pub fn new(
        identity: Identity,
        urls: Vec<String>,
        (met, generation): (Vec<Member>, u64),
        runtime: Runtime,
        (listener, traffic): (Listener, Traffic),
    ) -> Self {
        let met = met.into_iter().map(|member| (member.id, member.peer_urls)).collect();
        Self { identity, runtime, listener, urls, generation, met, to: BTreeMap::new(), traffic }
    }

    /// Talks to these members from now on, itself left out, and to those that it has met and that
    /// were not removed. Streams to others end; to those who were just removed, at [`Peers::part`].
    pub fn set(&mut self, members: &Members) {
        self.generation = self.generation.max(members.generation());
        if let Some(own) = members.get(self.identity.member) {
            self.urls.clone_from(&own.peer_urls);
        }
        let is_unknown = |id: u64| members.get(id).is_none() && !members.was_removed(id);
        self.met.retain(|id, _| is_unknown(*id));
        let mut before = std::mem::take(&mut self.to);
        let known = members.iter().map(|member| (member.id, member.peer_urls.clone()));
        let wanted: Vec<_> = known.chain(self.met.clone()).collect();
        for (id, urls) in wanted {
            if id == self.identity.member {
                continue;
            }
            let kept = before.remove(&id).filter(|peer| peer.urls == urls);
            let peer = kept.unwrap_or_else(|| self.dial(id, urls));
            self.to.insert(id, peer);
        }
        let removed = before.into_iter().filter(|(id, _)| members.was_removed(*id));
        self.to.extend(removed.map(|(id, peer)| (id, Peer { is_leaving: true, ..peer })));
    }

    /// Ends the streams to members that were removed: nobody needs them any more.
    pub fn part(&mut self) {
        self.to.retain(|_, peer| !peer.is_leaving);
    }

    /// A member has dialled this one. If it is not known, it is talked to from now on. At the bound
    /// it is not, and tries again.
    pub fn meet(&mut self, id: u64, urls: Vec<String>, members: &Members) {
        let is_known = members.get(id).is_some() || members.was_removed(id);
        if is_known || self.met.len() >= MET || self.met.get(&id) == Some(&urls) {
            return;
        }
        self.met.insert(id, urls);
        self.set(members);
    }

    fn dial(&self, id: u64, urls: Vec<String>) -> Peer {
        let start = |kind, waiting| {
            let target = self.target(id, &urls, kind);
            let listener = Arc::clone(&self.listener);
            Stream::start(&self.runtime, target, waiting, listener, self.traffic.of(id))
        };
        let (append, rest) = (start(Kind::Append, 1_024), start(Kind::Rest, 4_096));
        Peer { urls, is_leaving: false, append, rest, snapshot: None }
    }

    fn target(&self, to: u64, urls: &[String], kind: Kind) -> Target {
        let Identity { cluster, member: from } = self.identity;
        let (urls_of_its_own, generation) = (self.urls.clone(), self.generation);
        let greeting = Greeting { cluster, from, to, kind, urls: urls_of_its_own, generation };
        Target { greeting, urls: urls.to_vec() }
    }

    /// Sends a snapshot beside everything else; [`Event::SnapshotSent`] tells how it went, also if
    /// the member is none any more.
    pub fn send_snapshot(&mut self, outgoing: Outgoing) {
        let to = outgoing.to();
        let Some(urls) = self.to.get(&to.0).map(|peer| &peer.urls) else {
            (self.listener)(Event::SnapshotSent { to, outcome: SnapshotOutcome::Failed });
            return;
        };
        let target = self.target(to.0, urls, Kind::Snapshot);
        let listener = self.traffic.of(to.0).sends_snapshot(Arc::clone(&self.listener));
        let sending = sending::start(&self.runtime, target, outgoing, listener);
        if let Some(peer) = self.to.get_mut(&to.0) {
            peer.snapshot = Some(sending);
        }
    }

    /// Gives up the snapshots under way: this member does not lead any more.
    pub fn stop_snapshots(&mut self) {
        self.to.values_mut().for_each(|peer| peer.snapshot = None);
    }

    /// Sends messages; never waits.
    pub fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            // A stranger cannot be reached; who was removed need not be.
            let Some(peer) = self.to.get_mut(&to.0) else { continue };
            let stream = match message.body {
                Body::Append { .. } => &mut peer.append,
                _ => &mut peer.rest,
            };
            if !stream.send(message) {
                self.traffic.of(to.0).not_sent();
                (self.listener)(Event::Unreachable(to));
            }
        }
    }
}
