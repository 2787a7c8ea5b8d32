//! Leases of a whole member: clock, log and key space together, on a simulated disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_mvcc::{LeaseId, Put};
use revd_raft::{Config, Input, NodeId};
use revd_replica::lessor::{self, CHECKPOINT_INTERVAL};
use revd_replica::{
    AlarmAction, AlarmType, Author, Command, Consensus, Decoded, Due, Identity, LeaseChange,
    Lessor, Machine, Now, Renewal, RequestId, Retention, Settings, entry, recover,
};

const SECOND: u64 = 1_000_000_000;

/// A member that leads, with its Lessor.
struct Member {
    consensus: Consensus,
    machine: Machine,
    lessor: Lessor,
    next_request: u64,
}

fn options() -> lessor::Options {
    lessor::Options {
        election_timeout: SECOND,
        longest_gap: SECOND,
        retry: 7 * SECOND,
        checkpoint_interval: Some(CHECKPOINT_INTERVAL),
    }
}

impl Member {
    /// Opens the member, whose clock begins at 0 again, and lets it lead.
    fn open(disk: &Sim) -> Self {
        let identity = Identity { cluster: 1, member: 7 };
        let settings = Settings {
            identity,
            founders: vec![revd_replica::Member { id: 7, ..Default::default() }],
            raft: Config::new(NodeId(7)),
            log: revd_wal::Options::default(),
            store: revd_mvcc::Options::new(identity.owner()),
            retention: Retention::default(),
            seed: 42,
        };
        let opened = recover::open(Arc::new(disk.clone()), Path::new("data"), settings).unwrap();
        let mut member = Self {
            consensus: opened.consensus,
            machine: opened.machine,
            lessor: Lessor::new(options(), opened.leases),
            next_request: 1,
        };
        member.consensus.step(Input::Campaign).unwrap();
        member.turn(Now(0));
        member
    }

