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
