//! A closed loop of calls on leases: each client sends its next when the last is answered.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use revd_api::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest};
use tokio::task::LocalSet;

use crate::client::Connection;
use crate::load::Outcome;
use crate::statistics::Latencies;

/// What is done with each lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Grant it, for so many seconds.
    Grant(i64),
    /// Renew it, on a stream that stays open.
    Renew,
    /// Revoke it.
    Revoke,
}

struct Shared {
    action: Action,
    next: Cell<i64>,
    end: i64,
    latencies: RefCell<Latencies>,
}

/// Does the same with each of the leases, on this thread.
///
/// # Errors
/// The first connection or call that failed, as text.
pub fn run(
    address: &str,
    action: Action,
    leases: Range<i64>,
    connections: usize,
    clients: usize,
) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, run_all(address, action, leases, connections, clients))
}

async fn run_all(
    address: &str,
    action: Action,
    leases: Range<i64>,
    connections: usize,
    clients: usize,
) -> Result<Outcome, String> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let connection = Connection::open(address).await;
        open.push(connection.map_err(|e| format!("cannot connect to {address}: {e}"))?);
    }
    let count = (leases.end - leases.start) as u64;
    let shared = Rc::new(Shared {
        action,
        next: Cell::new(leases.start),
        end: leases.end,
        latencies: RefCell::default(),
    });
    let start = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|n| {
            let connection = open[n % open.len()].clone();
            tokio::task::spawn_local(client(connection, Rc::clone(&shared)))
        })
        .collect();
    for client in clients {
        client.await.map_err(|e| e.to_string())??;
    }
    Ok(Outcome { calls: count, took: start.elapsed(), latencies: shared.latencies.take() })
}

async fn client(connection: Connection, shared: Rc<Shared>) -> Result<(), String> {
    let text = |error: crate::client::CallError| error.to_string();
    let mut grant = connection.method("/etcdserverpb.Lease/LeaseGrant");
    let mut revoke = connection.method("/etcdserverpb.Lease/LeaseRevoke");
    let mut stream = match shared.action {
        Action::Renew => {
            let mut method = connection.method("/etcdserverpb.Lease/LeaseKeepAlive");
            Some(method.stream().await.map_err(text)?)
        }
        Action::Grant(_) | Action::Revoke => None,
    };
    loop {
        let id = shared.next.get();
        if id >= shared.end {
            return Ok(());
        }
        shared.next.set(id + 1);
        let sent = Instant::now();
        match (shared.action, &mut stream) {
            (Action::Renew, Some((requests, responses))) => {
                requests.send(&LeaseKeepAliveRequest { id }).map_err(text)?;
                let mut answers = 0;
                while answers == 0 {
                    if !responses.read(|_| answers += 1).await.map_err(text)? {
                        return Err("the server ended a stream of renewals".to_owned());
                    }
                }
            }
            (Action::Grant(ttl), _) => {
                grant.call(&LeaseGrantRequest { id, ttl }).await.map_err(text)?;
            }
            (Action::Renew | Action::Revoke, _) => {
                revoke.call(&LeaseRevokeRequest { id }).await.map_err(text)?;
            }
        }
        shared.latencies.borrow_mut().add(sent.elapsed());
    }
}
