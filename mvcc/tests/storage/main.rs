//! The whole store on a simulated disk: losses of power, damage, and a full disk. What the tree
//! below shows of itself is shown here of the key space: index, history, leases, rows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod crash;
mod damage;
mod full;
mod load;
#[allow(dead_code, reason = "has more than is asked here")]
#[path = "../model/model.rs"]
mod model;
#[allow(dead_code, reason = "has more than is asked here")]
#[path = "../model/random.rs"]
mod random;
#[allow(dead_code, reason = "has more than is asked here")]
#[path = "../model/verify.rs"]
mod verify;
mod watched;
#[allow(dead_code, reason = "has more than is asked here")]
#[path = "../rules/wire.rs"]
mod wire;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
