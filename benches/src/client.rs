//! Unary gRPC calls over HTTP/2, and nothing else.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tokio::net::TcpStream;

/// Bytes of credit for each stream and connection: no answer here ever waits for more.
const WINDOW: u32 = 8 << 20;

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
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
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
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(frame(message), true)?;
        read(answer.await?).await
    }
}

/// A message with its five-byte prefix.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
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
        None => Ok(whole.slice(whole.len().min(5)..)),
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
