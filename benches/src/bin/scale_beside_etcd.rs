//! Puts, transactions and gets of a running server as its key space grows, and beside Debian's
//! etcd.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin scale-beside-etcd
//! cargo run --release -p benches --bin scale-beside-etcd -- --etcd none --keys 10000,10000000
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::client::Connection;
use benches::fill;
use benches::load::{self, Load, Operation};
use benches::process::{Server, is_in_memory};
use benches::statistics::median;
use clap::Parser;
use tokio::task::LocalSet;

/// Calls a second to keys at random, of a server that holds few keys and of one that holds many:
/// alternating, medians.
#[derive(Parser)]
struct Arguments {
    /// The server to measure.
    #[arg(long, default_value = "target/release/revd")]
    revd: PathBuf,
    /// The server to compare with; `none` leaves it out.
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Where the servers keep their data; must be a real disk.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Keys of 8 bytes, with values of 256, of each server that is started.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    keys: Vec<u64>,
    /// Runs of each server.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of each run.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Clients, on a tenth as many connections.
    #[arg(long, default_value_t = 500)]
    clients: usize,
}

/// A server with its keys, and what was seen of one operation: calls a second, and microseconds of
/// its processor time for a call.
struct Loaded {
    name: String,
    keys: u64,
    server: Server,
    seen: Vec<(f64, f64)>,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    println!(
        "| operation | server | keys | calls/s | of those with the fewest keys | CPU µs/call |"
    );
    println!("|---|---|---:|---:|---:|---:|");
    for binary in [&arguments.revd, &arguments.etcd] {
        if binary != Path::new("none") {
            measure(binary, &arguments)?;
        }
    }
    Ok(())
}

fn measure(binary: &Path, arguments: &Arguments) -> Result<(), String> {
    let keys = arguments.keys.iter();
    let mut servers =
        keys.map(|keys| start(binary, arguments, *keys)).collect::<Result<Vec<_>, _>>()?;
    for operation in [Operation::Put, Operation::Txn, Operation::Get, Operation::SerializableGet] {
        servers.iter_mut().for_each(|loaded| loaded.seen.clear());
        for round in 0..arguments.rounds {
            for loaded in &mut servers {
                let run = run(loaded, arguments, operation, round)?;
                loaded.seen.push(run);
            }
        }
        let mut fewest = None;
        for Loaded { name, keys, seen, .. } in &servers {
            let rate = median(&seen.iter().map(|(rate, _)| *rate).collect::<Vec<_>>());
            let cpu = median(&seen.iter().map(|(_, cpu)| *cpu).collect::<Vec<_>>());
            let share = rate / *fewest.get_or_insert(rate);
            println!("| {operation:?} | {name} | {keys} | {rate:.0} | {share:.2} | {cpu:.1} |");
        }
    }
    Ok(())
}

fn start(binary: &Path, arguments: &Arguments, keys: u64) -> Result<Loaded, String> {
    let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let server = Server::start(binary, &arguments.dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, async {
        let mut connections = Vec::new();
        for _ in 0..4 {
            let connection = Connection::open(&server.address).await;
            connections.push(connection.map_err(|e| format!("cannot connect: {e}"))?);
        }
        fill::records(&connections, keys, keys, 256).await
    })?;
    Ok(Loaded { name, keys, server, seen: Vec::new() })
}

/// One run, which asks for other keys than the runs before.
fn run(
    loaded: &Loaded,
    arguments: &Arguments,
    operation: Operation,
    round: u64,
) -> Result<(f64, f64), String> {
    let load = Load {
        connections: arguments.clients.div_ceil(10),
        clients: arguments.clients,
        value_bytes: 256,
        key_space: loaded.keys,
        scattered: Some(round),
        duration: Duration::from_secs(arguments.seconds),
        total: u64::MAX,
    };
    let before = loaded.server.processor_time()?;
    let outcome = load::run(&[&loaded.server.address], operation, load)?;
    let cpu = (loaded.server.processor_time()? - before).as_secs_f64() * 1e6;
    Ok((outcome.rate(), cpu / outcome.calls as f64))
}
