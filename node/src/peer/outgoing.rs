//! One stream to another member: dialled, filled, and dialled again when it breaks.
//!
//! A small message for which no other waits is written to the socket at once, by the thread that
//! has it: handing it to the stream's task would wake another thread, which costs more than the
//! write. Everything else goes through the queue, whose task writes in batches. The two never write
//! at the same time: nothing is written directly while anything is in the queue or in the task's
//! hands.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use revd_raft::{Body, Message, NodeId, Proposal};
use tokio::net::TcpStream;
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::greeting::Greeting;
use super::traffic::Link;
use super::{Event, Listener, dial, frame, incoming};

/// The pause before a broken stream is dialled again: the first, and the longest, between which it
/// doubles.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A connection that is not made by then, or takes no bytes for so long, is given up (etcd's
/// dial timeout, and the default of its `--raft-write-timeout`).
const DIAL: Duration = Duration::from_secs(1);
const WRITE: Duration = Duration::from_secs(5);

/// Messages that are written at a time, at most.
const BATCH: usize = 128;

/// Entries of more bytes than that are left to the task: they take time to encode and to send.
const DIRECT: usize = 16 << 10;

/// Room for encoded messages above this is given back after the batch that needed it.
const BUFFER_KEPT: usize = 1 << 20;

/// Whom to dial, and what to say.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) greeting: Greeting,
    /// Where the member is reached, all of them equal.
    pub(super) urls: Vec<String>,
}

/// The near end of a stream; the stream ends when this is dropped.
pub(super) struct Stream {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
    /// Room to encode a message.
    bytes: Vec<u8>,
}

/// What waits to be sent.
enum Item {
    Message(Message),
    /// What the socket of this connection did not take of a message.
    Rest(Arc<TcpStream>, Vec<u8>),
}

/// What the two ends of the queue share.
struct Shared {
    /// Messages in the queue and in the task's hands. Only the near end adds to it.
    waiting: AtomicUsize,
    /// As long as there is a connection.
    socket: Mutex<Option<Arc<TcpStream>>>,
    link: Arc<Link>,
}

/// Why a stream could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("it has no address")]
    NoAddress,
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error("no answer within {DIAL:?}")]
    Timeout,
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the member answers {0}")]
    Refused(StatusCode),
    #[error("the connection was upgraded to something else")]
    Stranger,
}

impl Stream {
    /// Dials and fills a stream on `runtime`, for as long as the returned end lives. So many
    /// messages may wait.
    pub(super) fn start(
        runtime: &Runtime,
        target: Target,
        waiting: usize,
        listener: Listener,
        link: Arc<Link>,
    ) -> Self {
        let (queue, items) = mpsc::channel(waiting);
        let (waiting, socket) = (AtomicUsize::new(0), Mutex::new(None));
        let shared = Arc::new(Shared { waiting, socket, link });
        let far = Queue { items, shared: Arc::clone(&shared) };
        runtime.spawn(keep(target, far, listener));
        Self { queue, shared, bytes: Vec::new() }
    }

    /// Sends a message, now or later; false if the queue is full, and the message lost.
    pub(super) fn send(&mut self, message: Message) -> bool {
        let item = match self.free_socket(&message) {
            None => Item::Message(message),
            Some(socket) => {
                self.bytes.clear();
                frame::put(&message, &mut self.bytes);
                self.shared.link.sent(self.bytes.len());
                // An error is met again by the task, which then dials anew.
                let written = socket.try_write(&self.bytes).unwrap_or(0);
                if written == self.bytes.len() {
                    return true;
                }
                Item::Rest(socket, self.bytes.split_off(written))
            }
        };
        self.shared.waiting.fetch_add(1, Release);
        let is_taken = self.queue.try_send(item).is_ok();
        if !is_taken {
            self.shared.waiting.fetch_sub(1, Release);
        }
        is_taken
    }

