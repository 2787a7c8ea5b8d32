//! The threads for work on the disk that the core does not wait for.
//!
//! One runs checkpoints, sweeps, and prepares or releases log segments: each a bounded step, run in
//! the order in which it became due, its result sent back to the core. The other, with peers, makes
//! entries durable, so that neither a slow disk nor a long checkpoint delays a heartbeat. Whoever
//! hands jobs out has at most one of each kind under way, which bounds the queues.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use revd_replica::job::PersistJob;
use revd_replica::{Fatal, Job, LogDone};

use super::handle::{Request, Shared};

/// More than can be under way; a full queue would be a mistake of ours, and then blocks.
const BOUND: usize = 64;

/// The sending sides; the threads end when it is dropped.
pub(super) struct Jobs {
    upkeep: Worker<Job>,
    log: Worker<PersistJob>,
}

/// A thread, and the way to it.
struct Worker<J> {
    sender: Option<Sender<J>>,
    thread: Option<JoinHandle<()>>,
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
        let meters = Arc::clone(shared);
        let upkeep = Worker::start("revd-jobs", Arc::clone(shared), move |job| {
            let is_checkpoint = matches!(job, Job::Checkpoint(_));
            let start = Instant::now();
            let done = job.run();
            if is_checkpoint {
                meters.meters.checkpoint.observe(start.elapsed());
            }
            Request::Done(done)
        })?;
        let write_all = |job| Request::Persisted(write(job));
        Ok(Self { upkeep, log: Worker::start("revd-log", Arc::clone(shared), write_all)? })
    }

    /// Runs a job as soon as those before it are done.
    pub(super) fn start(&self, job: Job) {
        self.upkeep.run(job);
    }

    /// Makes entries durable; one such job is under way at a time.
    pub(super) fn persist(&self, job: PersistJob) {
        self.log.run(job);
    }
}

/// Makes entries durable on this thread.
pub(super) fn write(job: PersistJob) -> Written {
    let start = Instant::now();
    let outcome = job.run();
    Written { job, outcome, took: start.elapsed() }
}

impl<J: Send + 'static> Worker<J> {
    fn start(
        name: &str,
        shared: Arc<Shared>,
        work: impl Fn(J) -> Request + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded::<J>(BOUND);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            for job in receiver {
                if shared.inbox.push_always(work(job)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    fn run(&self, job: J) {
        let sender = self.sender.as_ref().expect("taken only by drop");
        // The thread ends before the core only by a panic of its own, which its join reports.
        let _ = sender.send(job);
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a job thread has panicked");
        }
    }
}
