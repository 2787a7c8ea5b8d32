//! A snapshot on its way to a member that lacks what has left the log.
//!
//! It has a connection of its own, greeted as a stream is, so that no heartbeat ever waits for it:
//!
//! | who | says |
//! |---|---|
//! | sender | its term, u64, little-endian |
//! | receiver | 1 and the position where it stands in a snapshot, or 0 and 42 bytes of no meaning |
//! | sender | 1 if it goes on from there, 0 if it begins anew |
//! | sender | chunks, one after the other, to the end of the snapshot |
//! | receiver | 1: all of it is durable, and consensus knows |
//!
//! Whoever cannot go on closes the connection. The sender dials again, and goes on where the
//! receiver stands then. TCP holds the sender back where the receiver's disk is slower.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use revd_mvcc::{ExportError, SnapshotPosition};
use revd_raft::{NodeId, SnapshotOutcome};
use revd_replica::{Outgoing, snapshot::Start};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;

use super::outgoing::{DialError, Target, reach};
use super::{Event, Listener, background};

/// Bytes of a chunk, about. Smaller ones cost more, larger ones keep a processor, and then the
/// receiver's disk, for longer while requests wait for them.
const CHUNK: usize = 256 << 10;

/// Bytes a second, at most. Besides, the pause behind a chunk is as long as the chunk took: no more
/// than half of one processor's time goes into it, and less where others want it as well, because
/// what takes longer is also followed by a longer pause. Requests come first.
const RATE: u64 = 48 << 20;

/// A receiver that says or takes nothing for so long is given up: it may be syncing what it has.
const SILENCE: Duration = Duration::from_secs(30);

/// After so long without a chunk that went out, the snapshot is given up. Consensus asks for
/// another when the member is heard of again.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Bytes a second, at least, all told: compaction waits for it, and the log is kept for it.
const SLOWEST: u64 = 1 << 20;

/// The pause before the next attempt: the first, and the longest, between which it doubles.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A snapshot under way; it is given up when this is dropped.
pub(super) struct Sending(AbortHandle);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the core how it went, whatever has ended it.
struct Report {
    listener: Listener,
    to: NodeId,
    outcome: SnapshotOutcome,
}

impl Drop for Report {
    fn drop(&mut self) {
        // Nobody may be there any more who wants to know.
        let _ = (self.listener)(Event::SnapshotSent { to: self.to, outcome: self.outcome });
    }
}

/// Why an attempt has failed.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Broken(#[from] std::io::Error),
    #[error("the receiver has lost what it was sent, and needs another snapshot")]
    Lost,
    #[error("it is not there after {0:?}")]
    TooSlow(Duration),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    NotDone(#[from] background::NotDone),
}

impl SendError {
    /// Whether another attempt with the same snapshot would fail, too.
    fn is_final(&self) -> bool {
        !matches!(self, Self::Dial(_) | Self::Broken(_))
    }
}

/// Sends a snapshot, for as long as the returned end lives, and reports how it went.
pub(super) fn start(
    runtime: &tokio::runtime::Handle,
    target: Target,
    outgoing: Outgoing,
    listener: Listener,
) -> Sending {
    let report = Report { listener, to: outgoing.to(), outcome: SnapshotOutcome::Failed };
    Sending(runtime.spawn(send(target, outgoing, report)).abort_handle())
}

async fn send(target: Target, outgoing: Outgoing, mut report: Report) {
    let to = format!("{:x}", target.greeting.to);
    let (position, size) = (outgoing.position(), outgoing.bytes());
    let index = position.index.0;
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = to,
        bytes = size,
        "sending database snapshot"
    );
    let start = Instant::now();
    let mut way = Way::new(outgoing);
    let longest = GIVE_UP + Duration::from_secs(size / SLOWEST);
    let sent = tokio::time::timeout(longest, way.deliver(&target)).await;
    match sent.unwrap_or(Err(SendError::TooSlow(longest))) {
        Ok(()) => {
            report.outcome = SnapshotOutcome::Delivered(position);
            tracing::info!(
                "snapshot-index" = index,
                "remote-peer-id" = to,
                bytes = way.bytes,
                took = crate::log::took(start.elapsed()),
                "sent database snapshot"
            );
        }
        Err(error) => tracing::warn!(
            "snapshot-index" = index,
            "remote-peer-id" = to,
            bytes = way.bytes,
            error = %error,
            "failed to send database snapshot"
        ),
    }
}

/// How far a snapshot has come.
struct Way {
    /// Shared with the thread that reads the next chunk.
    outgoing: Arc<Mutex<Outgoing>>,
    /// Sent so far.
    bytes: u64,
    /// When a chunk last went out.
    progress: Instant,
}

