//! Grants, renews and revokes many leases on revd and on Debian's etcd, and prints what they cost.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin leases-beside-etcd
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::leasing::{self, Action};
use benches::process::{Server, is_in_memory, processor_time};
use clap::Parser;

/// Seconds that a lease is granted for: none runs out meanwhile.
const TTL: i64 = 3600;

/// Rates, processor time and memory with many leases, and what a server costs that holds them
/// while nothing happens.
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
    /// Leases that exist at the end of the grants.
    #[arg(long, default_value_t = 100_000)]
    leases: i64,
    /// How many of them are renewed, and how many revoked.
    #[arg(long, default_value_t = 100_000)]
    sample: i64,
    /// Seconds for which the server is left alone.
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Connections, and clients on them.
    #[arg(long, default_value_t = 10)]
    connections: usize,
    #[arg(long, default_value_t = 500)]
    clients: usize,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    println!("| server | step | leases/s | p99 µs | server CPU µs | client CPU µs |");
    println!("|---|---|---:|---:|---:|---:|");
    for binary in [&arguments.revd, &arguments.etcd] {
        if binary != Path::new("none") {
            measure(binary, &arguments)?;
        }
    }
    Ok(())
}

fn measure(binary: &Path, arguments: &Arguments) -> Result<(), String> {
    let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let server = Server::start(binary, &arguments.dir)?;
    let run = |step: &str, action, leases: std::ops::Range<i64>| {
        let before = (server.processor_time()?, processor_time(std::process::id())?);
        let count = (leases.end - leases.start) as f64;
        let (connections, clients) = (arguments.connections, arguments.clients);
        let outcome = leasing::run(&server.address, action, leases, connections, clients)?;
        let cpu = server.processor_time()? - before.0;
        let client_cpu = processor_time(std::process::id())? - before.1;
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        println!(
            "| {name} | {step} | {:.0} | {:.0} | {:.1} | {:.1} |",
            outcome.rate(),
            micros(outcome.latencies.percentile(0.99)),
            micros(cpu) / count,
            micros(client_cpu) / count,
        );
        Ok::<(), String>(())
    };
    // Waits for the first leader, and for whatever the first grants have to set up.
    run("warm up", Action::Grant(TTL), 1..10_001)?;
    let empty = server.own_memory()?;
    let end = 10_001 + arguments.leases;
    run("grant", Action::Grant(TTL), 10_001..end)?;
    let full = server.own_memory()?;
    let sample = 10_001..10_001 + arguments.sample.min(arguments.leases);
    run("renew", Action::Renew, sample.clone())?;
    idle(&name, &server, arguments.idle)?;
    run("revoke", Action::Revoke, sample)?;
    let bytes = full.saturating_sub(empty) as f64 / arguments.leases as f64;
    println!("| {name} | memory, bytes a lease (RssAnon) | {bytes:.0} | | | |");
    Ok(())
}

/// Prints the processor time of a server that is left alone.
fn idle(name: &str, server: &Server, seconds: u64) -> Result<(), String> {
    // Whatever the calls before have left to be done.
    std::thread::sleep(Duration::from_secs(2));
    let before = server.processor_time()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let cpu = (server.processor_time()? - before).as_secs_f64() / seconds as f64;
    println!("| {name} | idle, ms of CPU a second | {:.2} | | | |", cpu * 1e3);
    Ok(())
}
