//! A call from its first byte to the end of its answer: it is counted, and it ends when its client
//! has stopped waiting.
//!
//! The client says in `grpc-timeout` how long it waits. A call that is not answered by then is
//! dropped here, so whatever it holds is free, and ends with `DeadlineExceeded`; a stream that is
//! open by then ends in the same way.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::errors::Refusal;
use super::traffic::Method;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Counts one call: its beginning, and its end once.
#[derive(Debug)]
struct Ledger {
    method: Option<Arc<Method>>,
    /// Set if its time is taken.
    begun: Option<Instant>,
    is_open: bool,
}

impl Ledger {
    fn open(method: Option<Arc<Method>>, takes_times: bool) -> Self {
        if let Some(method) = &method {
            method.start();
        }
        Self { method, begun: takes_times.then(Instant::now), is_open: true }
    }

    fn close(&mut self, code: Code) {
        if std::mem::take(&mut self.is_open)
            && let Some(method) = &self.method
        {
            method.end(code, self.begun.map(|begun| begun.elapsed()));
        }
    }

    /// Closes it if this is where a call says how it ended.
    fn look(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(GRPC_STATUS) {
            self.close(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close(Code::Cancelled);
    }
}

/// Follows the messages in a stream of frames; before each stand a flag and four bytes of length.
#[derive(Clone, Copy, Debug, Default)]
struct Messages {
    /// How many of those five bytes have passed.
    seen: u8,
    /// The length as far as it has.
    length: u32,
    /// What is left of the message behind them.
    left: u32,
}

impl Messages {
    /// How many messages have begun in the bytes, and how many of the bytes belong to messages.
    fn follow(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut begun, mut size) = (0, 0);
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = bytes.len().min(self.left as usize);
                self.left -= length as u32;
                size += length as u64;
                bytes = &bytes[length..];
                continue;
            }
            if self.seen > 0 {
                self.length = self.length << 8 | u32::from(bytes[0]);
            }
            self.seen += 1;
            bytes = &bytes[1..];
            if self.seen == 5 {
                begun += 1;
                *self = Self { left: self.length, ..Self::default() };
            }
        }
        (begun, size)
    }
}

/// What the client sends, counted on its way to the service.
#[derive(Debug)]
pub(super) struct Question<B> {
    inner: B,
    method: Option<Arc<Method>>,
    messages: Messages,
}

