//! Watch: changes of the key space, pushed to whoever asked for them.
//!
//! The store's writer publishes each batch of revisions to the [`Hub`]; a client's [`WatchStream`]
//! takes requests for watchers and gives responses. A watcher may begin in the past: then the
//! stream reads history until it has come to the present, and joins the live events there, without
//! a gap or a repeat (`mailbox` has the argument).
//!
//! ```text
//! writer ──publish──► Hub ──which watchers? (key_index)──► mailbox of each stream ──┐
//!                                                          bounded queue            ▼
//! client ──create, cancel, progress──────────────────────► answers        WatchStream::poll_next
//!                                                                                   ▲
//! history of the store ──bounded chunks, on the reader's thread (catch_up)──────────┘
//! ```
//!
//! What it rests on:
//! - **The writer never waits for a reader.** A queue that is full is passed by; its watchers fall
//!   behind and read history later, at their own cost.
//! - **Encoded once.** The bytes of an event are shared by all that get it, with the previous
//!   record and without.
//! - **Bounded.** Each stream's queue in responses and bytes, each read of history in revisions,
//!   bytes and records.
//!
//! It knows no clock and no transport: the caller says when to report progress, and waits with a
//! [`std::task::Waker`]. Nor does it know users: the caller checks permissions.
//!
//! **Locks, in the order in which they may be taken:** a stream's *reader* (one poll long), the
//! *hub* (one batch long), a stream's *mailbox* (a few pushes long). The writer takes the last two.
//! Tasks are woken when neither is held.

mod catch_up;
mod event;
mod history;
mod hub;
mod interval_tree;
mod key_index;
mod mailbox;
mod request;
mod roster;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use history::{EventBound, History, PastEvent, Scanned};
pub use hub::{Hub, HubStats};
pub use request::{NO_WATCHER, Watch, WatchOptions, WatchOptionsError, WatchResponse};
pub use stream::WatchStream;
