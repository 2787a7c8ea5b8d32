//! The services' part of `/metrics`: under the names of go-grpc-prometheus, which etcd uses.

use super::Page;
use crate::rpc::traffic::{CODE_NAMES, Counts, HANDLING_BOUNDS, Method, Traffic};

pub(super) fn show(page: &mut Page, traffic: &Traffic) {
    let methods: Vec<(String, Counts)> =
        traffic.methods().map(|method| (labels(method), method.counts())).collect();
    for (name, help, count) in [
        (
            "grpc_server_started_total",
            "Calls begun.",
            (|counts| counts.started) as fn(&Counts) -> u64,
        ),
        ("grpc_server_msg_received_total", "Messages received.", |counts| counts.received),
        ("grpc_server_msg_sent_total", "Messages sent.", |counts| counts.sent),
    ] {
        page.head(name, help, "counter");
        for (labels, counts) in &methods {
            page.line(format_args!("{name}{{{labels}}} {}", count(counts)));
        }
    }
    let name = "grpc_server_handled_total";
    page.head(name, "Calls ended, by how they ended.", "counter");
    for (labels, counts) in &methods {
        for (code, count) in CODE_NAMES.iter().zip(counts.handled) {
            page.line(format_args!("{name}{{grpc_code=\"{code}\",{labels}}} {count}"));
        }
    }
    if traffic.takes_times {
        times(page, &methods);
    }
    page.counter(
        "etcd_network_client_grpc_received_bytes_total",
        "Bytes of the messages received from clients.",
        methods.iter().map(|(_, counts)| counts.received_bytes).sum::<u64>(),
    );
    page.counter(
        "etcd_network_client_grpc_sent_bytes_total",
        "Bytes of the messages sent to clients.",
        methods.iter().map(|(_, counts)| counts.sent_bytes).sum::<u64>(),
    );
    requests(page, traffic);
}

fn labels(method: &Method) -> String {
    let Method { service, name, shape, .. } = method;
    let shape = shape.text();
    format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{shape}\"")
}

fn times(page: &mut Page, methods: &[(String, Counts)]) {
    let name = "grpc_server_handling_seconds";
    page.head(name, "How long calls took, from their first byte to their last.", "histogram");
    for (labels, counts) in methods {
        let bounds = HANDLING_BOUNDS.iter().map(ToString::to_string);
        let mut total = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts.handling) {
            total += count;
            page.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {total}"));
        }
        page.line(format_args!("{name}_sum{{{labels}}} {}", counts.handling_seconds));
        page.line(format_args!("{name}_count{{{labels}}} {total}"));
    }
}

/// What was let in, by the version that clients say they have, which may be any text.
fn requests(page: &mut Page, traffic: &Traffic) {
    let name = "etcd_server_client_requests_total";
    page.head(name, "Calls let in, by kind and by the client's version.", "counter");
    for (version, counts) in traffic.requests.counts() {
        let version = version.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (kind, count) in ["unary", "stream"].into_iter().zip(counts) {
            if count > 0 {
                page.line(format_args!(
                    "{name}{{client_api_version=\"{version}\",type=\"{kind}\"}} {count}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tonic::Code;

    fn lines(traffic: &Traffic) -> Vec<String> {
        let mut page = Page::default();
        show(&mut page, traffic);
        page.0.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_method_is_shown_with_every_code() {
        let traffic = Traffic::new(true);
        let put = traffic.of("/etcdserverpb.KV/Put").unwrap();
        put.start();
        put.receive(1, 30);
        put.send(2, 50);
        put.end(Code::Cancelled, Some(Duration::from_millis(20)));
        traffic.requests.count(Some("3.\"4"), false);
        let lines = lines(&traffic);
        let put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        let watch =
            "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
        for line in [
            format!("grpc_server_started_total{{{put}}} 1"),
            format!("grpc_server_started_total{{{watch}}} 0"),
            format!("grpc_server_msg_received_total{{{put}}} 1"),
            format!("grpc_server_msg_sent_total{{{put}}} 2"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{put}}} 0"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"0.01\"}} 0"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"0.025\"}} 1"),
            format!("grpc_server_handling_seconds_sum{{{put}}} 0.02"),
            format!("grpc_server_handling_seconds_count{{{put}}} 1"),
            "etcd_network_client_grpc_received_bytes_total 30".to_owned(),
            "etcd_network_client_grpc_sent_bytes_total 50".to_owned(),
            "etcd_server_client_requests_total{client_api_version=\"3.\\\"4\",type=\"unary\"} 1"
                .to_owned(),
        ] {
            assert!(lines.contains(&line), "{line} is missing in\n{}", lines.join("\n"));
        }
    }

    #[test]
    fn times_are_shown_only_if_they_are_taken() {
        let lines = lines(&Traffic::default());
        assert!(!lines.iter().any(|line| line.contains("handling_seconds")));
    }
}
