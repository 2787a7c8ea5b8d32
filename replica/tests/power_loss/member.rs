//! One member on one thread, with jobs that finish when the seed says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use revd_api::etcdserverpb::RangeResponse;
use revd_disk::{Disk, Sim};
use revd_mvcc::Range;
use revd_raft::{Config, Input, NodeId, Role};
use revd_replica::{
    Author, Command, Consensus, Decoded, Fatal, Identity, Job, JobDone, Machine, OpenError,
    RequestId, Retention, Settings, entry, recover,
};

use super::load::{self, Chance, THIS_TERM};
use super::model::{Keys, Model, Record, Snapshot};

pub const ID: u64 = 0x8e9e;
const DIR: &str = "data";

/// What the member was doing when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Bootstrap,
    Recovery,
    Persist,
    Checkpoint,
    Sweep,
    LogUpkeep,
    Release,
    Fetch,
    /// The load ended before the operation came at which the power was to fail.
    Idle,
}

pub struct Member {
    consensus: Consensus,
    machine: Machine,
    jobs: Vec<Job>,
    disk: Sim,
    next_request: u64,
    /// Sweeps that were run. They only read the disk, so the power never fails in one; what they
    /// rewrote is made durable by the next checkpoint.
    pub sweeps: usize,
}

impl Member {
    /// Opens the member and brings it to where it has applied its whole log. An error says where
    /// it happened and whether the power had failed.
    pub fn open(disk: &Sim, chance: &mut Chance) -> Result<Self, (Stage, bool)> {
        let is_new = !disk.exists(&Path::new(DIR).join("vote")).unwrap_or(false);
        let stage = if is_new { Stage::Bootstrap } else { Stage::Recovery };
        let settings = settings(chance);
        let opened = recover::open(Arc::new(disk.clone()), Path::new(DIR), settings);
        let opened = opened.map_err(|error| (stage, report(disk, &error)))?;
        let mut member = Self {
            consensus: opened.consensus,
            machine: opened.machine,
            jobs: Vec::new(),
            disk: disk.clone(),
            next_request: 1,
            sweeps: 0,
        };
        member.consensus.step(Input::Campaign).expect("a lone voter stands for election");
        let mut model = Model::default();
        match member.turn(&mut model) {
            Ok(()) => {
                assert_eq!(member.consensus.status().role, Role::Leader);
                Ok(member)
            }
            Err(fatal) => Err((stage, report_fatal(disk, &fatal))),
        }
    }

    /// Works until the power fails.
    pub fn work(&mut self, model: &mut Model, chance: &mut Chance) -> Stage {
        for _ in 0..400 {
            for _ in 0..1 + chance.below(5) {
                let command = load::command(chance, model.newest().revision);
                self.propose(command, model);
            }
            if let Err(fatal) = self.turn(model) {
                assert!(report_fatal(&self.disk, &fatal), "{fatal}");
                return Stage::Persist;
            }
            if chance.below(4) == 0 {
                let persisted = self.consensus.status().persisted;
                // Freezing may have to grow the file.
                match self.machine.checkpoint(persisted) {
                    Ok(checkpoint) => self.jobs.extend(checkpoint),
                    Err(fatal) => {
                        assert!(report_fatal(&self.disk, &fatal), "{fatal}");
                        return Stage::Checkpoint;
                    }
                }
            }
            self.jobs.extend(self.machine.sweep().expect("planning touches no disk"));
            while !self.jobs.is_empty() && chance.below(3) > 0 {
                let at = chance.below(self.jobs.len() as u64) as usize;
                let job = self.jobs.swap_remove(at);
                let stage = stage_of(&job);
                self.sweeps += usize::from(stage == Stage::Sweep);
                if let Err(fatal) = job.run().and_then(|done| self.done(done)) {
                    assert!(report_fatal(&self.disk, &fatal), "{fatal}");
                    return stage;
                }
            }
        }
        self.disk.cut_power();
        Stage::Idle
    }

    fn propose(&mut self, mut command: Command, model: &mut Model) {
        let author = Author::default();
        let request = RequestId(self.next_request);
        self.next_request += 1;
        model.propose(&command);
        if let Command::LeaseExpire { term, .. } | Command::LeaseCheckpoint { term, .. } =
            &mut command
            && *term == THIS_TERM
        {
            *term = self.consensus.status().term.0;
        }
        let bytes = entry::encode(&command, request, &author);
        let decoded = Decoded { request, author, command };
        self.consensus.propose(bytes, decoded).expect("the leader takes proposals");
    }