impl<B> Question<B> {
    pub(super) fn new(inner: B, method: Option<Arc<Method>>) -> Self {
        Self { inner, method, messages: Messages::default() }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Question<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let (messages, bytes) = self.messages.follow(data);
            if let Some(method) = &self.method {
                method.receive(messages, bytes);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What the client gets, counted on its way out. It ends at the call's deadline.
#[derive(Debug)]
pub struct Answer {
    inner: Body,
    ledger: Ledger,
    messages: Messages,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    /// An answer that is no call's: nothing is counted.
    pub fn of_no_call(inner: Body) -> Self {
        let ledger = Ledger { method: None, begun: None, is_open: false };
        Self { inner, ledger, messages: Messages::default(), deadline: None }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let (messages, bytes) = this.messages.follow(data);
                    if let Some(method) = &this.ledger.method {
                        method.send(messages, bytes);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.ledger.look(trailers);
                }
            }
            Poll::Ready(_) => this.ledger.close(Code::Unknown),
            Poll::Pending => {
                let late = this.deadline.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready());
                if late {
                    (this.inner, this.deadline) = (Body::empty(), None);
                    this.ledger.close(Code::DeadlineExceeded);
                    let trailers = too_late().into_http::<Body>().into_parts().0.headers;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The future of a call: of a service's, until it answers or its client has stopped waiting.
#[derive(Debug)]
pub struct Served<F> {
    /// `None` for a call that is refused as it stands.
    inner: Option<F>,
    ledger: Option<Ledger>,
    deadline: Option<Pin<Box<Sleep>>>,
    refused: Option<Response<Body>>,
}

impl<F> Served<F> {
    /// A call that has begun now, of a method if there is such a one, and what [`timeout`] says.
    pub(super) fn begin(
        method: Option<Arc<Method>>,
        takes_times: bool,
        timeout: Result<Option<Duration>, String>,
        inner: impl FnOnce() -> F,
    ) -> Self {
        let (deadline, refused) = match timeout {
            // A timer would let a call pass that is answered at once.
            Ok(Some(Duration::ZERO)) => (None, Some(too_late().into_http())),
            Ok(after) => (after.map(|after| Box::pin(tokio::time::sleep(after))), None),
            Err(why) => (None, Some(malformed(&why))),
        };
        let inner = refused.is_none().then(inner);
        let ledger = Some(Ledger::open(method, takes_times));
        Self { inner, ledger, deadline, refused }
    }

    fn answer(&mut self, response: Response<Body>) -> Response<Answer> {
        let mut ledger = self.ledger.take().expect("a call is answered once");
        ledger.look(response.headers());
        let deadline = self.deadline.take();
        response.map(|inner| Answer { inner, ledger, messages: Messages::default(), deadline })
    }
}

impl<F> Future for Served<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(refused) = this.refused.take() {
            return Poll::Ready(Ok(this.answer(refused)));
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            // Whatever the call holds ends with it.
            (this.inner, this.deadline) = (None, None);
            return Poll::Ready(Ok(this.answer(too_late().into_http())));
        }
        let Some(inner) = &mut this.inner else { unreachable!("a call is answered once") };
        match Pin::new(inner).poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(this.answer(response))),
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => Poll::Pending,
        }
    }
}

fn too_late() -> Status {
    Refusal::DeadlineExceeded.into()
}

/// How long the client of a call waits, if it says so: up to eight digits and a unit.
///
/// # Errors
/// What is wrong with what it says, in grpc-go's words.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let what = match text.len() {
        0 | 1 => "string is too short",
        2..=9 => "unit is not recognized",
        _ => "string is too long",
    };
    let wrong = || format!("transport: timeout {what}: {text:?}");
    if !(2..=9).contains(&text.len()) {
        return Err(wrong());
    }
    let (digits, unit) = text.split_at_checked(text.len() - 1).ok_or_else(wrong)?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return Err(wrong()),
    };
    let count: u32 = digits
        .parse()
        .map_err(|_| format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"))?;
    Ok(Some(unit * count))
}

