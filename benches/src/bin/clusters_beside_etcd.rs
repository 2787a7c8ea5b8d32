//! Runs clusters of revd and of Debian's etcd in turn on this machine and prints the ratios.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin clusters-beside-etcd
//! ```

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use benches::client::Connection;
use benches::cluster::{Cluster, status};
use benches::load::{self, Load, Operation};
use benches::open_loop::{self, OpenLoop};
use benches::process::is_in_memory;
use benches::statistics::{Latencies, median};
use clap::Parser;
use rustix::process::Signal;
use tokio::task::LocalSet;

/// Three members each: puts, gets, memory, failover, and how a new member catches up.
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
    /// Members of each cluster.
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Clusters of each kind for the rows of puts and gets.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each row in each round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often the leader is killed, and how often it is frozen.
    #[arg(long, default_value_t = 20)]
    failovers: usize,
    /// Keys of the cluster that a new member joins; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Puts a second meanwhile.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
}

/// The rows: name, operation, connections, clients.
const ROWS: [(&str, Operation, usize, usize); 6] = [
    ("put 1×1", Operation::Put, 1, 1),
    ("put 10×100", Operation::Put, 10, 100),
    ("put 100×1000", Operation::Put, 100, 1000),
    ("get 1×1", Operation::Get, 1, 1),
    ("get 100×1000", Operation::Get, 100, 1000),
    ("serializable get 100×1000", Operation::SerializableGet, 100, 1000),
];

/// Seconds of puts before a member joins.
const BEFORE: Duration = Duration::from_secs(10);

/// How long a new member may take.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);

/// Rate, median, 99th percentile and processor time of all members for each call.
type Figures = [f64; 4];

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    println!("| row | figure | revd | etcd | ratio |\n|---|---|---:|---:|---:|");
    if arguments.rounds > 0 {
        compare_loads(&arguments)?;
    }
    if arguments.failovers > 0 {
        compare_failovers(&arguments)?;
    }
    if arguments.keys > 0 {
        compare_joins(&arguments)?;
    }
    Ok(())
}

impl Arguments {
    fn binaries(&self) -> [&Path; 2] {
        [&self.revd, &self.etcd]
    }

    fn start(&self, side: usize) -> Result<Cluster, String> {
        Cluster::start(self.binaries()[side], &self.dir, self.members)
    }
}

fn compare_loads(arguments: &Arguments) -> Result<(), String> {
    let mut figures: [Vec<Vec<Figures>>; 2] = [const { Vec::new() }; 2];
    let mut memory: [Vec<f64>; 2] = [const { Vec::new() }; 2];
    for round in 0..arguments.rounds {
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let cluster = arguments.start(side)?;
            let rows = ROWS.iter().map(|row| measure(&cluster, row, arguments.seconds));
            figures[side].push(rows.collect::<Result<_, _>>()?);
            let bytes = cluster.own_memory()?.into_iter().max().unwrap_or_default();
            memory[side].push(bytes as f64 / 1e6);
        }
    }
    for (row, (name, ..)) in ROWS.iter().enumerate() {
        for (figure, what) in
            ["calls/s", "p50 µs", "p99 µs", "CPU of all members, µs/call"].iter().enumerate()
        {
            let [revd, etcd] = figures.each_ref().map(|rounds| {
                let values: Vec<f64> = rounds.iter().map(|rows| rows[row][figure]).collect();
                median(&values)
            });
            print_row(name, what, revd, etcd);
        }
    }
    print_row("memory", "RssAnon of the largest, MB", median(&memory[0]), median(&memory[1]));
    Ok(())
}

fn measure(
    cluster: &Cluster,
    (_, operation, connections, clients): &(&str, Operation, usize, usize),
    seconds: u64,
) -> Result<Figures, String> {
    let mut load = Load {
        connections: *connections,
        clients: *clients,
        value_bytes: 256,
        key_space: 100_000,
        scattered: None,
        duration: Duration::from_secs(20),
        total: 500,
    };
    load::run(&cluster.addresses(), *operation, load)?;
    load.duration = Duration::from_secs(seconds);
    load.total = u64::MAX;
    let before = cluster.processor_time()?;
    let outcome = load::run(&cluster.addresses(), *operation, load)?;
    let cpu = cluster.processor_time()? - before;
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    Ok([
        outcome.rate(),
        micros(outcome.latencies.percentile(0.5)),
        micros(outcome.latencies.percentile(0.99)),
        micros(cpu) / outcome.calls as f64,
    ])
}

