//! Changes of members as the machine applies them: who belongs, who is refused, what consensus is
//! told, and how one that joins comes to know it all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_mvcc::Put;
use revd_raft::{Config, Configuration, Input, NodeId, Refused};
use revd_replica::{
    Answer, Author, Command, Decoded, Identity, Job, JobDone, Member, Membership, OpenError,
    Rejected, RequestId, Retention, Settings, entry, recover, survivor,
};

const FOUNDER: u64 = 1;

/// A lone voter; what needs another member's answer stays undecided.
struct Lone {
    member: recover::Opened,
    requests: u64,
}

fn settings(founders: Vec<Member>) -> Settings {
    settings_of(FOUNDER, founders)
}

fn settings_of(member: u64, founders: Vec<Member>) -> Settings {
    let identity = Identity { cluster: 7, member };
    let mut log = revd_wal::Options::default();
    log.segment_bytes = 64 << 10;
    Settings {
        identity,
        founders,
        raft: Config::new(NodeId(member)),
        log,
        store: revd_mvcc::Options::new(identity.owner()),
        retention: Retention { decode_again: true, ..Retention::default() },
        seed: 1,
    }
}

fn member(id: u64, port: u16, is_learner: bool) -> Member {
    let peer_urls = vec![format!("http://127.0.0.1:{port}")];
    Member { id, peer_urls, is_learner, ..Member::default() }
}

impl Lone {
    fn open(disk: &Sim) -> Self {
        let settings = settings(vec![member(FOUNDER, 1, false)]);
        let opened = recover::open(Arc::new(disk.clone()), Path::new("data"), settings).unwrap();
        let mut lone = Self { member: opened, requests: 0 };
        lone.member.consensus.step(Input::Campaign).unwrap();
        lone.turn();
        lone
    }

