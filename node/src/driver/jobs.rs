//! The threads for work on the disk that the core does not wait for.
//!
//! One runs checkpoints, sweeps, and prepares or releases log segments: each a bounded step, run in
//! the order in which it became due, its result sent back to the core. The other, with peers, makes
//! entries durable, so that neither a slow disk nor a long checkpoint delays a heartbeat. Whoever
//! hands jobs out has at most one of each kind under way, which bounds the queues.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use revd_replica::job::PersistJob;
use revd_replica::{Fatal, Job, LogDone};

use super::handle::{Request, Shared};
use super::inbox::Inbox;

/// More than can be under way; a full queue would be a mistake of ours, and then blocks.
const BOUND: usize = 64;

/// The sending sides; the threads end when it is dropped.
pub(super) struct Jobs {
    upkeep: Option<Sender<Job>>,
    /// Not a channel: its receiver yields a few times before it sleeps, and this thread sleeps
    /// twice for each batch of entries.
    log: Arc<Inbox<PersistJob>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of making entries durable.
pub(super) struct Written {
    /// To be tried again if the disk was full.
    pub(super) job: PersistJob,
    pub(super) outcome: Result<LogDone, Fatal>,
    pub(super) took: Duration,
}

impl Jobs {
    /// Starts the threads.
    pub(super) fn new(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(BOUND);
        let log = Arc::new(Inbox::new(BOUND));
        let mut jobs = Self { upkeep: Some(sender), log: Arc::clone(&log), threads: Vec::new() };
        let core = Arc::clone(shared);
        jobs.spawn("revd-jobs", move || run(&receiver, &core))?;
        let core = Arc::clone(shared);
        jobs.spawn("revd-log", move || persist(&log, &core))?;
        Ok(jobs)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    /// Runs a job as soon as those before it are done.
    pub(super) fn start(&self, job: Job) {
        let sender = self.upkeep.as_ref().expect("taken only by drop");
        // The thread ends before the core only by a panic of its own, which its join reports.
        let _ = sender.send(job);
    }

    /// Makes entries durable; one such job is under way at a time.
    pub(super) fn persist(&self, job: PersistJob) {
        // As above.
        let _ = self.log.push_always(job);
    }
}

/// Runs jobs until nobody can send any more.
fn run(jobs: &Receiver<Job>, core: &Shared) {
    for job in jobs {
        let is_checkpoint = matches!(job, Job::Checkpoint(_));
        let start = Instant::now();
        let done = job.run();
        if is_checkpoint {
            core.meters.checkpoint.observe(start.elapsed());
        }
        if core.inbox.push_always(Request::Done(done)).is_err() {
            return;
        }
    }
}

/// Makes entries durable until nobody can send any more.
fn persist(waiting: &Inbox<PersistJob>, core: &Shared) {
    let mut batch = Vec::new();
    while waiting.take_until(&mut batch, None) {
        for job in batch.drain(..) {
            if core.inbox.push_always(Request::Persisted(write(job))).is_err() {
                return;
            }
        }
    }
}

/// Makes entries durable on this thread.
pub(super) fn write(job: PersistJob) -> Written {
    let start = Instant::now();
    let outcome = job.run();
    Written { job, outcome, took: start.elapsed() }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.upkeep = None;
        drop(self.log.close());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a job thread has panicked");
            }
        }
    }
}
