//! How long an operation would have taken: the simulated disk never waits, it only counts.

use super::state::Asked;
use crate::Operation;

/// Nanoseconds, in the order of a good solid-state drive.
const LOOK: u64 = 1_000;
const CACHED: u64 = 5_000;
const MEDIUM: u64 = 50_000;
const SYNC: u64 = 100_000;

/// Bytes that move in a nanosecond.
const RATE: u64 = 2;

/// Nanoseconds that an operation takes, if nothing slows it down.
pub(super) fn duration(asked: &Asked<'_>) -> u64 {
    let access = match asked.operation {
        Operation::Read => MEDIUM,
        Operation::Write if asked.synced => SYNC,
        Operation::Sync | Operation::SyncDir => SYNC,
        Operation::Write
        | Operation::CreateDir
        | Operation::Rename
        | Operation::Remove
        | Operation::Allocate
        | Operation::PunchHole
        | Operation::Truncate => CACHED,
        _ => LOOK,
    };
    match asked.operation {
        Operation::Read | Operation::Write => access + asked.bytes / RATE,
        _ => access,
    }
}
