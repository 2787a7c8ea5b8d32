//! One run, many runs at a time, and what is told of a run that fails.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::oracle::Violation;
use crate::planted::Bug;
use crate::queue::{SECOND, Time};
use crate::totals::Totals;
use crate::world::World;

/// How long a run goes on before it is healed.
pub(crate) const LENGTH: Time = 60 * SECOND;

/// A run that broke a rule.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) seed: u64,
    /// When, in nanoseconds of the world.
    pub(crate) time: Time,
    pub(crate) what: What,
    /// The last events.
    trace: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The oracle says so.
    Violation(Violation),
    /// A member or the simulation panicked.
    Panic(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let what = match &self.what {
            What::Violation(Violation(what)) => what,
            What::Panic(what) => what,
        };
        let seconds = self.time as f64 / SECOND as f64;
        write!(f, "after {seconds:.3} s: {what}\nreplay with SEED={}", self.seed)
    }
}

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seeds {
    /// The first so many.
    First(u64),
    /// Fresh ones until then.
    Until(Instant),
}

/// What many runs came to.
#[derive(Default)]
pub(crate) struct All {
    pub(crate) runs: u64,
    pub(crate) totals: Totals,
    /// The time that threads were at it, summed up.
    pub(crate) work: Duration,
}

/// The run of one seed. If it fails, it is run again for its last events.
pub(crate) fn run(seed: u64) -> Result<Totals, Failed> {
    // If the second run does not fail, the first one still has: a run must repeat.
    attempt(seed, LENGTH, None, false)
        .map_err(|failed| attempt(seed, LENGTH, None, true).err().unwrap_or(failed))
}

/// A run with a bug planted or none, and with a trace or not.
pub(crate) fn attempt(
    seed: u64,
    length: Time,
    bug: Option<Bug>,
    traced: bool,
) -> Result<Totals, Failed> {
    let failed = |time, what, trace| Failed { seed, time, what, trace };
    let mut world = World::new(seed, length, bug)
        .map_err(|violation| failed(0, What::Violation(violation), Vec::new()))?;
    world.trace = traced.then(Default::default);
    let what = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => return Ok(world.totals),
        Ok(Err(violation)) => What::Violation(violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            What::Panic(text.unwrap_or_default())
        }
    };
    let trace = world.trace.take().unwrap_or_default();
    Err(failed(world.time, what, trace.into()))
}

/// A number for all that the members of a run said to each other.
pub(crate) fn digest(seed: u64) -> u64 {
    let mut world = World::new(seed, LENGTH / 6, None).expect("a world begins");
    world.digest = Some(0);
    if let Err(violation) = world.run() {
        panic!("SEED={seed}: {violation:?}");
    }
    world.digest.unwrap_or_default()
}

/// Runs seeds on every processor, and panics on the first that fails.
pub(crate) fn run_all(seeds: Seeds) -> All {
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = match seeds {
        Seeds::First(_) => 0,
        Seeds::Until(_) => fresh.map_or(0, |since| since.as_nanos() as u64),
    };
    let next = AtomicU64::new(0);
    let all = Mutex::new(All::default());
    let failure = Mutex::new(None);
    let work = || {
        loop {
            let turn = next.fetch_add(1, Relaxed);
            let over = match seeds {
                Seeds::First(count) => turn >= count,
                Seeds::Until(end) => Instant::now() >= end,
            };
            if over || failure.lock().unwrap().is_some() {
                return;
            }
            let begun = Instant::now();
            match run(first.wrapping_add(turn)) {
                Ok(totals) => {
                    let mut all = all.lock().unwrap();
                    all.runs += 1;
                    all.totals.add(&totals);
                    all.work += begun.elapsed();
                }
                Err(failed) => *failure.lock().unwrap() = Some(failed),
            }
        }
    };
    std::thread::scope(|scope| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..count {
            scope.spawn(work);
        }
    });
    if let Some(failed) = failure.into_inner().unwrap() {
        panic!("{failed}");
    }
    all.into_inner().unwrap()
}
