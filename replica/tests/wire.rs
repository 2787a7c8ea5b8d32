//! Messages between members: every kind survives the wire, and nothing else gets through it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use revd_raft::{
    Body, Change, ChangeStep, Configuration, Entry, EntryKind, Index, Message, NodeId, Position,
    Proposal, ReadId, ReadReady, Term,
};
use revd_replica::wire::{self, WireError};

/// Numbers that a seed repeats (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn position(&mut self) -> Position {
        Position::new(Index(self.below(1 << 40)), Term(self.next()))
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.below(40) as usize;
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| item(self)).collect()
    }

    fn step(&mut self) -> ChangeStep {
        let node = NodeId(self.next());
        match self.below(3) {
            0 => ChangeStep::AddVoter(node),
            1 => ChangeStep::AddLearner(node),
            _ => ChangeStep::Remove(node),
        }
    }

    fn change(&mut self) -> Change {
        match self.below(4) {
            0 => Change::Keep,
            1 => Change::Simple(self.step()),
            2 => Change::Joint { leaves_by_itself: self.flag(), steps: self.list(Self::step) },
            _ => Change::Leave,
        }
    }

    fn proposal(&mut self) -> Proposal {
        if self.flag() {
            Proposal::Normal(self.bytes())
        } else {
            Proposal::Configuration { change: self.change(), data: self.bytes() }
        }
    }

    fn append(&mut self) -> Body {
        let previous = self.position();
        let mut index = previous.index;
        let entries = self.list(|chance| {
            index = index.next();
            let kinds = [EntryKind::Normal, EntryKind::Configuration, EntryKind::Empty];
            let kind = kinds[chance.below(3) as usize];
            Entry { term: Term(chance.next()), index, kind, data: chance.bytes() }
        });
        Body::Append { previous, entries, commit: Index(self.next()) }
    }

    fn body(&mut self, kind: u64) -> Body {
        match kind {
            0 => Body::PreVote {
                campaign: Term(self.next()),
                last: self.position(),
                committed: self.position(),
            },
            1 => Body::PreVoteAnswer {
                campaign: Term(self.next()),
                granted: self.flag(),
                committed: self.position(),
            },
            2 => Body::Vote {
                last: self.position(),
                committed: self.position(),
                transfer: self.flag(),
            },
            3 => Body::VoteAnswer { granted: self.flag(), committed: self.position() },
            4 => self.append(),
            5 => Body::Appended { matched: Index(self.next()), counts: self.flag() },
            6 => Body::AppendRefused { previous: Index(self.next()), hint: self.position() },
            7 => Body::Heartbeat { commit: Index(self.next()), round: self.next() },
            8 => Body::HeartbeatAnswer { round: self.next() },
            9 => Body::Read { ids: self.list(|chance| ReadId(chance.next())) },
            10 => Body::ReadAnswer {
                reads: self.list(|chance| ReadReady {
                    id: ReadId(chance.next()),
                    index: Index(chance.next()),
                }),
            },
            11 => Body::Propose { proposals: self.list(Self::proposal) },
            12 => Body::TimeoutNow,
            _ => {
                let voters = [1, 2, 3].map(NodeId);
                let configuration = Configuration::new(voters, [NodeId(7)]).unwrap();
                Body::Snapshot { position: self.position(), configuration }
            }
        }
    }
}

const KINDS: u64 = 14;

fn message(chance: &mut Chance, kind: u64) -> Message {
    let (from, to) = (NodeId(chance.next()), NodeId(chance.next()));
    Message { from, to, term: Term(chance.next()), body: chance.body(kind) }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}

#[test]
fn every_message_survives_the_wire() {
    let mut chance = Chance(1);
    for turn in 0..20_000 {
        let message = message(&mut chance, turn % KINDS);
        let bytes = encoded(&message);
        assert_eq!(wire::decode(bytes.into()), Ok(message), "turn {turn}");
    }
}

#[test]
fn a_message_cut_short_or_followed_by_anything_is_refused() {
    let mut chance = Chance(2);
    for turn in 0..2_000 {
        let bytes = encoded(&message(&mut chance, turn % KINDS));
        for length in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..length]);
            let error = wire::decode(cut).unwrap_err();
            assert!(matches!(error, WireError::Short(_) | WireError::Invalid(_)), "{error}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(wire::decode(longer.into()), Err(WireError::Trailing(1)), "turn {turn}");
    }
}

/// A changed byte gives another message or an error; what is read is what would be written.
#[test]
fn no_bytes_do_harm() {
    let mut chance = Chance(3);
    let (mut read, mut refused) = (0, 0);
    for turn in 0..200_000 {
        let mut bytes = encoded(&message(&mut chance, turn % KINDS));
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.next() as u8;
        }
        match wire::decode(bytes.clone().into()) {
            Ok(message) => {
                assert_eq!(encoded(&message), bytes, "turn {turn}");
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused");
}

#[test]
fn a_count_that_the_frame_cannot_hold_allocates_nothing() {
    let mut bytes = vec![10];
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(wire::decode(bytes.into()), Err(WireError::Short("reads")));
}
