//! `/livez` and `/readyz`: named checks, all together or each alone, in etcd's words.
//!
//! `/livez` asks whether the process should go on, `/readyz` whether clients should be sent to it.
//! A check that fails is always named with its reason; those that pass are named on demand, by
//! `?verbose`. `?exclude=name` leaves one out; a name that means nothing is only warned about, so
//! that a probe written for another version goes on working.

use http::{Method, StatusCode};

use super::Member;
use super::reply::{self, Reply};
use super::verdicts::{Check, Kind};

/// What is checked, in the order of the answer.
const fn checks(kind: Kind) -> &'static [Check] {
    match kind {
        Kind::Livez => &[Check::SerializableRead],
        Kind::Readyz => &Check::ALL,
    }
}

/// Answers a request to one of the two paths or to a check below it; `None` for other paths.
pub(super) async fn answer(
    member: &impl Member,
    method: &Method,
    path: &str,
    query: &str,
) -> Option<Reply> {
    let (kind, name) = split(path)?;
    let all = checks(kind);
    let chosen: Vec<Check> = match name {
        None => all.to_vec(),
        Some(name) => vec![*all.iter().find(|check| check.name() == name)?],
    };
    if method != Method::GET {
        return Some(reply::only_get());
    }
    let query = Query::parse(query);
    // A check that is asked for by its path cannot be excluded from it.
    let chosen = if name.is_none() { query.without_excluded(&chosen) } else { chosen };
    let (lines, is_well) = run(member, kind, &chosen).await;
    if !is_well {
        tracing::error!(path, reason = lines, "status-code" = 503, "Health check error");
        return Some(reply::failure(StatusCode::SERVICE_UNAVAILABLE, &lines));
    }
    tracing::debug!(path, reason = lines, "status-code" = 200, "Health check OK");
    let shown = if query.is_verbose { lines.as_str() } else { "" };
    Some(reply::unguessed(format!("{shown}ok\n")))
}

/// The probe that a path means, and the one check of it that it asks for.
fn split(path: &str) -> Option<(Kind, Option<&str>)> {
    let mut words = path.strip_prefix('/')?.splitn(2, '/');
    let probe = words.next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == probe)?;
    Some((kind, words.next()))
}

/// Runs the checks one after the other; a line for each, and whether all have passed.
async fn run(member: &impl Member, kind: Kind, checks: &[Check]) -> (String, bool) {
    let (mut lines, mut is_well) = (String::new(), true);
    for check in checks {
        let outcome = perform(member, *check).await;
        member.verdicts().of(kind, *check).count(outcome.is_ok());
        let name = check.name();
        match outcome {
            Ok(()) => lines += &format!("[+]{name} ok\n"),
            Err(reason) => {
                lines += &format!("[-]{name} failed: {reason}\n");
                is_well = false;
            }
        }
    }
    (lines, is_well)
}

async fn perform(member: &impl Member, check: Check) -> Result<(), String> {
    let failed = |error| format!("range error: {error}");
    match check {
        Check::DataCorruption if member.facts().alarms.contains(&2) => {
            Err("alarm activated: CORRUPT".to_owned())
        }
        Check::NonLearner if member.facts().is_learner => {
            Err("not supported for learner".to_owned())
        }
        Check::DataCorruption | Check::NonLearner => Ok(()),
        Check::SerializableRead => member.read(true).await.map_err(failed),
        Check::LinearizableRead => member.read(false).await.map_err(failed),
    }
}

