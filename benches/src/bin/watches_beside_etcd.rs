//! Runs revd and Debian's etcd in turn under many watchers and prints what watching costs.
//!
//! ```text
//! cargo build --release && cargo run --release -p benches --bin watches-beside-etcd
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::process::{Server, is_in_memory, processor_time};
use benches::statistics::median;
use benches::watching::{self, Watching, Written};
use clap::{Parser, ValueEnum};

/// Events for each second of processor time, puts beside idle watchers, and what watchers that
/// nobody reads do to the others: beside etcd, alternating runs, medians.
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
    /// Runs of each server for each row.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these.
    #[arg(long)]
    only: Vec<Scenario>,
    /// Puts a second to the watched key, where they are paced.
    #[arg(long, default_value_t = 300)]
    rate: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 1,000 watchers on one key, paced puts.
    FanOut,
    /// The same, as many puts as are answered.
    Flood,
    /// Puts to other keys with 10,000 watchers on distinct keys.
    Idle,
    /// The same puts without watchers.
    Alone,
    /// 1,000 watchers on 100 streams, all read.
    Read,
    /// The same, a tenth of the streams not read.
    Stopped,
}

/// The figures of one run.
struct Run {
    puts: f64,
    put_p99: f64,
    events: f64,
    event_p50: f64,
    event_p99: f64,
    /// Processor time in microseconds: of the server for an event, or a put if there are none.
    cpu: f64,
    client_cpu: f64,
    /// Most memory that the server had resident so far, in MiB.
    peak: f64,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    if is_in_memory(&arguments.dir) {
        return Err(format!("{} is in memory; name a real disk", arguments.dir.display()));
    }
    let mut binaries = vec![arguments.revd.as_path()];
    if arguments.etcd != Path::new("none") {
        binaries.push(&arguments.etcd);
    }
    println!(
        "| scenario | server | puts/s | put p99 µs | events/s | event p50 µs | p99 µs | \
         server CPU µs | client CPU µs | peak MiB |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for scenario in Scenario::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(scenario) {
            continue;
        }
        let mut runs: Vec<Vec<Run>> = binaries.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            for turn in 0..binaries.len() {
                let side = (round + turn) % binaries.len();
                runs[side].push(measure(binaries[side], &arguments, *scenario)?);
            }
        }
        for (binary, runs) in binaries.iter().zip(&runs) {
            print_row(*scenario, binary, runs);
        }
    }
    Ok(())
}

fn load(arguments: &Arguments, scenario: Scenario) -> Watching {
    let fan_out = Watching {
        connections: 10,
        streams: 10,
        watchers: 100,
        watched: 1,
        unread: 0,
        prev_kv: false,
        written: Written::Watched,
        clients: 4,
        rate: arguments.rate,
        duration: Duration::from_secs(arguments.seconds),
        value_bytes: 256,
    };
    let others = Written::Others(100_000);
    let idle = Watching {
        streams: 100,
        watched: 10_000,
        written: others,
        clients: 200,
        rate: 0,
        ..fan_out
    };
    let read = Watching { streams: 100, watchers: 10, ..fan_out };
    match scenario {
        Scenario::FanOut => fan_out,
        Scenario::Flood => Watching { rate: 0, ..fan_out },
        Scenario::Idle => idle,
        Scenario::Alone => Watching { streams: 0, ..idle },
        Scenario::Read => read,
        Scenario::Stopped => Watching { unread: 10, ..read },
    }
}

fn measure(binary: &Path, arguments: &Arguments, scenario: Scenario) -> Result<Run, String> {
    let server = Server::start(binary, &arguments.dir)?;
    let load = load(arguments, scenario);
    // Waits for the first leader, and for whatever the first puts have to set up.
    let warm = Watching {
        streams: 0,
        written: Written::Others(100),
        rate: 0,
        duration: Duration::from_millis(1500),
        ..load
    };
    watching::run(&server.address, warm, || Ok(()))?;
    let times = || Ok::<_, String>((server.processor_time()?, processor_time(std::process::id())?));
    let (outcome, before) = watching::run(&server.address, load, times)?;
    let after = times()?;
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    let count = if outcome.events > 0 { outcome.events } else { outcome.puts } as f64;
    Ok(Run {
        puts: outcome.puts as f64 / outcome.put_time.as_secs_f64(),
        put_p99: micros(outcome.put_latencies.percentile(0.99)),
        events: outcome.events as f64 / outcome.event_time.as_secs_f64().max(1e-9),
        event_p50: micros(outcome.event_latencies.percentile(0.5)),
        event_p99: micros(outcome.event_latencies.percentile(0.99)),
        cpu: micros(after.0 - before.0) / count,
        client_cpu: micros(after.1 - before.1) / count,
        peak: server.peak_memory()? as f64 / f64::from(1 << 20),
    })
}

fn print_row(scenario: Scenario, binary: &Path, runs: &[Run]) {
    let value = |of: fn(&Run) -> f64| median(&runs.iter().map(of).collect::<Vec<f64>>());
    let name = scenario.to_possible_value().map_or(String::new(), |v| v.get_name().to_owned());
    let server = binary.file_name().unwrap_or_default().to_string_lossy();
    println!(
        "| {name} | {server} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} | {:.3} | {:.0} |",
        value(|r| r.puts),
        value(|r| r.put_p99),
        value(|r| r.events),
        value(|r| r.event_p50),
        value(|r| r.event_p99),
        value(|r| r.cpu),
        value(|r| r.client_cpu),
        value(|r| r.peak),
    );
}
