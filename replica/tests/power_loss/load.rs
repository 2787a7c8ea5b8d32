//! Random commands from a seed.

use bytes::Bytes;
use revd_mvcc::{Compare, DeleteRange, Op, Operand, Put, Txn};
use revd_replica::Command;

/// Stands for the term in which a command is proposed.
pub const THIS_TERM: u64 = u64::MAX;

/// A small generator (SplitMix64), so that a seed means the same for ever.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn key(chance: &mut Chance) -> Bytes {
    format!("key-{:02}", chance.below(30)).into()
}

fn value(chance: &mut Chance) -> Bytes {
    // Most are small; some take several pages, so that extents are written too.
    let length = match chance.below(20) {
        0 => 9_000 + chance.below(30_000),
        1..3 => 600 + chance.below(3_000),
        _ => chance.below(200),
    };
    let seed = chance.next();
    (0..length).map(|n| (seed >> (n % 57)) as u8).collect::<Vec<u8>>().into()
}

fn put(chance: &mut Chance) -> Put {
    let lease = if chance.below(6) == 0 { 1 + chance.below(5) as i64 } else { 0 };
    Put { key: key(chance), value: value(chance), lease, ..Put::default() }
}

fn delete(chance: &mut Chance) -> DeleteRange {
    let (a, b) = (key(chance), key(chance));
    let range_end = if chance.below(2) == 0 { Bytes::new() } else { b };
    DeleteRange { key: a, range_end, prev_kv: false }
}

fn txn(chance: &mut Chance) -> Txn {
    let mut txn = Txn {
        compare: vec![Compare {
            result: chance.below(4) as i32,
            key: key(chance),
            operand: Operand::Version(chance.below(3) as i64),
            ..Compare::default()
        }],
        ..Txn::default()
    };
    for branch in [&mut txn.success, &mut txn.failure] {
        for _ in 0..chance.below(4) {
            branch.push(match chance.below(3) {
                0 => Op::DeleteRange(delete(chance)),
                _ => Op::Put(put(chance)),
            });
        }
    }
    txn
}

/// The term of a leader's own commands: [`THIS_TERM`], or one that is over.
fn term(chance: &mut Chance) -> u64 {
    if chance.below(4) == 0 { 0 } else { THIS_TERM }
}

/// A command that the door would let through, or that a leader gives itself.
pub fn command(chance: &mut Chance, revision: i64) -> Command {
    loop {
        let command = match chance.below(42) {
            0..22 => Command::Put(put(chance)),
            22..26 => Command::DeleteRange(delete(chance)),
            26..31 => Command::Txn(txn(chance)),
            31..34 => Command::LeaseGrant { id: 1 + chance.below(5) as i64, ttl: 60 },
            34..36 => Command::LeaseRevoke { id: 1 + chance.below(5) as i64 },
            36..38 => {
                Command::Compact { revision: revision - chance.below(8) as i64, physical: false }
            }
            38..40 => Command::LeaseCheckpoint {
                remaining: (0..chance.below(4))
                    .map(|_| (1 + chance.below(5) as i64, chance.below(60) as i64))
                    .collect(),
                term: term(chance),
            },
            40 => Command::LeaseExpire { id: 1 + chance.below(5) as i64, term: term(chance) },
            _ => Command::Attributes {
                member: super::member::ID,
                name: format!("name-{}", chance.below(9)),
                client_urls: vec!["http://127.0.0.1:1".to_owned()],
            },
        };
        match &command {
            Command::Txn(txn) if txn.check(128).is_err() => {}
            _ => return command,
        }
    }
}