/// What a call gets whose timeout cannot be read.
fn malformed(why: &str) -> Response<Body> {
    let status = Status::internal(format!("malformed grpc-timeout: {why}"));
    let mut response = status.into_http();
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

#[cfg(test)]
mod tests {
    use super::super::traffic::Traffic;
    use super::*;
    use http_body_util::BodyExt;
    use std::future::{pending, ready};
    use tonic::codegen::BoxFuture;

    type Inner = BoxFuture<Response<Body>, Infallible>;

    fn serve(method: Arc<Method>, timeout: &HeaderMap, inner: Inner) -> Served<Inner> {
        Served::begin(Some(method), false, super::timeout(timeout), || inner)
    }

    fn header(timeout: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(GRPC_TIMEOUT.parse().unwrap(), timeout.parse().unwrap())])
    }

    fn put(traffic: &Traffic) -> Arc<Method> {
        Arc::clone(traffic.of("/etcdserverpb.KV/Put").unwrap())
    }

    fn status_of(headers: &HeaderMap) -> Status {
        Status::from_header_map(headers).unwrap()
    }

    #[test]
    fn timeouts_are_read_as_grpc_go_does() {
        let read = |text| timeout(&header(text));
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
        assert_eq!(read("5S"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("0n"), Ok(Some(Duration::ZERO)));
        assert_eq!(read("99999999H"), Ok(Some(Duration::from_secs(99_999_999 * 3600))));
        for (text, why) in [
            ("S", "transport: timeout string is too short: \"S\""),
            ("999999999S", "transport: timeout string is too long: \"999999999S\""),
            ("5s", "transport: timeout unit is not recognized: \"5s\""),
            ("xS", "strconv.ParseUint: parsing \"x\": invalid syntax"),
            ("-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn messages_are_followed_through_frames_of_any_size() {
        let mut stream = Vec::new();
        for size in [0_u32, 3, 300] {
            stream.push(0);
            stream.extend(size.to_be_bytes());
            stream.extend(vec![7; size as usize]);
        }
        for step in 1..stream.len() {
            let mut messages = Messages::default();
            let counted = stream.chunks(step).map(|chunk| messages.follow(chunk));
            let total = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!(total, (3, 303), "in steps of {step}");
        }
    }

    /// Notes that it was dropped.
    struct Held(Arc<std::sync::atomic::AtomicBool>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline_and_lets_go_of_what_it_held() {
        let traffic = Traffic::default();
        let gone = Arc::default();
        let held = Held(Arc::clone(&gone));
        let inner = Box::pin(async move {
            let _held = held;
            pending().await
        });
        let call = serve(put(&traffic), &header("2S"), inner);
        let begun = tokio::time::Instant::now();
        let response = call.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2);
        let status = status_of(response.headers());
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "context deadline exceeded")
        );
        assert!(gone.load(std::sync::atomic::Ordering::Relaxed));
        let counts = put(&traffic).counts();
        assert_eq!((counts.started, counts.handled[4]), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_deadline_too() {
        let traffic = Traffic::default();
        let silent = http_body_util::StreamBody::new(tokio_stream::pending::<
            Result<Frame<Bytes>, Status>,
        >());
        let inner = Box::pin(ready(Ok(Response::new(Body::new(silent)))));
        let call = serve(put(&traffic), &header("1S"), inner);
        let body = call.await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(status_of(body.trailers().unwrap()).code(), Code::DeadlineExceeded);
        assert_eq!(put(&traffic).counts().handled[4], 1);
    }

    #[tokio::test]
    async fn a_timeout_of_nothing_has_passed_and_a_malformed_one_is_refused() {
        let traffic = Traffic::default();
        let ready = || Box::pin(ready(Ok(Response::new(Body::empty()))));
        let served = |text| serve(put(&traffic), &header(text), ready());
        let response = served("0S").await.unwrap();
        assert_eq!(status_of(response.headers()).code(), Code::DeadlineExceeded);
        let response = served("5x").await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let status = status_of(response.headers());
        let text = "malformed grpc-timeout: transport: timeout unit is not recognized: \"5x\"";
        assert_eq!((status.code(), status.message()), (Code::Internal, text));
    }

    #[tokio::test]
    async fn an_answer_is_counted_as_it_goes_out() {
        let traffic = Traffic::default();
        let frames = [
            Frame::data(Bytes::from_static(b"\0\0\0\0\x02ab")),
            Frame::trailers(Status::ok("").into_http::<Body>().into_parts().0.headers),
        ];
        let frames = tokio_stream::iter(frames.map(Ok::<_, Status>));
        let body = Body::new(http_body_util::StreamBody::new(frames));
        let inner = Box::pin(ready(Ok(Response::new(body))));
        let call = serve(put(&traffic), &HeaderMap::new(), inner);
        let answer = call.await.unwrap().into_body();
        assert_eq!(put(&traffic).counts().handled, [0; 17], "it is under way");
        answer.collect().await.unwrap();
        let counts = put(&traffic).counts();
        assert_eq!((counts.sent, counts.sent_bytes, counts.handled[0]), (1, 2, 1));
        // One that nobody waits for any more.
        let call = serve(put(&traffic), &HeaderMap::new(), Box::pin(pending()));
        drop(call);
        assert_eq!(put(&traffic).counts().handled[1], 1);
        let question = Bytes::from_static(b"\0\0\0\0\x01a\0\0\0\0\0");
        let question = http_body_util::Full::new(question);
        Question::new(question, Some(put(&traffic))).collect().await.unwrap();
        let counts = put(&traffic).counts();
        assert_eq!((counts.received, counts.received_bytes), (2, 1));
    }
}
