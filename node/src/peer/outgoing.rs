//! One stream to another member: dialled, filled, and dialled again when it breaks.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use revd_raft::{Message, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::greeting::{Greeting, Kind};
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
    queue: mpsc::Sender<Message>,
}

/// Why a stream could not be made.
#[derive(Debug, thiserror::Error)]
enum DialError {
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
}

impl Stream {
    /// Dials and fills a stream on `runtime`, for as long as the returned end lives.
    pub(super) fn start(runtime: &Runtime, target: Target, listener: Listener) -> Self {
        let waiting = match target.greeting.kind {
            Kind::Append => 1_024,
            Kind::Rest => 4_096,
        };
        let (queue, messages) = mpsc::channel(waiting);
        runtime.spawn(keep(target, messages, listener));
        Self { queue }
    }

    /// Adds a message; false if the queue is full, and the message lost.
    pub(super) fn send(&self, message: Message) -> bool {
        self.queue.try_send(message).is_ok()
    }
}

/// Keeps a stream up until its near end is dropped.
async fn keep(target: Target, mut messages: mpsc::Receiver<Message>, listener: Listener) {
    let to = format!("{:x}", target.greeting.to);
    let stream = target.greeting.kind;
    let mut pause = PAUSE;
    let mut is_up = None;
    while !messages.is_closed() {
        let error = match reach(&target).await {
            Ok(connection) => {
                tracing::info!("remote-peer-id" = to, stream = ?stream, "peer became active");
                is_up = Some(true);
                pause = PAUSE;
                match fill(connection, &mut messages).await {
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
        if !listener(Event::Unreachable(NodeId(target.greeting.to))) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        // Nobody waits for what is as old as that.
        while messages.try_recv().is_ok() {}
    }
}

/// A connection to the first of the member's addresses that answers.
async fn reach(target: &Target) -> Result<Upgraded, DialError> {
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

async fn greet(url: &str, greeting: &Greeting) -> Result<Upgraded, DialError> {
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
    Ok(hyper::upgrade::on(response).await?)
}

/// Writes what comes in until the near end is dropped; an error says that the far end has gone.
async fn fill(
    connection: Upgraded,
    messages: &mut mpsc::Receiver<Message>,
) -> Result<(), std::io::Error> {
    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(connection));
    let (mut batch, mut bytes, mut byte) = (Vec::with_capacity(BATCH), Vec::new(), [0; 1]);
    loop {
        tokio::select! {
            count = messages.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return Ok(());
                }
            }
            // Nothing is ever sent back; what is read is the end.
            read = reader.read(&mut byte) => {
                read?;
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
        }
        batch.drain(..).for_each(|message| frame::put(&message, &mut bytes));
        tokio::time::timeout(WRITE, writer.write_all(&bytes)).await??;
        bytes.clear();
        bytes.shrink_to(BUFFER_KEPT);
    }
}
