//! What the measurements of one start of the program share: the scratch directory, and turns.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::measure::is_in_memory;
use crate::task::{Figures, Task};
use crate::{Arguments, Result};

/// What was asked for, and where to do it.
#[derive(Debug)]
pub(crate) struct Session {
    /// Runs of each engine for each case.
    pub runs: usize,
    /// Fewer cases, less data and less time.
    pub quick: bool,
    /// With 20 million records too.
    pub large: bool,
    millis: Option<u64>,
    only: Vec<String>,
    cases: Vec<String>,
    scratch: TempDir,
}

impl Session {
    /// Makes the scratch directory.
    ///
    /// # Errors
    ///
    /// When it would be in memory, where a sync costs nothing.
    pub(crate) fn new(arguments: &Arguments) -> Result<Session> {
        let program = std::env::current_exe()?;
        let beside = program.parent().ok_or("the program has a directory")?;
        let dir = arguments.dir.as_deref().unwrap_or(beside);
        if is_in_memory(dir) {
            return Err(format!("{} is in memory; name a real disk", dir.display()).into());
        }
        Ok(Session {
            runs: arguments.runs.max(1),
            quick: arguments.quick,
            large: arguments.large,
            millis: arguments.millis,
            only: arguments.only.clone(),
            cases: arguments.cases.clone(),
            scratch: tempfile::Builder::new().prefix("rivals-").tempdir_in(dir)?,
        })
    }

    /// Whether this engine takes part.
    #[must_use]
    pub(crate) fn takes(&self, engine: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == engine)
    }

    /// Whether this case is measured.
    #[must_use]
    pub(crate) fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|part| case.contains(part.as_str()))
    }

    /// How long a measurement goes on that ends by the clock.
    #[must_use]
    pub(crate) fn millis(&self) -> u64 {
        self.millis.unwrap_or(if self.quick { 150 } else { 400 })
    }

    /// The directory of an engine.
    #[must_use]
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Calls `measure` for each engine in each run. Each run begins with another engine, so that
    /// nobody is always the first after the same one.
    pub(crate) fn in_turns<E>(&self, engines: &[E], mut measure: impl FnMut(usize, &E)) {
        for run in 0..self.runs {
            for turn in 0..engines.len() {
                measure(run, &engines[(run + turn) % engines.len()]);
            }
        }
    }

    /// Runs a task. One that fails is reported and yields nothing; the others go on.
    #[must_use]
    pub(crate) fn run(&self, task: &Task) -> Option<Figures> {
        tell(&format!("{:?} {}, {} B x {}", task.step, task.engine, task.bytes, task.batch));
        task.run().inspect_err(|error| eprintln!("{error}")).ok()
    }

    /// Runs a task in a new directory, which is gone afterwards.
    #[must_use]
    pub(crate) fn run_apart(&self, task: &Task) -> Option<Figures> {
        let figures = self.run(task);
        discard(&task.dir);
        figures
    }
}

/// Says on a terminal what is being done, in the place of what was said before.
pub(crate) fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}

/// Removes a directory of ours. What cannot be removed now goes with the scratch directory.
pub(crate) fn discard(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}