    /// The socket, if it is this message's turn, and the message is small.
    fn free_socket(&self, message: &Message) -> Option<Arc<TcpStream>> {
        let bytes: usize = match &message.body {
            Body::Append { entries, .. } => entries.iter().map(|entry| entry.data.len()).sum(),
            Body::Propose { proposals } => proposals.iter().map(length).sum(),
            _ => 0,
        };
        if bytes > DIRECT || self.shared.waiting.load(Acquire) > 0 {
            return None;
        }
        self.shared.socket.lock().clone()
    }
}

const fn length(proposal: &Proposal) -> usize {
    match proposal {
        Proposal::Normal(data) | Proposal::Configuration { data, .. } => data.len(),
    }
}

/// The far end of the queue.
struct Queue {
    items: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

/// Keeps a stream up until its near end is dropped.
async fn keep(target: Target, mut queue: Queue, listener: Listener) {
    let to = format!("{:x}", target.greeting.to);
    let stream = target.greeting.kind;
    let mut pause = PAUSE;
    let mut is_up = None;
    while !queue.items.is_closed() {
        let error = match reach(&target).await {
            Ok(socket) => {
                tracing::info!("remote-peer-id" = to, stream = ?stream, "peer became active");
                is_up = Some(true);
                pause = PAUSE;
                match queue.fill(Arc::new(socket)).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(DialError::Refused(StatusCode::GONE)) => {
                listener(Event::Removed);
                return;
            }
            Err(error) => error.to_string(),
        };
        if is_up != Some(false) {
            is_up = Some(false);
            let text = "peer became inactive (message send to peer failed)";
            tracing::warn!("remote-peer-id" = to, stream = ?stream, error, "{text}");
        }
        queue.shared.link.not_sent();
        if !listener(Event::Unreachable(NodeId(target.greeting.to))) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        queue.forget();
    }
}

/// A connection to the first of the member's addresses that answers.
pub(super) async fn reach(target: &Target) -> Result<TcpStream, DialError> {
    let mut outcome = Err(DialError::NoAddress);
    for url in &target.urls {
        outcome = match tokio::time::timeout(DIAL, greet(url, &target.greeting)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DialError::Timeout),
        };
        if !matches!(outcome, Err(DialError::Connect(_) | DialError::Timeout)) {
            break;
        }
    }
    outcome
}

async fn greet(url: &str, greeting: &Greeting) -> Result<TcpStream, DialError> {
    let stream = dial::connect(url).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = http::Uri::from_static(incoming::PATH);
    greeting.write(request.headers_mut());
    dial::write_host(request.headers_mut(), url);
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(DialError::Refused(response.status()));
    }
    let upgraded = hyper::upgrade::on(response).await?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| DialError::Stranger)?;
    // Nothing is sent back before something was sent.
    if !parts.read_buf.is_empty() {
        return Err(DialError::Stranger);
    }
    Ok(parts.io.into_inner())
}

impl Queue {
    /// Writes what comes in until the near end is dropped; an error says that the far end of the
    /// connection has gone.
    async fn fill(&mut self, socket: Arc<TcpStream>) -> std::io::Result<()> {
        *self.shared.socket.lock() = Some(Arc::clone(&socket));
        let outcome = self.write_all(&socket).await;
        *self.shared.socket.lock() = None;
        outcome
    }

    async fn write_all(&mut self, socket: &Arc<TcpStream>) -> std::io::Result<()> {
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
        loop {
            let count = tokio::select! {
                count = self.items.recv_many(&mut batch, BATCH) => count,
                end = end(socket) => return end,
            };
            if count == 0 {
                return Ok(());
            }
            for item in batch.drain(..) {
                match item {
                    Item::Message(message) => {
                        let before = bytes.len();
                        frame::put(&message, &mut bytes);
                        self.shared.link.sent(bytes.len() - before);
                    }
                    Item::Rest(of, rest) if Arc::ptr_eq(&of, socket) => bytes.extend(rest),
                    Item::Rest(..) => {}
                }
            }
            let written = tokio::time::timeout(WRITE, write(socket, &bytes)).await;
            self.shared.waiting.fetch_sub(count, Release);
            written??;
            bytes.clear();
            bytes.shrink_to(BUFFER_KEPT);
        }
    }

