//! The thread for work on the disk that no write waits for.
//!
//! Checkpoints, sweeps, and preparing or releasing log segments: each a bounded step, run in the
//! order in which it became due, its result sent back to the core. The values that hand jobs out
//! have at most one of each kind under way, which bounds the queue.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Sender, bounded};
use revd_replica::Job;

use super::handle::{Request, Shared};

/// More than can be under way; a full queue would be a mistake of ours, and then blocks.
const BOUND: usize = 64;

/// The sending side; the thread ends when it is dropped.
pub(super) struct Jobs {
    sender: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Jobs {
    /// Starts the thread.
    pub(super) fn new(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (sender, receiver) = bounded::<Job>(BOUND);
        let thread = std::thread::Builder::new().name("revd-jobs".into()).spawn(move || {
            for job in receiver {
                let is_checkpoint = matches!(job, Job::Checkpoint(_));
                let start = Instant::now();
                let done = job.run();
                if is_checkpoint {
                    shared.meters.checkpoint.observe(start.elapsed());
                }
                if shared.inbox.push_always(Request::Done(done)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Runs a job as soon as those before it are done.
    pub(super) fn start(&self, job: Job) {
        let sender = self.sender.as_ref().expect("taken only by drop");
        // The thread ends before the core only by a panic of its own, which its join reports.
        let _ = sender.send(job);
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the job thread has panicked");
        }
    }
}