    /// Gets a command through the log, and returns what became of it.
    fn get(&mut self, command: Command) -> Result<Answer, Rejected> {
        self.propose(command).expect("the leader takes it");
        let mut answers = self.turn();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    fn propose(&mut self, command: Command) -> Result<(), Refused> {
        self.requests += 1;
        let (request, author) = (RequestId(self.requests), Author::default());
        let bytes = entry::encode(&command, request, &author);
        self.member.consensus.propose(bytes, Decoded { request, author, command })
    }

    /// A change that does not fit: consensus refuses it at once where it sees so itself, else the
    /// machine does. Either way nothing changes.
    fn refuses(&mut self, change: Membership, why: Rejected) {
        let before = self.configuration();
        if self.propose(Command::Membership(change.clone())).is_ok() {
            let lines: Vec<_> = self.turn().into_iter().map(|answer| answer.unwrap_err()).collect();
            assert_eq!(lines, [why], "{change:?}");
        }
        assert_eq!(self.configuration(), before, "{change:?}");
    }

    fn change(&mut self, change: Membership) -> Result<Answer, Rejected> {
        self.get(Command::Membership(change))
    }

    fn turn(&mut self) -> Vec<Result<Answer, Rejected>> {
        let mut answers = Vec::new();
        loop {
            let output = self.member.consensus.take();
            let idle = output.persist.is_none() && output.committed.is_empty();
            if let Some(persist) = output.persist {
                self.member.consensus.done(persist.run().unwrap()).unwrap();
            }
            if !output.committed.is_empty() {
                let application = self.member.machine.apply(output.committed).unwrap();
                let applied = self.member.machine.applied().index;
                self.member.consensus.applied(applied, application.reconfigured).unwrap();
                answers.extend(application.answers.into_iter().map(|(_, a)| a.map(|a| a.answer)));
            }
            if idle {
                return answers;
            }
        }
    }

    fn configuration(&self) -> Configuration {
        assert_eq!(self.member.machine.configuration(), self.member.consensus.configuration());
        self.member.machine.configuration().clone()
    }

    fn checkpoint(&mut self) {
        let durable = self.member.consensus.status().persisted;
        let job: Job = self.member.machine.checkpoint(durable).unwrap().unwrap();
        let JobDone::Tree(done) = job.run().unwrap() else { unreachable!("a checkpoint's") };
        self.member.machine.done(done).unwrap();
    }
}

fn learners(ids: &[u64]) -> Configuration {
    Configuration::new([NodeId(FOUNDER)], ids.iter().map(|id| NodeId(*id))).unwrap()
}

#[test]
fn learners_come_and_go() {
    let mut lone = Lone::open(&Sim::new(1));
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    assert_eq!(lone.configuration(), learners(&[2]));
    assert!(lone.member.machine.members().get(2).unwrap().is_learner);
    lone.change(Membership::Remove(2)).unwrap();
    assert_eq!(lone.configuration(), learners(&[]));
    assert_eq!(lone.member.machine.members().get(2), None);
}

#[test]
fn rule_9_9_a_removed_id_never_comes_back() {
    let disk = Sim::new(2);
    let mut lone = Lone::open(&disk);
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    lone.change(Membership::Remove(2)).unwrap();
    let again = Membership::Add(member(2, 3, true));
    lone.refuses(again.clone(), Rejected::MemberNotFound);
    lone.refuses(Membership::Remove(2), Rejected::MemberNotFound);
    lone.checkpoint();
    drop(lone);
    let mut lone = Lone::open(&disk);
    lone.refuses(again, Rejected::MemberNotFound);
}

#[test]
fn rule_9_2_ids_and_urls_are_taken_once() {
    let mut lone = Lone::open(&Sim::new(3));
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    let refused = [
        (Membership::Add(member(2, 3, true)), Rejected::MemberExists),
        (Membership::Add(member(3, 2, true)), Rejected::PeerUrlExists),
        (Membership::Promote(FOUNDER), Rejected::NotLearner),
        (Membership::Promote(9), Rejected::MemberNotFound),
    ];
    for (change, why) in refused {
        lone.refuses(change, why);
    }
}

#[test]
fn peer_urls_change_without_consensus() {
    let mut lone = Lone::open(&Sim::new(4));
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    let update = |member, port: u16| {
        let peer_urls = vec![format!("http://127.0.0.1:{port}")];
        Command::MemberUpdate { member, peer_urls }
    };
    lone.get(update(2, 5)).unwrap();
    assert_eq!(lone.member.machine.members().get(2), Some(&member(2, 5, true)));
    assert_eq!(lone.get(update(2, 1)).unwrap_err(), Rejected::PeerUrlExists);
    assert_eq!(lone.get(update(3, 6)).unwrap_err(), Rejected::MemberNotFound);
}

#[test]
fn members_and_configuration_survive_together() {
    let disk = Sim::new(5);
    let mut lone = Lone::open(&disk);
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    lone.checkpoint();
    lone.change(Membership::Add(member(3, 3, true))).unwrap();
    // The second change is in the log alone.
    drop(lone);
    let lone = Lone::open(&disk);
    assert_eq!(lone.configuration(), learners(&[2, 3]));
    assert!(lone.member.machine.members().get(3).is_some());
}

#[test]
fn a_member_that_joins_begins_from_nothing() {
    let disk = Sim::new(6);
    let joining = settings(Vec::new());
    let opened = recover::open(Arc::new(disk), Path::new("data"), joining).unwrap();
    assert_eq!(opened.machine.applied().index.0, 0);
    assert_eq!(opened.machine.configuration(), &Configuration::default());
    assert_eq!(opened.machine.members().iter().count(), 0);
    let mut consensus = opened.consensus;
    consensus.step(Input::Tick).unwrap();
    assert!(consensus.take().messages.is_empty(), "nobody to talk to");
}

/// Carries messages between two members until neither has anything to do.
fn talk(one: &mut recover::Opened, other: &mut recover::Opened) {
    let mut quiet = 0;
    while quiet < 2 {
        let mut sent = Vec::new();
        let mut moved = false;
        for member in [&mut *one, &mut *other] {
            let output = member.consensus.take();
            moved |= output.persist.is_some() || !output.committed.is_empty();
            if let Some(persist) = output.persist {
                member.consensus.done(persist.run().unwrap()).unwrap();
            }
            for job in output.jobs {
                if let JobDone::Log(done) = job.run().unwrap() {
                    member.consensus.done(done).unwrap();
                    moved = true;
                }
            }
            if !output.committed.is_empty() {
                let application = member.machine.apply(output.committed).unwrap();
                let applied = member.machine.applied().index;
                member.consensus.applied(applied, application.reconfigured).unwrap();
            }
            sent.extend(output.messages);
        }
        quiet = if moved || !sent.is_empty() { 0 } else { quiet + 1 };
        for message in sent {
            let to = if message.to.0 == FOUNDER { &mut *one } else { &mut *other };
            to.consensus.step(Input::Message(message)).unwrap();
        }
    }
}

#[test]
fn a_member_that_joins_gets_the_founding_from_the_log() {
    let disk = Sim::new(7);
    let mut lone = Lone::open(&disk);
    lone.checkpoint();
    // After a restart the leader knows no terms of what is long applied.
    drop(lone);
    let mut lone = Lone::open(&disk);
    let joining = settings_of(2, Vec::new());
    let opened = recover::open(Arc::new(Sim::new(8)), Path::new("data"), joining);
    let mut joiner = opened.unwrap();
    lone.propose(Command::Membership(Membership::Add(member(2, 2, false)))).unwrap();
    for _ in 0..30 {
        lone.member.consensus.step(Input::Tick).unwrap();
        joiner.consensus.step(Input::Tick).unwrap();
        talk(&mut lone.member, &mut joiner);
    }
    assert_eq!(joiner.machine.applied(), lone.member.machine.applied());
    assert_eq!(joiner.machine.members(), lone.member.machine.members());
    let both = Configuration::new([NodeId(FOUNDER), NodeId(2)], []).unwrap();
    assert_eq!(joiner.consensus.configuration(), &both);
    assert_eq!(lone.member.consensus.configuration(), &both);
}

#[test]
fn a_cluster_is_founded_once() {
    let mut lone = Lone::open(&Sim::new(9));
    lone.refuses(Membership::Found(vec![member(3, 3, false)]), Rejected::MemberExists);
}

/// A founder that has added a voter which never came, so that what it was asked since is in its log
/// and nobody knows whether it is committed: two keys before, three after.
fn without_quorum(disk: &Sim) {
    let mut lone = Lone::open(disk);
    let put = |key: &'static str| {
        Command::Put(Put { key: key.into(), value: "v".into(), ..Put::default() })
    };
    lone.get(put("a")).unwrap();
    lone.checkpoint();
    lone.get(put("b")).unwrap();
    lone.change(Membership::Add(member(2, 2, true))).unwrap();
    lone.change(Membership::Add(member(3, 3, false))).unwrap();
    for key in ["c", "d", "e"] {
        lone.propose(put(key)).unwrap();
    }
    assert!(lone.turn().is_empty(), "one of two is no quorum");
}

