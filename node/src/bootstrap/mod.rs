//! Before the member runs: who it is, and whether the data directory is its own.
//!
//! Nothing here decides what is in the files. The directory is looked at by names only, locked,
//! and handed on with the identity that a *new* member gets: computed from the flags if it founds a
//! cluster, asked of the others if it joins one. One that has run before keeps what its vote file
//! says, whatever the flags are.

mod directory;
mod discovery;
mod identity;
mod join;

pub use directory::{DataDir, DirectoryError};
pub use discovery::{DiscoveryError, discover};
pub use identity::{added_member_id, cluster_id, member_id};
pub use join::{JoinError, check_spare, check_unknown, join};

use revd_replica::{Identity, Member};

use crate::config::{ClusterError, Config, InitialCluster, Urls};
use crate::driver::Birth;

/// Reads the initial cluster and computes the ids of its members. For a new member of a new cluster
/// only: afterwards these flags have no meaning.
///
/// # Errors
/// [`ClusterError`]: a cluster that cannot be started.
pub fn found(config: &Config) -> Result<Birth, ClusterError> {
    let cluster = InitialCluster::parse(&config.initial_cluster)?;
    let own_urls = cluster.own_urls(config)?;
    let id = |urls: &Urls| member_id(urls, &config.initial_cluster_token);
    let founder = |(_, urls): (_, &Urls)| Member {
        id: id(urls),
        peer_urls: urls.to_strings(),
        ..Member::default()
    };
    let founders: Vec<Member> = cluster.iter().map(founder).collect();
    let ids: Vec<u64> = founders.iter().map(|founder| founder.id).collect();
    let identity = Identity { cluster: cluster_id(&ids), member: id(own_urls) };
    Ok(Birth { founders, identity, ..Birth::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_found_the_known_cluster() {
        let birth = found(&Config::default()).unwrap();
        let expected = Identity { cluster: 0xcdf8_1819_4e3a_8c32, member: 0x8e9e_05c5_2164_694d };
        assert_eq!(birth.identity, expected);
        let [founder] = &birth.founders[..] else { panic!("one member") };
        assert_eq!(
            (founder.id, &founder.peer_urls[..]),
            (expected.member, &["http://localhost:2380".to_owned()][..])
        );
    }
}
