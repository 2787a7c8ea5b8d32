//! The paper, claim by claim, under the numbers of its sections; and of the dissertation's where
//! that goes further.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use revd_raft::*;
use support::*;

/// Three voters, the first of whom leads.
fn led() -> Cluster {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.elect(1);
    cluster
}

fn write(cluster: &mut Cluster, words: &[&str]) {
    let leader = cluster.leader().unwrap();
    for word in words {
        cluster.propose(leader.0, word);
    }
    cluster.settle();
}

#[test]
fn section_5_1_a_member_of_an_earlier_term_is_told_and_follows() {
    let mut cluster = led();
    cluster.part(&[1], &[2, 3]);
    let leader = cluster.elect_among(&[2, 3]);
    assert_eq!(cluster.role(1), Role::Leader, "it cannot know yet");
    let old = cluster.status(1).term;
    cluster.heal();
    cluster.tick(3);
    let status = cluster.status(1);
    assert_eq!((status.role, status.leader), (Role::Follower, Some(id(leader))));
    assert!(status.term > old);
}

#[test]
fn section_5_2_somebody_is_elected_and_one_alone_in_each_term() {
    for size in 1..=7 {
        let voters: Vec<u64> = (1..=size).collect();
        let mut cluster = Cluster::new(&voters);
        cluster.tick(60);
        let leader = cluster.leader().expect("a leader");
        for number in 1..=size {
            assert_eq!(cluster.status(number).leader, Some(leader));
        }
        // The support checks that no term has two.
        assert!(!cluster.leaders.is_empty());
    }
}

#[test]
fn section_5_2_a_vote_is_given_once_a_term_and_remembered_over_a_crash() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let ask = |from: u64| Message {
        from: id(from),
        to: id(3),
        term: Term(5),
        body: Body::Vote {
            last: Position::new(Index(9), Term(4)),
            committed: Position::default(),
            transfer: false,
        },
    };
    let answers = |cluster: &mut Cluster| -> Vec<(NodeId, bool)> {
        let granted = |message: Message| match message.body {
            Body::VoteAnswer { granted, .. } => Some((message.to, granted)),
            _ => None,
        };
        cluster.wires.drain(..).filter_map(granted).collect()
    };
    cluster.arrive(ask(1));
    cluster.take(id(3));
    assert_eq!(answers(&mut cluster), [], "a vote is said when it is durable");
    cluster.member(3).finish_persist();
    cluster.arrive(ask(2));
    cluster.take(id(3));
    assert_eq!(answers(&mut cluster), [(id(2), false), (id(1), true)]);
    cluster.crash(3);
    cluster.member(3).start();
    cluster.arrive(ask(2));
    cluster.arrive(ask(1));
    cluster.take(id(3));
    assert_eq!(answers(&mut cluster), [(id(2), false), (id(1), true)]);
}

#[test]
fn section_5_2_a_candidate_asks_once_its_own_vote_is_durable() {
    let mut cluster = Cluster::with(&[1, 2, 3], &[], Some(|config| config.pre_vote = false));
    cluster.raft(1).step(Input::Campaign).unwrap();
    cluster.take(id(1));
    assert!(cluster.wires.is_empty() && cluster.member(1).persist.is_some());
    cluster.member(1).finish_persist();
    cluster.take(id(1));
    assert_eq!(cluster.wires.len(), 2);
}

#[test]
fn section_5_3_entries_reach_everybody_in_order() {
    let mut cluster = led();
    write(&mut cluster, &["a", "b", "c"]);
    write(&mut cluster, &["d"]);
    for number in 1..=3 {
        assert_eq!(cluster.words(number), ["a", "b", "c", "d"]);
    }
}

