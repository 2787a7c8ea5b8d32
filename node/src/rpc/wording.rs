//! etcd's words for what the gRPC library refuses before a handler sees it.
//!
//! A message over the limit is `OutOfRange` to our library and `ResourceExhausted` to etcd's, and
//! a client may well look at the code. The library offers no seam for that, so the finished
//! response is corrected; for all others this costs one look for a header that only errors have.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// How our library begins the text about a message over the limit.
const TOO_LARGE: &str = "Error, decoded message length too large: ";

/// The future of a call to a service, with a response whose errors read as etcd's.
#[derive(Debug)]
pub struct Wording<F> {
    inner: F,
    service: &'static str,
}

impl<F> Wording<F> {
    pub(super) const fn new(inner: F, service: &'static str) -> Self {
        Self { inner, service }
    }
}

impl<F, B> Future for Wording<F>
where
    F: Future<Output = Result<Response<B>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.inner).poll(cx);
        polled.map_ok(|mut response| {
            // Only an answer that failed before its first message has its status here.
            if response.headers().contains_key(GRPC_STATUS) {
                reword(response.headers_mut(), self.service);
            }
            response
        })
    }
}

fn reword(headers: &mut HeaderMap, service: &str) {
    let code = headers.get(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()));
    let message = headers.get(GRPC_MESSAGE).and_then(|value| value.to_str().ok());
    let status = match (code, message) {
        (Some(Code::OutOfRange), Some(text)) => too_large(&text.replace("%20", " ")),
        (Some(Code::Unimplemented), None) => {
            Some(Status::unimplemented(format!("unknown method for service {service}")))
        }
        _ => None,
    };
    let Some(status) = status else { return };
    headers.insert(GRPC_STATUS, HeaderValue::from(status.code() as i32));
    let text = status.message().replace(' ', "%20");
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(GRPC_MESSAGE, text);
    }
}

/// A status of our library, with etcd's words if it is about a message over the limit. For
/// streams, whose messages are received by their handler.
pub(super) fn reworded(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => too_large(status.message()).unwrap_or(status),
        _ => status,
    }
}

fn too_large(text: &str) -> Option<Status> {
    let rest = text.strip_prefix(TOO_LARGE)?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    let (found, limit) = (numbers.next()?, numbers.next()?);
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    Some(Status::resource_exhausted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY_TEXT: &str =
        "Error, decoded message length too large: found 2097163 bytes, the limit is: 2097152 bytes";
    const ETCD_TEXT: &str = "grpc: received message larger than max (2097163 vs. 2097152)";

    fn refused(status: &Status) -> HeaderMap {
        status.clone().into_http::<()>().into_parts().0.headers
    }

    #[test]
    fn a_message_over_the_limit_exhausts_a_resource() {
        let mut headers = refused(&Status::out_of_range(LIBRARY_TEXT));
        reword(&mut headers, "S");
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, ETCD_TEXT));
        let status = reworded(Status::out_of_range(LIBRARY_TEXT));
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, ETCD_TEXT));
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        for status in [Status::out_of_range("etcdserver: x"), Status::not_found("y")] {
            let mut headers = refused(&status);
            reword(&mut headers, "S");
            let seen = Status::from_header_map(&headers).unwrap();
            assert_eq!((seen.code(), seen.message()), (status.code(), status.message()));
        }
    }

    #[test]
    fn an_unknown_method_names_its_service() {
        let mut headers = refused(&Status::unimplemented(""));
        reword(&mut headers, "etcdserverpb.KV");
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.message(), "unknown method for service etcdserverpb.KV");
    }
}
