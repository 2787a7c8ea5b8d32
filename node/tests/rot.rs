//! Real processes whose files rot, or that hold what the others do not: with two others they come
//! back by themselves, alone they refuse to start.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_disk::Real;
use revd_mvcc::{Options, Put, Store};
use revd_replica::vote::VoteFile;
use revd_wal::Part;
use support::Server;
use support::cluster::{Cluster, PATIENCE, get, put_at_last};

/// A tree is made of these.
const BLOCK: usize = 4096;

/// Flips a bit in each block of a tree. Returns its file.
fn rot_tree(dir: &Path) -> PathBuf {
    let path = data(dir).join("tree");
    let mut bytes = fs::read(&path).expect("the file is there");
    bytes.iter_mut().skip(BLOCK + 50).step_by(BLOCK).for_each(|byte| *byte ^= 1);
    fs::write(&path, bytes).expect("the file is ours");
    path
}

/// The data directory of a member.
fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The last batch but one of its log: in which segment, and where.
fn batch(dir: &Path) -> (PathBuf, u64) {
    let (mut segment, mut batches) = (PathBuf::new(), Vec::new());
    let folder = data(dir).join("wal");
    let seen = revd_wal::inspect(&Real::new(), &folder, &mut |part| match part {
        Part::Segment { path, .. } => segment = path,
        Part::Batch { offset, .. } => batches.push((segment.clone(), offset)),
        _ => {}
    });
    seen.expect("the log is sound");
    let [.., (segment, offset), (newest, _)] = &batches[..] else { panic!("two batches") };
    assert_eq!(segment, newest, "a start reads the newest segment");
    (segment.clone(), *offset)
}

/// Flips a bit of that batch. Returns the segment.
fn rot_log(dir: &Path) -> PathBuf {
    let (segment, offset) = batch(dir);
    let mut bytes = fs::read(&segment).expect("the file is there");
    bytes[offset as usize + 20] ^= 1;
    fs::write(&segment, bytes).expect("the file is ours");
    segment
}

/// A cluster that holds something.
async fn cluster_with_keys() -> Cluster {
    let mut cluster = Cluster::start(3);
    let mut kv = cluster.kv(0).await;
    for n in 0..50 {
        put_at_last(&mut kv, &format!("key {n}"), &"value ".repeat(n)).await;
    }
    cluster
}

/// HashKV of a member, as of all that was done so far.
async fn hash(cluster: &mut Cluster, n: usize) -> u32 {
    get(&mut cluster.kv(n).await, "key 1", false).await;
    let mut client = MaintenanceClient::new(cluster.connect(n).await);
    let hashed = client.hash_kv(pb::HashKvRequest { revision: 0 }).await;
    hashed.expect("a hash").into_inner().hash
}

