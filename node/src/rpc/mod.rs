//! The gRPC services, one file each.
//!
//! A service checks a request ([`checks`], then what the request alone can tell), hands it to the
//! driver's `Handle`, and puts the answer under a header ([`header`]). It holds no state of the
//! store and takes no decision of its own: whatever refuses a call, refuses it in the order that
//! etcd has, and [`errors`] alone knows the words.
//!
//! Bytes of keys and values pass through without a copy: a request's are slices of the received
//! frame, an answer's were encoded by the key space when they were read from their pages.

mod answers;
mod auth;
pub mod checks;
mod cluster;
mod election;
pub mod errors;
pub mod header;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub mod membership;
mod range_stream;
mod served;
mod services;
mod slow;
pub mod traffic;
mod watch;
mod wording;

pub use served::{Answer, Served};
pub use services::Services;
pub use wording::Wording;

use crate::driver::Handle;

/// What a received message may hold beyond the largest request: framing, metadata, and requests
/// that never reach the log (etcd's own figure).
const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// The largest message that is received, and the size from which watch responses are split.
const fn receive_bytes_max(max_request_bytes: usize) -> usize {
    max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES)
}

/// All services of the member behind `handle`, as one. To be called within the runtime that serves
/// them.
pub fn routes(handle: Handle) -> Services {
    Services::new(handle)
}
