//! Blocking work that may take its time: snapshots are read and written beside the requests of
//! clients, and must not keep them from a processor.

use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::oneshot;

/// Steps of niceness below the threads that serve clients: where there is not enough for all, such
/// work gets about a tenth of what one of them gets.
const NICENESS: i32 = 10;

/// The least priority that there is.
const NICEST: i32 = 19;

/// The work has panicked, or the system gave no thread for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDone {
    /// No thread.
    #[error("cannot start a thread: {0}")]
    NoThread(#[from] std::io::Error),
    /// A panic, which was printed.
    #[error("the thread has panicked")]
    Panicked,
}

/// Does work on a thread of its own, of low priority.
///
/// A thread for each piece of work costs nothing beside the megabytes that such a piece moves, and
/// a priority that was once lowered cannot be raised again.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    let (sender, done) = oneshot::channel();
    std::thread::Builder::new().name("revd-snapshot".into()).spawn(move || {
        give_way();
        // Whoever wanted it may have gone.
        let _ = sender.send(work());
    })?;
    done.await.map_err(|_| NotDone::Panicked)
}

/// Lowers the priority of this thread; to the system, "this process" is the calling thread.
fn give_way() {
    // Without it the work is done as well.
    if let Ok(priority) = getpriority_process(None) {
        let _ = setpriority_process(None, (priority + NICENESS).min(NICEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_at_a_lower_priority_than_this_thread_has() {
        let own = getpriority_process(None).unwrap();
        let its = run(|| getpriority_process(None).unwrap()).await.unwrap();
        assert_eq!(its, (own + NICENESS).min(NICEST));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let outcome: Result<(), _> = run(|| panic!("as intended")).await;
        assert!(matches!(outcome, Err(NotDone::Panicked)));
    }
}
