//! Before the member runs: who it is, and whether the data directory is its own.
//!
//! Nothing here decides what is in the files. The directory is looked at by names only, locked,
//! and handed on with the identity that a *new* member gets; one that has run before keeps what
//! its vote file says, whatever the flags are.

mod directory;
mod identity;

pub use directory::{DataDir, DirectoryError};
pub use identity::{Ids, cluster_id, member_id};

use crate::config::{ClusterError, ClusterState, Config, InitialCluster, Urls};

/// What a new member starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Ids of the member and of its cluster.
    pub ids: Ids,
    /// All founding members: ids, and where peers reach them as `--initial-cluster` has it.
    pub members: Vec<(u64, Urls)>,
}

/// Reads the initial cluster and computes the ids. For a new member only: afterwards these flags
/// have no meaning.
///
/// # Errors
/// [`ClusterError`]: a cluster that cannot be started, or that this version cannot run.
pub fn found(config: &Config) -> Result<Founding, ClusterError> {
    let cluster = InitialCluster::parse(&config.initial_cluster)?;
    let own_urls = cluster.own_urls(config)?;
    if config.initial_cluster_state == ClusterState::Existing {
        return Err(ClusterError::Existing);
    }
    let id = |urls: &Urls| member_id(urls, &config.initial_cluster_token);
    let members: Vec<_> = cluster.iter().map(|(_, urls)| (id(urls), urls.clone())).collect();
    let ids: Vec<u64> = members.iter().map(|(id, _)| *id).collect();
    Ok(Founding { ids: Ids { member: id(own_urls), cluster: cluster_id(&ids) }, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_found_the_known_cluster() {
        let founding = found(&Config::default()).unwrap();
        let expected = Ids { member: 0x8e9e_05c5_2164_694d, cluster: 0xcdf8_1819_4e3a_8c32 };
        assert_eq!(founding.ids, expected);
        let [(id, urls)] = &founding.members[..] else { panic!("one member") };
        assert_eq!((*id, urls.to_string().as_str()), (expected.member, "http://localhost:2380"));
    }

    #[test]
    fn joining_is_refused_by_name() {
        let config = Config { initial_cluster_state: ClusterState::Existing, ..Config::default() };
        assert_eq!(found(&config), Err(ClusterError::Existing));
    }
}
