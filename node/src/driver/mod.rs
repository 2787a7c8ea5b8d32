//! The driver: gives the values of `revd_replica` threads, a clock and a disk.
//!
//! | thread | owns | waits for |
//! |---|---|---|
//! | `revd-core` | consensus, machine, Lessor | its inbox, a deadline, the log's sync |
//! | `revd-jobs` | nothing | jobs of the core |
//! | the runtime's workers | connections and calls | the network, answers of the core |
//!
//! The doors hold a [`Handle`]; a call goes through the bounded inbox and comes back through a
//! slot of its own. Reads do not come here: they use the published view on their own thread.

mod cluster;
mod core;
mod handle;
mod inbox;
mod jobs;
mod leader;
mod meters;
mod report;
mod room;
mod snapshot;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use revd_disk::Disk;
use revd_raft::{Input, NodeId, RoleChange};
use revd_replica::{
    AutoCompaction, Fatal, Identity, Leases, Member, Now, OpenError, Reads, Report, Retention,
    Settings, lessor, recover, survivor,
};
use tokio::sync::oneshot;

pub use self::core::Ended;
pub use handle::{CallError, Handle, Sizes, Status, WAITING_BOUND};
pub use leader::{Leader, Search};
pub use meters::{BOUNDS, Counter, Histogram, Meters};

use self::core::{Clock, Core, TICK, Waiting};
use crate::config::Config;
use crate::peer::Peers;
use handle::{Request, Shared};
use room::Room;
use upkeep::Upkeep;

/// What has arrived of a snapshot is written in steps of so many bytes, each with a sync of its
/// own: the log, and whoever else has the disk, waits for one step at a time.
const IMPORT_BYTES: usize = 1 << 20;

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// Its files could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running member's threads; ends them when it is stopped.
pub struct Driver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<Result<Ended, String>>,
}

/// What a member begins with that has not run before.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Who it is.
    pub identity: Identity,
    /// The first members of a new cluster, itself included; none if it joins one.
    pub founders: Vec<Member>,
    /// The members of the cluster that it joins: who may answer it before it knows anybody.
    pub met: Vec<Member>,
    /// The generation of that cluster.
    pub generation: u64,
}

impl Default for Birth {
    /// Of no use but to a member that has run before: its own files say who it is.
    fn default() -> Self {
        let identity = Identity { cluster: 0, member: 0 };
        Self { identity, founders: Vec::new(), met: Vec::new(), generation: 0 }
    }
}

