//! The promises to a driver, one test each, in the order of the front page.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use revd_raft::*;

const ME: NodeId = NodeId(1);

/// A member that is born with an empty log.
fn newborn() -> Raft {
    restarted(config(), HardState::default(), Position::default(), Vec::new()).unwrap()
}

fn config() -> Config {
    Config::new(ME)
}

fn restarted(
    config: Config,
    hard_state: HardState,
    applied: Position,
    log: Vec<Entry>,
) -> Result<Raft, StartError> {
    let mut restart = Restart::new(&config, hard_state, applied, Configuration::lone(ME));
    for entry in log {
        restart.push(entry)?;
    }
    Raft::new(config, restart, 1)
}

/// A member that leads in term 1, with its first entry applied and nothing under way.
fn leader() -> Raft {
    leader_with(config())
}

fn leader_with(config: Config) -> Raft {
    let mut raft =
        restarted(config, HardState::default(), Position::default(), Vec::new()).unwrap();
    raft.step(Input::Campaign).unwrap();
    settle(&mut raft);
    assert_eq!(raft.status().role, Role::Leader);
    assert_eq!(raft.status().applied, Index(1));
    raft
}

/// Persists and applies until nothing is due; returns what was applied.
fn settle(raft: &mut Raft) -> Vec<Entry> {
    let mut applied = Vec::new();
    loop {
        let output = raft.take();
        if output.is_empty() {
            return applied;
        }
        if let Some(persist) = output.persist {
            raft.step(Input::Persisted(persist.number)).unwrap();
        }
        for entry in output.committed {
            raft.step(Input::Applied(entry.index)).unwrap();
            applied.push(entry);
        }
    }
}

fn entry(index: u64, term: u64) -> Entry {
    let data = Bytes::from(format!("entry {index}"));
    Entry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data }
}

fn change(index: u64, term: u64) -> Entry {
    Entry { kind: EntryKind::Configuration, ..entry(index, term) }
}

fn voted(term: u64) -> HardState {
    HardState { term: Term(term), vote: Some(ME) }
}

fn persist(output: Output) -> Persist {
    output.persist.expect("something to persist")
}

#[test]
fn leads_only_once_its_vote_is_durable() {
    let mut raft = newborn();
    raft.step(Input::Campaign).unwrap();
    let output = raft.take();
    let role = RoleChange { term: Term(1), role: Role::Candidate, leader: None };
    assert_eq!(output.role, Some(role));
    let vote = persist(output);
    assert_eq!(vote.hard_state, Some(voted(1)));
    assert!(vote.entries.is_empty());
    assert_eq!(raft.propose(Bytes::new()), Err(Refused::NotLeader { leader: None }));

    raft.step(Input::Persisted(vote.number)).unwrap();
    let output = raft.take();
    let role = RoleChange { term: Term(1), role: Role::Leader, leader: Some(ME) };
    assert_eq!(output.role, Some(role));
    let first = persist(output);
    assert_eq!(first.hard_state, None);
    assert_eq!(first.entries[0].kind, EntryKind::Empty);
    assert_eq!(first.entries[0].position(), Position::new(Index(1), Term(1)));
}

#[test]
fn stands_for_election_by_the_clock_alone() {
    let mut raft = newborn();
    let timeout = (0..).find(|_| {
        raft.step(Input::Tick).unwrap();
        raft.status().role == Role::Candidate
    });
    assert!((99..200).contains(&timeout.unwrap()), "{timeout:?}");
    let term = raft.status().term;
    for _ in 0..1_000 {
        raft.step(Input::Tick).unwrap();
    }
    assert_eq!(raft.status().term, term, "a slow disk is no reason for another term");
}

