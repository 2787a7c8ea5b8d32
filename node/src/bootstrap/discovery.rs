//! Discovery: how the members of a new cluster find each other, where they have not been told.
//!
//! - [`registry`]: in a cluster that runs already;
//! - [`srv`]: by records of the DNS.

mod registry;
mod srv;

use crate::config::{ClusterState, Config, Discovery};

/// Why the members cannot be found. None of these goes away by waiting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// A member joins a cluster whose members it has been told.
    #[error("discovery finds the members of a new cluster; it cannot be used to join one")]
    Existing,
    /// The operator has not written how many members there will be.
    #[error("discovery: no size of the cluster is written at {0}")]
    NoSize(String),
    /// What is written there is no number above zero.
    #[error("discovery: the size of the cluster at {key} is {found:?}")]
    BadSize {
        /// Where it is written.
        key: String,
        /// What is written there.
        found: String,
    },
    /// All places are taken.
    #[error("discovery: the cluster is full; another one needs another token")]
    Full,
    /// No records of members were found.
    #[error("discovery: no members are found below {domain}: {why}")]
    NoRecords {
        /// Where they were looked for.
        domain: String,
        /// What was answered.
        why: String,
    },
    /// None of the records is this member's.
    #[error(
        "cannot find local etcd member {name:?} in SRV records: they name {found}, and this member \
         is at --initial-advertise-peer-urls={advertised}"
    )]
    NoOwnRecord {
        /// The member's name.
        name: String,
        /// The members that the records name.
        found: String,
        /// Where this member is.
        advertised: String,
    },
    /// It is not known whom to ask for records.
    #[error("discovery: no server to ask for SRV records: {0}")]
    Resolver(String),
    /// A member has registered something that is no member.
    #[error("discovery: what is registered cannot be a cluster: {0}")]
    Malformed(String),
}

/// Replaces the initial cluster by what discovery says, where it is asked for; and its token, if
/// that is the registry's. For a new member only. A registry is waited for, and the other members
/// in it, for ever. Records also tell a member that joins where the others are; a registry does
/// not.
///
/// # Errors
/// [`DiscoveryError`].
pub async fn discover(config: &mut Config) -> Result<(), DiscoveryError> {
    let cluster = match config.discovery.clone() {
        None => return Ok(()),
        Some(Discovery::Registry(_)) if config.initial_cluster_state == ClusterState::Existing => {
            return Err(DiscoveryError::Existing);
        }
        Some(Discovery::Registry(registry)) => {
            let cluster = registry::find(config, &registry).await?;
            config.initial_cluster_token = registry.token;
            cluster
        }
        Some(Discovery::Srv(srv)) => srv::find(config, &srv).await?,
    };
    tracing::info!("initial-cluster" = cluster, "discovered the members of the cluster");
    config.initial_cluster = cluster;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Registry;
    use std::time::Duration;

    #[tokio::test]
    async fn a_member_that_joins_cannot_discover() {
        let registry = Registry {
            endpoints: vec!["127.0.0.1:1".into()],
            token: "t".into(),
            dial_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
        };
        let mut config = Config {
            discovery: Some(Discovery::Registry(registry)),
            initial_cluster_state: ClusterState::Existing,
            ..Config::default()
        };
        assert_eq!(discover(&mut config).await, Err(DiscoveryError::Existing));
        config.discovery = None;
        assert_eq!(discover(&mut config).await, Ok(()));
    }
}
