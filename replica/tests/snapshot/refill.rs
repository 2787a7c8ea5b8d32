//! From the request to a member that goes on with everybody else.

use std::task::{Poll, Waker};

use revd_mvcc::{Watch, WatchOptions, WatchStream};
use revd_raft::{Index, Input, NodeId, SnapshotOutcome, SnapshotRequest};
use revd_replica::{Incoming, ReceiveError, snapshot::Start};

use crate::replica::Replica;
use crate::{Trio, chunks};

/// Revisions of all responses that are there, and whether the watcher was ended.
fn drain(stream: &WatchStream) -> (usize, bool) {
    let (mut events, mut is_ended, mut idle) = (0, false, 0);
    while idle < 100 {
        match stream.poll_next(Waker::noop()) {
            Poll::Ready(response) => {
                let response = response.unwrap();
                events += response.events.len();
                is_ended |= response.canceled;
            }
            Poll::Pending => idle += 1,
        }
    }
    (events, is_ended)
}

fn watch(member: &Replica, start_revision: i64) -> WatchStream {
    let stream = member.machine.hub().stream(WatchOptions::default());
    let (key, range_end) = ("\0".into(), "\0".into());
    stream.create(Watch { key, range_end, start_revision, ..Watch::default() });
    stream
}

/// The third member, and a leader that has a snapshot for it.
fn behind() -> Trio {
    let mut trio = Trio::new();
    trio.work(20);
    trio.cut_off();
    trio.work(60);
    trio
}

#[test]
fn a_member_that_lacks_what_has_left_the_log_becomes_like_the_others() {
    let mut trio = behind();
    let mut outgoing = trio.outgoing();
    let (view, before) = (trio.third().machine.view(), trio.third().state());
    let lost = watch(trio.third(), 0);
    let future = trio.leader().machine.view().revision().0 - 10;
    let kept = watch(trio.third(), future);
    let chunks = chunks(&mut outgoing);
    // What happens meanwhile stays in the log for it.
    trio.cut_off();
    trio.work(30);
    trio.cut_off = None;
    trio.leader().release();

    trio.third().receive(&chunks).unwrap();
    assert_eq!(trio.third().state(), before, "nothing is in its place yet");
    let another = Incoming::begin(trio.third().machine.file());
    assert!(matches!(another, Err(ReceiveError::Busy)), "it would take the file away");
    let received = trio.third().received.as_ref().unwrap();
    assert_eq!(received.position(), outgoing.position());
    let message = received.message(NodeId(1), NodeId(3), outgoing.term());
    trio.third().step(Input::Message(message)).unwrap();
    assert_eq!(trio.third().state().applied, outgoing.position().index);
    assert_eq!(drain(&lost), (0, true), "its history was compacted");
    assert_eq!(drain(&kept), (11, false), "its history is here");
    let outcome = SnapshotOutcome::Delivered(outgoing.position());
    trio.leader().consensus.sent(NodeId(3), outcome);
    drop(outgoing);
    for _ in 0..4 {
        trio.heartbeat();
    }
    assert!(trio.leader().wanted.is_empty(), "the log had what came after");
    let (leader, third) = (trio.leader().state(), trio.third().state());
    assert_eq!(third, leader);
    assert_eq!(view.revision().0, third.revision, "readers go on");
    assert_eq!(drain(&kept), (30, false));

    trio.work(5);
    assert_eq!(drain(&kept), (5, false));
    let third = trio.third().state();
    trio.third().checkpoint().unwrap();
    let disk = trio.third().disk.clone();
    trio.members.pop();
    let again = Replica::open(&disk, 3);
    assert_eq!(again.state(), third);
}

#[test]
fn what_has_left_the_log_again_is_sent_again() {
    let mut trio = behind();
    let outgoing = trio.outgoing();
    let first = outgoing.position();
    drop(outgoing);
    trio.leader().consensus.sent(NodeId(3), SnapshotOutcome::Failed);
    trio.cut_off();
    trio.work(40);
    let outgoing = trio.outgoing();
    assert!(outgoing.position().index > first.index);
    assert_eq!(trio.leader().machine.store().exports(), 1);
}

#[test]
fn only_a_few_are_sent_at_one_time() {
    let mut trio = behind();
    let one = trio.outgoing();
    let request = SnapshotRequest { to: NodeId(9), term: one.term(), after: one.position().index };
    let two = trio.leader().machine.export(&request).unwrap();
    assert!(two.is_some());
    assert!(trio.leader().machine.export(&request).unwrap().is_none());
    drop(one);
    let later = SnapshotRequest { after: Index(1 << 40), ..request };
    assert!(trio.leader().machine.export(&later).unwrap().is_none(), "not there yet");
    assert!(trio.leader().machine.export(&request).unwrap().is_some());
}

#[test]
fn a_broken_stream_goes_on_where_the_receiver_stands() {
    let mut trio = behind();
    let mut outgoing = trio.outgoing();
    assert_eq!(outgoing.resume(None), Some(Start::Anew), "nothing was given out");
    let whole = chunks(&mut outgoing);
    assert_eq!(outgoing.resume(None), None, "what was given out is lost");
    let third = trio.third();
    for broken in 1..whole.len() {
        let mut incoming = Incoming::begin(third.machine.file()).unwrap();
        whole[..broken].iter().for_each(|chunk| incoming.push(chunk).unwrap());
        let Some(at) = incoming.position() else { continue };
        assert_eq!(outgoing.resume(Some(&at)), Some(Start::There));
        while let Some(chunk) = outgoing.next_chunk(700).unwrap() {
            incoming.push(&chunk).unwrap();
        }
        assert_eq!(incoming.finish().unwrap().position(), outgoing.position());
    }
}

#[test]
fn a_snapshot_of_what_the_member_has_is_not_installed() {
    let mut trio = behind();
    let mut outgoing = trio.outgoing();
    let chunks = chunks(&mut outgoing);
    let second = &mut trio.members[1];
    second.receive(&chunks).unwrap();
    let before = second.state();
    let received = second.received.as_ref().unwrap();
    let message = received.message(NodeId(1), NodeId(2), outgoing.term());
    second.step(Input::Message(message)).unwrap();
    assert_eq!(second.consensus.status().installing, None);
    assert_eq!(second.state(), before);
}