#[test]
fn election_timeouts_are_spread_by_the_seed() {
    let timeout = |seed| {
        let restart = Restart::new(
            &config(),
            HardState::default(),
            Position::default(),
            Configuration::lone(ME),
        );
        let mut raft = Raft::new(config(), restart, seed).unwrap();
        let mut ticks = 0;
        while raft.status().role == Role::Follower {
            raft.step(Input::Tick).unwrap();
            ticks += 1;
        }
        ticks
    };
    let drawn: std::collections::BTreeSet<u32> = (0..400).map(timeout).collect();
    assert!(drawn.len() > 90, "{} different timeouts of 100", drawn.len());
    assert!(drawn.iter().all(|ticks| (100..200).contains(ticks)));
}

#[test]
fn proposals_that_wait_are_persisted_together() {
    let mut raft = leader();
    raft.propose(Bytes::from_static(b"a")).unwrap();
    let first = persist(raft.take());
    assert_eq!(first.entries.len(), 1);
    for _ in 0..5 {
        raft.propose(Bytes::from_static(b"b")).unwrap();
    }
    assert!(raft.take().is_empty(), "one persist at a time");
    raft.step(Input::Persisted(first.number)).unwrap();
    let output = raft.take();
    assert_eq!(output.committed.len(), 1);
    let second = persist(output);
    assert_eq!(second.entries.len(), 5);
    assert_eq!(raft.status().commit, Index(2));
    raft.step(Input::Persisted(second.number)).unwrap();
    assert_eq!(raft.status().commit, Index(7));
    assert_eq!(raft.take().committed.len(), 5);
}

#[test]
fn entries_of_earlier_terms_are_committed_by_one_of_the_own_term() {
    // Section 5.4.2.
    let log = (1..=3).map(|index| entry(index, 1)).collect();
    let mut raft = restarted(config(), voted(1), Position::default(), log).unwrap();
    assert_eq!(raft.status().commit, Index(0));
    raft.step(Input::Campaign).unwrap();
    let vote = persist(raft.take());
    raft.step(Input::Persisted(vote.number)).unwrap();
    let first = raft.take();
    assert!(first.committed.is_empty(), "durable on a majority, but of an earlier term");
    raft.step(Input::Persisted(persist(first).number)).unwrap();
    let committed = raft.take().committed;
    let terms: Vec<u64> = committed.iter().map(|entry| entry.term.0).collect();
    assert_eq!(terms, [1, 1, 1, 2]);
}

#[test]
fn reads_wait_for_a_committed_entry_of_the_term() {
    // Section 8.
    let mut raft = newborn();
    assert_eq!(raft.step(Input::Read(ReadId(1))), Err(Refused::NoLeader));
    raft.step(Input::Campaign).unwrap();
    assert_eq!(raft.step(Input::Read(ReadId(1))), Err(Refused::NoLeader));
    let vote = persist(raft.take());
    raft.step(Input::Persisted(vote.number)).unwrap();
    raft.step(Input::Read(ReadId(1))).unwrap();
    raft.step(Input::Read(ReadId(2))).unwrap();
    let output = raft.take();
    assert!(output.reads.is_empty());
    assert_eq!(raft.status().reads_waiting, 2);
    raft.step(Input::Persisted(persist(output).number)).unwrap();
    let ready = |id| ReadReady { id: ReadId(id), index: Index(1) };
    assert_eq!(raft.take().reads, [ready(1), ready(2)]);
    raft.step(Input::Read(ReadId(3))).unwrap();
    assert_eq!(raft.take().reads, [ready(3)]);
}

#[test]
fn reads_are_bounded() {
    let mut raft = leader_with({
        let mut config = config();
        config.max_reads = 2;
        config
    });
    raft.step(Input::Read(ReadId(1))).unwrap();
    raft.step(Input::Read(ReadId(2))).unwrap();
    let refused = raft.step(Input::Read(ReadId(3)));
    assert_eq!(refused, Err(Refused::TooManyReads { waiting: 2 }));
    assert_eq!(raft.take().reads.len(), 2);
    raft.step(Input::Read(ReadId(3))).unwrap();
}