#[test]
fn section_5_3_a_slow_disk_of_the_leader_delays_no_commit() {
    // The dissertation's section 10.2.1: the leader writes while the followers do.
    let mut cluster = led();
    cluster.member(1).slow_disk = true;
    write(&mut cluster, &["a"]);
    let status = cluster.status(1);
    assert!(status.commit > status.persisted, "{status:?}");
    assert_eq!(cluster.words(1), ["a"]);
    cluster.member(2).slow_disk = true;
    write(&mut cluster, &["b"]);
    assert_eq!(cluster.words(3), ["a"], "one disk is no majority");
    cluster.member(2).finish_persist();
    cluster.settle();
    assert_eq!(cluster.words(3), ["a", "b"]);
}

#[test]
fn section_5_3_a_conflicting_suffix_gives_way() {
    let mut cluster = led();
    write(&mut cluster, &["kept"]);
    cluster.part(&[1], &[2, 3]);
    for word in ["lost 1", "lost 2", "lost 3"] {
        cluster.propose(1, word);
    }
    cluster.settle();
    let leader = cluster.elect_among(&[2, 3]);
    write_at(&mut cluster, leader, &["new 1", "new 2"]);
    cluster.heal();
    cluster.tick(5);
    for number in 1..=3 {
        assert_eq!(cluster.words(number), ["kept", "new 1", "new 2"]);
    }
    let (own, leaders) = (cluster.member(1).log.clone(), cluster.member(2).log.clone());
    assert_eq!(own, leaders);
}

fn write_at(cluster: &mut Cluster, number: u64, words: &[&str]) {
    for word in words {
        cluster.propose(number, word);
    }
    cluster.settle();
}

/// An entry whose payload says where it stands.
fn entry(index: u64, term: u64) -> Entry {
    let data = Bytes::from(format!("{index}@{term}"));
    Entry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data }
}

/// Members that start with logs of these terms, from index 2 on.
fn with_logs(logs: &[(u64, &[u64])]) -> Cluster {
    let voters: Vec<u64> = logs.iter().map(|log| log.0).collect();
    let mut cluster = Cluster::new(&voters);
    for &(number, terms) in logs {
        let member = cluster.member(number);
        member.crash(0);
        member.log = (2..).zip(terms).map(|(index, &term)| entry(index, term)).collect();
        let term = logs.iter().flat_map(|log| log.1).copied().max().unwrap_or(1);
        member.hard_state = HardState { term: Term(term), vote: None };
        member.start();
    }
    cluster
}

#[test]
fn section_5_3_figure_7_every_follower_is_brought_in_line() {
    let leader: &[u64] = &[1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 4],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 4, 4, 4, 4],
        &[1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for terms in followers {
        // The third has the leader's log, so that the first can win.
        let mut cluster = with_logs(&[(1, leader), (2, terms), (3, leader)]);
        cluster.part(&[2], &[1, 3]);
        cluster.raft(1).step(Input::Campaign).unwrap();
        cluster.settle();
        assert_eq!(cluster.role(1), Role::Leader);
        cluster.heal();
        let before = cluster.messages;
        cluster.tick(6);
        let log = cluster.member(1).log.clone();
        assert_eq!(cluster.member(2).log, log, "{terms:?}");
        assert!(cluster.messages - before < 90, "{} messages", cluster.messages - before);
    }
}

#[test]
fn section_5_3_a_conflict_costs_one_probe_a_term() {
    let mut long = vec![2; 200];
    long.extend([3; 200]);
    let leader: Vec<u64> = [vec![1], vec![4; 400]].concat();
    let follower: Vec<u64> = [vec![1], long].concat();
    let mut cluster = with_logs(&[(1, &leader), (2, &follower), (3, &leader)]);
    cluster.part(&[2], &[1, 3]);
    cluster.elect(1);
    cluster.heal();
    cluster.raft(1).step(Input::Unreachable(id(2))).unwrap();
    let mut refused = 0;
    for _ in 0..6 {
        for number in [1, 2, 3] {
            cluster.raft(number).step(Input::Tick).unwrap();
        }
        for _ in 0..2_000 {
            let refusal = cluster.wires.front().map(|message| &message.body);
            refused += u64::from(matches!(refusal, Some(Body::AppendRefused { .. })));
            cluster.deliver();
            for number in [1, 2, 3] {
                cluster.take(id(number));
                cluster.member(number).finish_persist();
                cluster.apply(id(number));
            }
        }
    }
    let log = cluster.member(1).log.clone();
    assert_eq!(cluster.member(2).log, log);
    assert!((1..=3).contains(&refused), "{refused} refusals for two terms");
}

