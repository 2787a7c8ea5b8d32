//! Accepting connections until told to stop.
//!
//! Bounds: as many connections as the file descriptors of the process allow (more wait in the
//! kernel), a header within five minutes, a fixed amount of unread data for each connection, and
//! a deadline for those that do not end when the server does.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::authority::Mended;
use super::workers::Workers;

/// A client that has not sent its header by then is given up (etcd's figure).
const HEADER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A TCP connection on which nothing happens is asked for a sign of life after this long, which
/// finds machines that have vanished.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// What a client may send ahead of being read. A stream's window holds most requests whole; the
/// connection's bounds what one client can make us keep.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Calls that a client has cancelled before they were looked at, after which its connection is
/// closed: many goroutines that give up together are not an attack.
const CANCELLED_UNSEEN: usize = 1024;

/// After an error that accepting again at once would only repeat, such as no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells listeners to stop, and waits for calls and connections.
#[derive(Debug)]
pub struct Stopper {
    stop: watch::Sender<bool>,
    calls: Group,
    connections: Group,
}

/// Tasks that are waited for together: each holds a sender, nothing is ever sent.
#[derive(Debug)]
struct Group {
    member: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

impl Group {
    fn new() -> Group {
        let (member, ended) = mpsc::channel(1);
        Group { member, ended }
    }

    /// Waits until all members are gone; says whether they were in time.
    async fn ended(self, patience: Duration) -> bool {
        let Group { member, mut ended } = self;
        drop(member);
        tokio::time::timeout(patience, ended.recv()).await.is_ok()
    }
}

/// What a listener and its connections hold of their [`Stopper`].
#[derive(Clone, Debug)]
pub struct Stopping {
    stop: watch::Receiver<bool>,
    calls: mpsc::WeakSender<Infallible>,
    _connection: mpsc::Sender<Infallible>,
}

/// A call in progress; the server waits for it to be dropped.
#[derive(Debug)]
pub struct Call {
    _member: Option<mpsc::Sender<Infallible>>,
}

/// Connections that have been told to end.
#[derive(Debug)]
#[must_use]
pub struct Connections(Group);

impl Default for Stopper {
    fn default() -> Stopper {
        Stopper { stop: watch::Sender::new(false), calls: Group::new(), connections: Group::new() }
    }
}

impl Stopper {
    /// A share for one listener.
    #[must_use]
    pub fn share(&self) -> Stopping {
        Stopping {
            stop: self.stop.subscribe(),
            calls: self.calls.member.downgrade(),
            _connection: self.connections.member.clone(),
        }
    }

    /// Stops accepting connections and calls, and waits until the calls in progress have ended,
    /// at most as long as `patience`.
    pub async fn stop_accepting(self, patience: Duration) -> Connections {
        // Nobody may be listening any more, which is fine.
        let _ = self.stop.send(true);
        if !self.calls.ended(patience).await {
            tracing::warn!("calls in progress are cut off");
        }
        Connections(self.connections)
    }
}

impl Connections {
    /// Waits for the connections to end, at most as long as `patience`; the rest ends with the
    /// runtime. Says whether all have ended.
    pub async fn ended(self, patience: Duration) -> bool {
        self.0.ended(patience).await
    }
}

impl Stopping {
    /// Counts a call until the value is dropped.
    #[must_use]
    pub fn call(&self) -> Call {
        Call { _member: self.calls.upgrade() }
    }

    /// Resolves when the server is to stop.
    pub(crate) async fn requested(&mut self) {
        // An error means that the stopper is gone, and with it the reason to go on.
        drop(self.stop.wait_for(|stop| *stop).await);
    }
}

/// Which protocols a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 and HTTP/2 without TLS, told apart by the first bytes.
    Both(Option<Keepalive>),
    /// HTTP/1.1 alone.
    Http1,
}

/// When a connection of HTTP/2 on which nothing happens is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// After so long.
    pub interval: Duration,
    /// If none comes for so long, it is closed.
    pub timeout: Duration,
}

/// Where connections are served.
#[derive(Clone, Debug)]
pub enum Place {
    /// On the runtime that accepts them.
    Here,
    /// On threads for it.
    Workers(Arc<Workers>),
}

impl Place {
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        match self {
            Place::Here => drop(tokio::spawn(connection)),
            Place::Workers(workers) => workers.spawn(connection),
        }
    }
}

/// Accepts connections on `listener`, at most `limit` at a time, and answers their requests with
/// `answer` in `place`, until `stopping` says so.
pub async fn serve<F, A, B>(
    listener: TcpListener,
    protocols: Protocols,
    limit: Arc<Semaphore>,
    mut stopping: Stopping,
    place: Place,
    answer: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let builder = Arc::new(builder(protocols));
    loop {
        let accepted = async {
            let room = Arc::clone(&limit).acquire_owned().await;
            (room, accept(&listener).await)
        };
        let (room, stream) = tokio::select! {
            accepted = accepted => accepted,
            () = stopping.requested() => return,
        };
        let (builder, answer, stopping) = (Arc::clone(&builder), answer.clone(), stopping.clone());
        place.spawn(async move {
            let _room = room;
            // A socket belongs to the runtime that it was made in; here it comes to its own.
            match TcpStream::from_std(stream) {
                Ok(stream) => connection(&builder, stream, stopping, answer).await,
                Err(error) => tracing::warn!(error = %error, "cannot serve a connection"),
            }
        });
    }
}