#[test]
fn a_full_log_refuses_and_recovers() {
    let mut raft = leader_with({
        let mut config = config();
        config.max_uncommitted_bytes = 1_000;
        config
    });
    let payload = Bytes::from(vec![0; 400 - Entry::OVERHEAD]);
    raft.propose(payload.clone()).unwrap();
    raft.propose(payload.clone()).unwrap();
    let full = Refused::Full { uncommitted: 800, bytes: 400, limit: 1_000 };
    assert_eq!(raft.propose(payload.clone()), Err(full.clone()));
    assert_eq!(raft.step(Input::Propose(payload.clone())), Err(full));
    assert_eq!(raft.status().uncommitted_bytes, 800);
    settle(&mut raft);
    assert_eq!(raft.status().uncommitted_bytes, 0);
    raft.propose(Bytes::from(vec![0; 5_000])).expect("one at any size when nothing waits");
    assert!(matches!(raft.propose(Bytes::new()), Err(Refused::Full { .. })));
}

#[test]
fn committed_entries_are_handed_out_within_their_bound() {
    let mut raft = leader_with({
        let mut config = config();
        config.max_committed_bytes = 1_000;
        config
    });
    for size in [336, 336, 336, 4_000, 0] {
        raft.propose(Bytes::from(vec![0; size])).unwrap();
    }
    let all = persist(raft.take());
    raft.step(Input::Persisted(all.number)).unwrap();
    let take = |raft: &mut Raft| -> Vec<u64> {
        raft.take().committed.iter().map(|entry| entry.index.0).collect()
    };
    assert_eq!(take(&mut raft), [2, 3]);
    assert_eq!(take(&mut raft), [0; 0], "nothing more before something is applied");
    raft.step(Input::Applied(Index(3))).unwrap();
    assert_eq!(take(&mut raft), [4]);
    assert_eq!(take(&mut raft), [0; 0]);
    raft.step(Input::Applied(Index(4))).unwrap();
    assert_eq!(take(&mut raft), [5], "one at any size when nothing is under way");
    raft.step(Input::Applied(Index(5))).unwrap();
    assert_eq!(take(&mut raft), [6]);
    raft.step(Input::Applied(Index(6))).unwrap();
    for _ in 0..3 {
        raft.propose(Bytes::from(vec![0; 336])).unwrap();
    }
    let all = persist(raft.take());
    raft.step(Input::Persisted(all.number)).unwrap();
    assert_eq!(take(&mut raft), [7, 8], "what was applied counts no more");
}

#[test]
fn nothing_is_handed_out_behind_an_unanswered_change() {
    let mut raft = leader();
    raft.propose(Bytes::from_static(b"before")).unwrap();
    let keep = Bytes::from_static(b"keep");
    let place = raft.propose_configuration(&Change::Keep, keep.clone()).unwrap();
    raft.propose(Bytes::from_static(b"behind")).unwrap();
    let pending = Refused::ConfigurationPending { index: place.index };
    assert_eq!(raft.propose_configuration(&Change::Keep, keep.clone()), Err(pending));
    let all = persist(raft.take());
    raft.step(Input::Persisted(all.number)).unwrap();
    let committed = raft.take().committed;
    assert_eq!(committed.last().map(Entry::position), Some(place));
    raft.step(Input::Applied(Index(2))).unwrap();
    let passed = raft.step(Input::Applied(Index(3)));
    let refused = Refused::NotHandedOut { found: Index(3), from: Index(2), to: Index(2) };
    assert_eq!(passed, Err(refused));
    assert!(raft.take().is_empty());
    let configuration = Configuration::lone(ME);
    raft.step(Input::ConfigurationApplied { index: Index(3), configuration }).unwrap();
    assert_eq!(raft.status().applied, Index(3));
    assert_eq!(raft.take().committed[0].index, Index(4));

    let place = raft.propose_configuration(&Change::Keep, keep).unwrap();
    let next = persist(raft.take());
    raft.step(Input::Persisted(next.number)).unwrap();
    assert_eq!(raft.take().committed.len(), 1);
    raft.step(Input::ConfigurationRejected { index: place.index }).unwrap();
    assert_eq!(raft.status().applied, place.index);
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    let mut raft = leader();
    let data = Bytes::from_static(b"data");
    let refused = raft.propose_configuration(&Change::Keep, Bytes::new());
    assert_eq!(refused, Err(Refused::ChangeWithoutData));
    let remove = Change::Simple(ChangeStep::Remove(ME));
    let refused = raft.propose_configuration(&remove, data.clone());
    assert_eq!(refused, Err(Refused::Change(ChangeError::NoVoter)));
    let again = Change::Simple(ChangeStep::AddVoter(ME));
    let refused = raft.propose_configuration(&again, data);
    assert_eq!(refused, Err(Refused::Change(ChangeError::Repeated { node: ME })));
    assert_eq!(raft.configuration(), &Configuration::lone(ME));
}

