//! One measurement, in a process of its own: no engine's threads, caches or memory are in the way
//! of another's. The parent starts it with the arguments that [`Task`] describes, and reads lines of
//! `name value` from its output.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::{Args, ValueEnum};

use crate::Result;
use crate::engines::{LOGS, LogEngine, STORES, Store, StoreEngine};
use crate::raft::{CLUSTERS, ClusterEngine};

/// What is to be measured, of which engine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Task {
    /// What to do.
    #[arg(value_enum)]
    pub step: Step,
    /// The engine.
    pub engine: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes of a record or value.
    #[arg(long, default_value_t = 256)]
    pub bytes: usize,
    /// Records of a batch, or proposals that wait at once.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// For how long.
    #[arg(long, default_value_t = 400)]
    pub millis: u64,
    /// Records that are put, got or scanned, or elections, all in all.
    #[arg(long, default_value_t = 0)]
    pub count: u64,
    /// Records of the store that is read.
    #[arg(long, default_value_t = 0)]
    pub population: u64,
    /// Each run draws other keys.
    #[arg(long, default_value_t = 0)]
    pub run: u64,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Appends for some time.
    Log,
    /// Appends records that are kept.
    FillLog,
    /// Replays them.
    Replay,
    /// Commits batches for some time.
    Commits,
    /// Fills a store.
    Fill,
    /// Gets with one snapshot.
    Gets,
    /// Gets with a snapshot each.
    GetsFresh,
    /// Scans.
    Scans,
    /// Puts, while nine of ten records are deleted.
    Purge,
    /// Puts alone.
    Control,
    /// Puts until it is killed.
    WriteOn,
    /// Opens.
    Open,
    /// Proposes for some time.
    Raft,
    /// Counts what proposals cost.
    RaftCosts,
    /// Holds elections.
    Elect,
}

/// What a measurement yields, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// The line after which [`Step::WriteOn`] may be killed.
pub(crate) const READY: &str = "ready";

impl Task {
    /// A task with the defaults.
    #[must_use]
    pub(crate) fn new(step: Step, engine: &str, dir: &Path) -> Task {
        Task {
            step,
            engine: engine.to_owned(),
            dir: dir.to_owned(),
            bytes: 256,
            batch: 1,
            threads: 1,
            millis: 400,
            count: 0,
            population: 0,
            run: 0,
        }
    }

    /// Opens the store that this is about.
    ///
    /// # Errors
    ///
    /// When there is no such store, or it does not open.
    pub(crate) fn open_store(&self) -> Result<Box<dyn Store>> {
        let is_named = |engine: &&StoreEngine| engine.name == self.engine;
        let engine = STORES.iter().find(is_named).ok_or("there is no such store")?;
        (engine.open)(&self.dir)
    }

    /// The log that this is about.
    ///
    /// # Errors
    ///
    /// When there is no such log.
    pub(crate) fn log_engine(&self) -> Result<&'static LogEngine> {
        let is_named = |engine: &&LogEngine| engine.name == self.engine;
        LOGS.iter().find(is_named).ok_or_else(|| "there is no such log".into())
    }

    /// The implementation of consensus that this is about.
    ///
    /// # Errors
    ///
    /// When there is no such one.
    pub(crate) fn cluster_engine(&self) -> Result<&'static ClusterEngine> {
        let is_named = |engine: &&ClusterEngine| engine.name == self.engine;
        CLUSTERS.iter().find(is_named).ok_or_else(|| "there is no such engine".into())
    }

    /// Runs it in a process of its own, and returns what that has found.
    ///
    /// # Errors
    ///
    /// When the process fails; it says why on its standard error.
    pub(crate) fn run(&self) -> Result<Figures> {
        std::fs::create_dir_all(&self.dir)?;
        let output = self.command()?.stdout(Stdio::piped()).output()?;
        if !output.status.success() {
            return Err(
                format!("{:?} of {} failed: {}", self.step, self.engine, output.status).into()
            );
        }
        let output = String::from_utf8(output.stdout)?;
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(output.lines().filter_map(pair).collect())
    }

    /// Starts it, and returns when it says that it is ready.
    ///
    /// # Errors
    ///
    /// When it ends before.
    pub(crate) fn start(&self) -> Result<Child> {
        let mut child = self.command()?.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == READY {
            return Ok(child);
        }
        let status = child.wait()?;
        Err(format!("{:?} of {} ended: {status}", self.step, self.engine).into())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let step = self.step.to_possible_value().ok_or("each step has a name")?;
        command.args(["task", step.get_name(), &self.engine]).arg(&self.dir);
        let numbers = [
            ("--bytes", self.bytes as u64),
            ("--batch", self.batch as u64),
            ("--threads", self.threads as u64),
            ("--millis", self.millis),
            ("--count", self.count),
            ("--population", self.population),
            ("--run", self.run),
        ];
        for (name, number) in numbers {
            command.args([name, &number.to_string()]);
        }
        command.stdin(Stdio::null());
        Ok(command)
    }
}
