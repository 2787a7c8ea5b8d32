//! A member that is set up by a file and watched: by probes, by metrics, by its log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::{PutRequest, RangeRequest};
use support::{Server, free_port, scratch};

/// Everything that takes no longer than this has happened.
const PATIENCE: Duration = Duration::from_secs(30);

struct Ports {
    client: u16,
    peer: u16,
    metrics: u16,
}

impl Ports {
    fn new() -> Self {
        Self { client: free_port(), peer: free_port(), metrics: free_port() }
    }

    /// A file that sets everything; `more` are further lines.
    fn file(&self, dir: &Path, more: &str) -> String {
        let Self { client, peer, metrics } = self;
        let text = format!(
            "name: from-file\n\
             data-dir: {}\n\
             listen-client-urls: http://127.0.0.1:{client}\n\
             advertise-client-urls: http://127.0.0.1:{client}\n\
             listen-peer-urls: http://127.0.0.1:{peer}\n\
             initial-advertise-peer-urls: http://127.0.0.1:{peer}\n\
             initial-cluster: from-file=http://127.0.0.1:{peer}\n\
             listen-metrics-urls: http://127.0.0.1:{metrics}\n\
             {more}\n",
            dir.join("by-file").display()
        );
        let path = dir.join("revd.yml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Starts a server whose flags all say something else than its file.
fn start(ports: &Ports, dir: &Path, more: &str) -> Server {
    let file = ports.file(dir, more);
    let command = Command::new(env!("CARGO_BIN_EXE_revd"));
    let mut server = Server::start_with(command, dir, &["--config-file", &file]);
    server.client_url = format!("http://127.0.0.1:{}", ports.client);
    server
}

/// Status and body of a GET.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn rule_9_39_9_40_both_ports_answer_probes() {
    let (dir, ports) = (scratch(), Ports::new());
    let mut server = start(&ports, dir.path(), "");
    server.connect().await;
    for port in [ports.client, ports.metrics] {
        let start = Instant::now();
        while get(port, "/health").0 != 200 {
            assert!(start.elapsed() < PATIENCE, "{:?}", get(port, "/readyz"));
        }
        assert_eq!(get(port, "/livez"), (200, "ok\n".to_owned()));
        let lines = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                     [+]non_learner ok\nok\n";
        assert_eq!(get(port, "/readyz?verbose"), (200, lines.to_owned()));
        let one = "[+]linearizable_read ok\nok\n".to_owned();
        assert_eq!(get(port, "/readyz/linearizable_read?verbose"), (200, one));
        let (status, page) = get(port, "/metrics");
        assert_eq!(status, 200);
        let line = "etcd_server_healthcheck{name=\"non_learner\",type=\"readyz\"} 1";
        assert!(page.lines().any(|l| l == line), "{page}");
    }
    assert_eq!(get(ports.metrics, "/version").0, 404);
    assert!(dir.path().join("by-file").is_dir() && !dir.path().join("data").exists());
}

#[tokio::test]
async fn what_is_slow_is_told_with_numbers() {
    let (dir, ports) = (scratch(), Ports::new());
    // Whatever takes any time takes too long.
    let settings = "warning-apply-duration: 0\nwarning-unary-request-duration: 1";
    let mut server = start(&ports, dir.path(), settings);
    let mut kv = KvClient::new(server.connect().await);
    kv.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await.unwrap();
    kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.unwrap();
    let log = std::fs::read_to_string(&server.log).unwrap();
    let slow: Vec<&str> =
        log.lines().filter(|line| line.contains("apply request took too long")).collect();
    for part in ["log entries up to", "\"prefix\":\"read-only range \"", "range_response_count:1"] {
        assert!(slow.iter().any(|line| line.contains(part)), "{part} is missing in\n{log}");
    }
    let stats: Vec<&str> = log.lines().filter(|line| line.contains("request stats")).collect();
    for part in [
        "\"response type\":\"/etcdserverpb.KV/Put\",\"response count\":0",
        "\"response type\":\"/etcdserverpb.KV/Range\",\"response count\":1",
        "\"request content\":\"key:\\\"k\\\" value_size:0\"",
    ] {
        assert!(stats.iter().any(|line| line.contains(part)), "{part} is missing in\n{log}");
    }
    let (_, page) = get(ports.metrics, "/metrics");
    let put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    for line in [
        format!("grpc_server_started_total{{{put}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{put}}} 1"),
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
    }
    let counter = page.lines().find_map(|line| line.strip_prefix("etcd_server_slow_apply_total "));
    assert!(counter.unwrap().parse::<u64>().unwrap() >= 2, "{counter:?}");
}