#[test]
fn section_5_4_1_a_candidate_that_lacks_a_committed_entry_loses() {
    let mut cluster = led();
    cluster.part(&[3], &[1, 2]);
    write(&mut cluster, &["a"]);
    cluster.crash(1);
    cluster.heal();
    cluster.raft(3).step(Input::LeaderLost(id(1))).unwrap();
    cluster.raft(2).step(Input::LeaderLost(id(1))).unwrap();
    cluster.tick(60);
    assert_eq!(cluster.leader(), Some(id(2)));
    assert_eq!(cluster.words(3), ["a"]);
}

#[test]
fn section_5_4_2_figure_8_an_older_entry_is_not_committed_by_counting() {
    // (c): the leader of term 4 brings its entry of term 2 to a majority.
    let one: &[u64] = &[1, 2];
    let mut cluster = with_logs(&[(1, one), (2, one), (3, &[1]), (4, &[1]), (5, &[1, 3])]);
    for number in 1..=5 {
        let member = cluster.member(number);
        member.crash(0);
        member.hard_state.term = Term(3);
        member.start();
    }
    cluster.part(&[4, 5], &[1, 2, 3]);
    cluster.raft(1).step(Input::Campaign).unwrap();
    // Its own first entry goes no further than to itself: the older one is all that arrives.
    for _ in 0..200 {
        if let Some(mut message) = cluster.wires.pop_front() {
            if let Body::Append { entries, .. } = &mut message.body {
                entries.retain(|entry| entry.term < Term(4));
            }
            cluster.arrive(message);
        }
        for number in 1..=3 {
            cluster.take(id(number));
            cluster.member(number).finish_persist();
        }
    }
    assert_eq!(cluster.role(1), Role::Leader);
    let held = |cluster: &mut Cluster| {
        (1..=3).filter(|&number| cluster.raft(number).term_at(Index(3)) == Some(Term(2))).count()
    };
    assert_eq!(held(&mut cluster), 3, "the entry of term 2 is on a majority");
    assert!(cluster.status(1).commit < Index(3), "and not committed");
    // (d): so the member with the entry of term 3 may still win and replace it.
    cluster.crash(1);
    cluster.heal();
    cluster.wires.clear();
    for number in [2, 3] {
        cluster.raft(number).step(Input::LeaderLost(id(1))).unwrap();
    }
    cluster.wires.clear();
    cluster.part(&[2, 3], &[2, 3]);
    for _ in 0..9 {
        cluster.tick_at(&[5], 20);
    }
    cluster.heal();
    assert_eq!(cluster.leader(), Some(id(5)));
    cluster.tick(5);
    assert_eq!(cluster.words(2), ["2@1", "3@3"]);
}

#[test]
fn section_5_4_3_what_was_committed_is_in_every_later_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3, 4, 5]);
    let mut expected = Vec::new();
    for round in 0..20_u64 {
        cluster.tick(60);
        let leader = cluster.leader().unwrap().0;
        let word = format!("{round}");
        cluster.propose(leader, &word);
        cluster.settle();
        expected.push(word);
        assert_eq!(cluster.words(leader), expected);
        cluster.crash(leader);
        cluster.tick(60);
        let next = cluster.leader().expect("four are enough").0;
        assert_eq!(cluster.words(next), expected);
        cluster.restart(leader);
    }
}

