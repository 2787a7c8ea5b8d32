//! Replies in the words of Go's HTTP server, which scripts compare.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

/// A reply whose body is known as a whole.
pub type Reply = Response<Full<Bytes>>;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A reply with a body of the given type.
pub(crate) fn with_type(content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// 200 with text.
pub(crate) fn text(body: impl Into<Bytes>) -> Reply {
    with_type(TEXT, body)
}

/// 200 with JSON.
pub(crate) fn json(body: impl Into<Bytes>) -> Reply {
    with_type(HeaderValue::from_static("application/json"), body)
}

/// 200 with text that no browser is to take for something else.
pub(crate) fn unguessed(body: impl Into<Bytes>) -> Reply {
    let mut reply = text(body);
    reply.headers_mut().insert(HeaderName::from_static("x-content-type-options"), NO_SNIFF);
    reply
}

/// A failure: the text, a line end, and no guessing about its type.
pub(crate) fn failure(status: StatusCode, message: &str) -> Reply {
    let mut reply = unguessed(format!("{message}\n"));
    *reply.status_mut() = status;
    reply
}

/// 404.
pub(crate) fn not_found() -> Reply {
    failure(StatusCode::NOT_FOUND, "404 page not found")
}

/// 405 of an endpoint that only answers GET.
pub(crate) fn only_get() -> Reply {
    let mut reply = failure(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    reply
}