    /// Drops what waits: nobody needs what was meant for a connection that is gone.
    fn forget(&mut self) {
        while self.items.try_recv().is_ok() {
            self.shared.waiting.fetch_sub(1, Release);
        }
    }
}

/// Waits for the end of a connection on which nothing is ever sent back.
async fn end(socket: &TcpStream) -> std::io::Result<()> {
    loop {
        socket.readable().await?;
        match socket.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(ErrorKind::ConnectionAborted.into()),
        }
    }
}

async fn write(socket: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use revd_raft::{Entry, EntryKind, Index, Position, Term};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::peer::frame::Frames;
    use crate::peer::greeting::Kind;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn append(index: u64, length: usize) -> Message {
        let position = |index| Position::new(Index(index), Term(1));
        let data = vec![index as u8; length].into();
        let kind = EntryKind::Normal;
        let entry = Entry { term: Term(1), index: Index(index), kind, data };
        let previous = position(index - 1);
        let body = Body::Append { previous, entries: vec![entry], commit: Index(0) };
        Message { from: NodeId(1), to: NodeId(2), term: Term(1), body }
    }

    /// The next connection, greeted.
    async fn accept(listener: &TcpListener) -> TcpStream {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.unwrap());
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: revd-peer/1\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.unwrap();
        socket
    }

    async fn stream() -> (Stream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let greeting = Greeting {
            cluster: 9,
            from: 1,
            to: 2,
            kind: Kind::Append,
            urls: Vec::new(),
            generation: 0,
        };
        let urls = vec![format!("http://{}", listener.local_addr().unwrap())];
        let target = Target { greeting, urls };
        (
            Stream::start(&Runtime::current(), target, 1_024, Arc::new(|_| true), Arc::default()),
            listener,
        )
    }

    /// Waits until messages are written to a socket.
    async fn connected(stream: &Stream) -> Arc<TcpStream> {
        let start = Instant::now();
        loop {
            let socket = stream.shared.socket.lock().clone();
            if let Some(socket) = socket {
                return socket;
            }
            assert!(start.elapsed() < PATIENCE, "no connection");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn messages_arrive_whole_and_in_order_whichever_way_they_go() {
        let (mut stream, listener) = stream().await;
        let far = accept(&listener).await;
        connected(&stream).await;
        // More than a socket takes while nobody reads, with entries of both ways in between.
        let sent: Vec<Message> =
            (1..=900).map(|n| append(n, if n % 7 == 0 { 3 * DIRECT } else { 900 })).collect();
        sent.iter().for_each(|message| assert!(stream.send(message.clone())));
        let mut frames = Frames::new(far);
        for message in &sent {
            assert_eq!(&frames.next().await.unwrap().unwrap().0, message);
        }
        // With nothing left, small ones go directly again.
        let start = Instant::now();
        while stream.shared.waiting.load(Acquire) > 0 {
            assert!(start.elapsed() < PATIENCE, "the task does not come to its end");
            tokio::task::yield_now().await;
        }
        assert!(stream.free_socket(&append(901, 900)).is_some());
        assert!(stream.free_socket(&append(901, 2 * DIRECT)).is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_rest_of_a_message_is_not_sent_on_another_connection() {
        let (mut stream, listener) = stream().await;
        let far = accept(&listener).await;
        let first = connected(&stream).await;
        drop(far);
        let far = accept(&listener).await;
        let start = Instant::now();
        while Arc::ptr_eq(&connected(&stream).await, &first) {
            assert!(start.elapsed() < PATIENCE, "the connection is not given up");
        }
        stream.shared.waiting.fetch_add(1, Release);
        assert!(stream.queue.try_send(Item::Rest(first, vec![1, 2, 3])).is_ok());
        assert!(stream.send(append(1, 10)));
        assert_eq!(Frames::new(far).next().await.unwrap().unwrap().0, append(1, 10));
    }
}