#[test]
fn section_5_5_lost_messages_are_made_up_for() {
    let mut cluster = led();
    for number in 0..10 {
        cluster.propose(1, &number.to_string());
        cluster.take(id(1));
        // Nothing arrives at the second member.
        cluster.wires.retain(|message| message.to != id(2));
        cluster.settle();
    }
    cluster.tick(6);
    assert_eq!(cluster.words(2).len(), 10);
}

#[test]
fn section_6_a_member_that_was_cut_off_does_not_disturb() {
    let mut cluster = led();
    let term = cluster.status(1).term;
    cluster.part(&[3], &[1, 2]);
    cluster.tick(200);
    assert_eq!(cluster.status(3).term, term, "the pre-vote raises no term");
    cluster.heal();
    cluster.tick(10);
    assert_eq!((cluster.leader(), cluster.status(1).term), (Some(id(1)), term));
}

#[test]
fn section_6_a_vote_is_refused_while_the_leader_is_heard_of() {
    let mut cluster = Cluster::with(&[1, 2, 3], &[], Some(|config| config.pre_vote = false));
    cluster.elect(1);
    let term = cluster.status(1).term;
    cluster.raft(3).step(Input::Campaign).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Leader);
    assert_eq!(cluster.status(2).term, term);
}

#[test]
fn section_6_2_a_leader_without_a_quorum_gives_up() {
    let mut cluster = led();
    cluster.part(&[1], &[2, 3]);
    cluster.raft(1).step(Input::Read(ReadId(1))).unwrap();
    cluster.tick_at(&[1], 20);
    assert_eq!(cluster.role(1), Role::Follower);
    assert_eq!(cluster.member(1).reads_failed, [ReadId(1)]);
    assert!(cluster.raft(1).propose(Bytes::new()).is_err());
}

#[test]
fn section_9_6_pre_votes_among_mixed_logs_and_terms_end_in_a_leader() {
    // The longest log is at the member of the lowest term.
    let mut cluster = with_logs(&[(1, &[1, 1, 1]), (2, &[1]), (3, &[1])]);
    for number in [2, 3] {
        cluster.crash(number);
        cluster.member(number).hard_state.term = Term(7);
        cluster.member(number).start();
    }
    cluster.tick(200);
    let leader = cluster.leader().expect("a leader");
    let term = cluster.status(leader.0).term;
    assert!(term > Term(7), "{term}");
    assert!((1..=3).all(|number| cluster.status(number).leader == Some(leader)));
}

#[test]
fn the_connection_to_the_leader_lost_starts_an_election_at_once() {
    let mut cluster = led();
    cluster.crash(1);
    for number in [2, 3] {
        cluster.raft(number).step(Input::LeaderLost(id(1))).unwrap();
    }
    cluster.settle();
    assert_eq!(cluster.leader(), Some(id(3)), "without a tick; the higher id goes first");
    // A connection that only one of them has lost changes nothing.
    cluster.raft(2).step(Input::LeaderLost(id(3))).unwrap();
    cluster.settle();
    assert_eq!(cluster.leader(), Some(id(3)));
    cluster.tick(3);
    assert_eq!(cluster.status(2).leader, Some(id(3)));
}

#[test]
fn section_6_a_joint_change_survives_its_leader() {
    let mut cluster = led();
    write(&mut cluster, &["a"]);
    for number in [4, 5] {
        cluster.add(number, State::default());
    }
    let steps = [4, 5].map(|number| ChangeStep::AddLearner(id(number)));
    let learn = Change::Joint { steps: steps.to_vec(), leaves_by_itself: true };
    cluster.change(1, &learn).unwrap();
    cluster.tick(30);
    let steps = vec![
        ChangeStep::AddVoter(id(4)),
        ChangeStep::AddVoter(id(5)),
        ChangeStep::Remove(id(1)),
        ChangeStep::Remove(id(2)),
    ];
    let swap = Change::Joint { steps, leaves_by_itself: true };
    cluster.change(1, &swap).unwrap();
    // The entry gets to all, then the leader goes before anybody has applied it.
    for _ in 0..3 {
        cluster.take(id(1));
    }
    for _ in 0..20 {
        cluster.deliver();
    }
    for number in [2, 3, 4, 5] {
        cluster.take(id(number));
        cluster.member(number).finish_persist();
    }
    cluster.crash(1);
    cluster.tick(80);
    let leader = cluster.leader().expect("the change has its majorities without the first");
    let members = Configuration::new(ids(&[3, 4, 5]), []).unwrap();
    assert!(members.is_voter(leader));
    assert_eq!(cluster.raft(leader.0).configuration(), &members);
    cluster.propose(leader.0, "b");
    cluster.tick(3);
    assert_eq!(cluster.words(5), ["a", "b"]);
}

