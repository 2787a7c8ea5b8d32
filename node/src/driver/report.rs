//! The driver's log lines, in the words that operators and scripts match.

use std::path::Path;
use std::time::Duration;

use revd_mvcc::Revision;
use revd_raft::{Index, Position, Refused, Role, RoleChange};
use revd_replica::slow_disk::Slow;
use revd_replica::survivor::Survival;
use revd_replica::{AlarmAction, Fatal, Identity, Lost, Member, Members, Report, refill};

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
    if let Some(damage) = &report.damage {
        tracing::error!(
            error = damage,
            aside = refill::DAMAGED,
            "the log is damaged, and was set aside"
        );
    }
    if report.is_refilled {
        tracing::warn!(
            "the member is refilled by the others; until it has everything again, it neither votes \
             nor acknowledges, and serves no clients"
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

/// What to do about a member that is needed, and has lost what it had.
pub(super) const CANNOT_REFILL: &str = "others cannot refill this member, because there is no \
     majority of voters without it: restore the data directory from a backup";

/// The member has lost something, and begins anew without it.
pub(super) fn lost(lost: Lost, fatal: &Fatal) {
    let what = format!("{lost:?}").to_lowercase();
    tracing::error!(
        error = %fatal,
        lost = what,
        aside = refill::DAMAGED,
        "this member has lost what it had; it starts again, and is refilled by the others"
    );
}

/// The cluster goes on with this member alone, or did so before.
pub(super) fn survived(survival: Option<&Survival>) {
    if let Some(Survival { identity, removed, index }) = survival {
        tracing::info!(
            "local-member-id" = %format_args!("{:x}", identity.member),
            "cluster-id" = %format_args!("{:x}", identity.cluster),
            "commit-index" = index,
            "forcing restart member"
        );
        removed.iter().for_each(|member| removed_member(*identity, member));
    }
    tracing::warn!("--force-new-cluster has done what it is for; remove it from the settings");
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

/// Entries before this one are given up: whoever needs them gets a snapshot.
pub(super) fn compacted_log(before: Index) {
    tracing::debug!("compact-index" = before.previous().0, "compacted Raft logs");
}

/// A snapshot from another member begins to take the place of what is here.
pub(super) fn applying_snapshot(applied: Position, position: Position) {
    tracing::info!(
        "current-snapshot-index" = applied.index.0,
        "incoming-leader-snapshot-index" = position.index.0,
        "incoming-leader-snapshot-term" = position.term.0,
        "applying snapshot"
    );
}

/// A snapshot from another member is in the place of what was here.
pub(super) fn applied_snapshot(position: Position, revision: Revision) {
    tracing::info!(
        "incoming-leader-snapshot-index" = position.index.0,
        "incoming-leader-snapshot-term" = position.term.0,
        revision = revision.0,
        "applied snapshot"
    );
}

/// Who belongs to the cluster has changed: a line for each difference.
pub(super) fn members(identity: Identity, before: &[Member], now: &Members) {
    for member in now.iter() {
        match before.iter().find(|earlier| earlier.id == member.id) {
            None => added_member(identity, member),
            Some(earlier) if earlier.is_learner && !member.is_learner => {
                promoted_member(identity, member);
            }
            Some(earlier) if earlier.peer_urls != member.peer_urls => {
                updated_member(identity, member);
            }
            Some(_) => {}
        }
    }
    for gone in before.iter().filter(|earlier| now.get(earlier.id).is_none()) {
        removed_member(identity, gone);
    }
}

/// A learner has caught up, and the leader promotes it by itself.
pub(super) fn promoting(member: u64) {
    tracing::info!(
        "learner-member-id" = %format_args!("{member:x}"),
        "the learner has caught up, and is promoted"
    );
}

fn added_member(identity: Identity, member: &Member) {
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "added-peer-id" = %format_args!("{:x}", member.id),
        "added-peer-peer-urls" = list(&member.peer_urls).as_slice(),
        "added member"
    );
}

fn updated_member(identity: Identity, member: &Member) {
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "updated-remote-peer-id" = %format_args!("{:x}", member.id),
        "updated-remote-peer-urls" = list(&member.peer_urls).as_slice(),
        "updated member"
    );
}

fn promoted_member(identity: Identity, member: &Member) {
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "promoted-member-id" = %format_args!("{:x}", member.id),
        "promote member"
    );
}

