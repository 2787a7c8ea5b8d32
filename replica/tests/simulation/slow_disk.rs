//! Slow disks and nothing else that is wrong: who leads then, and how long writes take.

use revd_replica::slow_disk;
use revd_sim::{Chance, Time};

use crate::event::{MS, SECOND};
use crate::plan::Plan;
use crate::world::World;

/// How long the members are left alone with fast disks, and then with slow ones.
const CALM: Time = 10 * SECOND;
const SLOW: Time = 60 * SECOND;

/// Three members on a good network. A write takes 5 ms at most, and 200 on a slow disk.
fn world(seed: u64, options: slow_disk::Options) -> World {
    let mut chance = Chance::new(seed);
    let mut plan = Plan::new(&mut chance, CALM + SLOW);
    plan.voters = 3;
    (plan.loss, plan.repeats, plan.stragglers, plan.skew) = (0, 0, 0, 0);
    (plan.delay, plan.in_order) = ((MS / 10, MS), true);
    (plan.write, plan.work, plan.puts_off) = (5 * MS, MS, MS / 5);
    (plan.clients, plan.think, plan.patience) = (10, 50 * MS, 7 * SECOND);
    (plan.faults, plan.operations) = (3_600 * SECOND, 3_600 * SECOND);
    plan.raft.election_ticks = 100;
    plan.raft.heartbeat_ticks = 10;
    plan.pace.slow_disk = options;
    World::planned(plan, chance, None).expect("a world begins")
}

const IMPATIENT: slow_disk::Options =
    slow_disk::Options { late: 50 * MS, patience: SECOND, rest: 10 * SECOND };

/// What came of slow disks.
#[derive(Clone, Copy, Debug)]
struct Seen {
    leaders: u64,
    handed_over: u64,
    /// The leader at the end is the one with a slow disk.
    stays: bool,
    /// Entries that the leader at the end has not made durable, of those that are committed.
    entries: u64,
    /// Microseconds of a write, in the middle, in the last half of the time.
    after: u64,
}

fn pass(world: &mut World, length: Time) {
    let end = world.time + length;
    while world.time < end {
        if let Err(violation) = world.next() {
            panic!("{violation:?}");
        }
    }
}

/// The median of the writes that were acknowledged since.
fn median(world: &World, since: Time) -> u64 {
    let writes = world.clients.writes.iter().filter(|(at, _)| *at >= since);
    let mut took: Vec<Time> = writes.map(|(_, took)| *took).collect();
    took.sort_unstable();
    took[took.len() / 2] / 1_000
}

/// Makes the disks of these slow, counted from the leader.
fn run(seed: u64, slow: &[usize], options: slow_disk::Options) -> Seen {
    let mut world = world(seed, options);
    pass(&mut world, CALM);
    let before = median(&world, CALM / 2);
    let leader = world.leader().expect("somebody leads by now");
    for place in slow {
        world.members[(leader + place) % 3].slow_until = Time::MAX;
    }
    world.totals.leaders = 0;
    pass(&mut world, SLOW);
    let since = world.time - SLOW / 2;
    let now = world.leader().expect("somebody leads");
    let status = world.members[now].driver().consensus.status();
    let seen = Seen {
        leaders: world.totals.leaders,
        handed_over: world.totals.handed_over,
        stays: now == leader,
        entries: status.commit.0.saturating_sub(status.persisted.0),
        after: median(&world, since),
    };
    println!("seed {seed}, slow {slow:?}: {before} µs before; {seen:?}");
    seen
}

#[test]
fn a_leader_with_a_slow_disk_hands_over_once() {
    let mut sums = [[0; 2]; 2];
    for seed in 0..4 {
        let never = slow_disk::Options { patience: u64::MAX, ..IMPATIENT };
        let kept = run(seed, &[0], never);
        assert!(kept.stays && kept.handed_over == 0, "seed {seed}: {kept:?}");
        let seen = run(seed, &[0], IMPATIENT);
        assert!(!seen.stays, "seed {seed}: {seen:?}");
        assert_eq!((seen.handed_over, seen.leaders), (1, 1), "seed {seed}: {seen:?}");
        for (sum, seen) in sums.iter_mut().zip([kept, seen]) {
            sum[0] += seen.after;
            sum[1] += seen.entries;
        }
    }
    // Writes wait for the two others either way, whose disks are quick; one of the ways is a
    // message shorter. But what the leader has not made durable stays in its memory.
    let [kept, handed] = sums;
    println!("sums of medians in microseconds and of entries: {handed:?}, without {kept:?}");
    assert!(handed[0] <= kept[0] + kept[0] / 10, "writes are slower");
    assert!(handed[1] < kept[1], "as much is not durable");
}

#[test]
fn nobody_hands_over_where_it_is_no_better_elsewhere() {
    for seed in 0..2 {
        for slow in [&[0, 1, 2][..], &[0, 1], &[0, 2], &[1], &[1, 2]] {
            let seen = run(seed, slow, IMPATIENT);
            assert!(seen.stays, "seed {seed}, slow {slow:?}: {seen:?}");
            assert_eq!((seen.handed_over, seen.leaders), (0, 0), "seed {seed}: {seen:?}");
        }
    }
}
