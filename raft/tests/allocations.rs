//! A lone voter allocates for each batch, never for each entry.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use revd_raft::*;

fn leader() -> Raft {
    let config = Config::new(NodeId(1));
    let members = Configuration::lone(config.id);
    let restart = Restart::new(&config, HardState::default(), Position::default(), members);
    let mut raft = Raft::new(config, restart, 1).unwrap();
    raft.step(Input::Campaign).unwrap();
    while turn(&mut raft) {}
    raft
}

/// Takes, persists and applies once; whether there was something to do.
fn turn(raft: &mut Raft) -> bool {
    let output = raft.take();
    let busy = !output.is_empty();
    if let Some(persist) = output.persist {
        raft.step(Input::Persisted(persist.number)).unwrap();
    }
    if let Some(last) = output.committed.last() {
        raft.step(Input::Applied(last.index)).unwrap();
    }
    busy
}

#[test]
fn steady_state_allocates_by_batch_and_not_by_entry() {
    const BATCH: usize = 1_000;
    let mut raft = leader();
    // Cut from a shared buffer, as a server cuts them from what it has received.
    let payload = Bytes::from(vec![7; 4_096]).slice(..256);
    let batch = |raft: &mut Raft| {
        for _ in 0..BATCH {
            raft.propose(payload.clone()).unwrap();
        }
        while turn(raft) {}
    };
    // Until the memory has reached its size.
    for _ in 0..3 {
        batch(&mut raft);
    }
    assert_eq!(raft.status().memory_bytes, 0, "a lone voter keeps nothing that it has handed out");
    let seen = allocation_counter::measure(|| (0..10).for_each(|_| batch(&mut raft)));
    // The entries to be persisted and the entries to be applied: one allocation each.
    assert_eq!(seen.count_total, 2 * 10, "for {} entries", 10 * BATCH);
    assert_eq!(seen.count_current, 0);
}

#[test]
fn a_call_without_work_allocates_nothing() {
    let mut raft = leader();
    let seen = allocation_counter::measure(|| {
        for _ in 0..100 {
            raft.step(Input::Tick).unwrap();
            assert!(raft.take().is_empty());
        }
    });
    assert_eq!(seen.count_total, 0);
}

/// Three members, the first of whom leads, driven without giving up the memory of their outputs.
struct Trio {
    rafts: Vec<Raft>,
    outputs: Vec<Output>,
}

impl Trio {
    fn new() -> Trio {
        let member = |id| {
            let config = Config::new(NodeId(id));
            let members = Configuration::new([1, 2, 3].map(NodeId), []).unwrap();
            let restart = Restart::new(&config, HardState::default(), Position::default(), members);
            Raft::new(config, restart, id).unwrap()
        };
        let mut trio = Trio { rafts: (1..=3).map(member).collect(), outputs: Vec::new() };
        trio.outputs.resize_with(3, Output::default);
        trio.rafts[0].step(Input::Campaign).unwrap();
        trio.settle();
        trio
    }

    fn settle(&mut self) {
        while (0..3).fold(false, |busy, at| self.turn(at) | busy) {}
    }

    fn turn(&mut self, at: usize) -> bool {
        let (raft, output) = (&mut self.rafts[at], &mut self.outputs[at]);
        raft.take_into(output);
        if let Some(persist) = &output.persist {
            raft.step(Input::Persisted(persist.number)).unwrap();
        }
        if let Some(last) = output.committed.last() {
            raft.step(Input::Applied(last.index)).unwrap();
        }
        for message in &mut output.messages {
            self.rafts[message.to.0 as usize - 1].receive(message).unwrap();
        }
        !output.is_empty()
    }
}

#[test]
fn three_members_in_the_steady_state_allocate_nothing() {
    let mut trio = Trio::new();
    let payload = Bytes::from(vec![7; 4_096]).slice(..256);
    let batch = |trio: &mut Trio, count: usize| {
        for _ in 0..count {
            trio.rafts[0].propose(payload.clone()).unwrap();
        }
        trio.settle();
    };
    // Until the tail of the log in memory has reached its size.
    while trio.rafts[2].status().last.index < Index(300_000) {
        batch(&mut trio, 1_000);
    }
    for count in [1, 16, 256] {
        let seen = allocation_counter::measure(|| (0..100).for_each(|_| batch(&mut trio, count)));
        assert_eq!(seen.count_total, 0, "with {count} outstanding");
    }
    let applied = trio.rafts[2].status().applied;
    assert_eq!(applied, trio.rafts[0].status().last.index);
}
