//! gRPC calls over HTTP/2, unary and streaming, and nothing else.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tokio::net::TcpStream;

/// Bytes of credit for each connection: more than all the streams on it that nobody reads take up.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Bytes of credit for each stream, unless asked for otherwise: no answer here waits for more.
const STREAM_WINDOW: u32 = 8 << 20;

/// Bytes of a message's prefix: a flag and the length.
const PREFIX: usize = 5;

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The connection is gone.
    Transport(h2::Error),
    /// The server answered with this gRPC status.
    Status(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "the connection failed: {error}"),
            Self::Status(status) => write!(f, "the call failed with status {status}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Transport(error)
    }
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    base: String,
}

impl Connection {
    /// Connects to `host:port`. The connection's own work runs as a task of the present runtime.
    ///
    /// # Errors
    /// When nobody listens there, or it is no HTTP/2 server.
    pub async fn open(address: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Self::with_stream_window(address, STREAM_WINDOW).await
    }

    /// The same, with this many bytes of credit for each stream: what the server may send ahead of
    /// a client that does not read.
    ///
    /// # Errors
    /// When nobody listens there, or it is no HTTP/2 server.
    pub async fn with_stream_window(
        address: &str,
        window: u32,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            // An error here also fails the calls that wait, which report it.
            let _ = connection.await;
        });
        Ok(Self { sender, base: format!("http://{address}") })
    }

    /// A method to be called many times.
    ///
    /// # Panics
    /// When the path is not that of a URL.
    pub fn method(&self, path: &str) -> MethodCall {
        let uri = format!("{}{path}", self.base).parse().expect("a valid path");
        MethodCall { sender: self.sender.clone(), uri }
    }
}

/// One method on one connection.
#[derive(Clone)]
pub struct MethodCall {
    sender: SendRequest<Bytes>,
    uri: Uri,
}

impl MethodCall {
    /// Calls it, and returns the answer undecoded.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&mut self, message: &impl Message) -> Result<Bytes, CallError> {
        let (answer, mut body) = self.send_headers().await?;
        body.send_data(frame(message), true)?;
        read(answer.await?).await
    }

    /// Opens a stream of messages both ways.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn stream(&mut self) -> Result<(Requests, Responses), CallError> {
        let (answer, body) = self.send_headers().await?;
        let responses = Responses { answer: Some(answer), body: None, unread: BytesMut::new() };
        Ok((Requests { body }, responses))
    }

    async fn send_headers(&self) -> Result<(ResponseFuture, SendStream<Bytes>), CallError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let mut sender = self.sender.clone().ready().await?;
        Ok(sender.send_request(request, false)?)
    }
}

/// The client's side of a stream. Dropping it resets the stream.
pub struct Requests {
    body: SendStream<Bytes>,
}

impl Requests {
    /// Sends a message; it waits in memory if the server takes no more at the moment.
    ///
    /// # Errors
    /// [`CallError`] when the stream has ended.
    pub fn send(&mut self, message: &impl Message) -> Result<(), CallError> {
        Ok(self.body.send_data(frame(message), false)?)
    }

    /// Sends the last message.
    ///
    /// # Errors
    /// [`CallError`] when the stream has ended.
    pub fn send_last(&mut self, message: &impl Message) -> Result<(), CallError> {
        Ok(self.body.send_data(frame(message), true)?)
    }
}

/// The server's side of a stream.
pub struct Responses {
    /// Until the headers have come.
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
    /// The beginning of a message whose rest has not come yet.
    unread: BytesMut,
}

impl Responses {
    /// Waits for data, and calls `each` with every message that is complete with it, undecoded.
    /// False when the server has ended the stream.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool, CallError> {
        if let Some(answer) = self.answer.take() {
            let answer = answer.await?;
            if let Some(status) = failed(answer.headers()) {
                return Err(CallError::Status(status));
            }
            self.body = Some(answer.into_body());
        }
        let Some(body) = &mut self.body else { return Ok(false) };
        let Some(data) = body.data().await else {
            return match body.trailers().await?.as_ref().and_then(failed) {
                Some(status) => Err(CallError::Status(status)),
                None => Ok(false),
            };
        };
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if self.unread.is_empty() {
            let rest = take_messages(&data, &mut each);
            self.unread.extend_from_slice(&data[rest..]);
        } else {
            self.unread.extend_from_slice(&data);
            let rest = take_messages(&self.unread, &mut each);
            self.unread.advance(rest);
        }
        Ok(true)
    }
}

/// Calls `each` with the complete messages at the beginning of `data`; returns where the rest is.
fn take_messages(data: &[u8], each: &mut impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some(prefix) = data.get(at..at + PREFIX) {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let Some(message) = data.get(at + PREFIX..at + PREFIX + length) else { break };
        each(message);
        at += PREFIX + length;
    }
    at
}

/// A message with its five-byte prefix.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("no message here is that long"));
    message.encode(&mut frame).expect("the frame has room");
    frame.freeze()
}

async fn read(answer: http::Response<h2::RecvStream>) -> Result<Bytes, CallError> {
    // A call that fails at once has its status among the headers.
    if let Some(status) = failed(answer.headers()) {
        return Err(CallError::Status(status));
    }
    let mut body = answer.into_body();
    let mut whole = Bytes::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        whole = if whole.is_empty() { part } else { Bytes::from([whole, part].concat()) };
    }
    match body.trailers().await?.as_ref().and_then(failed) {
        Some(status) => Err(CallError::Status(status)),
        None => Ok(whole.slice(whole.len().min(PREFIX)..)),
    }
}

fn failed(headers: &http::HeaderMap) -> Option<String> {
    let status = headers.get("grpc-status")?;
    if status == "0" {
        return None;
    }
    let message = headers.get("grpc-message").and_then(|m| m.to_str().ok()).unwrap_or("");
    Some(format!("{} {message}", status.to_str().unwrap_or("?")))
}