fn compare_failovers(arguments: &Arguments) -> Result<(), String> {
    for (name, signal) in [("leader killed", Signal::KILL), ("leader frozen", Signal::STOP)] {
        let mut clusters = [arguments.start(0)?, arguments.start(1)?];
        let mut gaps: [Vec<f64>; 2] = [const { Vec::new() }; 2];
        for _ in 0..arguments.failovers {
            for (side, cluster) in clusters.iter_mut().enumerate() {
                gaps[side].push(cluster.lose_leader(signal)?.as_secs_f64() * 1e3);
            }
        }
        let worst = |gaps: &[f64]| gaps.iter().copied().fold(0.0, f64::max);
        print_row(name, "ms to a put, median", median(&gaps[0]), median(&gaps[1]));
        print_row(name, "ms to a put, worst", worst(&gaps[0]), worst(&gaps[1]));
    }
    Ok(())
}

fn compare_joins(arguments: &Arguments) -> Result<(), String> {
    let mut joins = Vec::new();
    for side in 0..2 {
        let mut cluster = arguments.start(side)?;
        let load = Load {
            connections: 10,
            clients: 500,
            value_bytes: 256,
            key_space: arguments.keys,
            scattered: None,
            duration: Duration::from_secs(600),
            total: arguments.keys,
        };
        load::run(&cluster.addresses(), Operation::Put, load)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let leader = cluster.leader()?;
        let leader = cluster.addresses()[leader].to_owned();
        let joined = LocalSet::new().block_on(&runtime, join(&mut cluster, &leader, arguments))?;
        joins.push(joined);
    }
    let name = format!("join at {} keys", arguments.keys);
    let what = ["s until it has caught up", "put p99 before, ms", "put p99 meanwhile, ms"];
    for (figure, what) in what.into_iter().enumerate() {
        print_row(&name, what, joins[0][figure], joins[1][figure]);
    }
    Ok(())
}

/// Seconds until the new member has caught up, and the 99th percentile of puts before and meanwhile
/// in milliseconds.
async fn join(
    cluster: &mut Cluster,
    leader: &str,
    arguments: &Arguments,
) -> Result<[f64; 3], String> {
    let connection = Connection::open(leader).await.map_err(|e| e.to_string())?;
    let p99 = |latencies: &Latencies| latencies.percentile(0.99).as_secs_f64() * 1e3;
    let (rate, key_space) = (arguments.rate, arguments.keys);
    let load = OpenLoop { rate, value_bytes: 256, key_space };
    let puts = |is_over: &Rc<Cell<bool>>| {
        let (connection, is_over) = (connection.clone(), Rc::clone(is_over));
        tokio::task::spawn_local(async move { open_loop::puts(&[connection], load, is_over).await })
    };
    let is_over = Rc::new(Cell::new(false));
    let before = puts(&is_over);
    tokio::time::sleep(BEFORE).await;
    is_over.set(true);
    let before = before.await.map_err(|e| e.to_string())??;

    let is_over = Rc::new(Cell::new(false));
    let meanwhile = puts(&is_over);
    let target = status(leader).await?.raft_applied_index;
    let start = Instant::now();
    let new = cluster.join().await?;
    // Until it serves clients it does not answer.
    while !status(new).await.is_ok_and(|status| status.raft_applied_index >= target) {
        if start.elapsed() > CATCH_UP_LIMIT {
            return Err(format!("the new member needs more than {} s", CATCH_UP_LIMIT.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = start.elapsed().as_secs_f64();
    is_over.set(true);
    let meanwhile = meanwhile.await.map_err(|e| e.to_string())??;
    Ok([took, p99(&before), p99(&meanwhile)])
}

fn print_row(label: &str, figure: &str, revd: f64, etcd: f64) {
    println!("| {label} | {figure} | {revd:.1} | {etcd:.1} | {:.2} |", revd / etcd);
}
