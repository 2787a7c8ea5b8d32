//! Many records as fast as a server takes them, before something else is measured.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use prost::Message;
use revd_api::etcdserverpb::request_op::Request;
use revd_api::etcdserverpb::{PutRequest, RequestOp, TxnRequest, TxnResponse};

use crate::client::{Connection, MethodCall};
use crate::load::incompressible;

/// Puts in one transaction.
const BATCH: u64 = 100;
/// Transactions under way at a time.
const LOADERS: usize = 16;

/// Puts `records` records in transactions of 100, with keys of 8 bytes that come in turn; returns
/// the last revision. Must run on a [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// The first call that failed, as text.
pub async fn records(
    connections: &[Connection],
    records: u64,
    keys: u64,
    value_bytes: usize,
) -> Result<i64, String> {
    let filling = Rc::new(Filling {
        next: Cell::new(0),
        transactions: records / BATCH,
        keys,
        value: incompressible(value_bytes),
    });
    let mut loaders = Vec::new();
    for n in 0..LOADERS {
        let method = connections[n % connections.len()].method("/etcdserverpb.KV/Txn");
        loaders.push(tokio::task::spawn_local(load(method, Rc::clone(&filling))));
    }
    let mut last = 0;
    for loader in loaders {
        last = last.max(loader.await.map_err(|e| e.to_string())??);
    }
    Ok(last)
}

struct Filling {
    /// The number of the next transaction.
    next: Cell<u64>,
    transactions: u64,
    keys: u64,
    value: Bytes,
}

impl Filling {
    fn transaction(&self, n: u64) -> TxnRequest {
        let put = |k: u64| PutRequest {
            key: (k % self.keys).to_be_bytes().to_vec().into(),
            value: self.value.clone(),
            ..PutRequest::default()
        };
        let op = |k| RequestOp { request: Some(Request::RequestPut(put(k))) };
        let success = (n * BATCH..(n + 1) * BATCH).map(op).collect();
        TxnRequest { success, ..TxnRequest::default() }
    }
}

async fn load(mut method: MethodCall, filling: Rc<Filling>) -> Result<i64, String> {
    let mut revision = 0;
    loop {
        let n = filling.next.get();
        if n >= filling.transactions {
            return Ok(revision);
        }
        filling.next.set(n + 1);
        let answer = method.call(&filling.transaction(n)).await.map_err(|e| e.to_string())?;
        let answer = TxnResponse::decode(answer).map_err(|e| e.to_string())?;
        revision = answer.header.map_or(0, |header| header.revision);
    }
}