#[test]
fn a_restart_fetches_what_lies_below_the_memory() {
    let mut config = config();
    config.tail_bytes = 500;
    config.max_committed_bytes = 700;
    let log: Vec<Entry> = (1..=100).map(|index| entry(index, 1)).collect();
    let mut raft = restarted(config, voted(1), Position::default(), log.clone()).unwrap();
    assert!(raft.status().memory_bytes <= 500);
    raft.step(Input::Campaign).unwrap();
    let mut applied = Vec::new();
    let mut fetches = 0;
    while applied.len() < 101 {
        let output = raft.take();
        if let Some(persist) = output.persist {
            raft.step(Input::Persisted(persist.number)).unwrap();
        }
        for entry in output.committed {
            raft.step(Input::Applied(entry.index)).unwrap();
            applied.push(entry);
        }
        for Fetch { number, first, last, max_bytes } in output.fetches {
            fetches += 1;
            let mut bytes = 0;
            let range = &log[first.0 as usize - 1..last.0 as usize];
            let fits = |entry: &&Entry| {
                bytes += entry.bytes();
                bytes <= max_bytes
            };
            let entries = range.iter().take_while(fits).cloned().collect();
            raft.step(Input::Fetched(Fetched { number, entries })).unwrap();
        }
    }
    assert_eq!(applied[..100], log[..]);
    assert_eq!(applied[100].kind, EntryKind::Empty);
    assert!(fetches > 5, "{fetches} fetches");
    assert_eq!(raft.stats().fetches, fetches);
}

#[test]
fn fetched_entries_are_checked() {
    let mut config = config();
    config.tail_bytes = Entry::OVERHEAD;
    let log: Vec<Entry> = (1..=9).map(|index| entry(index, 1)).collect();
    let mut raft = restarted(config, voted(1), Position::default(), log.clone()).unwrap();
    raft.step(Input::Campaign).unwrap();
    let fetch = loop {
        let output = raft.take();
        if let Some(fetch) = output.fetches.first() {
            break *fetch;
        }
        raft.step(Input::Persisted(persist(output).number)).unwrap();
    };
    assert_eq!((fetch.first, fetch.last), (Index(1), Index(9)));
    let number = fetch.number;
    let wrong = |entries: Vec<Entry>, expected: u64| {
        let found = entries.iter().find(|entry| {
            entry.index != Index(expected) || entry.term != Term(1) || entry.index > fetch.last
        });
        let found = if expected == 1 && entries.is_empty() { None } else { found.cloned() };
        Refused::WrongEntries {
            number,
            expected: Index(expected),
            found: found.map(|entry| entry.position()),
        }
    };
    for (entries, expected) in [(vec![], 1), (vec![entry(2, 1)], 1), (vec![entry(1, 2)], 1)] {
        let refused = raft.step(Input::Fetched(Fetched { number, entries: entries.clone() }));
        assert_eq!(refused, Err(wrong(entries, expected)));
    }
    let beyond: Vec<Entry> = (1..=10).map(|index| entry(index, 1)).collect();
    let refused = raft.step(Input::Fetched(Fetched { number, entries: beyond }));
    assert!(matches!(refused, Err(Refused::WrongEntries { expected: Index(10), .. })));
    raft.step(Input::Fetched(Fetched { number, entries: log.clone() })).unwrap();
    raft.step(Input::Fetched(Fetched { number, entries: log })).expect("late, dropped");
    assert_eq!(raft.take().committed.len(), 9);
    assert_eq!(raft.take().committed.len(), 1, "and the rest from memory");
}