fn removed_member(identity: Identity, member: &Member) {
    tracing::info!(
        "cluster-id" = %format_args!("{:x}", identity.cluster),
        "local-member-id" = %format_args!("{:x}", identity.member),
        "removed-remote-peer-id" = %format_args!("{:x}", member.id),
        "removed-remote-peer-urls" = list(&member.peer_urls).as_slice(),
        "removed member"
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

/// The disk keeps entries waiting that others have had for long.
pub(super) fn slow_disk(member: u64, slow: &Slow) {
    tracing::warn!(
        "local-member-id" = %format_args!("{member:x}"),
        "transferee-member-id" = %format_args!("{:x}", slow.to.0),
        took = took(Duration::from_nanos(slow.waited)),
        "committed-entries-not-on-disk" = slow.entries,
        "the disk is slower than those of the other members; handing leadership over"
    );
}

/// Applying a batch of entries, the last of them at `last`, has taken this long; says whether that
/// was too long.
pub(super) fn applied(elapsed: Duration, limit: Duration, entries: u64, last: u64) -> bool {
    let is_slow = elapsed > limit;
    if is_slow {
        tracing::warn!(
            took = took(elapsed),
            "expected-duration" = took(limit),
            prefix = "",
            request = %format_args!("{entries} log entries up to {last}"),
            "apply request took too long"
        );
    }
    is_slow
}

/// The leader should have sent heartbeats that much earlier.
pub(super) fn late_heartbeat(interval: Duration, expected: Duration, exceeded: Duration) {
    tracing::warn!(
        "heartbeat-interval" = took(interval),
        "expected-duration" = took(expected),
        "exceeded-duration" = took(exceeded),
        "leader failed to send out heartbeat on time; took too long, leader is overloaded likely \
         from slow disk"
    );
}

/// A read index is asked for again.
pub(super) fn slow_read_index(id: u64, timeout: Duration) {
    tracing::warn!(
        "sent-request-id" = id,
        "retry-timeout" = took(timeout),
        "waiting for ReadIndex response took too long, retrying"
    );
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

/// Something that must be done does not fit on the disk. Once, until it has succeeded.
pub(super) fn disk_full(fatal: &Fatal) {
    tracing::warn!(
        error = %fatal,
        "no room on the disk: growth is refused, and what is under way waits until there is room"
    );
}

/// What had to wait for room has gone on.
pub(super) fn disk_not_full() {
    tracing::info!("there is room on the disk again, and what had to wait has gone on");
}

/// The member proposes to raise or to clear its NOSPACE alarm.
pub(super) fn space_alarm(action: AlarmAction, config: &Config) {
    let quota = config.quota().unwrap_or(0);
    if action == AlarmAction::Activate {
        tracing::warn!("quota-size-bytes" = quota, "message exceeded backend quota; raising alarm");
    } else {
        tracing::info!("quota-size-bytes" = quota, "there is room again; clearing alarm");
    }
}

/// All of the tree was read again.
pub(super) fn scrubbed() {
    tracing::info!("read all of the backend db again; it is as it was written");
}

/// An automatic compaction is proposed.
pub(super) fn auto_compaction_starts(config: &Config, revision: i64) {
    let mode = config.auto_compaction.mode.as_str();
    tracing::info!(
        revision,
        "compact-period" = config.auto_compaction.retention,
        "starting auto {mode} compaction"
    );
}

/// An automatic compaction could not be proposed.
pub(super) fn auto_compaction_failed(config: &Config, revision: i64, refused: &Refused) {
    let mode = config.auto_compaction.mode.as_str();
    tracing::warn!(
        revision,
        "compact-period" = config.auto_compaction.retention,
        error = %refused,
        "failed auto {mode} compaction"
    );
}

/// An automatic compaction is applied, or was refused.
pub(super) fn auto_compaction_done(config: &Config, is_compacted: bool, elapsed: Duration) {
    let mode = config.auto_compaction.mode.as_str();
    let retention = &config.auto_compaction.retention;
    if is_compacted {
        tracing::info!(
            "compact-period" = retention,
            took = took(elapsed),
            "completed auto {mode} compaction"
        );
    } else {
        tracing::warn!(
            "compact-period" = retention,
            took = took(elapsed),
            "failed auto {mode} compaction"
        );
    }
}
