//! What the benchmarks share: a cheap client, servers to measure, and the arithmetic.
//!
//! Client and server share the cores of the machine, so a client that spends much time on a call
//! hides what is measured. [`client`] therefore sends gRPC directly over HTTP/2, on one thread:
//! about 12 µs of processor time a call where a full gRPC client costs 30.

pub mod client;
pub mod cluster;
pub mod fill;
pub mod leasing;
pub mod load;
pub mod open_loop;
pub mod process;
pub mod statistics;
pub mod watching;
