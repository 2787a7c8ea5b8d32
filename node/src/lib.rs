//! The server: what the library crates compute, composed into a process.
//!
//! This crate owns everything that the crates below must not know: sockets, threads, the clock,
//! flags and the log. It holds no storage, no consensus and no decision about a log entry.
//!
//! Read it in the order of a start:
//!
//! - [`config`]: flags and environment become one checked [`config::Config`];
//! - [`log`]: lines of JSON in the shape that operators of etcd know;
//! - [`bootstrap`]: ids of member and cluster, and who may use the data directory;
//! - [`server`]: everything below as one value that starts and stops;
//! - [`driver`]: the threads that run consensus and the machine, and the handle to them;
//! - [`rpc`]: the gRPC services, one file each;
//! - [`peer`]: the streams between members;
//! - [`comparing`]: whether the members hold the same;
//! - [`http`]: the listeners of clients and of other members, health, version and metrics;
//! - [`readiness`]: telling the init system that the member is up.

pub mod bootstrap;
pub mod comparing;
pub mod config;
pub mod driver;
pub mod http;
pub mod log;
pub mod peer;
pub mod readiness;
pub mod rpc;
pub mod server;

/// Version of etcd whose interface and wire format this is.
pub const ETCD_VERSION: &str = "3.7.0";
