//! The power fails at every operation on the disk between the first chunk and the first checkpoint
//! of the installed state.

use revd_disk::{Disk as _, Sim};
use revd_mvcc::Put;
use revd_raft::{Input, Message, NodeId, Position, Role};
use revd_replica::Command;

use crate::replica::{Replica, State};
use crate::{Trio, chunks};

/// What reaches the third member.
struct Delivery {
    chunks: Vec<Vec<u8>>,
    snapshot: Position,
    /// The leader's message that goes with it, and the appends that follow.
    messages: Vec<Message>,
}

/// Receives, installs, goes on, and writes a checkpoint; an error is the power failure.
fn take_in(member: &mut Replica, delivery: &Delivery) -> Result<(), String> {
    member.receive(&delivery.chunks).map_err(|error| error.to_string())?;
    for message in &delivery.messages {
        // The leader heartbeats until it is heard.
        let fatal = |error: revd_replica::Fatal| error.to_string();
        member.step(Input::Message(message.clone())).map_err(fatal)?;
    }
    member.checkpoint().map_err(|error| error.to_string())
}

/// A leader with a snapshot for the third member, and the third member's disk. The log there may be
/// forked: it ends in entries that it alone has, from its own time as a leader.
fn scene(is_forked: bool) -> (Sim, Delivery, State, State) {
    let mut trio = Trio::new();
    trio.work(8);
    trio.third().checkpoint().unwrap();
    trio.work(4);
    if is_forked {
        fork(&mut trio);
    } else {
        trio.cut_off();
    }
    trio.work(30);
    let mut outgoing = trio.outgoing();
    let chunks = chunks(&mut outgoing);
    let disk = trio.third().disk.fork();
    let before = trio.third().state();
    trio.third().receive(&chunks).unwrap();
    let received = trio.third().received.as_ref().unwrap();
    let snapshot = received.position();
    let first = received.message(NodeId(1), NodeId(3), outgoing.term());
    assert_eq!(trio.third().consensus.status().last.index >= snapshot.index, is_forked);
    trio.third().step(Input::Message(first.clone())).unwrap();
    let outcome = revd_raft::SnapshotOutcome::Delivered(snapshot);
    trio.leader().consensus.sent(NodeId(3), outcome);
    trio.heard_by_third.clear();
    for _ in 0..3 {
        trio.work(2);
        trio.heartbeat();
    }
    let after = trio.third().state();
    let messages = [vec![first], trio.heard_by_third].concat();
    (disk, Delivery { chunks, snapshot, messages }, before, after)
}

/// The third member leads, and is cut off with entries that nobody gets.
fn fork(trio: &mut Trio) {
    trio.leader().step(Input::Transfer(NodeId(3))).unwrap();
    trio.deliver();
    assert_eq!(trio.third().consensus.status().role, Role::Leader);
    trio.cut_off = Some(2);
    for n in 0..100 {
        let key = format!("nobody's {n}").into();
        trio.third().propose(Command::Put(Put { key, ..Put::default() }));
    }
    trio.third().turn().unwrap();
    // Until they would vote for another.
    for _ in 0..100 {
        trio.members[..2].iter_mut().for_each(|member| member.step(Input::Tick).unwrap());
    }
    trio.leader().step(Input::Campaign).unwrap();
    trio.deliver();
    assert_eq!(trio.leader().consensus.status().role, Role::Leader);
}

#[test]
fn the_old_state_or_the_new_one_and_nothing_in_between() {
    cut_power_at_each_operation(false);
}

#[test]
fn a_log_that_reaches_beyond_the_snapshot_does_not_come_back() {
    cut_power_at_each_operation(true);
}

fn cut_power_at_each_operation(is_forked: bool) {
    let (disk, delivery, before, after) = scene(is_forked);
    let start = |seed| {
        let disk = disk.fork();
        disk.crash(seed);
        let member = Replica::open(&disk, 3);
        (disk, member)
    };
    let (calm, mut member) = start(0);
    let from = calm.operations();
    take_in(&mut member, &delivery).unwrap();
    assert_eq!(member.state(), after);
    let to = calm.operations();
    let (mut old, mut new) = (0, 0);
    for moment in from..to {
        let (disk, mut member) = start(moment);
        disk.crash_at(moment);
        let failure = take_in(&mut member, &delivery).expect_err("the power fails");
        assert!(disk.crashed_in().is_some(), "{moment}: {failure}");
        drop(member);
        disk.recover(moment);
        let mut member = Replica::open(&disk, 3);
        let found = member.state();
        let place = format!("SEED={moment} of {from}..{to}, in {:?}", disk.crashed_in());
        let held = member.report.last;
        if found.applied < delivery.snapshot.index {
            old += 1;
            assert!(held >= before.applied, "{place}: acknowledged entries up to {held}");
            assert!(found.applied <= before.applied, "{place}");
        } else {
            new += 1;
            assert!(found.applied <= after.applied && held >= found.applied, "{place}");
        }
        assert!(!disk.exists(std::path::Path::new("data/tree.import")).unwrap(), "{place}");
        if found.applied < delivery.snapshot.index {
            take_in(&mut member, &delivery).unwrap_or_else(|error| panic!("{place}: {error}"));
        } else {
            for message in &delivery.messages {
                member.step(Input::Message(message.clone())).unwrap();
            }
        }
        assert_eq!(member.state(), after, "{place}");
    }
    assert!(old > 20 && new > 3, "{old} old, {new} new");
}
