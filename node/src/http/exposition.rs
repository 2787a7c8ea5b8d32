//! `/metrics`: the numbers of the member in Prometheus' text format 0.0.4, under etcd's names.
//!
//! Rendered from plain counters when somebody asks, so that counting costs the hot path one
//! atomic addition and no registry.

mod peers;
mod process;
mod traffic;

use std::fmt::{Display, Write as _};

use http::header::HeaderValue;

use super::Member;
use super::member::{Histogram, MemberFacts, Numbers};
use super::reply::{self, Reply};
use super::verdicts::{Check, Kind, Verdicts};
use crate::ETCD_VERSION;

/// Answers `/metrics`.
pub(crate) fn answer(member: &impl Member) -> Reply {
    let mut page = Page::default();
    server(&mut page, &member.facts(), &member.numbers());
    health(&mut page, member.verdicts());
    storage(&mut page, &member.numbers());
    peers::show(&mut page, member.facts().member_id, &member.peers());
    traffic::show(&mut page, member.traffic());
    process::show(&mut page);
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    reply::with_type(content_type, page.0)
}

fn server(page: &mut Page, facts: &MemberFacts, n: &Numbers) {
    if let Some(version) = &facts.cluster_version {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        page.label("etcd_cluster_version", "Running version of the cluster.", &minor.join("."));
    }
    page.label("etcd_server_version", "Version of etcd that this server follows.", ETCD_VERSION);
    page.label("etcd_server_id", "Id of this member.", &format!("{:x}", facts.member_id));
    let has_leader = facts.leader != 0;
    let is_leader = has_leader && facts.leader == facts.member_id;
    page.gauge("etcd_server_has_leader", "Whether a leader is known.", u8::from(has_leader));
    page.gauge("etcd_server_is_leader", "Whether this member leads.", u8::from(is_leader));
    let is_learner = u8::from(facts.is_learner);
    page.gauge("etcd_server_is_learner", "Whether this member does not vote.", is_learner);
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "Changes of leader that this member has seen.",
        n.leader_changes,
    );
    page.gauge(
        "etcd_server_proposals_committed_total",
        "Index of the last committed entry.",
        n.committed,
    );
    page.gauge(
        "etcd_server_proposals_applied_total",
        "Index of the last applied entry.",
        n.applied,
    );
    page.gauge("etcd_server_proposals_pending", "Proposals that wait for an answer.", n.pending);
    page.counter("etcd_server_proposals_failed_total", "Proposals that failed.", n.failed);
    page.gauge("etcd_server_quota_backend_bytes", "Quota of the storage in bytes.", n.quota);
    slowness(page, n);
    alarms(page, n);
}

/// How often the member was too slow, or others were for it.
fn slowness(page: &mut Page, n: &Numbers) {
    for (name, help, count) in [
        (
            "etcd_server_slow_apply_total",
            "Batches of entries and ranges that took longer than --warning-apply-duration.",
            n.slow_applies,
        ),
        (
            "etcd_server_heartbeat_send_failures_total",
            "Heartbeats that this member sent too late as a leader.",
            n.late_heartbeats,
        ),
        (
            "etcd_server_slow_read_indexes_total",
            "Read indexes that had to be asked for again.",
            n.slow_read_indexes,
        ),
        (
            "etcd_server_read_indexes_failed_total",
            "Read indexes that were lost with their leader.",
            n.failed_read_indexes,
        ),
    ] {
        page.counter(name, help, count);
    }
}

fn alarms(page: &mut Page, n: &Numbers) {
    let name = "etcd_debugging_server_alarms";
    page.head(name, "Standing alarms, by member and type.", "gauge");
    for (member, alarm) in &n.alarms {
        let alarm_type = match alarm {
            1 => "NOSPACE",
            2 => "CORRUPT",
            _ => "UNKNOWN",
        };
        page.line(format_args!("{name}{{server_id=\"{member:x}\",alarm_type=\"{alarm_type}\"}} 1"));
    }
}

/// What came of health checks. A check that was never made is not shown.
fn health(page: &mut Page, verdicts: &Verdicts) {
    let health = &verdicts.health;
    page.counter("etcd_server_health_success", "Health checks that passed.", health.passed());
    page.counter("etcd_server_health_failures", "Health checks that failed.", health.failed());
    let every = Kind::ALL.into_iter().flat_map(|kind| Check::ALL.map(|check| (kind, check)));
    let made: Vec<_> = every
        .map(|(kind, check)| (kind.name(), check.name(), verdicts.of(kind, check)))
        .filter_map(|(kind, check, verdict)| Some((kind, check, verdict, verdict.last()?)))
        .collect();
    let name = "etcd_server_healthcheck";
    page.head(name, "How each check ended last.", "gauge");
    for (kind, check, _, last) in &made {
        let last = u8::from(*last);
        page.line(format_args!("{name}{{name=\"{check}\",type=\"{kind}\"}} {last}"));
    }
    let name = "etcd_server_healthchecks_total";
    page.head(name, "Checks of health by their outcome.", "counter");
    for (kind, check, verdict, _) in &made {
        for (status, count) in [("error", verdict.failed()), ("success", verdict.passed())] {
            page.line(format_args!(
                "{name}{{name=\"{check}\",status=\"{status}\",type=\"{kind}\"}} {count}"
            ));
        }
    }
}

