//! The real binary on a real disk, killed at random moments under load: nothing acknowledged may
//! be missing afterwards, and nothing half-done may be seen.
//!
//! `REVD_KILL_ROUNDS` sets the number of rounds, `SEED` the moments.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::request_op::Request;
use revd_api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use support::Server;
use tonic::transport::Channel;

const CLIENTS: usize = 6;

/// What one client knows of its own writes, which it makes one after the other.
#[derive(Default)]
struct Journal {
    /// Writes that were acknowledged.
    acknowledged: AtomicU64,
    /// The write that is under way, or 0.
    in_flight: AtomicU64,
}

/// Write `n` of client `c`: most are a put, each fifth a transaction of three puts.
fn keys_of(client: usize, n: u64) -> Vec<String> {
    let parts = if n.is_multiple_of(5) { 3 } else { 1 };
    (0..parts).map(|part| format!("client/{client}/{n:08}/{part}")).collect()
}

fn value_of(client: usize, n: u64) -> Vec<u8> {
    format!("{client}:{n}:").repeat(1 + (n as usize * 7) % 60).into_bytes()
}

async fn write(kv: &mut KvClient<Channel>, client: usize, n: u64) -> Result<(), tonic::Status> {
    let put = |key: String| PutRequest {
        key: key.into(),
        value: value_of(client, n).into(),
        ..PutRequest::default()
    };
    let mut puts: Vec<PutRequest> = keys_of(client, n).into_iter().map(put).collect();
    if puts.len() == 1 {
        kv.put(puts.remove(0)).await?;
    } else {
        let op = |put| RequestOp { request: Some(Request::RequestPut(put)) };
        let success = puts.into_iter().map(op).collect();
        kv.txn(TxnRequest { success, ..TxnRequest::default() }).await?;
    }
    Ok(())
}

/// Writes until the server is gone.
async fn load(channel: Channel, client: usize, journal: Arc<Journal>) {
    let mut kv = KvClient::new(channel);
    loop {
        let n = journal.acknowledged.load(Relaxed) + 1;
        journal.in_flight.store(n, Relaxed);
        if write(&mut kv, client, n).await.is_err() {
            return;
        }
        journal.acknowledged.store(n, Relaxed);
        journal.in_flight.store(0, Relaxed);
    }
}

/// Reads everything and compares; takes what was in flight and has survived into the journal.
async fn check(channel: Channel, journals: &[Arc<Journal>], round: usize) -> usize {
    let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);
    let all = RangeRequest {
        key: "client/".into(),
        range_end: "client0".into(),
        ..RangeRequest::default()
    };
    let answer = kv.range(all).await.expect("the restarted server reads").into_inner();
    let revision = answer.header.as_ref().expect("a header").revision as u64;
    let kvs = answer.kvs.decode().expect("records that decode");
    let found: BTreeMap<&[u8], &[u8]> = kvs.iter().map(|kv| (&kv.key[..], &kv.value[..])).collect();
    let (mut writes, mut keys, mut survived) = (0, 0, 0);
    for (client, journal) in journals.iter().enumerate() {
        let acknowledged = journal.acknowledged.load(Relaxed);
        for n in 1..=acknowledged {
            for key in keys_of(client, n) {
                let value = found.get(key.as_bytes());
                let right = value.is_some_and(|value| **value == value_of(client, n));
                assert!(right, "round {round}: acknowledged {key} is lost or wrong: {value:?}");
                keys += 1;
            }
        }
        writes += acknowledged;
        let next = journal.in_flight.swap(0, Relaxed);
        if next > acknowledged {
            let parts = keys_of(client, next);
            let there = parts.iter().filter(|key| found.contains_key(key.as_bytes())).count();
            assert!(
                there == 0 || there == parts.len(),
                "round {round}: {there} of {} keys of one transaction",
                parts.len()
            );
            if there > 0 {
                journal.acknowledged.store(next, Relaxed);
                (writes, keys, survived) = (writes + 1, keys + there, survived + 1);
            }
        }
    }
    assert_eq!(found.len(), keys, "round {round}: keys that nobody wrote");
    assert_eq!(revision, 1 + writes, "round {round}: each write is one revision");
    survived
}

#[test]
fn nothing_acknowledged_is_lost_to_sigkill() {
    let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let rounds = number("REVD_KILL_ROUNDS").unwrap_or(50) as usize;
    let any = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros() as u64;
    let seed = number("SEED").unwrap_or_else(any);
    println!("SEED={seed} rounds={rounds} clients={CLIENTS}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(rounds, seed));
}

async fn run(rounds: usize, seed: u64) {
    let dir = support::scratch();
    let journals: Vec<Arc<Journal>> = (0..CLIENTS).map(|_| Arc::default()).collect();
    let mut chance = seed;
    let mut in_flight_total = 0;
    let mut survived_total = 0;
    for round in 0..rounds {
        let mut server = Server::start(dir.path());
        let channel = server.connect().await;
        survived_total += check(channel.clone(), &journals, round).await;
        let tasks: Vec<_> = journals
            .iter()
            .enumerate()
            .map(|(client, journal)| {
                tokio::spawn(load(channel.clone(), client, Arc::clone(journal)))
            })
            .collect();
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let pause = Duration::from_micros(1_000 + (chance >> 33) % 250_000);
        tokio::time::sleep(pause).await;
        server.kill();
        for task in tasks {
            task.await.expect("a client does not panic");
        }
        let in_flight = journals.iter().filter(|j| j.in_flight.load(Relaxed) != 0).count();
        in_flight_total += in_flight;
        let done: u64 = journals.iter().map(|j| j.acknowledged.load(Relaxed)).sum();
        println!(
            "round {round:3}: killed after {:6.1} ms, {done:6} writes acknowledged, \
             {in_flight} in flight",
            pause.as_secs_f64() * 1e3
        );
    }
    let mut server = Server::start(dir.path());
    let channel = server.connect().await;
    survived_total += check(channel, &journals, rounds).await;
    let total: u64 = journals.iter().map(|j| j.acknowledged.load(Relaxed)).sum();
    println!(
        "{rounds} kills, {total} writes, none lost; {in_flight_total} were in flight, of which \
         {survived_total} had become durable"
    );
    assert!(total > rounds as u64, "the load hardly wrote anything: {total} writes");
    assert!(server.terminate().code().is_none(), "SIGTERM ends the process by its own signal");
}
