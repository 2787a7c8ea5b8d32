//! Measures revd-wal, revd-btree and revd-raft beside other engines and beside the floor: the same
//! by the least that the system can do. README.md tells what is measured and how to read it.

mod allocations;
mod content;
mod engines;
mod measure;
mod raft;
mod session;
mod statistics;
mod table;
mod task;
mod workloads;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::session::Session;
use crate::task::Task;

/// What can go wrong is told to whoever started the program.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Measures revd-wal, revd-btree and revd-raft beside other engines and the floor.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value_t = Workload::All)]
    workload: Workload,
    /// Runs of each engine for each case, in turns.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the engines keep their files, on a real disk [default: beside this program]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Fewer cases, less data and less time.
    #[arg(long)]
    quick: bool,
    /// Only these engines, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only the cases of which the name contains one of these.
    #[arg(long, value_delimiter = ';')]
    cases: Vec<String>,
    /// How long a run of a case of `log`, `commits` or `raft` takes, in milliseconds.
    #[arg(long)]
    millis: Option<u64>,
    /// `open` with 20 million records too.
    #[arg(long)]
    large: bool,
    /// The table in Markdown.
    #[arg(long)]
    markdown: bool,
    #[command(subcommand)]
    child: Option<Internal>,
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// One measurement, for the process that asks for it.
    #[command(hide = true)]
    Task(Task),
}

/// The workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// All of them.
    All,
    /// Durable appends to a log.
    Log,
    /// Reading a log from its first record to its last.
    Replay,
    /// Durable batches of a store.
    Commits,
    /// Filling a store.
    Bulk,
    /// Random gets.
    Gets,
    /// Scans from random starts.
    Scans,
    /// Removing nine of ten records beside a load of puts.
    Compaction,
    /// Opening a store whose process was killed.
    Open,
    /// Proposals and elections among three replicas.
    Raft,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Internal::Task(task)) = &arguments.child {
        return workloads::perform(task);
    }
    let session = Session::new(&arguments)?;
    let wants = |workload| [Workload::All, workload].contains(&arguments.workload);
    let mut rows = Vec::new();
    for (workload, measure) in workloads::ALL {
        if wants(*workload) {
            rows.extend(measure(&session)?);
        }
    }
    session::tell("");
    println!("{}", table::render(&rows, arguments.markdown));
    Ok(())
}
