//! Members of a new cluster that find each other in a running one: of revd, and of Debian's etcd.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::{MemberListRequest, PutRequest, RangeRequest};
use support::{Server, free_port, scratch};
use tonic::transport::Channel;

/// Everything that takes no longer than this has happened.
const PATIENCE: Duration = Duration::from_secs(60);

async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) {
    let start = Instant::now();
    loop {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        match kv.put(PutRequest { key, value, ..PutRequest::default() }).await {
            Ok(_) => return,
            Err(status) => assert!(start.elapsed() < PATIENCE, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Flags of a member that is to find the others; those for one founder alone do not count.
fn flags<'a>(name: &'a str, endpoints: &'a str, token: &'a str) -> Vec<&'a str> {
    let mut flags = vec!["--name", name, "--initial-cluster="];
    flags.extend(["--discovery-endpoints", endpoints, "--discovery-token", token]);
    flags
}

/// Starts a member that cannot be; the line that says why.
fn refused(endpoints: &str, token: &str) -> String {
    let (dir, peer) = (scratch(), format!("http://127.0.0.1:{}", free_port()));
    let client = format!("http://127.0.0.1:{}", free_port());
    let output = Command::new(env!("CARGO_BIN_EXE_revd"))
        .current_dir(dir.path())
        .args(flags("late", endpoints, token))
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(line["msg"], "discovery failed");
    line["error"].as_str().unwrap().to_owned()
}

/// Three members find each other in a cluster; a fourth does not fit.
async fn find_each_other(mut registry: Server) {
    let mut kv = KvClient::new(registry.connect().await);
    let url = registry.client_url.clone();
    // The first address is nobody's: the next one is asked.
    let endpoints = format!("127.0.0.1:{},{url}", free_port());
    assert!(refused(&endpoints, "t").contains("no size of the cluster is written at /_etcd/"));
    put(&mut kv, "/_etcd/registry/t/_config/size", "many").await;
    let bad = refused(&endpoints, "t");
    assert!(bad.ends_with("/_etcd/registry/t/_config/size is \"many\""), "{bad}");
    put(&mut kv, "/_etcd/registry/t/_config/size", "3").await;

    let dirs = [scratch(), scratch(), scratch()];
    let start = |n: usize| {
        let name = format!("m{n}");
        let command = Command::new(env!("CARGO_BIN_EXE_revd"));
        Server::start_with(command, dirs[n].path(), &flags(&name, &endpoints, "t"))
    };
    let mut members: Vec<Server> = (0..3).map(start).collect();
    for member in &mut members {
        let mut kv = KvClient::new(member.connect().await);
        put(&mut kv, "k", "v").await;
        let list = MemberListRequest { linearizable: true };
        let list = ClusterClient::new(member.connect().await).member_list(list).await.unwrap();
        assert_eq!(list.into_inner().members.len(), 3);
    }
    assert!(refused(&endpoints, "t").contains("the cluster is full"));
    let prefix = "/_etcd/registry/t/members/";
    let all = RangeRequest {
        key: prefix.into(),
        range_end: "/_etcd/registry/t/members0".into(),
        ..RangeRequest::default()
    };
    let kvs = kv.range(all).await.unwrap().into_inner().kvs.decode().unwrap();
    assert_eq!(kvs.len(), 3, "the fourth has not registered");
    // The registry is not needed any more.
    registry.kill();
    put(&mut KvClient::new(members[0].connect().await), "k", "w").await;
}

#[tokio::test]
async fn members_find_each_other_in_revd() {
    let dir = scratch();
    find_each_other(Server::start(dir.path())).await;
}

#[tokio::test]
async fn members_find_each_other_in_etcd() {
    let found = Command::new("etcd").arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "etcd is missing, and CI must have it");
        println!("SKIPPED: etcd is missing");
        return;
    }
    let dir = scratch();
    find_each_other(Server::start_with(Command::new("etcd"), dir.path(), &[])).await;
}