#[test]
fn section_6_a_leader_that_removes_itself_hands_over() {
    let mut cluster = led();
    let term = cluster.status(1).term;
    cluster.change(1, &Change::Simple(ChangeStep::Remove(id(1)))).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Follower);
    let leader = cluster.leader().expect("its successor, without a tick");
    assert!(leader != id(1) && cluster.status(leader.0).term > term);
    cluster.tick(100);
    assert_eq!(cluster.leader(), Some(leader), "the removed one does not disturb");
}

#[test]
fn a_removal_is_known_to_those_who_are_left_whoever_goes() {
    // Two voters, of whom the leader removes itself and goes for good.
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.elect(1);
    cluster.change(1, &Change::Simple(ChangeStep::Remove(id(1)))).unwrap();
    cluster.settle();
    assert_eq!(cluster.role(1), Role::Follower);
    cluster.crash(1);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.raft(2).configuration().voters(), ids(&[2]), "the log shows it");
    cluster.tick(25);
    assert_eq!(cluster.role(2), Role::Leader);
}

#[test]
fn section_4_2_1_a_learner_that_lags_is_not_promoted() {
    let mut cluster = led();
    cluster.add(4, State::default());
    cluster.cut.insert((id(1), id(4)));
    cluster.change(1, &Change::Simple(ChangeStep::AddLearner(id(4)))).unwrap();
    cluster.settle();
    write(&mut cluster, &["a", "b"]);
    let promote = Change::Simple(ChangeStep::AddVoter(id(4)));
    let refused = cluster.change(1, &promote).expect_err("it has nothing yet");
    assert!(matches!(refused, Refused::NotCaughtUp { node: NodeId(4), .. }), "{refused}");
    cluster.heal();
    cluster.tick(12);
    cluster.change(1, &promote).unwrap();
    cluster.settle();
    assert!(cluster.raft(4).configuration().is_voter(id(4)));
    let pending = cluster.change(1, &Change::Keep).map(drop);
    assert_eq!(pending, Ok(()));
    let second = cluster.change(1, &Change::Keep).map(drop);
    assert!(matches!(second, Err(Refused::ConfigurationPending { .. })), "one at a time");
}

#[test]
fn section_7_a_snapshot_brings_up_who_lags() {
    let mut cluster = led();
    cluster.crash(3);
    write(&mut cluster, &["a", "b", "c"]);
    for number in [1, 2] {
        cluster.member(number).checkpoint(0);
    }
    write(&mut cluster, &["d"]);
    cluster.restart(3);
    // The first attempt fails.
    cluster.cut.insert((id(1), id(3)));
    cluster.tick(6);
    cluster.heal();
    cluster.tick(12);
    assert!(!cluster.snapshots.is_empty());
    assert_eq!(cluster.words(3), ["a", "b", "c", "d"]);
    assert_eq!(cluster.member(3).log_last(), cluster.member(1).log_last());
}

