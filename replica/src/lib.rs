//! The replicated state machine as values: consensus, apply, leases.
//!
//! Three values make a member, and none of them waits, sleeps, owns a thread or knows a clock:
//!
//! * [`Consensus`]: raft and the log. Proposals, messages, ticks in; entries to make durable,
//!   messages to send, committed entries out.
//! * [`Machine`]: applies committed entries to the key space, leases, members and alarms.
//! * [`Lessor`]: which leases have run out. Time and leadership in; expiries to propose out.
//!
//! Whatever blocks is handed out as a [`Job`] and its result fed back ([`JobDone`]), so that a
//! driver places it on threads, and a simulation at any moment that its seed chooses.
//!
//! ```text
//!              propose                committed                 answers
//!  the door ───────────► Consensus ──────────────► Machine ───────────────► the door
//!                         │     ▲                   │  │  ▲
//!                 persist │     │ persisted         │  │  │ checkpointed, swept
//!                         ▼     │           leases  │  ▼  │
//!                          a Job                    │   a Job
//!                                                   ▼
//!                        expiries to propose ◄─── Lessor ◄─── time, leadership
//! ```
//!
//! Calls that wait are kept here, too, so that a simulation runs what a server runs: [`Reads`] has
//! those that wait for a read index, [`Leases`] those for the Lessor.
//!
//! The way back: what the machine has applied ([`Consensus::applied`]) and what its checkpoints no
//! longer need ([`Consensus::checkpointed`]). Beside these, whole states travel between members
//! ([`snapshot`]).
//!
//! A member is opened by [`recover::open`], and made the only one that is left of its cluster by
//! [`survivor::survive`]; `entry` and `note` say what the log and the checkpoint
//! hold, [`vote`] how term and vote are kept. This crate knows neither gRPC nor HTTP, only the
//! messages of the interface.

mod apply;
pub mod auto_compaction;
pub mod command;
pub mod comparison;
pub mod consensus;
pub mod convert;
pub mod entry;
pub mod error;
pub mod job;
pub mod leases;
pub mod lessor;
pub mod log_store;
pub mod machine;
pub mod members;
pub mod note;
mod planted;
pub mod reads;
pub mod recover;
pub mod refill;
pub mod slow_disk;
pub mod snapshot;
pub mod space_alarm;
pub mod state_hash;
pub mod survivor;
pub mod vote;
pub mod wire;

pub use apply::{Demand, cost};
pub use auto_compaction::{AutoCompaction, Retain};
pub use command::{
    Alarm, AlarmAction, AlarmType, Answer, Applied, Command, Membership, Rejected, RequestId,
};
pub use consensus::{Committed, Consensus, Output, Retention};
pub use entry::{Author, Decoded, EntryError};
pub use error::{Fatal, OpenError};
pub use job::{Job, JobDone, LogDone, Prepared, TreeDone};
pub use leases::{Leases, NotLeader, Renewed};
pub use lessor::{Due, Lessor, Now, Renewal};
pub use log_store::LogStore;
pub use machine::{Application, Applications, LeaseChange, Machine, Reconfigured};
pub use members::{Member, Members};
pub use note::Note;
#[cfg(feature = "planted-bugs")]
pub use planted::{Bug, with_bug};
pub use reads::Reads;
pub use recover::{Opened, Report, Settings};
pub use refill::Lost;
pub use slow_disk::SlowDisk;
pub use snapshot::{Incoming, Installation, Installed, Outgoing, ReceiveError, Received, TreeFile};
pub use space_alarm::{SpaceAlarm, Verdict};
pub use vote::Identity;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
