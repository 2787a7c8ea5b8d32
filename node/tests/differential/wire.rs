//! A gRPC client that carries bytes: requests are encoded messages (or rubbish), answers are
//! decoded through the descriptors of `revd-api`, so that every field, known or not, is compared.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// No call of this test takes longer unless something is wrong.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(revd_api::FILE_DESCRIPTOR_SET).expect("the set of our own api")
});

/// The fields of a message by their path; what is absent or default has no entry.
pub type Fields = BTreeMap<String, String>;

/// What a call or the next message of a stream gave.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A message.
    Message(Fields),
    /// A status other than OK; also the end of a stream.
    Status(Code, String),
    /// Nothing within the time that the test waits.
    Silence,
}

impl Answer {
    fn of(result: Result<Bytes, Status>, output: &MessageDescriptor) -> Self {
        match result {
            Ok(bytes) => Self::Message(decode(bytes, output)),
            Err(status) => Self::Status(status.code(), status.message().to_owned()),
        }
    }

    /// The number at a path, 0 when it is absent.
    pub fn number(&self, path: &str) -> i64 {
        match self {
            Self::Message(fields) => fields.get(path).map_or(0, |text| text.parse().unwrap()),
            Self::Status(..) | Self::Silence => 0,
        }
    }

    /// The answer as paths and values, with its status first.
    pub fn fields(&self) -> Fields {
        match self {
            Self::Message(fields) => fields.clone(),
            Self::Status(code, text) => {
                Fields::from([("status".to_owned(), format!("{} {text}", *code as i32))])
            }
            Self::Silence => Fields::from([("status".to_owned(), "silence".to_owned())]),
        }
    }
}

/// The type of what a method, `package.Service/Method`, answers; none if our API has no such
/// method.
pub fn output_of(method: &str) -> Option<MessageDescriptor> {
    let (service, name) = method.split_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    service.methods().find(|m| m.name() == name).map(|m| m.output())
}

fn decode(bytes: Bytes, output: &MessageDescriptor) -> Fields {
    let mut fields = Fields::new();
    match DynamicMessage::decode(output.clone(), bytes) {
        Ok(message) => walk("", &message, &mut fields),
        Err(error) => drop(fields.insert("undecodable".to_owned(), error.to_string())),
    }
    fields
}

fn walk(prefix: &str, message: &DynamicMessage, out: &mut Fields) {
    for (field, value) in message.fields() {
        let path = format!("{prefix}{}", field.name());
        match value {
            Value::List(values) => {
                for (i, value) in values.iter().enumerate() {
                    enter(format!("{path}[{i}]"), value, out);
                }
            }
            value => enter(path, value, out),
        }
    }
    for unknown in message.unknown_fields() {
        out.insert(format!("{prefix}#{}", unknown.number()), format!("{unknown:?}"));
    }
}

fn enter(path: String, value: &Value, out: &mut Fields) {
    match value {
        Value::Message(message) => {
            walk(&format!("{path}."), message, out);
            out.insert(path, "{}".to_owned());
        }
        Value::Bytes(bytes) => drop(out.insert(path, bytes.escape_ascii().to_string())),
        Value::Bool(v) => drop(out.insert(path, v.to_string())),
        Value::I32(v) | Value::EnumNumber(v) => drop(out.insert(path, v.to_string())),
        Value::I64(v) => drop(out.insert(path, v.to_string())),
        Value::U32(v) => drop(out.insert(path, v.to_string())),
        Value::U64(v) => drop(out.insert(path, v.to_string())),
        Value::String(v) => drop(out.insert(path, v.clone())),
        other => drop(out.insert(path, format!("{other:?}"))),
    }
}

/// Metadata of a call: names with values that need not be text.
pub type Metadata<'a> = &'a [(&'static str, &'static [u8])];

fn request<T>(body: T, metadata: Metadata<'_>) -> Request<T> {
    let mut map = MetadataMap::new();
    for (name, value) in metadata {
        map.insert(MetadataKey::from_static(name), MetadataValue::try_from(*value).unwrap());
    }
    let mut request = Request::new(body);
    *request.metadata_mut() = map;
    request
}

/// A connection to one server.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// A client of the server at `url`; connects with the first call.
    pub fn new(url: &str) -> Self {
        Self { channel: Endpoint::new(url.to_owned()).unwrap().connect_lazy() }
    }

    fn grpc(&self) -> tonic::client::Grpc<Channel> {
        tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    /// Whether a linearizable read is answered.
    pub async fn is_ready(&self) -> bool {
        // A RangeRequest for the key "a".
        let body = Bytes::from_static(b"\x0a\x01a");
        let method = "etcdserverpb.KV/Range";
        matches!(self.unary(method, body, &[]).await, Answer::Message(_))
    }

    /// One call with one answer.
    pub async fn unary(&self, method: &str, body: Bytes, metadata: Metadata<'_>) -> Answer {
        let output = output_of(method).unwrap_or_else(|| POOL.all_messages().next().unwrap());
        let path = format!("/{method}").parse().unwrap();
        let mut grpc = self.grpc();
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request(body, metadata), path, BytesCodec).await.map(|r| r.into_inner())
        };
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(result) => Answer::of(result, &output),
            Err(_) => Answer::Silence,
        }
    }

    /// A call whose request and answer are both streams.
    ///
    /// It runs on a task of its own: etcd sends the headers of its answer with the first message.
    pub fn open(&self, method: &'static str, metadata: &'static [(&str, &[u8])]) -> Stream {
        let output = output_of(method).unwrap();
        let (requests, outgoing) = mpsc::channel(16);
        let (incoming, answers) = mpsc::channel(16);
        let mut grpc = self.grpc();
        tokio::spawn(async move {
            let path = format!("/{method}").parse().unwrap();
            let opened = async {
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let outgoing = ReceiverStream::new(outgoing);
                grpc.streaming(request(outgoing, metadata), path, BytesCodec).await
            };
            let mut stream = match opened.await {
                Ok(answer) => answer.into_inner(),
                Err(status) => {
                    let _ = incoming.send(Answer::of(Err(status), &output)).await;
                    return;
                }
            };
            loop {
                let next = match stream.message().await {
                    Ok(Some(bytes)) => Ok(bytes),
                    Ok(None) => Err(Status::ok("")),
                    Err(status) => Err(status),
                };
                let is_last = next.is_err();
                let sent = incoming.send(Answer::of(next, &output)).await;
                if is_last || sent.is_err() {
                    return;
                }
            }
        });
        Stream { requests: Some(requests), answers }
    }
}

/// An open stream to one server; dropping it cancels the call.
pub struct Stream {
    requests: Option<mpsc::Sender<Bytes>>,
    answers: mpsc::Receiver<Answer>,
}

impl Stream {
    /// Sends one message.
    pub async fn send(&mut self, body: Bytes) {
        // The server may have ended the call: its status then comes as the next answer.
        let requests = self.requests.as_ref().expect("a stream that was not half-closed");
        let _ = requests.send(body).await;
    }

    /// Ends the client's side.
    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// The next message or the end, if it comes within `limit`.
    pub async fn next(&mut self, limit: Duration) -> Answer {
        match tokio::time::timeout(limit, self.answers.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Answer::Status(Code::Aborted, "read past the end".to_owned()),
            Err(_) => Answer::Silence,
        }
    }
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