fn storage(page: &mut Page, n: &Numbers) {
    page.histogram(
        "etcd_disk_wal_fsync_duration_seconds",
        "Time until a batch of log entries was durable.",
        &n.wal_sync,
    );
    page.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", n.wal_bytes);
    page.histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "Time to write a checkpoint of the tree.",
        &n.checkpoint,
    );
    page.counter("etcd_mvcc_range_total", "Ranges answered by this member.", n.ranges);
    page.counter("etcd_mvcc_put_total", "Puts applied by this member.", n.puts);
    page.counter("etcd_mvcc_delete_total", "Deletes applied by this member.", n.deletes);
    page.counter("etcd_mvcc_txn_total", "Transactions of this member.", n.txns);
    page.gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the tree's file.", n.db_bytes);
    page.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Bytes of the tree's file that are in use.",
        n.db_bytes_in_use,
    );
    page.gauge("etcd_debugging_mvcc_keys_total", "Live keys.", n.keys);
    page.gauge("etcd_debugging_mvcc_current_revision", "Current revision.", n.revision);
    page.gauge("etcd_debugging_mvcc_compact_revision", "Last compacted revision.", n.compacted);
    compaction(page, n);
}

fn compaction(page: &mut Page, n: &Numbers) {
    page.counter(
        "revd_scrubbed_bytes_total",
        "Bytes of the tree's file that were read again to find rot.",
        n.scrubbed_bytes,
    );
    page.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Records that compactions have removed.",
        n.compacted_records,
    );
    page.histogram(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "How long each step of a compaction held up everything else.",
        &n.sweep_pause,
    );
    page.histogram(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "How long compactions took until nothing was left to remove.",
        &n.compaction,
    );
}

/// The text as it grows.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "counter");
        self.line(format_args!("{name} {value}"));
    }

    /// A gauge of 1 whose label, named like the metric without its first word, is the news.
    fn label(&mut self, name: &str, help: &str, value: &str) {
        let label = name.strip_prefix("etcd_").unwrap_or(name);
        self.head(name, help, "gauge");
        self.line(format_args!("{name}{{{label}=\"{value}\"}} 1"));
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let bounds = histogram.bounds.iter().map(ToString::to_string);
        let mut total = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&histogram.counts) {
            total += count;
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {total}"));
        }
        self.line(format_args!("{name}_sum {}", histogram.sum));
        self.line(format_args!("{name}_count {total}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::tests::{Fake, content};
    use super::*;

    #[tokio::test]
    async fn page_has_etcds_names_and_the_numbers() {
        let mut member = Fake::leading();
        member.numbers.puts = 7;
        member.numbers.wal_sync =
            Histogram { bounds: vec![0.001, 0.002], counts: vec![2, 0, 1], sum: 1.5 };
        let reply = answer(&member);
        assert_eq!(reply.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let page = content(reply).await;
        for line in [
            "# TYPE etcd_mvcc_put_total counter",
            "etcd_mvcc_put_total 7",
            "etcd_cluster_version{cluster_version=\"3.7\"} 1",
            "etcd_server_version{server_version=\"3.7.0\"} 1",
            "etcd_server_id{server_id=\"b\"} 1",
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 2",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 2",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 3",
            "etcd_disk_wal_fsync_duration_seconds_sum 1.5",
            "etcd_disk_wal_fsync_duration_seconds_count 3",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
        }
        assert!(page.contains("process_resident_memory_bytes "));
    }

    #[tokio::test]
    async fn checks_that_were_made_are_shown() {
        let member = Fake::leading();
        let verdict = member.verdicts().of(Kind::Readyz, Check::LinearizableRead);
        verdict.count(true);
        verdict.count(false);
        let page = content(answer(&member)).await;
        let labels = "name=\"linearizable_read\"";
        for line in [
            format!("etcd_server_healthcheck{{{labels},type=\"readyz\"}} 0"),
            format!(
                "etcd_server_healthchecks_total{{{labels},status=\"error\",type=\"readyz\"}} 1"
            ),
            "etcd_server_health_success 0".to_owned(),
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("data_corruption"));
    }

    #[tokio::test]
    async fn every_series_is_described_once() {
        let page = content(answer(&Fake::leading())).await;
        let mut names: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
