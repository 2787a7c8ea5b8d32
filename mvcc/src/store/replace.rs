//! One store in the place of another, under the same handles.

use super::Store;

/// What is left of a store that was replaced. It is there to be dropped, which takes time with the
/// number of keys: on a thread that has some.
#[derive(Debug)]
pub struct Retired {
    _store: Store,
}

impl Store {
    /// Goes on as `other`, a store of the same key space at a later revision, such as an installed
    /// snapshot: [`Store::view`] and [`Store::hub`] stay as they are, and show from now on what
    /// `other` shows, in one step. Watchers go on where they are, from the history of `other`, or
    /// are ended by its compaction floor. Exports of what is replaced are released, and what is not
    /// published of it is lost.
    ///
    /// No job of the replaced store may be under way: its result fits no store any more.
    ///
    /// # Panics
    /// If `other` is at an earlier revision than readers have seen.
    pub fn replace(&mut self, other: Store) -> Retired {
        let (from, to) = (self.view.revision(), other.view.revision());
        assert!(from <= to, "a store at revision {from} is replaced by one at {to}");
        // Before the view turns: an export that reads behind it finds itself released.
        self.floors.release();
        let mut old = std::mem::replace(self, other);
        std::mem::swap(&mut self.view, &mut old.view);
        std::mem::swap(&mut self.hub, &mut old.hub);
        self.view.turn_to(&old.view);
        self.hub.reset(self.view.clone());
        Retired { _store: old }
    }
}
