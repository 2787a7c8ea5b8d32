//! A member that joins a running cluster, and one that had better not start a new one: both ask the
//! others who the members are.

use std::time::Duration;

use revd_replica::{Identity, Member};

use crate::config::{ClusterError, Config, InitialCluster, Url, Urls};
use crate::driver::Birth;
use crate::http::member::MemberRecord;
use crate::http::peer::{Roll, read_members};
use crate::peer::call;

/// How long one member may take to say who the members are (etcd's figure).
const ASK: Duration = Duration::from_secs(10);

/// The same before the first start of a cluster, whose members mostly do not run yet (etcd's
/// figure).
const ASK_FOUNDER: Duration = Duration::from_secs(1);

/// How often, and how long apart, members are asked that may just be starting.
const TRIES: u32 = 30;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why a member has no place in the cluster that it should belong to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The flags contradict each other.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// No other member answers.
    #[error("cannot fetch cluster info from peer urls: {0}")]
    Unreachable(String),
    /// The flags and the cluster know different numbers of members.
    #[error(
        "error validating peerURLs: member count is unequal: --initial-cluster has {listed}, the \
         cluster has {found} (add a member before it is started)"
    )]
    Count {
        /// Members in `--initial-cluster`.
        listed: usize,
        /// Members of the cluster.
        found: usize,
    },
    /// The cluster has no member with these URLs.
    #[error(
        "error validating peerURLs: unmatched member: --initial-cluster has {name} at {urls}, \
         where the cluster has none"
    )]
    Unmatched {
        /// Its name in the flag.
        name: String,
        /// Its URLs there.
        urls: String,
    },
    /// The member has run before, and what it promised then is lost with its data directory.
    #[error(
        "member {id:x} has already been started once, and this data directory is empty: remove \
         the member from the cluster and add it again, which gives it a new id"
    )]
    Started {
        /// The member.
        id: u64,
    },
    /// The members that were asked are of another cluster, or this one was removed from theirs.
    #[error("the members in --initial-cluster do not know this one")]
    Stranger,
    /// The others need this member's vote.
    #[error("there is no majority of voters without it")]
    Needed,
    /// The same for a founder.
    #[error(
        "member {id:x} has already been bootstrapped, and this data directory is empty: remove \
         the member from the cluster and add it again with --initial-cluster-state=existing"
    )]
    Bootstrapped {
        /// The member.
        id: u64,
    },
}

/// Asks the other members of `--initial-cluster` which cluster this is and who belongs to it, and
/// finds this member among them by its peer URLs.
///
/// # Errors
/// [`JoinError`]: the cluster and the flags do not fit, or nobody answers.
pub async fn join(config: &Config) -> Result<Birth, JoinError> {
    let listed = InitialCluster::parse(&config.initial_cluster)?;
    let own_urls = listed.own_urls(config)?;
    let Roll { cluster, generation, members } = ask_others(&listed, &config.name).await?;
    let found = members.len();
    if found != listed.iter().count() {
        return Err(JoinError::Count { listed: listed.iter().count(), found });
    }
    let mut own = None;
    for (name, urls) in listed.iter() {
        let member = members.iter().find(|member| is_at(member, urls)).ok_or_else(|| {
            JoinError::Unmatched { name: name.to_owned(), urls: urls.to_string() }
        })?;
        if urls == own_urls {
            own = Some(member);
        }
    }
    let own = own.expect("its own URLs are among those that are listed");
    if !own.name.is_empty() {
        return Err(JoinError::Started { id: own.id });
    }
    let identity = Identity { cluster, member: own.id };
    let met = members.iter().filter(|member| member.id != own.id).map(met).collect();
    Ok(Birth { identity, founders: Vec::new(), met, generation })
}

/// Refuses to found a cluster that runs already, with this member in it.
///
/// # Errors
/// [`JoinError::Bootstrapped`]. Others that do not answer are no reason.
pub async fn check_unknown(birth: &Birth) -> Result<(), JoinError> {
    let id = birth.identity.member;
    let others = birth.founders.iter().filter(|founder| founder.id != id);
    let mut asking = tokio::task::JoinSet::new();
    for url in others.flat_map(|founder| founder.peer_urls.clone()) {
        asking.spawn(async move { ask(&url, ASK_FOUNDER).await });
    }
    while let Some(answer) = asking.join_next().await {
        let Ok(Ok(roll)) = answer else { continue };
        let own = roll.members.iter().find(|member| member.id == id);
        if own.is_some_and(|own| !own.client_urls.is_empty()) {
            return Err(JoinError::Bootstrapped { id });
        }
    }
    Ok(())
}

/// Asks the other members of `--initial-cluster` whether this one belongs to them, and leaves a
/// majority of voters when it is not counted. They may just be starting, and have some time.
///
/// # Errors
/// [`JoinError`]: it does not, or nobody answers.
pub async fn check_spare(config: &Config, identity: Identity) -> Result<(), JoinError> {
    let listed = InitialCluster::parse(&config.initial_cluster)?;
    let is_alone = listed.iter().all(|(name, _)| name == config.name);
    let mut tries = if is_alone { 1 } else { TRIES };
    let roll = loop {
        tries -= 1;
        match ask_others(&listed, &config.name).await {
            Err(JoinError::Unreachable(_)) if tries > 0 => tokio::time::sleep(TRY_AGAIN).await,
            answer => break answer?,
        }
    };
    let is_own = |member: &&MemberRecord| member.id == identity.member;
    let voters = roll.members.iter().filter(|member| !member.is_learner);
    let (all, others) = (voters.clone().count(), voters.filter(|voter| !is_own(voter)).count());
    if roll.cluster != identity.cluster || !roll.members.iter().any(|member| is_own(&member)) {
        Err(JoinError::Stranger)
    } else if 2 * others <= all {
        Err(JoinError::Needed)
    } else {
        Ok(())
    }
}

/// The cluster and its members, as the first of the others says that answers.
async fn ask_others(listed: &InitialCluster, own_name: &str) -> Result<Roll, JoinError> {
    let others = listed.iter().filter(|(name, _)| *name != own_name);
    let mut last = "--initial-cluster has no other member".to_owned();
    for url in others.flat_map(|(_, urls)| urls.iter()) {
        match ask(url.as_str(), ASK).await {
            Ok(found) => return Ok(found),
            Err(error) => last = format!("{url}: {error}"),
        }
    }
    Err(JoinError::Unreachable(last))
}

async fn ask(url: &str, limit: Duration) -> Result<Roll, String> {
    let answer = tokio::time::timeout(limit, call::members(url)).await;
    let answer = answer.map_err(|_| format!("no answer within {limit:?}"))?;
    let answer = answer.map_err(|error| error.to_string())?;
    read_members(&answer).ok_or_else(|| "the answer is not of a revd member".to_owned())
}

/// Whether a member is reached at these URLs, once all names are resolved.
fn is_at(member: &MemberRecord, urls: &Urls) -> bool {
    let resolve = |url: &String| Url::parse(url).map_or_else(|_| url.clone(), |u| u.resolved());
    let mut there: Vec<String> = member.peer_urls.iter().map(resolve).collect();
    let mut here: Vec<String> = urls.iter().map(Url::resolved).collect();
    there.sort_unstable();
    here.sort_unstable();
    there == here
}

fn met(member: &MemberRecord) -> Member {
    let MemberRecord { id, peer_urls, name, client_urls, is_learner } = member.clone();
    Member { id, name, peer_urls, client_urls, is_learner }
}