    /// Everything that consensus wants done now.
    fn turn(&mut self, model: &mut Model) -> Result<(), Fatal> {
        loop {
            let output = self.consensus.take();
            self.jobs.extend(output.jobs);
            let idle = output.persist.is_none() && output.committed.is_empty();
            if let Some(persist) = output.persist {
                let done = persist.run()?;
                self.consensus.done(done)?;
            }
            if !output.committed.is_empty() {
                let application = self.machine.apply(output.committed)?;
                self.consensus.applied(self.machine.applied().index, application.reconfigured)?;
                let own = |(id, _): &&(RequestId, _)| id.0 < self.next_request;
                if self.next_request > 1 {
                    model.acknowledge(application.answers.iter().filter(own).count());
                }
            }
            if idle {
                return Ok(());
            }
        }
    }

    /// What a job has led to may have to grow the tree's file.
    fn done(&mut self, done: JobDone) -> Result<(), Fatal> {
        match done {
            JobDone::Log(done) => self.consensus.done(done),
            JobDone::Tree(done) => match self.machine.done(done)? {
                Some(index) => self.consensus.checkpointed(index),
                None => Ok(()),
            },
            JobDone::Installed(_) => unreachable!("nobody sends a snapshot to a lone member"),
        }
    }

    /// Everything that a client could find out.
    pub fn snapshot(&self) -> Snapshot {
        let view = self.machine.view();
        let leases =
            self.machine.store().leases().map(|(id, lease)| (id.0, (lease.ttl, lease.remaining)));
        let leases = leases.collect();
        let member = self.machine.members().get(ID).expect("the founding member");
        Snapshot {
            revision: view.revision().0,
            compacted: view.compacted(),
            keys: self.keys(0),
            leases,
            name: member.name.clone(),
        }
    }

    /// All keys at a revision, 0 for the newest.
    pub fn keys(&self, revision: i64) -> Keys {
        let all = Range {
            key: b"\0"[..].into(),
            range_end: b"\0"[..].into(),
            revision,
            ..Range::default()
        };
        let ranged = self.machine.view().range(&all).expect("the revision is readable");
        // The records are a part of a response's encoding, and so decode as one.
        let response = RangeResponse::decode(ranged.kvs).expect("records decode");
        let kvs = response.kvs.decode().expect("records decode");
        let keys: BTreeMap<_, _> = kvs
            .into_iter()
            .map(|kv| {
                let record = Record {
                    create: kv.create_revision,
                    modified: kv.mod_revision,
                    version: kv.version,
                    lease: kv.lease,
                    value: kv.value.to_vec(),
                };
                (kv.key.to_vec(), record)
            })
            .collect();
        assert_eq!(keys.len() as i64, ranged.count);
        keys
    }

    /// Checks the tree from end to end, and the log.
    pub fn verify(&self) {
        self.machine.store().verify().expect("the tree is whole");
        self.consensus.log().wal().verify().expect("the log is whole");
    }
}

fn settings(chance: &mut Chance) -> Settings {
    let identity = Identity { cluster: 0xc1, member: ID };
    let mut log = revd_wal::Options::default();
    log.segment_bytes = 64 << 10;
    log.salt_seed = chance.next();
    let mut store = revd_mvcc::Options::new(identity.owner());
    store.reserve_bytes = 1 << 20;
    Settings {
        identity,
        founders: vec![revd_replica::Member { id: ID, ..Default::default() }],
        raft: Config::new(NodeId(ID)),
        log,
        store,
        retention: Retention {
            entries: 20,
            upkeep_bytes: 16 << 10,
            decode_again: chance.below(2) == 0,
            ..Retention::default()
        },
        seed: chance.next(),
    }
}

fn stage_of(job: &Job) -> Stage {
    match job {
        Job::Persist(_) => Stage::Persist,
        Job::Fetch(_) => Stage::Fetch,
        Job::Release(_) => Stage::Release,
        Job::LogUpkeep(_) => Stage::LogUpkeep,
        Job::Checkpoint(_) => Stage::Checkpoint,
        Job::Sweep(_) | Job::Scrub(_) => Stage::Sweep,
        Job::Install(_) | Job::EndRefill(_) => {
            unreachable!("nobody sends a snapshot to a lone member")
        }
    }
}

/// Whether the failure was the lost power; prints it if it was anything else.
fn report(disk: &Sim, error: &OpenError) -> bool {
    is_down(disk) || {
        println!("the member cannot be opened: {error}");
        false
    }
}

fn report_fatal(disk: &Sim, fatal: &Fatal) -> bool {
    is_down(disk) || {
        println!("the member stopped: {fatal}");
        false
    }
}

fn is_down(disk: &Sim) -> bool {
    disk.exists(Path::new(DIR)).is_err_and(|error| error.is_crashed())
}
