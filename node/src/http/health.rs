//! `/health`: whether this member can do its work, in etcd's words.

use http::StatusCode;

use super::Member;
use super::reply::{self, Reply};

/// Answers `/health?exclude=NOSPACE&serializable=true`.
///
/// Checked in this order, the first failure is the reason: alarms that are not excluded, whether
/// there is a leader, whether a read succeeds. A serializable check needs no leader.
pub async fn answer(member: &impl Member, query: &str) -> Reply {
    let query = Query::parse(query);
    let outcome = check(member, &query).await;
    member.verdicts().health.count(outcome.is_ok());
    match outcome {
        Ok(()) => {
            tracing::debug!("status-code" = 200, "/health OK");
            reply::text(body("true", ""))
        }
        Err(reason) => {
            let output = body("false", &reason);
            tracing::warn!(output = %output, "status-code" = 503, "/health error");
            reply::failure(StatusCode::SERVICE_UNAVAILABLE, &output)
        }
    }
}

async fn check(member: &impl Member, query: &Query) -> Result<(), String> {
    let facts = member.facts();
    let names = facts.alarms.iter().map(|alarm| match alarm {
        1 => "NOSPACE",
        2 => "CORRUPT",
        _ => "UNKNOWN",
    });
    if let Some(name) = names.into_iter().find(|name| !query.exclude.iter().any(|e| e == name)) {
        return Err(format!("ALARM {name}"));
    }
    if !query.serializable && facts.leader == 0 {
        return Err("RAFT NO LEADER".to_owned());
    }
    member.read(query.serializable).await.map_err(|error| format!("RANGE ERROR:{error}"))
}

fn body(health: &str, reason: &str) -> String {
    serde_json::json!({ "health": health, "reason": reason }).to_string()
}

/// The parameters that have a meaning.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    exclude: Vec<String>,
    serializable: bool,
}

impl Query {
    fn parse(text: &str) -> Query {
        let mut query = Query::default();
        for pair in text.split('&') {
            match pair.split_once('=') {
                Some(("exclude", name)) if !name.is_empty() => {
                    query.exclude.push(name.to_owned());
                }
                Some(("serializable", "true")) => query.serializable = true,
                _ => {}
            }
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::tests::{Fake, content};
    use super::*;

    async fn health(member: &Fake, query: &str) -> (u16, String) {
        let reply = answer(member, query).await;
        (reply.status().as_u16(), content(reply).await)
    }

    fn failing(reason: &str) -> (u16, String) {
        (503, format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n"))
    }

    fn passing() -> (u16, String) {
        (200, "{\"health\":\"true\",\"reason\":\"\"}".to_owned())
    }

    #[tokio::test]
    async fn a_member_with_a_leader_is_healthy() {
        assert_eq!(health(&Fake::leading(), "").await, passing());
    }

    #[tokio::test]
    async fn alarms_come_first_and_can_be_excluded() {
        let mut member = Fake::leading();
        member.facts.alarms = vec![1];
        assert_eq!(health(&member, "").await, failing("ALARM NOSPACE"));
        assert_eq!(health(&member, "exclude=CORRUPT").await, failing("ALARM NOSPACE"));
        assert_eq!(health(&member, "exclude=NOSPACE").await, passing());
        member.facts.alarms = vec![1, 2];
        assert_eq!(health(&member, "exclude=NOSPACE").await, failing("ALARM CORRUPT"));
        assert_eq!(health(&member, "exclude=NOSPACE&exclude=CORRUPT").await, passing());
        member.facts.alarms = vec![7];
        assert_eq!(health(&member, "").await, failing("ALARM UNKNOWN"));
    }

    #[tokio::test]
    async fn without_a_leader_only_the_serializable_check_passes() {
        let mut member = Fake::leading();
        member.facts.leader = 0;
        assert_eq!(health(&member, "").await, failing("RAFT NO LEADER"));
        assert_eq!(health(&member, "serializable=true").await, passing());
        assert_eq!(health(&member, "serializable=1").await, failing("RAFT NO LEADER"));
    }

    #[tokio::test]
    async fn a_read_that_fails_is_the_reason() {
        let mut member = Fake::leading();
        member.linearizable = Err("etcdserver: request timed out".to_owned());
        let reason = "RANGE ERROR:etcdserver: request timed out";
        assert_eq!(health(&member, "").await, failing(reason));
        assert_eq!(health(&member, "serializable=true").await, passing());
    }
}
