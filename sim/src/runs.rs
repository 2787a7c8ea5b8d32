//! One run, many runs at a time, and what is told of a run that fails.

use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::{Checked, Trace, Violation};

/// A simulated cluster with everything around it.
pub trait World: Sized {
    /// A bug that can be planted in it.
    type Bug: Copy;
    /// What it has met.
    type Totals: AddAssign + Default + Send;
    /// How long a whole run is, in the unit of the simulation, healing aside.
    const LENGTH: u64;
    /// How many of its last events a failure shows.
    const TRACED: usize;

    /// The world of a seed, with a bug planted or none, that lives so long.
    fn new(seed: u64, length: u64, bug: Option<Self::Bug>) -> Checked<Self>;

    /// Lives through all of it: the faults, then the healing.
    fn run(&mut self) -> Checked;

    /// Where it writes what happens.
    fn trace(&mut self) -> &mut Trace;

    /// How far it has come, in words.
    fn age(&self) -> String;

    /// What it has met.
    fn into_totals(self) -> Self::Totals;
}

/// A run that broke a rule.
#[derive(Debug)]
pub struct Failed {
    /// Which run.
    pub seed: u64,
    /// How far it had come.
    pub age: String,
    /// What was wrong.
    pub what: What,
    trace: Trace,
}

/// What was wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The oracle says so.
    Violation(Violation),
    /// A member or the simulation panicked.
    Panic(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.trace.lines() {
            writeln!(f, "{line}")?;
        }
        let what = match &self.what {
            What::Violation(Violation(what)) => what,
            What::Panic(what) => what,
        };
        write!(f, "after {}: {what}\nreplay with SEED={}", self.age, self.seed)
    }
}

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub enum Seeds {
    /// The first so many.
    First(u64),
    /// Fresh ones until then.
    Until(Instant),
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct All<T> {
    /// How many there were.
    pub runs: u64,
    /// What they have met, all together.
    pub totals: T,
    /// The time that threads were at it, summed up.
    pub work: Duration,
}

/// The run of one seed. If it fails, it is run again for its last events.
///
/// # Errors
///
/// If it breaks a rule.
pub fn run<W: World>(seed: u64) -> Result<W::Totals, Failed> {
    // If the second run does not fail, the first one still has: a run must repeat.
    attempt::<W>(seed, None, false)
        .map_err(|failed| attempt::<W>(seed, None, true).err().unwrap_or(failed))
}

/// A run with a bug planted or none, and with a trace or not.
///
/// # Errors
///
/// If it breaks a rule.
pub fn attempt<W: World>(
    seed: u64,
    bug: Option<W::Bug>,
    traced: bool,
) -> Result<W::Totals, Failed> {
    let mut world = W::new(seed, W::LENGTH, bug).map_err(|violation| {
        let what = What::Violation(violation);
        Failed { seed, age: "nothing".to_owned(), what, trace: Trace::default() }
    })?;
    if traced {
        *world.trace() = Trace::of(W::TRACED);
    }
    let what = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => return Ok(world.into_totals()),
        Ok(Err(violation)) => What::Violation(violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            What::Panic(text.unwrap_or_default())
        }
    };
    let trace = std::mem::take(world.trace());
    Err(Failed { seed, age: world.age(), what, trace })
}

/// Runs seeds on every processor.
///
/// # Panics
///
/// With the first run that fails.
pub fn run_all<W: World>(seeds: Seeds) -> All<W::Totals> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH);
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
            if over || failure.lock().is_some() {
                return;
            }
            let begun = Instant::now();
            match run::<W>(first.wrapping_add(turn)) {
                Ok(totals) => {
                    let mut all = all.lock();
                    all.runs += 1;
                    all.totals += totals;
                    all.work += begun.elapsed();
                }
                Err(failed) => *failure.lock() = Some(failed),
            }
        }
    };
    std::thread::scope(|scope| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..count {
            scope.spawn(work);
        }
    });
    if let Some(failed) = failure.into_inner() {
        panic!("{failed}");
    }
    all.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::totals! {
        steps: "steps",
    }

    /// Breaks a rule in seed 3, and panics in seed 4.
    struct Toy {
        seed: u64,
        totals: Totals,
        trace: Trace,
    }

    impl World for Toy {
        type Bug = ();
        type Totals = Totals;
        const LENGTH: u64 = 5;
        const TRACED: usize = 2;

        fn new(seed: u64, length: u64, _: Option<()>) -> Checked<Toy> {
            crate::ensure!(length == 5, "a run of {length}");
            Ok(Toy { seed, totals: Totals::default(), trace: Trace::default() })
        }

        fn run(&mut self) -> Checked {
            for step in 1..=Self::LENGTH {
                self.totals.steps = step;
                self.trace.push(format!("step {step}"));
                crate::ensure!((self.seed, step) != (3, 4), "the rule");
                assert_ne!((self.seed, step), (4, 4), "the assert");
            }
            Ok(())
        }

        fn trace(&mut self) -> &mut Trace {
            &mut self.trace
        }

        fn age(&self) -> String {
            format!("{} steps", self.totals.steps)
        }

        fn into_totals(self) -> Totals {
            self.totals
        }
    }

    #[test]
    fn runs_are_added_up() {
        let all = run_all::<Toy>(Seeds::First(3));
        assert_eq!((all.runs, all.totals.steps), (3, 15));
    }

    #[test]
    fn a_run_that_fails_tells_what_when_and_how_to_repeat_it() {
        let told = |seed| run::<Toy>(seed).unwrap_err().to_string();
        assert_eq!(told(3), "step 3\nstep 4\nafter 4 steps: the rule\nreplay with SEED=3");
        assert!(told(4).starts_with("step 3\nstep 4\nafter 4 steps: assertion"), "{}", told(4));
    }
}
