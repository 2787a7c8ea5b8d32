//! Many writers at the same time, each with one call under way.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use revd_api::etcdserverpb::PutRequest;

use crate::Failure;
use crate::client::{Client, key_of};
use crate::stanzas::Packages;

/// How many there are.
pub(crate) const COUNT: usize = 64;

/// Writes all packages; returns the last revision.
pub(crate) async fn write(client: &Client, packages: &Packages) -> Result<i64, Failure> {
    let put = |(name, stanza): (&String, &bytes::Bytes)| PutRequest {
        key: key_of(name).into(),
        value: stanza.clone(),
        ..PutRequest::default()
    };
    let puts: Arc<Vec<PutRequest>> = Arc::new(packages.iter().map(put).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..COUNT)
        .map(|_| tokio::spawn(run(client.clone(), Arc::clone(&puts), Arc::clone(&next))))
        .collect();
    let mut revision = 0;
    for writer in writers {
        revision = revision.max(writer.await??);
    }
    Ok(revision)
}

/// Takes what is next until all is written; returns the last revision of this writer.
async fn run(
    client: Client,
    puts: Arc<Vec<PutRequest>>,
    next: Arc<AtomicUsize>,
) -> Result<i64, Failure> {
    let mut kv = client.kv();
    let mut revision = 0;
    loop {
        let n = next.fetch_add(1, Relaxed);
        let Some(put) = puts.get(n) else { return Ok(revision) };
        let answer = kv.put(put.clone()).await?.into_inner();
        revision = answer.header.ok_or("an answer without a header")?.revision;
        show(n + 1, puts.len());
    }
}

/// How far it is, on a terminal.
fn show(done: usize, all: usize) {
    if done.is_multiple_of(1000) && std::io::stderr().is_terminal() {
        eprint!("\r{done} of {all}\r");
        // A terminal that is gone needs no progress.
        let _ = std::io::stderr().flush();
    }
}
