//! Kills revd and Debian's etcd with many keys, starts them again, and prints how long the first
//! put takes and what memory they hold; and what it costs revd to stream all keys to one client.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin restart-beside-etcd
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use benches::client::Connection;
use benches::fill;
use benches::process::{Server, is_in_memory};
use benches::statistics::median;
use clap::Parser;
use revd_api::etcdserverpb::{PutRequest, RangeRequest};
use tokio::task::LocalSet;

/// How long the first put after a start may take.
const FIRST_PUT_LIMIT: Duration = Duration::from_secs(60);
/// Frames of a stream between two looks at the server's memory.
const FRAMES: u64 = 50;

/// Restart to first put, and memory, with many keys: beside etcd, medians.
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
    /// Keys of 8 bytes, with values of 256.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Times that each server is killed and started again.
    #[arg(long, default_value_t = 5)]
    starts: usize,
}

/// What was seen of one server; bytes of memory.
struct Seen {
    first_put: Vec<f64>,
    loaded: u64,
    restarted: u64,
    resident: u64,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    println!("| server | restart to put, ms | RssAnon loaded | restarted | VmRSS restarted, MiB |");
    println!("|---|---:|---:|---:|---:|");
    let revd = measure(&arguments.revd, &arguments, true)?;
    if arguments.etcd != Path::new("none") {
        let etcd = measure(&arguments.etcd, &arguments, false)?;
        println!(
            "| revd to etcd | {:.2} | {:.2} | {:.2} | {:.2} |",
            median(&revd.first_put) / median(&etcd.first_put),
            revd.loaded as f64 / etcd.loaded as f64,
            revd.restarted as f64 / etcd.restarted as f64,
            revd.resident as f64 / etcd.resident as f64,
        );
    }
    Ok(())
}

fn measure(binary: &Path, arguments: &Arguments, has_stream: bool) -> Result<Seen, String> {
    let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut server = Server::start(binary, &arguments.dir)?;
    block_on(load(&server.address, arguments.keys))?;
    // Checkpoints of the load come to their end.
    std::thread::sleep(Duration::from_secs(3));
    let loaded = server.own_memory()?;
    let mut first_put = Vec::new();
    for _ in 0..arguments.starts {
        server.kill()?;
        let start = Instant::now();
        server.start_again()?;
        block_on(first(&server.address))?;
        first_put.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (restarted, resident) = (server.own_memory()?, server.resident_memory()?);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "| {name} | {:.0} | {:.0} | {:.0} | {:.0} |",
        median(&first_put),
        mib(loaded),
        mib(restarted),
        mib(resident),
    );
    if has_stream {
        let (keys, peak) = block_on(stream(&server))?;
        let extra = mib(peak.saturating_sub(restarted));
        println!("| {name} | {keys} bytes by RangeStream: {extra:.1} MiB more RssAnon | | | |");
    }
    Ok(Seen { first_put, loaded, restarted, resident })
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, work)
}

async fn connect(address: &str) -> Result<Connection, String> {
    let connection = Connection::open(address).await;
    connection.map_err(|e| format!("cannot connect to {address}: {e}"))
}

async fn load(address: &str, keys: u64) -> Result<(), String> {
    first(address).await?;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(connect(address).await?);
    }
    fill::records(&connections, keys, keys, 256).await.map(drop)
}

/// Puts until one is acknowledged: a server that has just begun to listen may refuse some.
async fn first(address: &str) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let failed = match connect(address).await {
            Ok(connection) => {
                let key = b"first".to_vec().into();
                let put = PutRequest { key, ..PutRequest::default() };
                match connection.method("/etcdserverpb.KV/Put").call(&put).await {
                    Ok(_) => return Ok(()),
                    Err(error) => error.to_string(),
                }
            }
            Err(failed) => failed,
        };
        if start.elapsed() > FIRST_PUT_LIMIT {
            return Err(format!("no put is acknowledged: {failed}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads all keys as a stream; bytes that came, and the server's largest RssAnon meanwhile.
async fn stream(server: &Server) -> Result<(u64, u64), String> {
    let connection = connect(&server.address).await?;
    let mut method = connection.method("/etcdserverpb.KV/RangeStream");
    let (mut requests, mut responses) = method.stream().await.map_err(|e| e.to_string())?;
    let zero = bytes::Bytes::from_static(b"\0");
    let all = RangeRequest { key: zero.clone(), range_end: zero, ..RangeRequest::default() };
    requests.send_last(&all).map_err(|e| e.to_string())?;
    let (mut bytes, mut frames, mut peak) = (0, 0, server.own_memory()?);
    while responses
        .read(|message| bytes += message.len() as u64)
        .await
        .map_err(|e| e.to_string())?
    {
        frames += 1;
        if frames % FRAMES == 0 {
            peak = peak.max(server.own_memory()?);
        }
    }
    Ok((bytes, peak.max(server.own_memory()?)))
}
