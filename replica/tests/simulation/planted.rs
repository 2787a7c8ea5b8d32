//! Bugs planted in members, to show that the oracle finds them.

use crate::driver::Driver;

/// No bug can be planted yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {}

pub(crate) fn plant(_: &mut Driver, bug: Option<Bug>) {
    if let Some(bug) = bug {
        match bug {}
    }
}