#[test]
fn two_changes_in_a_log_show_that_the_first_is_committed() {
    // The second is proposed only when the first is applied; so the first has to be applied before
    // this member may count votes.
    let log = vec![entry(1, 1), change(2, 1), entry(3, 1), change(4, 1)];
    let mut raft = restarted(config(), voted(1), Position::default(), log).unwrap();
    assert_eq!(raft.status().commit, Index(2));
    raft.step(Input::Campaign).unwrap();
    assert_eq!(raft.status().role, Role::Follower, "put off");
    let output = raft.take();
    assert!(output.persist.is_none());
    assert_eq!(output.committed.len(), 2);
    raft.step(Input::ConfigurationRejected { index: Index(2) }).unwrap();
    assert_eq!(raft.status().role, Role::Candidate);
}

#[test]
fn one_change_in_a_log_does_not_keep_from_standing() {
    let log = vec![entry(1, 1), change(2, 1), entry(3, 1)];
    let mut raft = restarted(config(), voted(1), Position::default(), log).unwrap();
    raft.step(Input::Campaign).unwrap();
    assert_eq!(raft.status().role, Role::Candidate);
    settle_changes(&mut raft);
    assert_eq!(raft.status().applied, Index(4));
}

fn settle_changes(raft: &mut Raft) {
    loop {
        let output = raft.take();
        if output.is_empty() {
            return;
        }
        if let Some(persist) = output.persist {
            raft.step(Input::Persisted(persist.number)).unwrap();
        }
        for Entry { kind, index, .. } in output.committed {
            let report = match kind {
                EntryKind::Configuration => Input::ConfigurationRejected { index },
                EntryKind::Normal | EntryKind::Empty => Input::Applied(index),
            };
            raft.step(report).unwrap();
        }
    }
}

#[test]
fn released_entries_are_no_longer_claimed() {
    let mut raft = leader();
    for _ in 0..9 {
        raft.propose(Bytes::new()).unwrap();
    }
    settle(&mut raft);
    assert_eq!(raft.status().first, Index(1));
    raft.step(Input::Checkpointed(Index(6))).unwrap();
    assert_eq!(raft.status().first, Index(7));
    raft.step(Input::Checkpointed(Index(3))).unwrap();
    assert_eq!(raft.status().first, Index(7), "going back changes nothing");
    assert_eq!(raft.term_at(Index(5)), None);
    assert_eq!(raft.term_at(Index(6)), Some(Term(1)), "what an append behind it must name");
    let refused = raft.step(Input::Checkpointed(Index(11)));
    let error = Refused::ReleasedTooMuch { found: Index(11), applied: Index(10) };
    assert_eq!(refused, Err(error));
}

#[test]
fn without_a_leader_nothing_is_handed_on() {
    let mut raft = newborn();
    assert_eq!(raft.step(Input::Propose(Bytes::new())), Err(Refused::NoLeader));
    let change = Input::ProposeConfiguration { change: Change::Keep, data: "keep".into() };
    assert_eq!(raft.step(change.clone()), Err(Refused::NoLeader));
    let mut raft = leader();
    raft.step(Input::Propose(Bytes::new())).unwrap();
    raft.step(change).unwrap();
    assert_eq!(raft.status().last.index, Index(3));
}

