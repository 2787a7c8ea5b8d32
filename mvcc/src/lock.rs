//! The locks of this crate.
//!
//! They are parking_lot's. In unit tests a lock is also a point at which another thread may go on,
//! so that [`crate::interleavings`] can try orders which hardly occur by themselves.

#[cfg(test)]
pub(crate) use explored::{Mutex, RwLock, exploring};
#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, RwLock};

#[cfg(test)]
mod explored {
    use std::cell::Cell;
    use std::time::Duration;

    use parking_lot::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    thread_local! {
        /// The threads of an exploration are coroutines on one thread of the system.
        static IS_EXPLORING: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs an exploration, during which locks of this thread are points of choice.
    pub(crate) fn exploring(explore: impl FnOnce()) {
        IS_EXPLORING.set(true);
        explore();
        IS_EXPLORING.set(false);
    }

    /// Lets another thread go on, perhaps. Not `yield_now`, which also counts as being woken: it
    /// would hide a thread which is not.
    fn switch() {
        shuttle::thread::sleep(Duration::ZERO);
    }

    /// Takes a lock: others may go on before it, as long as one of them has it, and once it is
    /// taken. `None` outside of explorations.
    fn acquire<G>(try_lock: impl Fn() -> Option<G>) -> Option<G> {
        if !IS_EXPLORING.get() {
            return None;
        }
        switch();
        loop {
            if let Some(guard) = try_lock() {
                switch();
                return Some(guard);
            }
            shuttle::thread::yield_now();
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            acquire(|| self.0.try_lock()).unwrap_or_else(|| self.0.lock())
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(parking_lot::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            acquire(|| self.0.try_read()).unwrap_or_else(|| self.0.read())
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            acquire(|| self.0.try_write()).unwrap_or_else(|| self.0.write())
        }
    }
}
