//! The listeners: one port for clients, gRPC and HTTP/1.1 together, and one for other members.
//!
//! - [`listen`]: binding an address, so that a port in use is told before anything is started;
//! - [`serve`]: accepting connections, within the bounds of the process, until told to stop;
//! - [`workers`]: the threads on which clients are served;
//! - [`authority`]: making calls of etcd's own client 3.4 acceptable to the library below;
//! - [`door`]: which of the two protocols a request of a client belongs to;
//! - [`endpoints`], [`health`], [`probe`], [`exposition`]: what HTTP/1.1 gets to see;
//! - [`verdicts`]: what came of health checks;
//! - [`peer`], [`lease`], [`change`], [`hashes`]: what other members get to see and to ask.
//!
//! The endpoints ask a [`Member`] and not the driver's handle, so that each state of a member,
//! also one that is hard to bring about, is a test of a few lines.

pub mod authority;
pub mod change;
pub mod door;
pub mod endpoints;
pub mod exposition;
mod handle;
pub mod hashes;
pub mod health;
pub mod lease;
pub mod listen;
pub mod member;
pub mod peer;
pub mod probe;
pub mod reply;
pub mod serve;
pub mod verdicts;
pub mod workers;

pub use member::{Member, MemberFacts, Numbers};
pub use verdicts::Verdicts;
