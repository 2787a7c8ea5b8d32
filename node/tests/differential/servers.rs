//! The two servers under comparison: Debian's etcd and the revd of this build.
//!
//! Both are told the same name, token and advertised URLs, so that member and cluster ids come out
//! equal; they listen on free loopback ports of their own. Nothing ever dials the advertised URLs:
//! a cluster of one has no peers.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support;
use crate::wire::Client;

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The later value of a repeated flag counts.
const SAME_IDENTITY: &[&str] = &[
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=m0=http://127.0.0.1:2380",
    "--initial-cluster-token=differential",
    "--logger=zap",
];

/// A running server with a data directory of its own; dropping it kills the process.
pub struct Server {
    /// `etcd` or `revd`.
    pub name: &'static str,
    /// A connection to it.
    pub client: Client,
    process: support::Server,
    // Removed after the process has gone: fields are dropped in order.
    _dir: TempDir,
}

impl Server {
    /// Starts a binary that takes etcd's flags and waits until it answers.
    pub async fn start(name: &'static str, binary: &str) -> Self {
        let dir = support::scratch();
        let process = support::Server::start_with(Command::new(binary), dir.path(), SAME_IDENTITY);
        let client = Client::new(&process.client_url);
        let mut server = Self { name, client, process, _dir: dir };
        let started = Instant::now();
        while !server.client.is_ready().await {
            assert!(
                server.is_alive() && started.elapsed() < START_LIMIT,
                "{name} does not answer; its log:\n{}",
                server.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// The end of what the process has logged.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.process.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}
