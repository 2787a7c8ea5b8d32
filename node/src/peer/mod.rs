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
//! What only the leader knows is asked beside these streams (`call`).
//!
//! When the last stream *from* a member ends, its process is gone or cut off; consensus gets to
//! know at once, and need not wait for a clock.

pub mod call;
mod dial;
mod frame;
mod greeting;
mod incoming;
mod outgoing;

use std::collections::BTreeMap;
use std::sync::Arc;

use revd_raft::{Body, Message, NodeId};
use revd_replica::{Identity, Member};
use tokio::runtime::Handle as Runtime;

pub use greeting::Acquaintance;
pub use incoming::{Arrivals, PATH, Presence, accept};

use outgoing::Stream;

/// What the transport tells the core.
#[derive(Debug)]
pub enum Event {
    /// A message has arrived.
    Message(Message),
    /// What was sent to this member got lost.
    Unreachable(NodeId),
    /// The last stream from this member has ended.
    Gone(NodeId),
    /// This member was removed from the cluster: another member says so.
    Removed,
}

/// Takes events; says whether anybody still wants them.
pub type Listener = Arc<dyn Fn(Event) -> bool + Send + Sync>;

/// Streams to all other members.
pub struct Peers {
    identity: Identity,
    runtime: Runtime,
    listener: Listener,
    to: BTreeMap<u64, Peer>,
}

struct Peer {
    urls: Vec<String>,
    append: Stream,
    rest: Stream,
}

impl Peers {
    /// Nobody to talk to yet. Streams run on `runtime`.
    #[must_use]
    pub fn new(identity: Identity, runtime: Runtime, listener: Listener) -> Self {
        Self { identity, runtime, listener, to: BTreeMap::new() }
    }

    /// Talks to these members from now on, itself left out. Streams to others end.
    pub fn set<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let mut before = std::mem::take(&mut self.to);
        for member in members.filter(|member| member.id != self.identity.member) {
            let kept = before.remove(&member.id).filter(|peer| peer.urls == member.peer_urls);
            let peer = kept.unwrap_or_else(|| self.dial(member));
            self.to.insert(member.id, peer);
        }
    }

    fn dial(&self, member: &Member) -> Peer {
        let start = |kind| {
            let target = outgoing::Target {
                greeting: greeting::Greeting {
                    cluster: self.identity.cluster,
                    from: self.identity.member,
                    to: member.id,
                    kind,
                },
                urls: member.peer_urls.clone(),
            };
            Stream::start(&self.runtime, target, Arc::clone(&self.listener))
        };
        Peer {
            urls: member.peer_urls.clone(),
            append: start(greeting::Kind::Append),
            rest: start(greeting::Kind::Rest),
        }
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
                (self.listener)(Event::Unreachable(to));
            }
        }
    }
}
