//! Raft consensus as a pure state machine: no clock, no socket, no file, no thread, no async.
//!
//! A [`Raft`] takes one [`Input`] at a time and gives out what has to be done as an [`Output`]. It
//! knows nothing of disks, networks and state machines; whoever drives it carries its outputs out
//! and tells it of the results. Given the same seed and the same inputs, it gives the same outputs.
//!
//! # The design
//!
//! [`Raft`] is one member. `raft` dispatches what comes in, `take` gathers what goes out; between
//! them are the rules, a file for each subject:
//!
//! | file | subject | where it is from |
//! | --- | --- | --- |
//! | `election` | pre-vote, votes, the lease on a vote | section 5.2; dissertation 9.6, 6.2 |
//! | `follower` | taking entries, acknowledging, handing on | section 5.3 |
//! | `leader` | appending, committing, check-quorum, rounds of heartbeats | 5.3, 5.4.2 |
//! | `replicate` | batches, pipelines, entries that have left the memory | 5.3; dissertation 10.2 |
//! | `persistence` | what must be durable before what is said | dissertation 10.2.1 |
//! | `membership` | simple and joint changes, in force once applied | section 6 |
//! | `reads` | read index, in batches | section 8; dissertation 6.4 |
//! | `snapshot`, `transfer` | as they say | section 7; dissertation 3.10 |
//! | `recovery` | a member whose log was damaged | beyond the paper |
//!
//! They work on parts that know nothing of each other: the `log`, whose end is in memory and the
//! rest known by its `terms`; `handout`, which gives each committed entry out once; `progress`,
//! what a leader knows of one member; `quorum`, the arithmetic of majorities. One voter alone is a
//! cluster like any other.
//!
//! Two things differ from the paper. A change of configuration is in force once it is *applied*,
//! not once it is in the log (`membership` says why quorums still meet), because the state machine
//! has the last word on it. And persistence is asynchronous: a leader sends entries while it writes
//! them, and an entry may be committed, and applied, before the leader's own disk has it.
//!
//! # The driver's loop
//!
//! ```
//! use revd_raft::*;
//!
//! // What survives a restart: term and vote, the log, and what the state machine has applied.
//! let (mut hard_state, mut log) = (HardState::default(), Vec::new());
//! let mut applied = Vec::new();
//!
//! let config = Config::new(NodeId(1));
//! let members = Configuration::lone(NodeId(1));
//! let restart = Restart::new(&config, hard_state, Position::default(), members);
//! let mut raft = Raft::new(config, restart, 42)?;
//!
//! raft.step(Input::Campaign)?; // Alone: no need to wait for the election clock.
//! for turn in 0..5 {
//!     if raft.status().role == Role::Leader {
//!         raft.propose(format!("put {turn}").into())?;
//!     }
//!     let output = raft.take();
//!     if let Some(persist) = output.persist {
//!         hard_state = persist.hard_state.unwrap_or(hard_state); // … synced first,
//!         log.extend(persist.entries); // … then appended and synced.
//!         raft.step(Input::Persisted(persist.number))?;
//!     }
//!     for entry in output.committed {
//!         raft.step(Input::Applied(entry.index))?;
//!         applied.push(entry);
//!     }
//! }
//! assert_eq!(hard_state, HardState { term: Term(1), vote: Some(NodeId(1)) });
//! assert_eq!(applied[0].kind, EntryKind::Empty); // The leader's first entry.
//! assert_eq!(applied[1].data, "put 1");
//! assert_eq!(applied, log[..applied.len()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Any number of inputs may go in before the next [`Raft::take`]; everything they gave rise to
//! comes out at once. That is how writes are grouped: all that is proposed while a persist is
//! under way goes into the next one.
//!
//! # What goes in, what comes out
//!
//! | comes out | the driver | goes in |
//! | --- | --- | --- |
//! | [`Output::persist`] | makes it durable, in the order of its fields | [`Input::Persisted`] |
//! | [`Output::committed`] | applies the entries, in order | [`Input::Applied`] |
//! | the last of them, a change of configuration | applies it, or not | [applied], [rejected] |
//! | [`Output::fetches`] | reads old entries from the log | [`Input::Fetched`] |
//! | [`Output::reads`] | serves each read once its index is applied | |
//! | [`Output::reads_failed`] | asks again, or tells the client | |
//! | [`Output::messages`] | sends them | [`Input::Message`], there |
//! | [`Output::snapshots`] | streams its state to a member | [`Input::SnapshotReport`] |
//! | [`Output::install`] | puts a snapshot in place | [installed], [failed] |
//! | [`Output::role`] | tells those who want to know | |
//!
//! [applied]: Input::ConfigurationApplied
//! [rejected]: Input::ConfigurationRejected
//! [installed]: Input::Installed
//! [failed]: Input::InstallFailed
//!
//! On its own account it puts in [`Input::Tick`] as its clock demands, [`Raft::propose`],
//! [`Input::Read`], [`Input::Checkpointed`] when entries leave the log, and
//! [`Input::Transfer`], [`Input::LeaderLost`] and [`Input::Unreachable`].
//!
//! # What must be durable before what
//!
//! 1. A persist's hard state is durable before anything of its log is written; the whole of it is
//!    before [`Input::Persisted`]. One is outstanding at a time. If it fails, the driver stops: a
//!    member that goes on after a failed sync may have forgotten what it promised.
//! 2. Everything else may be carried out at once. What must not be *said* before it is durable,
//!    the core holds back by itself: a vote, an acknowledgement, its own share in a majority. So
//!    committed entries may be applied, and messages sent, while a persist is under way.
//! 3. A state machine's own checkpoint must not get ahead of the durable log, which reaches
//!    [`Status::persisted`] (the disk may hold more that is about to be cut off). Entries leave the
//!    log only once a checkpoint contains them. [`Restart`] then finds what [`Raft::new`] checks: a
//!    log that reaches the applied position and agrees with it, and a term as high as the log's.
//! 4. The commit index is not kept. It is learned again: from the leader, from the answers to a
//!    candidate, and at last by the first entry of a new term. Where a log shows by itself what
//!    must have been committed (a change of configuration with another one behind it), it is
//!    committed at the start.
//!
//! # What is bounded
//!
//! Proposals that wait to be committed ([`Config::max_uncommitted_bytes`], with
//! [`Refused::Full`] beyond), entries that wait to be applied ([`Config::max_committed_bytes`]),
//! reads that wait ([`Config::max_reads`]), durable entries in memory ([`Config::tail_bytes`]), and
//! what is under way to each member ([`Config::max_inflight_appends`],
//! [`Config::max_inflight_bytes`]; one snapshot).
//! Nothing is ever read from a disk while a call lasts: entries that have left the memory are
//! fetched, and the member goes on meanwhile.
//!
//! # What is refused
//!
//! [`Raft::step`] never panics on what a peer or a disk brings. A [`Refused`] input has changed
//! nothing, except that a message may have told its term and that its sender is there. Asserts
//! guard the core's own invariants, which are listed at [`Raft`].