#[test]
fn a_leader_keeps_leadership_that_nobody_can_take() {
    let mut raft = leader();
    raft.step(Input::Transfer(ME)).unwrap();
    let refused = raft.step(Input::Transfer(NodeId(2)));
    assert_eq!(refused, Err(Refused::NotVoter { node: NodeId(2) }));
    raft.step(Input::Campaign).unwrap();
    raft.step(Input::LeaderLost(ME)).unwrap();
    raft.step(Input::Unreachable(NodeId(2))).unwrap();
    assert!(raft.take().is_empty());
    assert_eq!(raft.status().role, Role::Leader);
}

#[test]
fn a_member_without_configuration_stands_for_nothing() {
    let restart = Restart::new(
        &config(),
        HardState::default(),
        Position::default(),
        Configuration::default(),
    );
    let mut raft = Raft::new(config(), restart, 1).unwrap();
    assert_eq!(raft.step(Input::Campaign), Err(Refused::NotVoter { node: ME }));
    for _ in 0..1_000 {
        raft.step(Input::Tick).unwrap();
    }
    assert!(raft.take().is_empty());
}

#[test]
fn a_start_checks_what_was_found() {
    let applied = Position::new(Index(5), Term(2));
    let start = |hard_state, log| restarted(config(), hard_state, applied, log).map(drop);
    start(voted(2), vec![]).unwrap();
    start(voted(2), vec![entry(6, 2)]).unwrap();
    start(voted(2), vec![entry(4, 1), entry(5, 2), entry(6, 2)]).unwrap();
    let out_of_order =
        |expected, found| StartError::OutOfOrder { expected: Index(expected), found };
    let gap = entry(7, 2).position();
    assert_eq!(start(voted(2), vec![entry(7, 2)]), Err(out_of_order(6, gap)));
    let log = vec![entry(6, 2), entry(6, 2)];
    assert_eq!(start(voted(2), log), Err(out_of_order(7, entry(6, 2).position())));
    let fell = StartError::TermFell { previous: Term(2), found: entry(6, 1).position() };
    assert_eq!(start(voted(2), vec![entry(6, 1)]), Err(fell));
    let other = StartError::BehindApplied { applied, found: Some(Term(1)) };
    assert_eq!(start(voted(2), vec![entry(4, 1), entry(5, 1)]), Err(other));
    let short = StartError::BehindApplied { applied, found: None };
    assert_eq!(start(voted(2), vec![entry(3, 1), entry(4, 1)]), Err(short));
    let ahead = StartError::AheadOfTerm { found: entry(6, 3).position(), term: Term(2) };
    assert_eq!(start(voted(2), vec![entry(6, 3)]), Err(ahead));
    let ahead = StartError::AheadOfTerm { found: applied, term: Term(1) };
    assert_eq!(start(voted(1), vec![]), Err(ahead));
    let huge = StartError::OutOfRange(u64::MAX);
    assert_eq!(start(voted(2), vec![entry(u64::MAX, 2)]), Err(huge.clone()));
    assert_eq!(start(voted(u64::MAX), vec![]), Err(huge));
}

#[test]
fn settings_are_checked() {
    let wrong = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        config.validate().expect_err("settings that cannot work")
    };
    config().validate().unwrap();
    assert_eq!(wrong(|config| config.id = NodeId(0)), ConfigError::NoId);
    let zero = |setting| ConfigError::Zero { setting };
    assert_eq!(wrong(|config| config.heartbeat_ticks = 0), zero("heartbeat_ticks"));
    assert_eq!(wrong(|config| config.max_reads = 0), zero("max_reads"));
    let short = ConfigError::ElectionTooShort { election: 19, heartbeat: 10 };
    assert_eq!(wrong(|config| config.election_ticks = 19), short);
}

#[test]
fn terms_end_without_a_panic() {
    let last = u64::MAX / 4;
    let mut raft = restarted(config(), voted(last), Position::default(), Vec::new()).unwrap();
    let refused = raft.step(Input::Campaign);
    assert_eq!(refused, Err(Refused::TermsExhausted { term: Term(last) }));
    assert!(raft.take().is_empty());
}
