//! Which protocol a request on the client port belongs to.
//!
//! HTTP/2 without TLS is gRPC and nothing else, HTTP/1.1 is never gRPC: so the version of the
//! protocol decides, and a gRPC call passes here at the price of a comparison.

use std::convert::Infallible;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tonic::body::Body;
use tower_service::Service;

use super::{Member, endpoints};
use crate::rpc::Answer;

/// Answers one request of a client.
pub async fn answer<G, M>(mut grpc: G, member: M, request: Request<Incoming>) -> Response<Answer>
where
    G: Service<Request<Incoming>, Response = Response<Answer>, Error = Infallible>,
    M: Member,
{
    if request.version() == Version::HTTP_2 {
        if let Some(refusal) = refuse(&request) {
            return refusal.map(Answer::of_no_call);
        }
        return match grpc.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    let uri = request.uri();
    let reply = endpoints::answer(&member, request.method(), uri.path(), uri.query()).await;
    reply.map(|body| Answer::of_no_call(Body::new(body)))
}

/// Whether a call comes to its end without the client's doing, so that a stop can wait for it: all
/// but the streams that last as long as their clients like.
pub fn ends_by_itself<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    !["/Watch", "/LeaseKeepAlive", "/Observe"].iter().any(|method| path.ends_with(method))
}

/// What is not a gRPC call is refused below the services, as grpc-go does.
fn refuse<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.method() != Method::POST {
        let message = "http2: only the method POST is a gRPC call";
        return Some(refusal(StatusCode::METHOD_NOT_ALLOWED, "13", message));
    }
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    match content_type.and_then(|value| value.strip_prefix(b"application/grpc")) {
        Some(rest) if matches!(rest.first(), None | Some(b'+' | b';')) => None,
        _ => {
            let message = "invalid gRPC request content-type";
            Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "3", message))
        }
    }
}

fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in
        [("content-type", "application/grpc"), ("grpc-status", code), ("grpc-message", message)]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, content_type: &str) -> Option<u16> {
        let request =
            Request::builder().method(method).header(CONTENT_TYPE, content_type).body(()).unwrap();
        refuse(&request).map(|response| response.status().as_u16())
    }

    #[test]
    fn a_stop_waits_for_calls_and_not_for_watchers() {
        let ends = |path: &str| ends_by_itself(&Request::post(path).body(()).unwrap());
        assert!(ends("/etcdserverpb.KV/Put"));
        assert!(ends("/etcdserverpb.Maintenance/Snapshot"));
        assert!(!ends("/etcdserverpb.Watch/Watch"));
        assert!(!ends("/etcdserverpb.Lease/LeaseKeepAlive"));
    }

    #[test]
    fn what_is_no_grpc_call_is_refused() {
        assert_eq!(refused("POST", "application/grpc"), None);
        assert_eq!(refused("POST", "application/grpc+proto"), None);
        assert_eq!(refused("POST", "application/grpc;x=y"), None);
        assert_eq!(refused("POST", "application/grpcx"), Some(415));
        assert_eq!(refused("POST", "application/json"), Some(415));
        assert_eq!(refused("GET", "application/grpc"), Some(405));
        assert_eq!(refuse(&Request::post("/").body(()).unwrap()).unwrap().status(), 415);
    }
}
