//! The etcd v3 protobuf interface: messages, enums and, behind the feature `grpc`, service stubs.
//!
//! All of it is generated at build time from the .proto files in `proto/`, by compilers written in
//! Rust; a user's machine needs no `protoc`. One module a protobuf package:
//!
//! | module | holds |
//! | --- | --- |
//! | [`etcdserverpb`] | KV, Watch, Lease, Cluster, Maintenance, Auth |
//! | [`mvccpb`] | key-value records and events |
//! | [`authpb`] | users, roles, permissions |
//! | [`v3lockpb`], [`v3electionpb`] | the lock and election services |
//! | [`health`] | the standard health check of gRPC |
//!
//! This crate knows nothing of storage or of the meaning of a request. Without the feature it
//! knows nothing of gRPC either, and of no runtime, so that the replicated state machine can read
//! messages from its log.
//!
//! # Messages that carry bytes through
//!
//! Fields of type `bytes` are [`bytes::Bytes`]: what was received is not copied out of its frame.
//! In the other direction two messages are written by hand, [`RangeResponse`] and
//! [`WatchResponse`]: their records and events are held in the encoded form in which the key space
//! hands them out, because on the way from a page to a frame nobody needs them as structs. On the
//! wire they are what `proto/` says, which tests hold against generated twins.
//!
//! ```
//! use prost::Message;
//! use revd_api::etcdserverpb::{Kvs, RangeResponse};
//! use revd_api::mvccpb::KeyValue;
//!
//! let record = KeyValue { key: "name".into(), value: "revd".into(), ..Default::default() };
//! let sent = RangeResponse { kvs: Kvs::from_iter([&record]), count: 1, ..Default::default() };
//!
//! let received = RangeResponse::decode(sent.encode_to_vec().as_slice())?;
//! assert_eq!(received.kvs.decode()?, [record]);
//! # Ok::<(), prost::DecodeError>(())
//! ```
//!
//! # Names
//!
//! Rust names are those of the .proto files in Rust's case, so `raftTerm` is
//! `raft_term`. One exception: `peerURLs` and `clientURLs` are `peer_urls` and `client_urls`
//! here. [`FILE_DESCRIPTOR_SET`] has every name as etcd writes it.

mod range_response;
mod watch_response;

pub use range_response::{Kvs, RangeResponse, Records};
pub use watch_response::WatchResponse;

/// The compiled .proto files as an encoded `google.protobuf.FileDescriptorSet`: what reflection, a
/// JSON gateway or a checker of this interface reads.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The services of etcd and their messages.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod etcdserverpb {
    pub use crate::{Kvs, RangeResponse, WatchResponse};

    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// Key-value records and events.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Users, roles and permissions.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
}

/// The lock service.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

/// The election service.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

/// The health check that every gRPC server may offer, package `grpc.health.v1`.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated")]
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
