//! Clusters of real processes under faults: killed, frozen, cut off from each other, out of disk,
//! restarted one after the other. Clients write down what they see, and afterwards one history has
//! to explain all of it: no acknowledged write is lost, and whatever was answered is linearizable.
//!
//! `SEED` sets what the clients do; when the faults come depends on the machine.
//! `REVD_FAULT_ROUNDS` repeats the faults of each test. The tests run one after the other, since
//! each wants the machine.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/cluster.rs"]
mod cluster;
#[path = "faults/history.rs"]
mod history;
#[path = "faults/network.rs"]
mod network;
mod support;

use std::time::{Duration, Instant};

use clients::Clients;
use cluster::Cluster;
use network::Network;
use support::disk::SmallDisk;
use tokio::sync::{Mutex, MutexGuard};

/// Writes under a fault, and after it, by which a test sees that the cluster goes on.
const SOME: u64 = 150;

/// One test at a time.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    let any = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros() as u64;
    let seed = variable("SEED").unwrap_or_else(any);
    println!("SEED={seed}");
    seed
}

fn rounds() -> u64 {
    variable("REVD_FAULT_ROUNDS").unwrap_or(1)
}

/// Another member than this one.
fn other(cluster: &Cluster, n: usize) -> usize {
    (n + 1) % cluster.size()
}

/// Kills and freezes the leader and a follower in turn, with the cluster at work all the time.
async fn kill_and_freeze(size: usize, name: &str) {
    let mut cluster = Cluster::start(size, None);
    cluster.leader().await;
    let clients = Clients::start(&cluster, seed());
    clients.progress(SOME, &cluster).await;
    for _ in 0..rounds() {
        for leads in [true, false] {
            let leader = cluster.leader().await;
            let victim = if leads { leader } else { other(&cluster, leader) };
            cluster.kill(victim);
            clients.progress(SOME, &cluster).await;
            cluster.bring_up(victim);
            clients.progress(SOME, &cluster).await;

            let leader = cluster.leader().await;
            let victim = if leads { leader } else { other(&cluster, leader) };
            cluster.freeze(victim);
            clients.progress(SOME, &cluster).await;
            // It wakes as if no time had passed, and may still think that it leads.
            cluster.thaw(victim);
            clients.progress(SOME, &cluster).await;
        }
    }
    let tally = clients.check(&cluster, name).await;
    assert!(tally.acknowledged as u64 >= 9 * SOME * rounds(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_killed_and_frozen() {
    let _alone = alone().await;
    kill_and_freeze(3, "3 members, killed and frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_killed_and_frozen() {
    let _alone = alone().await;
    kill_and_freeze(5, "5 members, killed and frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_killed_at_once_under_load() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3, None);
    cluster.leader().await;
    let clients = Clients::start(&cluster, seed());
    for _ in 0..4 * rounds() {
        clients.progress(2 * SOME, &cluster).await;
        cluster.kill_all();
        (0..cluster.size()).for_each(|n| cluster.bring_up(n));
    }
    clients.progress(SOME, &cluster).await;
    let tally = clients.check(&cluster, "3 members, all killed at once, 4 times").await;
    assert!(tally.acknowledged as u64 >= 9 * SOME, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_restarted_one_after_the_other() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(3, None);
    cluster.leader().await;
    let clients = Clients::start(&cluster, seed());
    clients.progress(SOME, &cluster).await;
    for n in (0..3).cycle().take(6 * rounds() as usize) {
        cluster.stop(n);
        clients.progress(SOME, &cluster).await;
        cluster.bring_up(n);
        clients.progress(SOME, &cluster).await;
    }
    clients.check(&cluster, "3 members, restarted in turn").await;
}

/// Cuts networks in ways in which some majority can go on, and waits until it does.
async fn cut_off(size: usize, name: &str) {
    let Some(network) = Network::new(size) else { return };
    let cluster = Cluster::start(size, Some(network));
    cluster.leader().await;
    let clients = Clients::start(&cluster, seed());
    clients.progress(SOME, &cluster).await;
    let network = cluster.network.as_ref().expect("it has one");
    for _ in 0..rounds() {
        // The leader alone; a follower alone; the leader with as many as can be spared.
        let leader = cluster.leader().await;
        let minority: Vec<usize> = (0..(size - 1) / 2).map(|n| (leader + n) % size).collect();
        for side in [vec![leader], vec![other(&cluster, leader)], minority] {
            network.split(&side);
            clients.progress(SOME, &cluster).await;
            network.heal();
            clients.progress(SOME, &cluster).await;
        }
        // The leader speaks and hears nothing: it must step down by itself. Then it hears and is
        // not heard.
        for hears in [false, true] {
            let leader = cluster.leader().await;
            for n in (0..size).filter(|n| *n != leader) {
                if hears { network.cut(leader, n) } else { network.cut(n, leader) }
            }
            clients.progress(SOME, &cluster).await;
            network.heal();
            clients.progress(SOME, &cluster).await;
        }
        // Two followers do not reach each other, which hinders nobody.
        let leader = cluster.leader().await;
        let (one, two) = ((leader + 1) % size, (leader + 2) % size);
        network.cut(one, two);
        network.cut(two, one);
        clients.progress(SOME, &cluster).await;
        network.heal();
        // Nobody reaches anybody: nothing is acknowledged that could be lost.
        (0..size).for_each(|n| network.split(&[n]));
        network.heal();
        clients.progress(SOME, &cluster).await;
    }
    clients.check(&cluster, name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_cut_off_from_each_other() {
    let _alone = alone().await;
    cut_off(3, "3 members, cut off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_cut_off_from_each_other() {
    let _alone = alone().await;
    cut_off(5, "5 members, cut off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_is_filled_by_others() {
    let _alone = alone().await;
    let dir = support::scratch();
    let Some(disk) = SmallDisk::new(dir.path(), 300) else { return };
    let cluster = Cluster::start_on(3, None, Some(disk.data()));
    let clients = Clients::start(&cluster, seed());
    clients.progress(SOME, &cluster).await;
    for leads in [false, true] {
        cluster.let_lead(usize::from(!leads)).await;
        disk.fill();
        // What does not fit raises the alarm, and from then on nothing grows anywhere.
        let written = clients.write_until_refused(&cluster).await;
        let start = Instant::now();
        while !cluster.has_space_alarm().await {
            assert!(start.elapsed() < cluster::PATIENCE, "no alarm; {}", cluster.logs());
        }
        let role = if leads { "the leader" } else { "a follower" };
        println!("full disk of {role}: refused after {written} large values, and alarm");
        disk.empty();
        let (start, before) = (Instant::now(), clients.acknowledged());
        while clients.acknowledged() < before + SOME {
            cluster.clear_space_alarm().await;
            assert!(start.elapsed() < cluster::PATIENCE, "no growth; {}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    clients.check(&cluster, "3 members, one with a full disk").await;
}