/// Opens the member in the data directory and starts its threads.
///
/// `birth` counts only where no member lives yet.
///
/// # Errors
/// [`DriverError`]; nothing runs then.
pub fn start(
    config: Config,
    disk: Arc<dyn Disk>,
    dir: &Path,
    birth: Birth,
) -> Result<(Handle, Driver, Report), DriverError> {
    let opening = Instant::now();
    let Birth { identity, founders, met, generation } = birth;
    let settings = settings(&config, identity, founders);
    if config.force_new_cluster {
        survive(&config, &disk, dir, &settings)?;
    }
    let opened = recover::open(disk, dir, settings)?;
    let (report, machine) = (opened.report, opened.machine);
    report::opened(&config, &dir.join(recover::TREE_FILE), &report, opening.elapsed());
    report::starting(report.identity, crate::ETCD_VERSION, machine.members().version());
    let shared = Arc::new(Shared::new(
        config.clone(),
        &machine,
        first_request(report.identity.member, unix_milliseconds()),
    ));
    let now = Instant::now();
    let auto = config.auto_compaction.retain().map(|kept| AutoCompaction::new(kept, Now(0)));
    let mut core = Core {
        shared: Arc::clone(&shared),
        consensus: opened.consensus,
        machine,
        leases: Leases::new(lessor_options(&config), opened.leases),
        reads: Reads::default(),
        jobs: jobs::Jobs::new(&shared)?,
        peers: peers(report.identity, (met, generation), Handle { shared: Arc::clone(&shared) }),
        clock: Clock { start: now },
        waiting: Waiting::default(),
        role: RoleChange::default(),
        next_tick: now,
        checkpoint_at: None,
        room: Room::default(),
        upkeep: Upkeep::new(auto, now),
        unsealed: None,
        promote_at: shared.config.promote_learners.then_some(now),
        removed_at: None,
        received: None,
    };
    shared.facts.write().status = first_status(&report);
    if !report.is_new {
        // Those who were there before are no news.
        core.publish_facts();
    }
    core.members_changed(now);
    core.publish_sizes();
    if core.consensus.is_lone() {
        // It has nobody to wait for.
        core.consensus.step(Input::Campaign).map_err(|refused| {
            std::io::Error::other(format!("the member cannot stand for election: {refused}"))
        })?;
    }
    let (sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("revd-core".into()).spawn(move || {
        let _ = sender.send(run(core));
    })?;
    let handle = Handle { shared: Arc::clone(&shared) };
    Ok((handle, Driver { shared, thread: Some(thread), ended }, report))
}

/// What a member says of itself before it has heard of anybody.
fn first_status(report: &Report) -> Status {
    Status {
        cluster_id: report.identity.cluster,
        member_id: report.identity.member,
        term: report.applied.term.0,
        applied: report.applied.index.0,
        commit: report.applied.index.0,
        ..Status::default()
    }
}

/// The streams to other members, whose events go into the inbox.
fn peers(identity: Identity, met: (Vec<Member>, u64), handle: Handle) -> Peers {
    let urls = handle.config().initial_advertise_peer_urls.to_strings();
    let traffic = handle.peer_traffic().clone();
    let listener = Arc::new(move |event| handle.peer_event(event));
    let runtime = tokio::runtime::Handle::current();
    Peers::new(identity, urls, met, runtime, (listener, traffic))
}

/// Runs the core to its end, and says how it ended.
fn run(mut core: Core) -> Result<Ended, String> {
    let shared = Arc::clone(&core.shared);
    let ended = core.run().or_else(|fatal| core.lost(&fatal));
    let failure = match &ended {
        Ok(Ended::Stopped) => None,
        Ok(Ended::Removed) => Some("it was removed from its cluster"),
        Ok(Ended::Lost) => Some("it begins anew without what it has lost"),
        Err(failure) => Some(failure.as_str()),
    };
    shared.facts.write().failure = failure.map(Arc::from);
    // What still waits is dropped, and each caller learns from its slot that the member stops.
    drop(shared.inbox.close());
    ended
}

impl Core {
    /// The member cannot go on. It begins anew, if others can give it back what it has lost.
    ///
    /// # Errors
    /// The reason, as text.
    fn lost(&self, fatal: &Fatal) -> Result<Ended, String> {
        let Some(lost) = fatal.lost() else { return Err(fatal.to_string()) };
        match self.machine.begin_refill(self.consensus.status().id, lost) {
            Ok(true) => {
                report::lost(lost, fatal);
                Ok(Ended::Lost)
            }
            Ok(false) => Err(format!("{fatal}; {}", report::CANNOT_REFILL)),
            Err(error) => Err(format!("{fatal}; nor can that be noted: {error}")),
        }
    }
}

impl Driver {
    /// Resolves when the core has ended; an error says why it could not go on.
    ///
    /// # Errors
    /// The reason, as text.
    pub async fn ended(&mut self) -> Result<Ended, String> {
        (&mut self.ended).await.unwrap_or_else(|_| Err("the core thread has panicked".to_owned()))
    }

    /// Writes a last checkpoint and ends the threads; blocks until they are gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // An inbox that is closed belongs to a core that has ended already.
        let _ = self.shared.inbox.push_always(Request::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the core thread has panicked");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes all other members before the start.
fn survive(
    config: &Config,
    disk: &Arc<dyn Disk>,
    dir: &Path,
    settings: &Settings,
) -> Result<(), OpenError> {
    let urls = config.initial_advertise_peer_urls.to_strings();
    let survived = survivor::survive(Arc::clone(disk), dir, settings, &urls)?;
    report::survived(survived.as_ref());
    Ok(())
}

fn lessor_options(config: &Config) -> lessor::Options {
    lessor::Options {
        election_timeout: nanoseconds(u64::from(config.election_timeout)),
        longest_gap: nanoseconds(3 * u64::from(config.heartbeat_interval)),
        retry: config.request_timeout().as_nanos() as u64,
        checkpoint_interval: config.lease_checkpoint.then_some(lessor::CHECKPOINT_INTERVAL),
    }
}

fn settings(config: &Config, identity: Identity, founders: Vec<Member>) -> Settings {
    let mut raft = revd_raft::Config::new(NodeId(identity.member));
    let tick = TICK.as_millis() as u32;
    // etcd counts heartbeats, and a part of the first has passed when it begins: who is to wait
    // for a second there waits for 0.9 to 1.9 s. The members that are left are no slower here.
    let election = config.election_timeout.saturating_sub(config.heartbeat_interval);
    raft.election_ticks = (election / tick).max(2);
    raft.heartbeat_ticks = (config.heartbeat_interval / tick).max(1);
    let seed =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
            ^ identity.member;
    let mut log = revd_wal::Options::default();
    log.salt_seed = seed;
    // Both segments that a young log needs before it can use its first one again are filled soon
    // after the start, instead of a block for each block appended: those writes would compete with
    // the syncs of a server under load.
    log.fill_ahead_bytes = 2 * log.segment_bytes;
    let mut store = revd_mvcc::Options::new(identity.owner());
    store.import_bytes = IMPORT_BYTES;
    Settings {
        identity,
        founders,
        raft,
        log,
        store,
        retention: Retention {
            entries: u64::from(config.catch_up_entries),
            ..Retention::default()
        },
        seed,
    }
}

/// Request ids rise from a number that no earlier run of this member, and no other member, has
/// reached: two bytes of the member's id, five of the time in milliseconds, one to count.
const fn first_request(member: u64, unix_ms: u64) -> u64 {
    (member << 48) | ((unix_ms & 0xff_ffff_ffff) << 8)
}

fn unix_milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn nanoseconds(milliseconds: u64) -> u64 {
    Duration::from_millis(milliseconds).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_1_24_request_ids_begin_with_member_and_time() {
        let first = first_request(0x8e9e_05c5_2164_694d, 0x0198_d5a1_c0fe);
        assert_eq!(first, 0x694d_98d5_a1c0_fe00);
        // A later start of the same member begins higher, as long as it used fewer than 256 a
        // millisecond.
        assert_eq!(first_request(0x694d, 0x0198_d5a1_c0ff), first + 256);
    }
}
