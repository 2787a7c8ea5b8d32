//! A snapshot that another member sends; see [`super::sending`] for what is said.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use revd_mvcc::{
    ChunkError, ImportError, SNAPSHOT_HEADER_BYTES, SnapshotPosition, snapshot_chunk_len,
};
use revd_raft::{NodeId, Term};
use revd_replica::{Incoming, ReceiveError, Received, TreeFile};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::greeting::Greeting;
use super::{Event, Listener, background};
use crate::http::serve::Stopping;

/// A sender that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// What an interrupted snapshot has left is kept for so long, for the sender to come back; longer
/// than it tries.
const KEPT: Duration = Duration::from_secs(60);

/// Where snapshots of other members are received, one at a time.
#[derive(Clone)]
pub struct Reception {
    file: TreeFile,
    kept: Arc<Mutex<Kept>>,
}

/// What an interrupted snapshot has left.
#[derive(Default)]
struct Kept {
    incoming: Option<Incoming>,
    /// Counts them, so that what is forgotten in the end is not a later one.
    number: u64,
}

/// Why a snapshot was not received, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Broken(#[from] std::io::Error),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error(transparent)]
    NotDone(#[from] background::NotDone),
}

impl From<ImportError> for Failed {
    fn from(error: ImportError) -> Self {
        Self::Receive(error.into())
    }
}

impl From<ChunkError> for Failed {
    fn from(error: ChunkError) -> Self {
        ImportError::from(error).into()
    }
}

impl Reception {
    /// Receives beside the tree.
    #[must_use]
    pub fn new(file: TreeFile) -> Self {
        Self { file, kept: Arc::default() }
    }

    /// Receives on a connection that was greeted, and tells the core when all is there.
    pub(super) async fn receive(
        self,
        greeting: Greeting,
        listener: Listener,
        upgrade: OnUpgrade,
        mut stopping: Stopping,
    ) {
        let Ok(connection) = upgrade.await else { return };
        let from = format!("{:x}", greeting.from);
        tracing::info!("remote-snapshot-sender-id" = from, "receiving database snapshot");
        let outcome = tokio::select! {
            outcome = self.take(TokioIo::new(connection), greeting, &listener) => outcome,
            () = stopping.requested() => return,
        };
        if let Err(error) = outcome {
            tracing::warn!(
                "remote-snapshot-sender-id" = from,
                error = %error,
                "failed to receive database snapshot"
            );
        }
    }

    /// All that is said on a connection.
    pub(super) async fn take(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        greeting: Greeting,
        listener: &Listener,
    ) -> Result<(), Failed> {
        let term = Term(within(stream.read_u64_le()).await?);
        let kept = self.kept.lock().incoming.take();
        let at = kept.as_ref().and_then(Incoming::position);
        let mut said = [0; 1 + SnapshotPosition::BYTES];
        if let Some(at) = at {
            said[0] = 1;
            said[1..].copy_from_slice(&at.encode());
        }
        stream.write_all(&said).await?;
        let goes_on = within(stream.read_u8()).await? == 1;
        let incoming = match kept.filter(|_| goes_on) {
            Some(incoming) => incoming,
            None => {
                let file = self.file.clone();
                background::run(move || Incoming::begin(&file)).await??
            }
        };
        let incoming = self.fill(incoming, &mut stream).await?;
        let received = background::run(move || incoming.finish()).await??;
        tracing::info!(
            "remote-snapshot-sender-id" = %format_args!("{:x}", greeting.from),
            "incoming-snapshot-index" = received.position().index.0,
            "received and saved database snapshot"
        );
        self.tell(received, greeting, term, listener);
        stream.write_u8(1).await?;
        Ok(())
    }

    fn tell(&self, received: Received, greeting: Greeting, term: Term, listener: &Listener) {
        let message = received.message(NodeId(greeting.from), NodeId(greeting.to), term);
        let received = Box::new(received);
        // A member that has stopped begins anew at its next start.
        let _ = listener(Event::Snapshot { received, message });
    }

    /// Takes chunks to the last one. What is there when the connection breaks is kept.
    async fn fill(
        &self,
        mut incoming: Incoming,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Incoming, Failed> {
        while !incoming.is_complete() {
            let chunk = match read_chunk(stream).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.keep(incoming);
                    return Err(error);
                }
            };
            let pushed;
            (incoming, pushed) = background::run(move || {
                let pushed = incoming.push(&chunk);
                (incoming, pushed)
            })
            .await?;
            match pushed {
                Ok(()) => {}
                Err(error @ ImportError::Chunk(_)) => {
                    self.keep(incoming);
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(incoming)
    }

    /// Keeps what has arrived for the sender's next attempt, and forgets it after a while.
    fn keep(&self, incoming: Incoming) {
        let number = {
            let mut kept = self.kept.lock();
            kept.incoming = Some(incoming);
            kept.number += 1;
            kept.number
        };
        let reception = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            if reception.forget(number) {
                let file = reception.file;
                // What cannot be removed now is at the next reception, or at the next start.
                let _ = background::run(move || Incoming::clear(&file)).await;
            }
        });
    }

    /// Whether this was still kept, and is not any more.
    fn forget(&self, number: u64) -> bool {
        let mut kept = self.kept.lock();
        let is_last = kept.number == number;
        kept.incoming.take_if(|_| is_last).is_some()
    }
}

async fn read_chunk(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failed> {
    let mut chunk = vec![0; SNAPSHOT_HEADER_BYTES];
    within(stream.read_exact(&mut chunk)).await?;
    let length = snapshot_chunk_len(&chunk)?;
    chunk.resize(length, 0);
    within(stream.read_exact(&mut chunk[SNAPSHOT_HEADER_BYTES..])).await?;
    Ok(chunk)
}

async fn within<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, std::io::Error> {
    tokio::time::timeout(SILENCE, step).await?
}
