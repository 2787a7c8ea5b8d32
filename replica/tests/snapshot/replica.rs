//! One member on one thread, with jobs that are done at once.

use std::path::Path;
use std::sync::Arc;

use revd_disk::Sim;
use revd_mvcc::Lease;
use revd_raft::{Config, Configuration, Index, Input, Message, NodeId, SnapshotRequest};
use revd_replica::{
    Alarm, Author, Command, Consensus, Decoded, Fatal, Identity, Incoming, Job, JobDone, Machine,
    Member, Received, Report, RequestId, Retention, Settings, entry, recover,
};

const DIR: &str = "data";

pub(crate) struct Replica {
    pub(crate) disk: Sim,
    pub(crate) consensus: Consensus,
    pub(crate) machine: Machine,
    pub(crate) report: Report,
    /// What has arrived and is to be installed when consensus says so.
    pub(crate) received: Option<Received>,
    /// What consensus has sent, and whom it wants to send a snapshot.
    pub(crate) sent: Vec<Message>,
    pub(crate) wanted: Vec<SnapshotRequest>,
}

/// All that is replicated, for comparison.
#[derive(Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) applied: Index,
    pub(crate) revision: i64,
    compacted: i64,
    hash: u32,
    state_hash: Option<u64>,
    leases: Vec<(i64, Lease)>,
    members: Vec<Member>,
    removed: Vec<u64>,
    alarms: Vec<Alarm>,
    configuration: Configuration,
}

fn settings(id: u64) -> Settings {
    let identity = Identity { cluster: 7, member: id };
    let founder = |id| Member { id, name: format!("m{id}"), ..Member::default() };
    let mut log = revd_wal::Options::default();
    log.segment_bytes = 64 << 10;
    let mut store = revd_mvcc::Options::new(identity.owner());
    store.map_bytes = 1 << 30;
    store.reserve_bytes = 1 << 20;
    store.import_bytes = 4 << 10;
    let mut raft = Config::new(NodeId(id));
    // What is in memory is sent from there, released or not.
    raft.tail_bytes = 1;
    Settings {
        identity,
        founders: (1..=3).map(founder).collect(),
        raft,
        log,
        store,
        retention: Retention { entries: 10, decode_again: true, ..Retention::default() },
        seed: id,
    }
}

impl Replica {
    pub(crate) fn open(disk: &Sim, id: u64) -> Self {
        let opened = recover::open(Arc::new(disk.clone()), Path::new(DIR), settings(id));
        let opened = opened.unwrap_or_else(|error| panic!("member {id}: {error}"));
        Self {
            disk: disk.clone(),
            consensus: opened.consensus,
            machine: opened.machine,
            report: opened.report,
            received: None,
            sent: Vec::new(),
            wanted: Vec::new(),
        }
    }

    pub(crate) fn propose(&mut self, command: Command) {
        let (request, author) = (RequestId(0), Author::default());
        let bytes = entry::encode(&command, request, &author);
        self.consensus.propose(bytes, Decoded { request, author, command }).unwrap();
    }

    pub(crate) fn step(&mut self, input: Input) -> Result<(), Fatal> {
        self.consensus.step(input).unwrap();
        self.turn()
    }

    /// Everything that consensus wants done now.
    pub(crate) fn turn(&mut self) -> Result<(), Fatal> {
        loop {
            let output = self.consensus.take();
            let idle = output.persist.is_none()
                && output.committed.is_empty()
                && output.jobs.is_empty()
                && output.install.is_none();
            self.sent.extend(output.messages);
            self.wanted.extend(output.snapshots);
            for job in output.jobs {
                self.run(job)?;
            }
            if let Some(persist) = output.persist {
                self.consensus.done(persist.run()?)?;
            }
            if !output.committed.is_empty() {
                let application = self.machine.apply(output.committed)?;
                let applied = self.machine.applied().index;
                self.consensus.applied(applied, application.reconfigured)?;
            }
            if let Some(install) = output.install {
                let received = self.received.take().expect("consensus was told of it");
                assert_eq!(received.position(), install.position);
                self.machine.install(received, self.consensus.log());
                let job = self.machine.installation().expect("nothing is under way");
                self.run(job)?;
            }
            if idle {
                return Ok(());
            }
        }
    }

    fn run(&mut self, job: Job) -> Result<(), Fatal> {
        match job.run()? {
            JobDone::Log(done) => self.consensus.done(done),
            JobDone::Tree(done) => match self.machine.done(done)? {
                Some(index) => self.consensus.checkpointed(index),
                None => Ok(()),
            },
            JobDone::Installed(installation) => {
                let installed = self.machine.installed(*installation)?;
                self.consensus.installed(installed.position)
            }
        }
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), Fatal> {
        let durable = self.consensus.status().persisted;
        match self.machine.checkpoint(durable)? {
            Some(job) => self.run(job),
            None => Ok(()),
        }
    }

    /// Two checkpoints, so that the log gives up what it may.
    pub(crate) fn release(&mut self) {
        for _ in 0..2 {
            self.machine.renew_checkpoint().unwrap();
            self.checkpoint().unwrap();
        }
        self.turn().unwrap();
    }

    /// Takes a whole stream, as far as the disk lets it.
    pub(crate) fn receive(&mut self, chunks: &[Vec<u8>]) -> Result<(), revd_replica::ReceiveError> {
        let mut incoming = Incoming::begin(self.machine.file())?;
        for chunk in chunks {
            incoming.push(chunk)?;
        }
        self.received = Some(incoming.finish()?);
        Ok(())
    }

    pub(crate) fn state(&self) -> State {
        let view = self.machine.view();
        assert_eq!(self.machine.configuration(), self.consensus.configuration());
        State {
            applied: self.machine.applied().index,
            revision: view.revision().0,
            compacted: view.compacted(),
            hash: view.hash_kv(0).unwrap().hash,
            state_hash: self.machine.state_hash(),
            leases: self.machine.store().leases().map(|(id, lease)| (id.0, lease)).collect(),
            members: self.machine.members().iter().cloned().collect(),
            removed: self.machine.members().removed().collect(),
            alarms: self.machine.alarms().collect(),
            configuration: self.machine.configuration().clone(),
        }
    }
}
