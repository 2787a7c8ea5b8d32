//! A member that lacks what has left the log is given the state instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod refill;
mod replica;

use revd_disk::Sim;
use revd_mvcc::Put;
use revd_raft::{Input, Message, NodeId, Role};
use revd_replica::{AlarmAction, AlarmType, Command, Outgoing};

use replica::Replica;

/// Three members of one cluster, the first of which leads.
struct Trio {
    members: Vec<Replica>,
    /// Nothing reaches this one, and nothing comes from it.
    cut_off: Option<usize>,
    /// All that has reached the third.
    heard_by_third: Vec<Message>,
}

impl Trio {
    fn new() -> Self {
        let members = (1..=3).map(|id| Replica::open(&Sim::new(id), id)).collect();
        let mut trio = Self { members, cut_off: None, heard_by_third: Vec::new() };
        trio.leader().step(Input::Campaign).unwrap();
        trio.deliver();
        assert_eq!(trio.leader().consensus.status().role, Role::Leader);
        trio
    }

    fn leader(&mut self) -> &mut Replica {
        &mut self.members[0]
    }

    fn third(&mut self) -> &mut Replica {
        &mut self.members[2]
    }

    /// From now on nothing reaches the third, as the leader is told, and nothing comes from it.
    fn cut_off(&mut self) {
        self.cut_off = Some(2);
        self.leader().step(Input::Unreachable(NodeId(3))).unwrap();
    }

    fn is_reached(&self, message: &Message) -> bool {
        let cut_off = self.cut_off.map(|at| at as u64 + 1);
        cut_off.is_none_or(|id| message.from.0 != id && message.to.0 != id)
    }

    /// Carries messages until there are none.
    fn deliver(&mut self) {
        loop {
            let sent: Vec<Message> = self
                .members
                .iter_mut()
                .flat_map(|member| std::mem::take(&mut member.sent))
                .collect();
            if sent.is_empty() {
                return;
            }
            for message in sent {
                if self.is_reached(&message) {
                    self.heard_by_third.extend((message.to.0 == 3).then(|| message.clone()));
                    let to = message.to.0 as usize - 1;
                    self.members[to].step(Input::Message(message)).unwrap();
                }
            }
        }
    }

    /// One heartbeat of the leader, and what follows from it.
    fn heartbeat(&mut self) {
        for _ in 0..10 {
            self.leader().step(Input::Tick).unwrap();
        }
        self.deliver();
    }

    fn propose(&mut self, command: Command) {
        self.leader().propose(command);
        self.leader().turn().unwrap();
        self.deliver();
    }

    /// Something of everything that is replicated.
    fn work(&mut self, count: usize) {
        let base = self.leader().machine.view().revision().0;
        self.alarm(AlarmAction::Deactivate, 2);
        self.alarm(AlarmAction::Deactivate, 3);
        for n in 0..count as i64 {
            let key = format!("key {}", (base + n) % 40).into();
            let lease = if n % 7 == 3 { 1 + n / 7 } else { 0 };
            if lease > 0 {
                self.propose(Command::LeaseGrant { id: 1_000 * base + lease, ttl: 60 + lease });
            }
            let lease = if lease > 0 { 1_000 * base + lease } else { 0 };
            let value = vec![b'v'; 100 + n as usize].into();
            self.propose(Command::Put(Put { key, value, lease, ..Put::default() }));
        }
        let revision = base + count as i64 / 2;
        self.propose(Command::Compact { revision, physical: false });
        let name = format!("named at {base}");
        self.propose(Command::Attributes { member: 1, name, client_urls: Vec::new() });
        self.alarm(AlarmAction::Activate, 2 + base as u64 % 2);
        self.heartbeat();
    }

    fn alarm(&mut self, action: AlarmAction, member: u64) {
        self.propose(Command::Alarm { action, member, alarm: AlarmType::NoSpace });
    }

    /// The leader has given up the entries that the third member needs, and is asked for a
    /// snapshot.
    fn outgoing(&mut self) -> Outgoing {
        self.leader().release();
        self.cut_off = None;
        for _ in 0..4 {
            self.heartbeat();
        }
        let wanted = std::mem::take(&mut self.leader().wanted);
        assert_eq!(wanted.len(), 1, "{wanted:?}");
        assert_eq!(wanted[0].to.0, 3);
        let outgoing = self.leader().machine.export(&wanted[0]).unwrap().expect("the first");
        self.leader().consensus.sending(&outgoing);
        outgoing
    }
}

/// All that a snapshot has to give.
fn chunks(outgoing: &mut Outgoing) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| outgoing.next_chunk(2_000).unwrap()).collect()
}
