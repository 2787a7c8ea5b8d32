//! Puts through gRPC to a real server on loopback, with one client and with 256.
//!
//! The server is the `revd` beside the benches: `cargo build --release` makes it.

use std::path::Path;
use std::time::Duration;

use benches::load::{self, Load};
use benches::process::{Server, is_in_memory};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn puts(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(!is_in_memory(base), "{} is in memory: a sync there costs nothing", base.display());
    let binary = base.with_file_name("release").join("revd");
    assert!(binary.exists(), "build the server first: cargo build --release");
    let server = Server::start(&binary, base).expect("the server starts");
    let mut group = c.benchmark_group("server/put");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(1));
    for (connections, clients) in [(1, 1), (8, 256)] {
        group.bench_function(BenchmarkId::new("clients", clients), |b| {
            b.iter_custom(|iterations| {
                let load = Load {
                    connections,
                    clients,
                    value_bytes: 256,
                    key_space: 100_000,
                    scattered: None,
                    duration: Duration::from_secs(60),
                    // Enough for each client to have its share, whatever criterion asks for.
                    total: iterations.max(clients as u64 * 10),
                };
                let outcome = load::puts(&server.address, load).expect("puts are answered");
                outcome.took.mul_f64(iterations as f64 / outcome.calls as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, puts);
criterion_main!(benches);