// What the driver sees.
mod config;
mod entry;
mod number;

mod input;
mod message;
mod output;

mod configuration;
mod error;
mod restart;
mod status;

// What is behind it: the member, what it does in each role, and the parts that it works on.
mod raft;
mod take;

mod election;
mod follower;
mod leader;
mod membership;
mod recovery;
mod replicate;
mod snapshot;
mod transfer;

mod chance;
mod handout;
mod log;
mod persistence;
mod progress;
mod quorum;
mod reads;
mod spare;
mod terms;

#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code, reason = "nobody plants them"))]
mod planted;

pub use config::Config;
pub use configuration::{Change, ChangeStep, Configuration};
pub use entry::{Entry, EntryKind};
pub use error::{ChangeError, ConfigError, DecodeError, Refused, StartError};
pub use input::{Fetched, Input, SnapshotOutcome};
pub use message::{Body, Message, Proposal};
pub use number::{FetchNumber, Index, NodeId, PersistNumber, Position, ReadId, Term};
pub use output::{
    Fetch, HardState, Install, Output, Persist, ReadReady, Role, RoleChange, SnapshotRequest,
};
#[cfg(feature = "planted-bugs")]
pub use planted::{Bug, without_asserts};
pub use raft::Raft;
pub use restart::Restart;
pub use status::{Feed, PeerStatus, Stats, Status};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
