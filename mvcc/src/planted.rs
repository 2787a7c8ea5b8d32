//! Bugs that a simulation has to find, each planted at the spot where one would make it.
//!
//! A build without the feature `planted-bugs` holds none of them: [`planted`] is then the constant
//! `false`. To plant one more: a line in [`Bug`], and `planted(Bug::…)` where it bites.

/// A bug to be planted with [`with_bug`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "the feature makes it public")
)]
#[non_exhaustive]
pub enum Bug {
    /// A watch that has read history up to the last revision but one counts as live.
    SkipRevisionAtCatchUp,
    /// A stream whose queue is full drops events instead of reading them from history later.
    DropWhenQueueIsFull,
    /// Progress is told although watches are behind.
    ProgressWhileBehind,
    /// Reads below the compaction floor are answered with what is left there.
    ReadBelowFloor,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs `simulation` on this thread with a bug planted.
#[cfg(feature = "planted-bugs")]
pub fn with_bug<T>(bug: Bug, simulation: impl FnOnce() -> T) -> T {
    /// Takes it out again, whichever way the simulation ends.
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(bug));
    let _out = Out;
    simulation()
}

/// Whether there is this bug.
#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether there is this bug.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
