//! Rules of the interface that one member without users can show, each in a test of its name.
//!
//! What shows best from outside is asked of a real server over gRPC. What depends on a moment (a
//! member before its election, a write that the disk holds up, a slow client) is shown on a member
//! in this process, whose services are called without a network and whose disk is simulated: there
//! each moment can be held as long as a test needs it, and no test waits for time to pass.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program of several files")]

#[path = "rules/alarms.rs"]
mod alarms;
#[path = "rules/ask.rs"]
mod ask;
#[path = "rules/compaction.rs"]
mod compaction;
#[path = "rules/gate.rs"]
mod gate;
#[path = "rules/headers.rs"]
mod headers;
#[path = "rules/leases.rs"]
mod leases;
#[path = "rules/limits.rs"]
mod limits;
#[path = "rules/log.rs"]
mod log;
#[path = "rules/member.rs"]
mod member;
#[path = "rules/stalled.rs"]
mod stalled;
#[path = "rules/streams.rs"]
mod streams;
mod support;
#[path = "rules/watches.rs"]
mod watches;
