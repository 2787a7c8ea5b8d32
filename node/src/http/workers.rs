//! The threads that serve client connections.
//!
//! Each has a runtime of its own, and a connection stays on one of them for life: whatever a call
//! needs (its socket, its task, its timer) is then woken where it runs. A runtime that moves tasks
//! between threads wakes a second thread for each call that comes in alone, to look for work that
//! is not there; with one client that made a put a tenth slower. What balances the load here is
//! where a new connection goes: to the thread that has the fewest.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A fixed number of threads; they end when this is dropped, and with them whatever they serve.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections that are served there now.
    load: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread, or no descriptor for its runtime.
    pub fn start(count: usize) -> std::io::Result<Workers> {
        let workers = (0..count).map(|_| Worker::start()).collect::<Result<_, _>>()?;
        Ok(Workers { workers })
    }

    /// Runs a connection to its end on the thread that has the fewest.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let worker = self.workers.iter().min_by_key(|worker| worker.load.load(Relaxed));
        let worker = worker.expect("there is at least one worker");
        let load = Arc::clone(&worker.load);
        load.fetch_add(1, Relaxed);
        worker.runtime.spawn(async move {
            connection.await;
            load.fetch_sub(1, Relaxed);
        });
    }
}

impl Worker {
    fn start() -> std::io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("revd-io".into()).spawn(move || {
            // An error says that the sender is gone, which means the same.
            let _ = runtime.block_on(ended);
            // Reads that run aside may take a while, and nobody waits for them any more.
            runtime.shutdown_background();
        })?;
        let load = Arc::default();
        Ok(Worker { runtime: handle, load, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that serves connections has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn connections_go_where_the_fewest_are_and_stay_there() {
        let workers = Workers::start(2).unwrap();
        let (sender, receiver) = mpsc::channel();
        let mut held = Vec::new();
        for _ in 0..4 {
            let (release, released) = oneshot::channel::<()>();
            held.push(release);
            let sender = sender.clone();
            workers.spawn(async move {
                let before = std::thread::current().id();
                sender.send(before).unwrap();
                let _ = released.await;
                assert_eq!(std::thread::current().id(), before);
            });
        }
        let mut threads: Vec<_> = receiver.iter().take(4).collect();
        threads.sort_by_key(|id| format!("{id:?}"));
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[1], threads[2]);
        assert_eq!(threads[2], threads[3]);
        drop(held);
        drop(workers);
    }
}