impl Way {
    fn new(outgoing: Outgoing) -> Self {
        Self { outgoing: Arc::new(Mutex::new(outgoing)), bytes: 0, progress: Instant::now() }
    }

    /// Tries until it has arrived, or there is no hope.
    async fn deliver(&mut self, target: &Target) -> Result<(), SendError> {
        let mut pause = PAUSE;
        loop {
            let error = match self.attempt(target).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.is_final() || self.progress.elapsed() > GIVE_UP {
                return Err(error);
            }
            tracing::debug!(error = %error, "a snapshot was interrupted");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&mut self, target: &Target) -> Result<(), SendError> {
        self.go(reach(target).await?).await
    }

    /// All that is said on a connection.
    async fn go(
        &mut self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), SendError> {
        let term = self.outgoing.lock().term();
        stream.write_u64_le(term.0).await?;
        let mut said = [0; 1 + SnapshotPosition::BYTES];
        within(stream.read_exact(&mut said)).await?;
        let at = SnapshotPosition::decode(&said[1..]).filter(|_| said[0] == 1);
        let start = self.outgoing.lock().resume(at.as_ref());
        let is_there = start.ok_or(SendError::Lost)? == Start::There;
        stream.write_u8(u8::from(is_there)).await?;
        let mut due = Instant::now();
        loop {
            let begun = Instant::now();
            let outgoing = Arc::clone(&self.outgoing);
            let chunk = background::run(move || outgoing.lock().next_chunk(CHUNK)).await??;
            let Some(chunk) = chunk else { break };
            let busy = begun.elapsed();
            within(stream.write_all(&chunk)).await?;
            self.bytes += chunk.len() as u64;
            self.progress = Instant::now();
            // A sleep that was too long is made up for, a chunk that took too long is not.
            due = (due + paced(chunk.len())).max(self.progress);
            tokio::time::sleep_until(due.max(self.progress + busy).into()).await;
        }
        if within(stream.read_u8()).await? == 1 { Ok(()) } else { Err(SendError::Lost) }
    }
}

/// How long so many bytes take at the highest rate.
fn paced(bytes: usize) -> Duration {
    Duration::from_nanos(bytes as u64 * 1_000_000_000 / RATE)
}

async fn within<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, std::io::Error> {
    tokio::time::timeout(SILENCE, step).await?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revd_disk::Sim;
    use revd_mvcc::Put;
    use revd_raft::{Config, Index, Input, Message, SnapshotRequest, Term};
    use revd_replica::{
        Author, Command, Decoded, Identity, Member, RequestId, Retention, Settings, entry, recover,
    };
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::peer::Reception;
    use crate::peer::greeting::{Greeting, Kind};

    fn open(member: u64, founders: &[u64]) -> recover::Opened {
        let identity = Identity { cluster: 7, member };
        let founder = |id: &u64| Member { id: *id, ..Member::default() };
        let mut store = revd_mvcc::Options::new(identity.owner());
        store.map_bytes = 1 << 30;
        let settings = Settings {
            identity,
            founders: founders.iter().map(founder).collect(),
            raft: Config::new(NodeId(member)),
            log: revd_wal::Options::default(),
            store,
            retention: Retention::default(),
            seed: 1,
        };
        recover::open(Arc::new(Sim::new(member)), Path::new("data"), settings).unwrap()
    }

    /// A lone leader with something to send.
    fn leader() -> recover::Opened {
        let mut opened = open(1, &[1]);
        opened.consensus.step(Input::Campaign).unwrap();
        turn(&mut opened);
        (0..40).for_each(|n| put(&mut opened, n));
        opened
    }

    fn put(opened: &mut recover::Opened, n: u64) {
        let value = vec![b'v'; 50_000].into();
        let put = Put { key: format!("k{n}").into(), value, ..Put::default() };
        let (request, command, author) = (RequestId(0), Command::Put(put), Author::default());
        let bytes = entry::encode(&command, request, &author);
        opened.consensus.propose(bytes, Decoded { request, author, command }).unwrap();
        turn(opened);
    }

    fn turn(opened: &mut recover::Opened) {
        loop {
            let output = opened.consensus.take();
            let idle = output.persist.is_none() && output.committed.is_empty();
            if let Some(persist) = output.persist {
                opened.consensus.done(persist.run().unwrap()).unwrap();
            }
            let application = opened.machine.apply(output.committed).unwrap();
            let applied = opened.machine.applied().index;
            opened.consensus.applied(applied, application.reconfigured).unwrap();
            if idle {
                return;
            }
        }
    }

    fn way(leader: &mut recover::Opened) -> Way {
        let request = SnapshotRequest { to: NodeId(2), term: Term(9), after: Index(1) };
        Way::new(leader.machine.export(&request).unwrap().expect("the first"))
    }

    struct Receiver {
        reception: Reception,
        events: Arc<Mutex<Vec<Event>>>,
    }

    impl Receiver {
        fn new(joiner: &recover::Opened) -> Self {
            let reception = Reception::new(joiner.machine.file().clone());
            Self { reception, events: Arc::default() }
        }

        /// Receives on the other end of the stream that is returned.
        fn listen(&self) -> (DuplexStream, tokio::task::JoinHandle<bool>) {
            let (near, far) = duplex(4 << 10);
            let (reception, events) = (self.reception.clone(), Arc::clone(&self.events));
            let greeting = Greeting {
                cluster: 7,
                from: 1,
                to: 2,
                kind: Kind::Snapshot,
                urls: Vec::new(),
                generation: 0,
            };
            let task = tokio::spawn(async move {
                let listener: Listener = Arc::new(move |event| {
                    events.lock().push(event);
                    true
                });
                reception.take(far, greeting, &listener).await.is_ok()
            });
            (near, task)
        }

        fn message(&self) -> Message {
            let mut events = self.events.lock();
            assert_eq!(events.len(), 1, "consensus hears of it once");
            match events.remove(0) {
                Event::Snapshot { message, .. } => message,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends so many chunks and breaks off.
    async fn begin(way: &Way, mut stream: DuplexStream, chunks: usize) {
        stream.write_u64_le(9).await.unwrap();
        stream.read_exact(&mut [0; 1 + SnapshotPosition::BYTES]).await.unwrap();
        stream.write_u8(0).await.unwrap();
        for _ in 0..chunks {
            let chunk = way.outgoing.lock().next_chunk(50_000).unwrap().expect("one of many");
            stream.write_all(&chunk).await.unwrap();
        }
    }

    #[tokio::test]
    async fn all_of_it_arrives_and_consensus_hears_of_it() {
        let (mut leader, joiner) = (leader(), open(2, &[]));
        let (receiver, mut way) = (Receiver::new(&joiner), way(&mut leader));
        let (stream, task) = receiver.listen();
        way.go(stream).await.unwrap();
        assert!(task.await.unwrap() && way.bytes > 2_000_000, "{}", way.bytes);
        let message = receiver.message();
        assert_eq!((message.from, message.to, message.term), (NodeId(1), NodeId(2), Term(9)));
        assert_eq!(joiner.machine.applied().index, Index(0), "it is not in its place yet");
    }

    #[tokio::test]
    async fn it_goes_on_where_the_connection_broke() {
        let (mut leader, joiner) = (leader(), open(2, &[]));
        let (receiver, mut way) = (Receiver::new(&joiner), way(&mut leader));
        let (stream, task) = receiver.listen();
        begin(&way, stream, 20).await;
        assert!(!task.await.unwrap());
        let (stream, task) = receiver.listen();
        way.go(stream).await.unwrap();
        assert!(task.await.unwrap());
        assert!(way.bytes < 1_500_000, "{} bytes again", way.bytes);
        receiver.message();
    }

    #[tokio::test]
    async fn what_the_receiver_has_lost_is_not_gone_on_with() {
        let (mut leader, joiner) = (leader(), open(2, &[]));
        let (receiver, mut way) = (Receiver::new(&joiner), way(&mut leader));
        way.outgoing.lock().next_chunk(1_000).unwrap().expect("the opening");
        let (stream, task) = receiver.listen();
        let lost = way.go(stream).await.unwrap_err();
        assert!(matches!(lost, SendError::Lost) && lost.is_final(), "{lost}");
        assert!(!task.await.unwrap());
    }

    #[tokio::test]
    async fn a_newer_snapshot_takes_the_place_of_one_that_broke_off() {
        let (mut leader, joiner) = (leader(), open(2, &[]));
        let (receiver, mut older) = (Receiver::new(&joiner), way(&mut leader));
        let (stream, task) = receiver.listen();
        begin(&older, stream, 5).await;
        assert!(!task.await.unwrap());
        put(&mut leader, 0);
        let mut newer = way(&mut leader);
        let (stream, task) = receiver.listen();
        newer.go(stream).await.unwrap();
        assert!(task.await.unwrap());
        receiver.message();
        let (stream, task) = receiver.listen();
        assert!(older.go(stream).await.unwrap_err().is_final());
        assert!(!task.await.unwrap());
    }
}