/// Waits for the log of a member to have a line with all of these.
async fn logs(cluster: &mut Cluster, n: usize, words: &[&str]) {
    let path = cluster.server(n).log.clone();
    let start = Instant::now();
    loop {
        let log = fs::read_to_string(&path).expect("it has a log");
        if log.lines().any(|line| words.iter().all(|word| line.contains(word))) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "no line with {words:?} in\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A member comes back as it was, whole, and the others had not to wait for it.
async fn comes_back(cluster: &mut Cluster, n: usize) {
    let others: Vec<usize> = (0..3).filter(|other| *other != n).collect();
    put_at_last(&mut cluster.kv(others[0]).await, "meanwhile", "something").await;
    let written = get(&mut cluster.kv(n).await, "meanwhile", false).await;
    assert_eq!(written.as_deref(), Some("something"));
    let expected = hash(cluster, others[0]).await;
    assert_eq!(hash(cluster, n).await, expected);
    let marker = data(cluster.members[n].dir.path()).join("refill");
    let start = Instant::now();
    while marker.exists() {
        assert!(start.elapsed() < PATIENCE, "it is not whole again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It counts again: the cluster goes on with it and one of the others.
    cluster.kill(others[0]);
    put_at_last(&mut cluster.kv(n).await, "later", "more").await;
}

#[tokio::test]
async fn a_rotten_tree_is_replaced_by_the_others() {
    let mut cluster = cluster_with_keys().await;
    cluster.kill(2);
    let dir = cluster.members[2].dir.path().to_owned();
    let rotten = rot_tree(&dir);
    let as_found = fs::read(&rotten).expect("the tree");
    cluster.bring_up(2);
    logs(&mut cluster, 2, &["the tree is damaged", "data/tree is corrupt at offset"]).await;
    comes_back(&mut cluster, 2).await;
    let aside = data(&dir).join("damaged").join("tree");
    assert!(fs::read(aside).expect("it is kept") == as_found, "what was damaged is kept");
}

#[tokio::test]
async fn a_rotten_log_is_replaced_by_the_others() {
    let mut cluster = cluster_with_keys().await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let dir = cluster.members[leader].dir.path().to_owned();
    let rotten = rot_log(&dir);
    let as_found = fs::read(&rotten).expect("the segment");
    cluster.bring_up(leader);
    logs(&mut cluster, leader, &["the log is damaged", "is damaged at offset"]).await;
    comes_back(&mut cluster, leader).await;
    let aside = data(&dir).join("damaged").join(rotten.file_name().expect("a name"));
    assert!(fs::read(aside).expect("it is kept") == as_found, "what was damaged is kept");
}

/// A value that no start reads.
const LONG: usize = 200_000;

/// Where the one long value begins in a tree, once a checkpoint has put it there.
async fn place_of_value(dir: &Path, byte: u8) -> usize {
    let start = Instant::now();
    loop {
        let bytes = fs::read(data(dir).join("tree")).expect("the file is there");
        let is_there = |window: &[u8]| window.iter().all(|there| *there == byte);
        if let Some(place) = bytes.windows(LONG).position(is_there) {
            return place;
        }
        assert!(start.elapsed() < PATIENCE, "the value is not in the tree");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_read_that_meets_rot_has_the_member_refilled() {
    let mut cluster = cluster_with_keys().await;
    let value = "v".repeat(LONG);
    put_at_last(&mut cluster.kv(0).await, "long", &value).await;
    // What was written last is in memory after a start.
    for n in 0..100 {
        put_at_last(&mut cluster.kv(0).await, &format!("after {n}"), &"x".repeat(3_000)).await;
    }
    assert_eq!(get(&mut cluster.kv(2).await, "long", false).await.as_deref(), Some(&*value));
    let dir = cluster.members[2].dir.path().to_owned();
    // It ends with a checkpoint, so that the next start finds nothing to apply again.
    let server = cluster.members[2].server.take().expect("it runs");
    server.terminate();
    let place = place_of_value(&dir, b'v').await;
    cluster.bring_up(2);
    get(&mut cluster.kv(2).await, "key 1", false).await;
    let tree = fs::OpenOptions::new().write(true).open(data(&dir).join("tree"));
    let wrong = tree.and_then(|tree| tree.write_at(b"w", place as u64 + 1_000));
    assert_eq!(wrong.expect("the file is ours"), 1);
    let range = pb::RangeRequest { key: "long".into(), serializable: true, ..Default::default() };
    let refused =
        cluster.kv(2).await.range(range).await.expect_err("what has rotted is not served");
    assert_eq!(refused.code(), tonic::Code::DataLoss, "{refused}");
    logs(&mut cluster, 2, &["the member is refilled by the others"]).await;
    comes_back(&mut cluster, 2).await;
    assert_eq!(get(&mut cluster.kv(2).await, "long", false).await.as_deref(), Some(&*value));
}

#[tokio::test]
async fn a_lone_member_refuses_what_has_rotted() {
    for (what, words) in [
        ("tree", ["data/tree is corrupt at offset", "restore the data directory from a backup"]),
        ("wal", ["is damaged at offset", "restore the data directory from a backup"]),
    ] {
        let dir = support::scratch();
        let mut server = Server::start(dir.path());
        let mut kv = pb::kv_client::KvClient::new(server.connect().await);
        for n in 0..20 {
            put_at_last(&mut kv, &format!("key {n}"), "value").await;
        }
        server.kill();
        let path = if what == "tree" { rot_tree(dir.path()) } else { rot_log(dir.path()) };
        let as_found = fs::read(&path).expect("the file");
        let mut server = Server::start(dir.path());
        let (status, log) = server.ended().await;
        assert!(!status.success(), "{what}: {log}");
        for word in words.iter().chain(&["nothing was changed"]) {
            assert!(log.contains(word), "{what}: {word:?} is not in\n{log}");
        }
        assert!(fs::read(&path).expect("the file") == as_found, "{what} was changed");
    }
}

#[tokio::test]
async fn a_member_that_has_diverged_finds_out_and_is_refilled() {
    let mut cluster = cluster_with_keys().await;
    let diverges = cluster.leader().await;
    cluster.kill(diverges);
    let dir = cluster.members[diverges].dir.path().to_owned();
    let before = hash(&mut cluster, (diverges + 1) % 3).await;
    // A key that no entry has written.
    let (disk, data) = (Arc::new(Real::new()), data(&dir));
    let identity = VoteFile::open(&*disk, &data).expect("the vote file").identity();
    let options = Options::new(identity.owner());
    let (mut store, _) = Store::open(disk, &data.join("tree"), options).expect("the tree");
    let wrong = Put { key: "key 1".into(), value: "wrong".into(), ..Put::default() };
    store.put(&wrong).expect("storage").expect("a put");
    let note = store.note().to_vec();
    let checkpoint = store.checkpoint(&note).expect("storage").expect("there is something new");
    checkpoint.write().map(drop).expect("storage");
    drop(store);

    cluster.bring_up(diverges);
    assert_eq!(before, hash(&mut cluster, (diverges + 1) % 3).await);
    logs(&mut cluster, diverges, &["this member has diverged", "its state hash after entry"]).await;
    logs(&mut cluster, diverges, &["the member is refilled by the others"]).await;
    comes_back(&mut cluster, diverges).await;
}
