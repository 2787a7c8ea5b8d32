//! Compaction beside puts: how much slower puts are while a server gives up most of its history.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin compaction
//! ```

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use benches::client::Connection;
use benches::fill;
use benches::open_loop::{self, OpenLoop};
use benches::process::{Server, is_in_memory};
use benches::statistics::Latencies;
use clap::Parser;
use revd_api::etcdserverpb::CompactionRequest;
use tokio::task::LocalSet;

/// Loads records, compacts nine tenths of them beside an open loop of puts, and prints how the
/// latency of the puts changes.
#[derive(Clone, Parser)]
struct Arguments {
    /// The servers to measure, one after the other.
    #[arg(long, default_value = "target/release/revd")]
    server: Vec<PathBuf>,
    /// Where the servers keep their data; must be a real disk.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Records to load, as puts of transactions of 100.
    #[arg(long, default_value_t = 5_000_000)]
    records: u64,
    /// Different keys among them.
    #[arg(long, default_value_t = 500_000)]
    keys: u64,
    /// Puts a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Seconds of puts before the compaction.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Puts go on for so many seconds at most after the compaction was asked for.
    #[arg(long, default_value_t = 600)]
    limit: u64,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    for server in &arguments.server {
        measure(server, &arguments)?;
    }
    Ok(())
}

fn measure(binary: &Path, arguments: &Arguments) -> Result<(), String> {
    let server = Server::start(binary, &arguments.dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    println!("{}", binary.display());
    LocalSet::new().block_on(&runtime, run(&server.address, arguments))
}

async fn run(address: &str, arguments: &Arguments) -> Result<(), String> {
    let mut connections = Vec::new();
    for _ in 0..4 {
        let connection = Connection::open(address).await;
        connections.push(connection.map_err(|e| format!("cannot connect to {address}: {e}"))?);
    }
    let start = Instant::now();
    let revision = fill::records(&connections, arguments.records, arguments.keys, 256).await?;
    println!("loaded {} records in {:.1} s", arguments.records, start.elapsed().as_secs_f64());
    // Checkpoints of the load come to their end.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = beside(&connections, arguments, async |_| {
        tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
        Ok(())
    })
    .await?;
    show("before", &before);
    let size = metric(address, "etcd_mvcc_db_total_size_in_bytes")?;
    let start = Instant::now();
    let during = beside(&connections, arguments, async |connection| {
        let revision = revision * 9 / 10;
        let request = CompactionRequest { revision, physical: true };
        let mut compact = connection.method("/etcdserverpb.KV/Compact");
        let limit = Duration::from_secs(arguments.limit);
        match tokio::time::timeout(limit, compact.call(&request)).await {
            Ok(done) => done.map(drop).map_err(|e| e.to_string()),
            Err(_) => {
                println!("not finished after {} s", arguments.limit);
                Ok(())
            }
        }
    })
    .await?;
    let took = start.elapsed().as_secs_f64();
    show("during", &during);
    let ratio =
        |share| during.percentile(share).as_secs_f64() / before.percentile(share).as_secs_f64();
    println!("compaction: {took:.1} s; p50 {:.2} times, p99 {:.2} times", ratio(0.5), ratio(0.99));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = metric(address, "etcd_mvcc_db_total_size_in_bytes")?;
    println!("database: {:.0} MB before, {:.0} MB after", size / 1e6, after / 1e6);
    for line in page(address)?.lines().filter(|line| line.contains("compaction_pause")) {
        println!("{line}");
    }
    Ok(())
}

/// Runs `work` beside the open loop of puts; returns the latencies of these.
async fn beside(
    connections: &[Connection],
    arguments: &Arguments,
    work: impl AsyncFnOnce(Connection) -> Result<(), String>,
) -> Result<Latencies, String> {
    let is_over = Rc::new(Cell::new(false));
    let load = OpenLoop { rate: arguments.rate, value_bytes: 256, key_space: arguments.keys };
    let loop_connections = connections.to_vec();
    let until = Rc::clone(&is_over);
    let puts =
        tokio::task::spawn_local(
            async move { open_loop::puts(&loop_connections, load, until).await },
        );
    let done = work(connections[0].clone()).await;
    is_over.set(true);
    let latencies = puts.await.map_err(|e| e.to_string())?;
    done.and(latencies)
}

fn show(label: &str, latencies: &Latencies) {
    let micros = |share| latencies.percentile(share).as_secs_f64() * 1e6;
    println!(
        "{label}: p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, most {:.0} µs",
        micros(0.5),
        micros(0.9),
        micros(0.99),
        micros(0.999),
        micros(1.0)
    );
}

fn metric(address: &str, name: &str) -> Result<f64, String> {
    let page = page(address)?;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| format!("no {name} among the metrics"))
}

fn page(address: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    ask().map_err(|e| format!("no metrics: {e}"))
}