    /// Persists and applies everything that was proposed.
    fn turn(&mut self, now: Now) {
        loop {
            let output = self.consensus.take();
            let is_idle = output.persist.is_none() && output.committed.is_empty();
            if let Some(persist) = output.persist {
                self.consensus.done(persist.run().unwrap()).unwrap();
            }
            if !output.committed.is_empty() {
                let application = self.machine.apply(output.committed).unwrap();
                let applied = self.machine.applied().index;
                self.consensus.applied(applied, None).unwrap();
                for change in application.leases {
                    match change {
                        LeaseChange::Granted { id, ttl } => self.lessor.granted(id, ttl, now),
                        LeaseChange::Checkpointed { id, remaining } => {
                            self.lessor.checkpointed(id, remaining);
                        }
                        LeaseChange::Revoked { id } => self.lessor.revoked(id),
                    }
                }
                if let Some(begun) = application.term_begun
                    && begun.term == self.consensus.status().term
                {
                    self.lessor.lead(begun.term.0, now);
                }
            }
            if is_idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, command: Command, now: Now) {
        let (author, request) = (Author::default(), RequestId(self.next_request));
        self.next_request += 1;
        let bytes = entry::encode(&command, request, &author);
        self.consensus.propose(bytes, Decoded { request, author, command }).unwrap();
        self.turn(now);
    }

    /// Lets the clock run in seconds, and carries out what falls due.
    fn run(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        for second in seconds {
            let now = Now(second * SECOND);
            while let Due::Propose { expired, checkpoints, term } = self.lessor.due(now) {
                for id in expired {
                    self.carry_out(Command::LeaseExpire { id, term }, now);
                }
                self.carry_out(Command::LeaseCheckpoint { remaining: checkpoints, term }, now);
            }
        }
    }

    fn grant(&mut self, id: i64, ttl: i64, keys: &[&'static str]) {
        self.carry_out(Command::LeaseGrant { id, ttl }, Now(0));
        for key in keys {
            let put = Put { key: (*key).into(), lease: id, ..Put::default() };
            self.carry_out(Command::Put(put), Now(0));
        }
    }

    fn corrupt(&mut self, action: AlarmAction, now: Now) {
        self.carry_out(Command::Alarm { action, member: 7, alarm: AlarmType::Corrupt }, now);
    }

    fn revision(&self) -> i64 {
        self.machine.view().revision().0
    }
}

#[test]
fn rule_6_22_and_6_24_a_restart_keeps_the_time_that_was_checkpointed() {
    let disk = Sim::new(1);
    let mut member = Member::open(&disk);
    member.grant(5, 1000, &[]);
    member.grant(6, 1000, &[]);
    member.run(0..=400);
    assert_eq!(member.lessor.remaining(5, Now(400 * SECOND)), Some((600, 1000)));
    let now = Now(400 * SECOND);
    let Renewal::Checkpointed { term } = member.lessor.renew(6, now) else {
        panic!("the checkpoint would outlive the renewal")
    };
    member.carry_out(Command::LeaseCheckpoint { remaining: vec![(6, 0)], term }, now);
    assert_eq!(member.lessor.renew(6, now), Renewal::Renewed(1000));

    drop(member);
    disk.crash(1);
    let mut member = Member::open(&disk);
    // One election timeout on top, as for every new leader.
    assert_eq!(member.lessor.remaining(5, Now(0)), Some((701, 1000)));
    assert_eq!(member.lessor.remaining(6, Now(0)), Some((1001, 1000)));
    member.run(0..=701);
    assert_eq!(member.lessor.ids(), [6]);
}

#[test]
fn rule_6_7_an_expiry_deletes_the_keys_in_one_revision() {
    let mut member = Member::open(&Sim::new(1));
    member.grant(5, 10, &["b", "a", "c"]);
    assert_eq!(member.revision(), 4);
    member.run(0..=10);
    assert_eq!(member.revision(), 5);
    assert!(member.lessor.is_empty());
    assert_eq!(member.machine.store().stats().keys, 0);
}

#[test]
fn rule_6_25_what_a_deposed_leader_proposed_does_nothing() {
    let mut member = Member::open(&Sim::new(1));
    member.grant(5, 10, &["a"]);
    let term = member.consensus.status().term.0;
    for over in [term - 1, term + 1] {
        member.carry_out(Command::LeaseExpire { id: 5, term: over }, Now(0));
        let remaining = vec![(5, 3)];
        member.carry_out(Command::LeaseCheckpoint { remaining, term: over }, Now(0));
    }
    assert_eq!((member.revision(), member.lessor.len()), (2, 1));
    assert_eq!(member.machine.view().lease_keys(LeaseId(5)).unwrap().len(), 1);
    assert_eq!(member.lessor.renew(5, Now(0)), Renewal::Renewed(10), "not checkpointed");
    member.carry_out(Command::LeaseExpire { id: 5, term }, Now(0));
    assert_eq!((member.revision(), member.lessor.len()), (3, 0));
}

#[test]
fn rule_7_37_no_lease_expires_while_data_is_known_to_be_corrupt() {
    let mut member = Member::open(&Sim::new(1));
    member.grant(5, 10, &["a"]);
    member.corrupt(AlarmAction::Activate, Now(0));
    member.run(0..=100);
    assert_eq!((member.revision(), member.lessor.len()), (2, 1));
    assert_eq!(member.lessor.renew(5, Now(100 * SECOND)), Renewal::Expired);
    member.corrupt(AlarmAction::Deactivate, Now(100 * SECOND));
    // It is tried again.
    member.run(100..=107);
    assert_eq!((member.revision(), member.lessor.len()), (3, 0));
}

#[test]
fn rule_7_38_a_checkpointed_lease_is_renewed_while_data_is_known_to_be_corrupt() {
    let mut member = Member::open(&Sim::new(1));
    member.grant(5, 1000, &[]);
    member.run(0..=400);
    let now = Now(400 * SECOND);
    member.corrupt(AlarmAction::Activate, now);
    let Renewal::Checkpointed { term } = member.lessor.renew(5, now) else {
        panic!("it was checkpointed after 300 seconds")
    };
    member.carry_out(Command::LeaseCheckpoint { remaining: vec![(5, 0)], term }, now);
    assert_eq!(member.lessor.renew(5, now), Renewal::Renewed(1000));
    // And is checkpointed on.
    member.run(400..=800);
    assert!(matches!(member.lessor.renew(5, Now(800 * SECOND)), Renewal::Checkpointed { .. }));
}
