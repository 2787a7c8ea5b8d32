//! What the kernel sees of a put: the trace of system calls shows at least one completed sync of
//! the log for each put that was acknowledged.
//!
//! The log is written past the page cache with `RWF_DSYNC`: a completed write is a completed
//! sync; where a file system refuses that, an `fdatasync` counts instead.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use revd_api::etcdserverpb::PutRequest;
use revd_api::etcdserverpb::kv_client::KvClient;
use support::Server;

const PUTS: usize = 300;

/// Completed synchronous writes of log records, and completed `fdatasync` calls on the log.
fn log_syncs(trace: &str) -> usize {
    let mut log_descriptors = HashSet::new();
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut syncs = 0;
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        // Calls of several threads interleave; the two halves of one are put together again.
        let call = if let Some(first) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, first.trim_end().to_owned());
            continue;
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            begun.remove(thread).unwrap_or_default() + rest
        } else {
            call.to_owned()
        };
        let Some((before, result)) = call.rsplit_once(" = ") else { continue };
        let before = before.trim_end();
        let Ok(result) = result.split_whitespace().next().unwrap_or("").parse::<i64>() else {
            continue;
        };
        if before.starts_with("openat(") {
            // A segment may get its final name after it was opened; its folder stays the same.
            if before.contains("/wal/") {
                log_descriptors.insert(result);
            } else {
                log_descriptors.remove(&result);
            }
            continue;
        }
        let arguments = before.split_once('(').map_or("", |(_, arguments)| arguments);
        let descriptor = arguments.split([',', ')']).next().and_then(|fd| fd.parse().ok());
        if descriptor.is_none_or(|fd: i64| !log_descriptors.contains(&fd)) {
            continue;
        }
        // Zeroes are room prepared ahead, no record.
        let is_synced = before.starts_with("pwritev2(") && before.ends_with("RWF_DSYNC)");
        let is_record = is_synced && !arguments.contains("\"\\0\\0\\0\\0");
        if (is_record && result > 0) || (before.starts_with("fdatasync(") && result == 0) {
            syncs += 1;
        }
    }
    syncs
}

#[test]
fn each_acknowledged_put_has_a_completed_sync() {
    if !tool_is_there("strace") {
        return;
    }
    let dir = support::scratch();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    // With -D the traced server is the process that was started, and so ended by its own id.
    command.args(["-D", "-f", "-qq", "-s", "8", "-e", "trace=openat,pwritev2,fdatasync", "-o"]);
    command.arg(&trace).arg(env!("CARGO_BIN_EXE_revd"));
    let mut server = Server::start_with(command, dir.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut kv = KvClient::new(server.connect().await);
        for n in 0..PUTS {
            let key = format!("key-{n}").into();
            let put = PutRequest { key, value: "v".into(), ..PutRequest::default() };
            kv.put(put).await.expect("a put");
        }
    });
    server.terminate();
    let syncs = log_syncs(&read_when_complete(&trace));
    println!("{PUTS} puts one after the other were acknowledged, {syncs} syncs of the log seen");
    assert!(syncs >= PUTS, "{PUTS} puts were acknowledged after only {syncs} syncs");
}

/// The tracer outlives the traced process by a moment; its last line tells of the end.
fn read_when_complete(trace: &Path) -> String {
    let start = std::time::Instant::now();
    loop {
        let text = std::fs::read_to_string(trace).expect("strace has written its trace");
        if text.contains("+++ killed by SIGTERM +++") {
            return text;
        }
        assert!(start.elapsed().as_secs() < 10, "the trace does not end");
        std::thread::yield_now();
    }
}

/// Whether a tool can be run; under CI its absence is a failure.
fn tool_is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("-V").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is missing, and CI must have it");
    if !found {
        println!("SKIPPED: {tool} is not installed (apt-get install {tool})");
    }
    found
}

#[test]
fn the_reader_of_traces_counts_only_completed_syncs_of_the_log() {
    let trace = r#"10 openat(AT_FDCWD, "d/wal/1.wal", O_RDWR|O_DIRECT|O_CLOEXEC) = 5
10 openat(AT_FDCWD, "d/tree", O_RDWR|O_CLOEXEC) = 6
10 pwritev2(5, [{iov_base="ab"..., iov_len=4096}], 1, 0, RWF_DSYNC) = 4096
10 pwritev2(5, [{iov_base="\0\0\0\0"..., iov_len=262144}], 1, 4096, RWF_DSYNC) = 262144
10 pwritev2(5, [{iov_base="ab"..., iov_len=4096}], 1, 4096, 0) = 4096
10 pwritev2(6, [{iov_base="ab"..., iov_len=4096}], 1, 0, RWF_DSYNC) = 4096
11 pwritev2(5, [{iov_base="cd"..., iov_len=4096}], 1, 8192, RWF_DSYNC <unfinished ...>
10 fdatasync(6) = 0
11 <... pwritev2 resumed>)           = 4096
10 pwritev2(5, [{iov_base="ef"..., iov_len=4096}], 1, 12288, RWF_DSYNC) = -1 EIO (error)
"#;
    assert_eq!(log_syncs(trace), 2);
}
