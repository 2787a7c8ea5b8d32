//! Consensus among three members in one process, without disk and network: what is to be persisted
//! counts as durable at once, and what is committed counts as applied.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_raft::{
    Body, Config, Configuration, Entry, EntryKind, HardState, Index, Input, Message, NodeId,
    Output, Position, Raft, Restart, Role, Term,
};

const MEMBERS: usize = 3;
const PAYLOAD: Bytes = Bytes::from_static(&[0x5a; 256]);
/// Entries that a member keeps in memory.
const KEPT: usize = 4096;

fn member(id: NodeId) -> Raft {
    let mut config = Config::new(id);
    config.tail_bytes = KEPT * (Entry::OVERHEAD + PAYLOAD.len());
    let members = Configuration::new((1..=MEMBERS as u64).map(NodeId), []).expect("three voters");
    let restart = Restart::new(&config, HardState::default(), Position::default(), members);
    Raft::new(config, restart, id.0).expect("a member")
}

/// Three members whose outputs are used again.
struct Trio {
    rafts: Vec<Raft>,
    outputs: Vec<Output>,
}

impl Trio {
    fn new() -> Trio {
        let ids = (1..=MEMBERS as u64).map(NodeId);
        Trio { rafts: ids.map(member).collect(), outputs: vec![Output::default(); MEMBERS] }
    }

    /// Three members, the first of whom leads.
    fn led() -> Trio {
        let mut trio = Trio::new();
        trio.rafts[0].step(Input::Campaign).expect("a campaign");
        trio.settle();
        assert_eq!(trio.rafts[0].status().role, Role::Leader);
        trio
    }

    fn turn(&mut self, at: usize) -> bool {
        let (raft, output) = (&mut self.rafts[at], &mut self.outputs[at]);
        raft.take_into(output);
        persist_and_apply(raft, output);
        for message in &mut output.messages {
            let to = message.to.0 as usize - 1;
            self.rafts[to].receive(message).expect("a message");
        }
        !output.is_empty()
    }

    fn settle(&mut self) {
        while (0..MEMBERS).fold(false, |busy, at| self.turn(at) | busy) {}
    }

    /// Ticks until all know the same leader.
    fn elect(&mut self) -> u32 {
        for ticks in 1.. {
            for raft in &mut self.rafts {
                raft.step(Input::Tick).expect("a tick");
            }
            self.settle();
            let known = self.rafts[0].status().leader;
            if known.is_some() && self.rafts.iter().all(|raft| raft.status().leader == known) {
                return ticks;
            }
        }
        unreachable!("a range without an end")
    }
}

fn persist_and_apply(raft: &mut Raft, output: &Output) {
    if let Some(persist) = &output.persist {
        raft.step(Input::Persisted(persist.number)).expect("an answer");
    }
    if let Some(last) = output.committed.last() {
        raft.step(Input::Applied(last.index)).expect("an answer");
    }
}

fn proposals(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft/proposals");
    for outstanding in [1, 16, 256, 1024] {
        let mut trio = Trio::led();
        group.throughput(Throughput::Elements(outstanding));
        group.bench_function(BenchmarkId::new("outstanding", outstanding), |b| {
            b.iter(|| {
                for _ in 0..outstanding {
                    trio.rafts[0].propose(black_box(PAYLOAD)).expect("room");
                }
                trio.settle();
            });
        });
    }
    group.finish();
}

fn election(c: &mut Criterion) {
    c.bench_function("raft/first election", |b| {
        b.iter_batched(Trio::new, |mut trio| black_box(trio.elect()), BatchSize::SmallInput);
    });
}

/// A message of the leader of term 1 with so many entries behind `last`.
fn append(last: Index, entries: u64) -> Message {
    let entry = |offset| Entry {
        term: Term(1),
        index: Index(last.0 + 1 + offset),
        kind: EntryKind::Normal,
        data: PAYLOAD,
    };
    let term = if last == Index(0) { Term(0) } else { Term(1) };
    let body = Body::Append {
        previous: Position::new(last, term),
        entries: (0..entries).map(entry).collect(),
        commit: last,
    };
    Message { from: NodeId(1), to: NodeId(2), term: Term(1), body }
}

/// What a follower does with an append, up to its answer.
fn appends(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft/append at a follower");
    for entries in [1, 16, 256, 1024] {
        let mut follower = member(NodeId(2));
        let mut output = Output::default();
        let mut last = Index(0);
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::new("entries", entries), |b| {
            let next = || {
                let message = append(last, entries);
                last.0 += entries;
                message
            };
            let take = |mut message| {
                follower.receive(&mut message).expect("entries that go on");
                for _ in 0..2 {
                    follower.take_into(&mut output);
                    persist_and_apply(&mut follower, &output);
                }
                message
            };
            b.iter_batched(next, take, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, proposals, election, appends);
criterion_main!(benches);
