//! What the binary says and how it exits when it does not start: scripts rely on both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{free_port, scratch};

/// Runs the binary to its end, in a directory of its own.
fn run(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    let child = command
        .current_dir(dir)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ended(child, arguments)
}

/// A server that starts although it should not would run for ever.
fn ended(mut child: std::process::Child, arguments: &[&str]) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("{arguments:?} runs on:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs with refused settings; the error of the one line that explains it.
fn refused(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = run(dir, arguments, environment);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    let line: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!(line["msg"], "failed to verify flags");
    line["error"].as_str().unwrap().to_owned()
}

/// Runs with settings that a start fails on; the error of its last line.
fn failed(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments, &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&"fatal".into(), &"discovery failed".into()));
    line["error"].as_str().unwrap().to_owned()
}

/// Flags of a member on ports of its own.
fn ports() -> Vec<String> {
    let (client, peer) = (free_port(), free_port());
    vec![
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
    ]
}

#[test]
fn version_says_what_it_is_and_what_it_is_compatible_with() {
    let dir = scratch();
    let output = run(dir.path(), &["--version"], &[("ETCD_NAME", "x")]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], format!("revd {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1], "etcd Version: 3.7.0");
    let names: Vec<&str> = lines[1..].iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(names, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
}

#[test]
fn help_is_complete() {
    let dir = scratch();
    let output = run(dir.path(), &["-h"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).starts_with("Usage: revd"));
    let stdout = text(&output.stdout);
    for flag in ["--name", "--data-dir", "--quota-backend-bytes", "--log-level", "--version"] {
        assert!(stdout.contains(flag), "{flag} is missing in\n{stdout}");
    }
}

#[test]
fn wrong_flags_and_values_exit_with_2_and_the_usage() {
    let dir = scratch();
    for arguments in [
        &["--bogus"][..],
        &["--heartbeat-interval=abc"],
        &["--listen-client-urls", "foo"],
        &["--initial-cluster-state", "old"],
        &["--log-level", "loud"],
        &["--name"],
    ] {
        let output = run(dir.path(), arguments, &[]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(arguments[0].split('=').next().unwrap()), "{stderr}");
        assert!(stderr.contains("Usage: revd"), "{stderr}");
    }
}

#[test]
fn refused_settings_exit_with_1_and_one_line() {
    let dir = scratch();
    let refused = |arguments: &[&str]| refused(dir.path(), arguments, &[]);
    assert!(refused(&["--cert-file=x"]).starts_with("--cert-file is not built yet"));
    assert!(refused(&["foo"]).starts_with("'foo' is not a valid flag"));
    let listen = "--listen-client-urls=http://127.0.0.1:1";
    assert!(refused(&[listen]).starts_with("--advertise-client-urls is required"));
    assert!(refused(&["--listen-peer-urls=http://a.b:1"]).starts_with("expected IP in URL"));
    assert!(refused(&["--election-timeout=499"]).contains("at least as 5 times"));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}

#[test]
fn refused_variables_exit_with_1_and_one_line() {
    let dir = scratch();
    let refused = |variable: (&str, &str)| refused(dir.path(), &["--name=y"], &[variable]);
    assert!(refused(("ETCD_NAME", "x")).contains("ETCD_NAME is shadowed"));
    assert!(refused(("ETCD_CERT_FILE", "x")).starts_with("--cert-file is not built yet"));
    assert!(refused(("ETCD_MAX_TXN_OPS", "x")).starts_with("invalid value \"x\""));
}

#[test]
fn clusters_that_cannot_be_started() {
    let dir = scratch();
    let ports = ports();
    let failed = |cluster: &str| {
        let mut arguments: Vec<&str> = ports[..4].iter().map(String::as_str).collect();
        arguments.push(cluster);
        failed(dir.path(), &arguments)
    };
    let several = failed("--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2");
    assert!(several.starts_with("couldn't find local name \"default\""), "{several}");
    let nameless = failed("--initial-cluster=b=http://127.0.0.1:1");
    assert!(nameless.starts_with("couldn't find local name \"default\""), "{nameless}");
    let other = failed("--initial-cluster=default=http://127.0.0.1:1");
    assert!(other.contains("but missing from --initial-advertise-peer-urls"), "{other}");
    let malformed = failed("--initial-cluster=default");
    assert!(malformed.contains("\"name=url\""), "{malformed}");
}

#[test]
fn directories_that_are_not_ours() {
    let dir = scratch();
    let failed = |path: &Path| {
        let data_dir = format!("--data-dir={}", path.display());
        let mut arguments = vec![data_dir.as_str()];
        let ports = ports();
        arguments.extend(ports.iter().map(String::as_str));
        failed(dir.path(), &arguments)
    };
    let etcd = dir.path().join("etcd");
    std::fs::create_dir_all(etcd.join("member")).unwrap();
    assert!(failed(&etcd).contains("holds the data of an etcd member"));
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes"), "").unwrap();
    assert!(failed(&other).contains("holds something else (notes)"));
    assert!(failed(&other.join("notes")).starts_with("cannot write to data directory"));
    assert!(failed(&other.join("notes/x")).starts_with("cannot write to data directory"));
}

#[test]
fn ports_in_use_are_named() {
    let dir = scratch();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", busy.local_addr().unwrap());
    for changed in [0, 2] {
        let mut ports = ports();
        let flag = ports[changed].split('=').next().unwrap().to_owned();
        ports[changed] = format!("{flag}={url}");
        let arguments: Vec<&str> = ports.iter().map(String::as_str).collect();
        let error = failed(dir.path(), &arguments);
        assert!(error.starts_with(&format!("cannot listen on {url}: Address already in use")));
    }
}
