//! The driver's log lines, in the words that operators and scripts match.

use std::path::Path;
use std::time::Duration;

use revd_raft::{Role, RoleChange};
use revd_replica::{Identity, Member, Report};

use crate::config::Config;
use crate::log::{list, took};

/// A sync that takes longer is worth a warning.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// The files are open and the member is about to run.
pub(super) fn opened(config: &Config, tree: &Path, report: &Report, elapsed: Duration) {
    tracing::info!(path = %tree.display(), took = took(elapsed), "opened backend db");
    if report.fell_back {
        tracing::warn!(
            path = %tree.display(),
            "the newest checkpoint was not complete; the one before it is used and the log replayed"
        );
    }
    if let revd_wal::End::Torn { segment, offset, bytes } = &report.log.end {
        tracing::warn!(
            segment = %segment.display(),
            offset,
            bytes,
            "cut off the end of the log, which an interrupted write had left"
        );
    }
    quota(config);
    let Identity { cluster, member } = report.identity;
    let message = if report.is_new { "starting local member" } else { "restarting local member" };
    tracing::info!(
        "local-member-id" = %format_args!("{member:x}"),
        "cluster-id" = %format_args!("{cluster:x}"),
        "commit-index" = report.applied.index.0,
        "{message}"
    );
}

fn quota(config: &Config) {
    let name = "v3-applier";
    match config.quota_backend_bytes {
        0 => tracing::info!(
            "quota-name" = name,
            "quota-size-bytes" = 2_i64 << 30,
            "quota-size" = "2.1 GB",
            "enabled backend quota with default value"
        ),
        n if n < 0 => {
            tracing::info!("quota-name" = name, "quota-size-bytes" = n, "disabled backend quota")
        }
        n => tracing::info!("quota-name" = name, "quota-size-bytes" = n, "enabled backend quota"),
    }
}

/// The threads start.
pub(super) fn starting(identity: Identity, version: &str, cluster_version: Option<&str>) {
    tracing::info!(
        "local-member-id" = %format_args!("{:x}", identity.member),
        "local-server-version" = version,
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "cluster-version" = cluster_version.unwrap_or("to_be_decided"),
        "starting etcd server"
    );
}

/// A founding member of a new cluster.
pub(super) fn added_member(identity: Identity, member: &Member) {
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "added-peer-id" = %format_args!("{:x}", member.id),
        "added-peer-peer-urls" = list(&member.peer_urls).as_slice(),
        "added member"
    );
}

/// Name and client URLs are known to the cluster.
pub(super) fn published(identity: Identity, name: &str, client_urls: &[String], timeout: Duration) {
    let attributes = format!("{{Name:{name} ClientURLs:[{}]}}", client_urls.join(" "));
    tracing::info!(
        "local-member-id" = %format_args!("{:x}", identity.member),
        "local-member-attributes" = attributes,
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "publish-timeout" = took(timeout),
        "published local member to cluster through raft"
    );
}

/// The cluster version is decided for the first time.
pub(super) fn cluster_version(identity: Identity, version: &str) {
    let short = version.rsplit_once('.').map_or(version, |(short, _)| short);
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "cluster-version" = short,
        "set initial cluster version"
    );
    tracing::info!("cluster-version" = short, "enabled capabilities for version");
}

/// Making a batch durable has taken this long.
pub(super) fn synced(elapsed: Duration) {
    if elapsed >= SLOW_SYNC {
        tracing::warn!(
            took = took(elapsed),
            "expected-duration" = took(SLOW_SYNC),
            "slow fdatasync"
        );
    }
}

/// Nothing of what a compaction has given up is left.
pub(super) fn compacted(revision: i64, elapsed: Duration, size: i64, in_use: i64) {
    tracing::info!(
        "compact-revision" = revision,
        took = took(elapsed),
        "current-db-size-bytes" = size,
        "current-db-size-in-use-bytes" = in_use,
        "finished scheduled compaction"
    );
}

/// Who leads has changed.
pub(super) fn leader(member: u64, before: RoleChange, now: RoleChange) {
    let term = now.term.0;
    if now.role == Role::Leader {
        tracing::info!("{member:x} became leader at term {term}");
    }
    match (before.leader, now.leader) {
        (None, Some(leader)) => {
            tracing::info!("raft.node: {member:x} elected leader {:x} at term {term}", leader.0);
        }
        (Some(old), Some(new)) => {
            tracing::info!(
                "raft.node: {member:x} changed leader from {:x} to {:x} at term {term}",
                old.0,
                new.0
            );
        }
        (Some(old), None) => {
            tracing::info!("raft.node: {member:x} lost leader {:x} at term {term}", old.0);
        }
        (None, None) => {}
    }
}
