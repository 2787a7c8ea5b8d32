//! Runs revd and Debian's etcd in turn on this machine and prints the ratios.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use benches::load::{self, Load};
use benches::process::{Server, is_in_memory, processor_time};
use benches::statistics::median;
use clap::Parser;

/// Puts, and the time to the first of them, beside etcd: alternating runs, medians, ratios.
#[derive(Parser)]
struct Arguments {
    /// The server to measure.
    #[arg(long, default_value = "target/release/revd")]
    revd: PathBuf,
    /// The server to compare with.
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Where the servers keep their data; must be a real disk.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Runs of each server for each row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Only these rows, as numbers of clients (1, 500 or 1000).
    #[arg(long)]
    clients: Vec<usize>,
    /// Starts of each server for the time to the first put.
    #[arg(long, default_value_t = 10)]
    starts: usize,
}

/// One figure of one run, for each of several rows.
struct Run {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    client_cpu: f64,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    let binaries = [arguments.revd.as_path(), arguments.etcd.as_path()];
    println!("| row | figure | revd | etcd | ratio |\n|---|---|---:|---:|---:|");
    for (connections, clients) in [(1, 1), (10, 500), (100, 1000)] {
        if !arguments.clients.is_empty() && !arguments.clients.contains(&clients) {
            continue;
        }
        let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        for round in 0..arguments.rounds {
            for turn in 0..2 {
                let side = (round + turn) % 2;
                runs[side].push(measure(binaries[side], &arguments, connections, clients)?);
            }
        }
        let label = format!("put {connections}×{clients}");
        row(&label, "puts/s", &runs, |run| run.rate);
        row(&label, "p50 µs", &runs, |run| run.p50);
        row(&label, "p99 µs", &runs, |run| run.p99);
        row(&label, "server CPU µs/put", &runs, |run| run.cpu);
        row(&label, "client CPU µs/put", &runs, |run| run.client_cpu);
    }
    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..arguments.starts {
        for (side, binary) in binaries.iter().enumerate() {
            starts[side].push(first_put(binary, &arguments.dir)?);
        }
    }
    if arguments.starts > 0 {
        print_row("start", "exec to first put, ms", median(&starts[0]), median(&starts[1]));
    }
    Ok(())
}

fn measure(
    binary: &Path,
    arguments: &Arguments,
    connections: usize,
    clients: usize,
) -> Result<Run, String> {
    let server = Server::start(binary, &arguments.dir)?;
    let mut load = Load {
        connections,
        clients,
        value_bytes: 256,
        key_space: 100_000,
        scattered: None,
        duration: Duration::from_secs(20),
        total: 500,
    };
    // Waits for the first leader, and for whatever the first puts have to set up.
    load::puts(&server.address, load)?;
    load.duration = Duration::from_secs(arguments.seconds);
    load.total = u64::MAX;
    let before = (server.processor_time()?, processor_time(std::process::id())?);
    let outcome = load::puts(&server.address, load)?;
    let cpu = server.processor_time()? - before.0;
    let client_cpu = processor_time(std::process::id())? - before.1;
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    Ok(Run {
        rate: outcome.rate(),
        p50: micros(outcome.latencies.percentile(0.5)),
        p99: micros(outcome.latencies.percentile(0.99)),
        cpu: micros(cpu) / outcome.calls as f64,
        client_cpu: micros(client_cpu) / outcome.calls as f64,
    })
}

/// Milliseconds from the start of the process to the first acknowledged put.
fn first_put(binary: &Path, dir: &Path) -> Result<f64, String> {
    let start = Instant::now();
    let server = Server::start(binary, dir)?;
    let one = Load {
        connections: 1,
        clients: 1,
        value_bytes: 256,
        key_space: 1,
        scattered: None,
        duration: Duration::from_secs(20),
        total: 1,
    };
    load::puts(&server.address, one)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn row(label: &str, figure: &str, runs: &[Vec<Run>; 2], value: impl Fn(&Run) -> f64) {
    let [revd, etcd] = runs.each_ref().map(|runs| {
        let values: Vec<f64> = runs.iter().map(&value).collect();
        median(&values)
    });
    print_row(label, figure, revd, etcd);
}

fn print_row(label: &str, figure: &str, revd: f64, etcd: f64) {
    println!("| {label} | {figure} | {revd:.1} | {etcd:.1} | {:.2} |", revd / etcd);
}
