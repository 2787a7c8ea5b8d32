//! The leader's process ends, and the others notice one after the other. In whatever order they do,
//! and whatever messages are under way meanwhile, they agree on another leader without any clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use revd_raft::*;
use revd_sim::{Chance, Replay};
use support::{Cluster, id};

/// A cluster of `size` whose leader, `leader`, has just vanished.
fn bereaved(size: u64, leader: u64) -> Cluster {
    let voters: Vec<u64> = (1..=size).collect();
    let mut cluster = Cluster::new(&voters);
    cluster.elect(leader);
    cluster.propose(leader, "before");
    cluster.settle();
    // Everybody has heard of the leader a moment ago, and holds a lease on its vote.
    cluster.tick(1);
    cluster.crash(leader);
    cluster
}

/// One of those who are left gets to know, and up to `steps` messages arrive.
fn notice(cluster: &mut Cluster, number: u64, leader: u64, steps: u64) {
    cluster.raft(number).step(Input::LeaderLost(id(leader))).unwrap();
    cluster.take(id(number));
    for _ in 0..steps {
        cluster.deliver();
        for id in cluster.ups() {
            cluster.take(id);
            cluster.member(id.0).finish_persist();
        }
    }
}

#[test]
fn whoever_notices_first_another_leads_at_once() {
    let runs = 2_000;
    for size in [3, 5] {
        for seed in 0..runs {
            let _replay = Replay(seed);
            let mut chance = Chance::new(seed);
            let leader = 1 + chance.below(size);
            let mut cluster = bereaved(size, leader);
            let mut left: Vec<u64> = (1..=size).filter(|&number| number != leader).collect();
            while !left.is_empty() {
                let at = chance.place(left.len());
                let number = left.swap_remove(at);
                let steps = chance.below(12);
                notice(&mut cluster, number, leader, steps);
            }
            cluster.settle();
            let next = cluster.leader().unwrap_or_else(|| panic!("{size} voters, seed {seed}"));
            assert_ne!(next, id(leader));
            cluster.propose(next.0, "after");
            cluster.settle();
            for number in (1..=size).filter(|&number| number != leader) {
                assert_eq!(cluster.words(number), ["before", "after"]);
            }
        }
    }
}
