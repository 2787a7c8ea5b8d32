//! A server from its first line to its last: what it logs, what it serves over HTTP, how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, scratch};

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_revd"))
}

/// The lines of the log so far. One that the server is about to write may be there in part, and
/// is left out.
fn lines(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(&server.log).unwrap();
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    text[..complete]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Waits for a line with the message.
fn logged(server: &Server, message: &str) -> Value {
    let start = Instant::now();
    loop {
        if let Some(line) = lines(server).into_iter().find(|line| line["msg"] == message) {
            return line;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "no {message:?} in {:#?}",
            lines(server)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SERVING: &str = "serving client traffic insecurely; this is strongly discouraged!";

/// Sends one request and returns status line, headers and body.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn address(line: &Value) -> String {
    line["address"].as_str().unwrap().to_owned()
}

fn start(dir: &Path) -> Server {
    Server::start_with(binary(), dir, &[])
}

#[test]
fn log_tells_the_start_in_etcds_words() {
    let dir = scratch();
    let server = start(dir.path());
    logged(&server, SERVING);
    let lines = lines(&server);
    let messages: Vec<&str> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    let mut rest = messages.iter();
    for message in [
        "Running: ",
        "Initialize and start etcd server",
        "configuring peer listeners",
        "configuring client listeners",
        "starting an etcd server",
        "opened backend db",
        "starting local member",
        "starting etcd server",
        "now serving peer/client/metrics",
        "published local member to cluster through raft",
        "ready to serve client requests",
        SERVING,
    ] {
        assert!(
            rest.any(|found| *found == message),
            "{message:?} is not in its place: {messages:#?}"
        );
    }
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().take(4).collect();
        assert_eq!(keys, ["level", "ts", "caller", "msg"], "{line}");
    }
    let config = lines.iter().find(|line| line["msg"] == "starting an etcd server").unwrap();
    assert_eq!(config["etcd-version"], "3.7.0");
    assert_eq!(config["heartbeat-interval"], "100ms");
    assert_eq!(config["listen-client-urls"], serde_json::json!([server.client_url]));
}

#[test]
fn http_endpoints_of_both_ports() {
    let dir = scratch();
    let server = start(dir.path());
    let client = address(&logged(&server, SERVING));
    let (head, body) = ask(&client, "GET /health");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert_eq!(body, "{\"health\":\"true\",\"reason\":\"\"}");
    let version = "{\"etcdserver\":\"3.7.0\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}";
    assert_eq!(ask(&client, "GET /version").1, version);
    assert!(ask(&client, "POST /version").0.contains("allow: get"));
    assert!(ask(&client, "OPTIONS /").0.contains("content-length: 0"));
    assert_eq!(ask(&client, "GET /members").1, "404 page not found\n");
    let (_, metrics) = ask(&client, "GET /metrics");
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_debugging_mvcc_current_revision 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
    }

    let peer = address(&logged(&server, "serving peer traffic"));
    assert_eq!(ask(&peer, "GET /version").1, version);
    assert!(ask(&peer, "GET /health").0.starts_with("http/1.1 404"));
    let (head, body) = ask(&peer, "GET /members");
    let members: Value = serde_json::from_str(&body).unwrap();
    let cluster = logged(&server, "starting etcd server")["cluster-id"].clone();
    assert!(head.contains(&format!("x-etcd-cluster-id: {}", cluster.as_str().unwrap())), "{head}");
    assert_eq!(members[0]["name"], "m0");
    assert_eq!(members[0]["peerURLs"], serde_json::json!([format!("http://{peer}")]));
    assert_eq!(members[0]["clientURLs"], serde_json::json!([server.client_url]));
}

#[test]
fn a_signal_ends_the_server_and_shows_in_its_status() {
    let dir = scratch();
    let server = start(dir.path());
    logged(&server, SERVING);
    let log = server.log.clone();
    let status = server.terminate();
    assert_eq!(status.signal(), Some(15), "{status}");
    let text = std::fs::read_to_string(log).unwrap();
    let messages: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let mut rest = messages.iter().map(|line| line["msg"].as_str().unwrap());
    for message in ["received signal; shutting down", "closing etcd server", "closed etcd server"] {
        assert!(rest.any(|found| found == message), "{message:?} is not in its place in {text}");
    }
    assert!(messages.iter().any(|line| line["signal"] == "terminated"));

    let again = start(dir.path());
    logged(&again, "server has already been initialized");
    logged(&again, "restarting local member");
    logged(&again, SERVING);
}

#[test]
fn a_second_process_on_the_directory_is_refused() {
    let dir = scratch();
    let server = start(dir.path());
    logged(&server, SERVING);
    let output =
        binary().arg(format!("--data-dir={}", dir.path().join("data").display())).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("in use by another revd process"), "{stderr}");
}

#[test]
fn flags_of_the_first_start_have_no_meaning_afterwards() {
    let dir = scratch();
    let server = start(dir.path());
    let first = logged(&server, "starting etcd server")["local-member-id"].clone();
    logged(&server, SERVING);
    server.kill();
    std::fs::remove_file(dir.path().join("server.log")).unwrap();
    let server = Server::start_with(
        binary(),
        dir.path(),
        &[
            "--initial-cluster=x=http://127.0.0.1:1,y=http://127.0.0.1:2",
            "--initial-cluster-state=existing",
        ],
    );
    logged(&server, SERVING);
    assert_eq!(logged(&server, "starting etcd server")["local-member-id"], first);
}

#[test]
fn readiness_is_told_to_the_init_system() {
    let dir = scratch();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = binary();
    command.env("NOTIFY_SOCKET", &path);
    let server = Server::start_with(command, dir.path(), &[]);
    let mut message = [0; 32];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
    logged(&server, "successfully notified init daemon");
}

#[test]
fn console_format_and_level() {
    let dir = scratch();
    let server = Server::start_with(binary(), dir.path(), &["--log-format=console"]);
    let start = Instant::now();
    let text = loop {
        let text = std::fs::read_to_string(&server.log).unwrap();
        if text.contains(SERVING) {
            break text;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{text}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let line = text.lines().find(|line| line.contains("starting an etcd server")).unwrap();
    let columns: Vec<&str> = line.split('\t').collect();
    assert_eq!((columns.len(), columns[1], columns[3]), (5, "info", "starting an etcd server"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_watchers() {
    use revd_api::etcdserverpb::watch_client::WatchClient;
    use revd_api::etcdserverpb::watch_request::RequestUnion;
    use revd_api::etcdserverpb::{WatchCreateRequest, WatchRequest};

    let dir = scratch();
    let mut server = start(dir.path());
    let mut watch = WatchClient::new(server.connect().await);
    let create = WatchCreateRequest { key: "a".into(), ..Default::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(create).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = watch.watch(stream).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    let asked = Instant::now();
    let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.signal(), Some(15), "{status}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    drop(requests);
}
