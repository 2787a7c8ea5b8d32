//! What the simulations of several crates share. Tests alone are built from it.
//!
//! A simulated cluster lives in one thread and from one seed: [`Chance`] draws all that could go
//! this way or that, a [`Queue`] says what comes next in virtual time, a [`Network`] loses, delays
//! and repeats messages. What breaks a rule is a [`Violation`]. [`runs`] carries out many seeds on
//! all processors, and tells of one that fails how to repeat it, with its last events ([`Trace`]);
//! [`totals!`] counts what they have met.

mod chance;
mod network;
mod queue;
pub mod runs;
mod totals;
mod trace;
mod violation;

pub use chance::{Chance, Replay};
pub use network::{Conditions, Cut, Network};
pub use queue::{Life, Queue, Time};
pub use totals::check_minima;
pub use trace::Trace;
pub use violation::{Checked, Violation};