fn survive(disk: &Sim) -> Result<Option<survivor::Survival>, OpenError> {
    let disk = Arc::new(disk.clone());
    survivor::survive(disk, Path::new("data"), &settings(Vec::new()), &[])
}

/// The survivor is alone, has everything, and takes more.
fn assert_survived(disk: &Sim) {
    let mut lone = Lone::open(disk);
    assert_eq!(lone.configuration(), Configuration::lone(NodeId(FOUNDER)));
    let members = lone.member.machine.members();
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    assert_eq!(ids, [FOUNDER]);
    assert!(members.was_removed(2) && members.was_removed(3));
    assert!(members.generation() > 0);
    assert_eq!(lone.member.machine.view().key_count(), 5);
    let more = Put { key: "f".into(), value: "v".into(), ..Put::default() };
    lone.get(Command::Put(more)).unwrap();
}

#[test]
fn a_survivor_goes_on_alone_with_all_of_its_log() {
    let disk = Sim::new(10);
    without_quorum(&disk);
    let survival = survive(&disk).unwrap().expect("there is something to do");
    let removed: Vec<u64> = survival.removed.iter().map(|member| member.id).collect();
    assert_eq!((survival.identity.member, &removed[..]), (FOUNDER, &[2, 3][..]));
    assert_eq!(survive(&disk).unwrap(), None, "it is done");
    assert_survived(&disk);
    assert_eq!(survive(&disk).unwrap(), None, "and stays so");
}

#[test]
fn a_survivor_that_loses_power_is_made_one_again() {
    let mut points = 0;
    for point in 0.. {
        let disk = Sim::new(11);
        without_quorum(&disk);
        disk.crash_at(disk.operations() + point);
        let outcome = survive(&disk);
        disk.recover(point);
        if outcome.is_ok() {
            break;
        }
        points += 1;
        survive(&disk).unwrap();
        assert_survived(&disk);
    }
    assert!(points > 10, "only {points} places to lose power at");
}