/// Serves one connection to its end.
async fn connection<F, A, B>(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    mut stopping: Stopping,
    answer: F,
) where
    F: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(Mended::new(stream)), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopping.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "connection ended with an error");
    }
}

fn builder(protocols: Protocols) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if protocols == Protocols::Http1 {
        builder = builder.http1_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::MAX)
        .max_pending_accept_reset_streams(CANCELLED_UNSEEN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if let Protocols::Both(Some(Keepalive { interval, timeout })) = protocols {
        builder.http2().keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    builder
}

/// The next connection, ready for small answers that must not wait for a full packet.
async fn accept(listener: &TcpListener) -> std::net::TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match prepare(&stream).and_then(|()| stream.into_std()) {
                Ok(stream) => return stream,
                // The peer is gone already.
                Err(error) => tracing::debug!(error = %error, "connection closed at once"),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, TCP_KEEPALIVE)?;
    Ok(())
}

/// Whether an error of accepting says nothing about the next connection.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    /// Patience that no test uses up.
    const LONG: Duration = Duration::from_secs(20);

    /// Serves "hello", and "/slow" only once it is told to.
    async fn start(stopper: &Stopper, limit: usize) -> (SocketAddr, Arc<Notify>) {
        start_as(Protocols::Both(None), stopper, limit).await
    }

    async fn start_as(
        protocols: Protocols,
        stopper: &Stopper,
        limit: usize,
    ) -> (SocketAddr, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, stopping) = (Arc::new(Notify::new()), stopper.share());
        let (waits, calls) = (Arc::clone(&go), stopping.clone());
        let answer = move |request: Request<Incoming>| {
            let (call, waits) = (calls.call(), Arc::clone(&waits));
            async move {
                if request.uri().path() == "/slow" {
                    waits.notified().await;
                }
                drop(call);
                Response::new(Full::new(Bytes::from_static(b"hello")))
            }
        };
        let limit = Arc::new(Semaphore::new(limit));
        let serving = serve(listener, protocols, limit, stopping, Place::Here, answer);
        tokio::spawn(serving);
        (address, go)
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn answered(stream: &mut TcpStream) -> bool {
        let (mut text, mut buffer) = (String::new(), [0; 512]);
        while !text.ends_with("hello") {
            match stream.read(&mut buffer).await.unwrap() {
                0 => return false,
                length => text.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
            }
        }
        text.starts_with("HTTP/1.1 200 OK")
    }

    #[tokio::test]
    async fn idle_connections_end_when_the_server_stops() {
        let stopper = Stopper::default();
        let (address, _) = start(&stopper, 10).await;
        let mut stream = ask(address, "/").await;
        assert!(answered(&mut stream).await);
        let connections = stopper.stop_accepting(LONG).await;
        assert!(connections.ended(LONG).await);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn calls_in_progress_are_answered_before_the_stop() {
        let stopper = Stopper::default();
        let (address, go) = start(&stopper, 10).await;
        let mut stream = ask(address, "/slow").await;
        // The call has begun once another one behind it has been answered.
        assert!(answered(&mut ask(address, "/").await).await);
        let stop = tokio::spawn(stopper.stop_accepting(LONG));
        tokio::task::yield_now().await;
        go.notify_one();
        assert!(answered(&mut stream).await);
        assert!(stop.await.unwrap().ended(LONG).await);
    }

    #[tokio::test]
    async fn a_connection_without_a_sign_of_life_is_closed() {
        let (stopper, soon) = (Stopper::default(), Duration::from_millis(20));
        let keepalive = Keepalive { interval: soon, timeout: soon };
        let (address, _) = start_as(Protocols::Both(Some(keepalive)), &stopper, 1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The preface and settings that change nothing; no ping is answered after that.
        let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(opening).await.unwrap();
        let mut all = Vec::new();
        let end = tokio::time::timeout(LONG, stream.read_to_end(&mut all)).await;
        assert!(end.is_ok(), "it is still open after {} bytes", all.len());
        assert!(stopper.stop_accepting(LONG).await.ended(LONG).await);
    }

    #[tokio::test]
    async fn patience_ends() {
        let stopper = Stopper::default();
        let (address, _go) = start(&stopper, 10).await;
        let _stream = ask(address, "/slow").await;
        assert!(answered(&mut ask(address, "/").await).await);
        let connections = stopper.stop_accepting(Duration::from_millis(20)).await;
        assert!(!connections.ended(Duration::from_millis(20)).await);
    }

    #[tokio::test]
    async fn more_connections_than_the_limit_wait() {
        let stopper = Stopper::default();
        let (address, _go) = start(&stopper, 1).await;
        let mut first = ask(address, "/").await;
        assert!(answered(&mut first).await);
        let mut second = ask(address, "/").await;
        let early = tokio::time::timeout(Duration::from_millis(50), answered(&mut second)).await;
        assert!(early.is_err(), "the second connection was served beside the first");
        drop(first);
        assert!(answered(&mut second).await);
    }
}