#[test]
fn section_8_a_read_sees_everything_written_before() {
    let mut cluster = led();
    write(&mut cluster, &["a"]);
    let commit = cluster.status(1).commit;
    assert_eq!(cluster.read(1, 1), Some(commit));
    assert_eq!(cluster.read(2, 2), Some(commit), "handed to the leader");
    // Cut off, the old leader still believes to lead, and answers nothing.
    cluster.part(&[1], &[2, 3]);
    assert_eq!(cluster.read(1, 3), None);
    let leader = cluster.elect_among(&[2, 3]);
    write_at(&mut cluster, leader, &["b"]);
    assert_eq!(cluster.read(1, 4), None);
    let commit = cluster.status(leader).commit;
    assert_eq!(cluster.read(5 - leader, 5), Some(commit));
    cluster.heal();
    cluster.tick(3);
    assert_eq!(cluster.member(1).reads_failed, [ReadId(3), ReadId(4)]);
}

#[test]
fn section_8_an_answer_to_an_earlier_round_confirms_no_read() {
    let mut cluster = led();
    let ready = cluster.member(1).reads.len();
    // A round begins, and its answers are on their way when the read arrives.
    for _ in 0..2 {
        cluster.raft(1).step(Input::Tick).unwrap();
    }
    cluster.take(id(1));
    let round = cluster.wires.drain(..).collect::<Vec<_>>();
    for message in round {
        cluster.arrive(message);
    }
    for number in [2, 3] {
        cluster.take(id(number));
    }
    let answers: Vec<Message> = cluster.wires.drain(..).collect();
    cluster.raft(1).step(Input::Read(ReadId(7))).unwrap();
    cluster.take(id(1));
    for answer in answers {
        cluster.arrive(answer);
    }
    cluster.take(id(1));
    assert_eq!(cluster.member(1).reads.len(), ready, "they were sent before it arrived");
    cluster.settle();
    assert!(cluster.read_index(1, 7).is_some());
}

#[test]
fn section_3_10_leadership_is_handed_over() {
    let mut cluster = led();
    write(&mut cluster, &["a"]);
    cluster.raft(1).step(Input::Transfer(id(3))).unwrap();
    let refused = cluster.raft(1).propose(Bytes::new());
    assert_eq!(refused, Err(Refused::Transferring { to: id(3) }));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(id(3)), "without a tick");
    // To a member that cannot be reached: abandoned after an election timeout.
    cluster.part(&[2], &[1, 3]);
    write_at(&mut cluster, 3, &["b"]);
    cluster.raft(3).step(Input::Transfer(id(2))).unwrap();
    cluster.tick(9);
    assert_eq!(cluster.status(3).transferring, Some(id(2)));
    cluster.tick(2);
    assert_eq!((cluster.status(3).transferring, cluster.leader()), (None, Some(id(3))));
    write_at(&mut cluster, 3, &["c"]);
    assert_eq!(cluster.words(1), ["a", "b", "c"]);
}

#[test]
fn proposals_of_followers_reach_the_leader() {
    let mut cluster = led();
    cluster.raft(2).step(Input::Propose("a".into())).unwrap();
    cluster.settle();
    assert_eq!(cluster.words(3), ["a"]);
}

#[test]
fn who_was_damaged_neither_votes_nor_acknowledges_before_it_is_whole() {
    let mut cluster = led();
    cluster.part(&[3], &[1, 2]);
    write(&mut cluster, &["a"]);
    // The second loses what only it and the leader hold, and the leader goes.
    cluster.crash(2);
    cluster.member(2).damage(Index(2));
    cluster.crash(1);
    cluster.heal();
    cluster.restart(2);
    assert!(cluster.status(2).recovering);
    assert_eq!(cluster.raft(2).step(Input::Campaign), Err(Refused::Recovering));
    cluster.tick(100);
    assert_eq!(cluster.leader(), None, "nobody who holds the entry is there");
    cluster.restart(1);
    cluster.tick(60);
    assert_eq!(cluster.leader(), Some(id(1)));
    assert!(!cluster.status(2).recovering);
    assert_eq!(cluster.words(2), ["a"]);
    // Now it counts again.
    cluster.crash(3);
    write_at(&mut cluster, 1, &["b"]);
    assert_eq!(cluster.words(2), ["a", "b"]);
}