/// The parameters that have a meaning.
#[derive(Debug, Default)]
struct Query {
    exclude: Vec<String>,
    is_verbose: bool,
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for pair in text.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("exclude", name) if !name.is_empty() => query.exclude.push(name.to_owned()),
                // Whatever its value.
                ("verbose", _) => query.is_verbose = true,
                _ => {}
            }
        }
        query
    }

    fn without_excluded(&self, checks: &[Check]) -> Vec<Check> {
        let is_known = |name: &String| checks.iter().any(|check| check.name() == name);
        let missing: Vec<&str> =
            self.exclude.iter().filter(|name| !is_known(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            tracing::warn!(
                "missing-health-checks" = missing.join(","),
                "some health checks cannot be excluded"
            );
        }
        let stays = |check: &&Check| !self.exclude.iter().any(|name| name == check.name());
        checks.iter().filter(stays).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::tests::{Fake, content};
    use super::*;

    async fn ask(member: &Fake, path: &str, query: &str) -> (u16, String) {
        let reply = answer(member, &Method::GET, path, query).await.unwrap();
        assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
        (reply.status().as_u16(), content(reply).await)
    }

    fn ok(lines: &str) -> (u16, String) {
        (200, format!("{lines}ok\n"))
    }

    #[tokio::test]
    async fn rule_9_40_a_member_that_is_well() {
        let member = Fake::leading();
        assert_eq!(ask(&member, "/livez", "").await, ok(""));
        assert_eq!(ask(&member, "/readyz", "").await, ok(""));
        assert_eq!(ask(&member, "/livez", "verbose").await, ok("[+]serializable_read ok\n"));
        let all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                   [+]non_learner ok\n";
        assert_eq!(ask(&member, "/readyz", "verbose=").await, ok(all));
        let rest = "[+]data_corruption ok\n[+]linearizable_read ok\n[+]non_learner ok\n";
        let query = "verbose&exclude=serializable_read&exclude=bogus&exclude=";
        assert_eq!(ask(&member, "/readyz", query).await, ok(rest));
    }

    #[tokio::test]
    async fn rule_9_40_what_fails_is_named_and_the_rest_with_it() {
        let mut member = Fake::leading();
        member.linearizable = Err("etcdserver: request timed out".to_owned());
        member.facts.alarms = vec![1, 2];
        member.facts.is_learner = true;
        let lines = "[-]data_corruption failed: alarm activated: CORRUPT\n\
                     [+]serializable_read ok\n\
                     [-]linearizable_read failed: range error: etcdserver: request timed out\n\
                     [-]non_learner failed: not supported for learner\n\n";
        assert_eq!(ask(&member, "/readyz", "").await, (503, lines.to_owned()));
        assert_eq!(ask(&member, "/livez", "").await, ok(""));
        let query = "exclude=data_corruption&exclude=linearizable_read&exclude=non_learner";
        assert_eq!(ask(&member, "/readyz", query).await, ok(""));
    }

    #[tokio::test]
    async fn a_full_disk_is_no_reason() {
        let mut member = Fake::leading();
        member.facts.alarms = vec![1];
        assert_eq!(ask(&member, "/readyz", "").await, ok(""));
    }

    #[tokio::test]
    async fn each_check_has_a_path_of_its_own() {
        let mut member = Fake::leading();
        member.facts.is_learner = true;
        assert_eq!(ask(&member, "/readyz/data_corruption", "").await, ok(""));
        let verbose = ask(&member, "/livez/serializable_read", "verbose").await;
        assert_eq!(verbose, ok("[+]serializable_read ok\n"));
        let failed = (503, "[-]non_learner failed: not supported for learner\n\n".to_owned());
        assert_eq!(ask(&member, "/readyz/non_learner", "").await, failed);
        for path in ["/livez/", "/livez/non_learner", "/readyz/x", "/readyz/non_learner/", "/x"] {
            assert!(answer(&member, &Method::GET, path, "").await.is_none(), "{path}");
        }
        let post = answer(&member, &Method::POST, "/readyz", "").await.unwrap();
        assert_eq!(post.status(), 405);
    }

    #[tokio::test]
    async fn verdicts_are_counted() {
        let mut member = Fake::leading();
        ask(&member, "/readyz", "").await;
        member.facts.is_learner = true;
        ask(&member, "/readyz", "").await;
        ask(&member, "/readyz/non_learner", "").await;
        let verdict = member.verdicts().of(Kind::Readyz, Check::NonLearner);
        assert_eq!((verdict.passed(), verdict.failed(), verdict.last()), (1, 2, Some(false)));
        let verdict = member.verdicts().of(Kind::Livez, Check::SerializableRead);
        assert_eq!((verdict.passed(), verdict.failed(), verdict.last()), (0, 0, None));
    }
}
