//! The other members in `/metrics`, under etcd's names.

use super::super::member::PeerNumbers;
use super::Page;

type Row = (&'static str, &'static str, fn(&PeerNumbers) -> u64);

const BOTH: &[(&str, Row)] = &[
    ("gauge", ("etcd_network_known_peers", "Other members.", |_| 1)),
    (
        "gauge",
        ("etcd_network_active_peers", "Other members that are connected.", |peer| {
            u64::from(peer.is_active)
        }),
    ),
    (
        "counter",
        ("etcd_network_disconnected_peers_total", "Connections that other members lost.", |peer| {
            peer.counts.disconnections
        }),
    ),
];

const TO: &[Row] = &[
    ("etcd_network_peer_sent_bytes_total", "Bytes sent to other members.", |peer| {
        peer.counts.sent_bytes
    }),
    ("etcd_network_peer_sent_failures_total", "Failures to send to other members.", |peer| {
        peer.counts.send_failures
    }),
    ("etcd_network_snapshot_send_success", "Snapshots sent in full.", |peer| {
        peer.counts.snapshots_sent
    }),
    ("etcd_network_snapshot_send_failures", "Snapshots that were given up.", |peer| {
        peer.counts.snapshots_not_sent
    }),
];

const FROM: &[Row] = &[
    ("etcd_network_peer_received_bytes_total", "Bytes received from other members.", |peer| {
        peer.counts.received_bytes
    }),
    ("etcd_network_snapshot_receive_success", "Snapshots received in full.", |peer| {
        peer.counts.snapshots_received
    }),
    ("etcd_network_snapshot_receive_failures", "Snapshots not received in full.", |peer| {
        peer.counts.snapshots_not_received
    }),
];

pub(super) fn show(page: &mut Page, own: u64, peers: &[PeerNumbers]) {
    for (kind, (name, help, number)) in BOTH {
        page.head(name, help, kind);
        for peer in peers {
            let (id, number) = (peer.id, number(peer));
            page.line(format_args!("{name}{{Local=\"{own:x}\",Remote=\"{id:x}\"}} {number}"));
        }
    }
    let to = TO.iter().map(|row| ("To", row));
    for (label, (name, help, number)) in to.chain(FROM.iter().map(|row| ("From", row))) {
        page.head(name, help, "counter");
        for peer in peers {
            page.line(format_args!("{name}{{{label}=\"{:x}\"}} {}", peer.id, number(peer)));
        }
    }
    let name = "etcd_network_snapshot_send_inflights_total";
    page.head(name, "Snapshots on their way.", "gauge");
    for peer in peers {
        let under_way = peer.counts.snapshots_under_way;
        page.line(format_args!("{name}{{To=\"{:x}\"}} {under_way}", peer.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::LinkCounts;

    #[test]
    fn each_other_member_has_its_lines() {
        let counts = LinkCounts { sent_bytes: 3, snapshots_under_way: 2, ..Default::default() };
        let peers = [
            PeerNumbers { id: 0xa, is_active: true, counts },
            PeerNumbers { id: 0xb, ..Default::default() },
        ];
        let mut page = Page::default();
        show(&mut page, 1, &peers);
        for line in [
            "etcd_network_active_peers{Local=\"1\",Remote=\"a\"} 1",
            "etcd_network_active_peers{Local=\"1\",Remote=\"b\"} 0",
            "etcd_network_peer_sent_bytes_total{To=\"a\"} 3",
            "etcd_network_snapshot_send_inflights_total{To=\"a\"} 2",
            "etcd_network_snapshot_receive_success{From=\"b\"} 0",
        ] {
            assert!(page.0.lines().any(|l| l == line), "{line} is missing in\n{}", page.0);
        }
    }
}
