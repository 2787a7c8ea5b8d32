//! Ids of members and clusters, computed as etcd does: other tools and members must agree.

use std::time::{SystemTime, UNIX_EPOCH};

use sha1::{Digest, Sha1};

use crate::config::Urls;

/// Id of a member that starts a cluster: a hash of its sorted peer URLs and the cluster's token.
/// The name is not part of it.
#[must_use]
pub fn member_id(peer_urls: &Urls, token: &str) -> u64 {
    let mut text: String = peer_urls.iter().map(|url| url.as_str()).collect();
    text.push_str(token);
    first_eight(text.as_bytes())
}

/// Id of a member that is added to a running cluster: a hash of its sorted peer URLs and the second
/// in which it is added.
#[must_use]
pub fn added_member_id(peer_urls: &[String], now: SystemTime) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    first_eight(format!("{}{seconds}", urls.concat()).as_bytes())
}

/// Id of a cluster: a hash of the ids of its first members.
#[must_use]
pub fn cluster_id(members: &[u64]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    let bytes: Vec<u8> = members.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_eight(&bytes)
}

/// The first eight bytes of the SHA-1, as a big-endian number.
fn first_eight(bytes: &[u8]) -> u64 {
    Sha1::digest(bytes).iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(urls: &str, token: &str) -> u64 {
        member_id(&Urls::parse(urls).unwrap(), token)
    }

    #[test]
    fn rule_1_22_a_lone_member_with_the_default_settings() {
        let member = id("http://localhost:2380", "etcd-cluster");
        assert_eq!(format!("{member:x}"), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&[member])), "cdf818194e3a8c32");
    }

    #[test]
    fn rule_1_22_three_members_whatever_their_order() {
        let members: Vec<u64> = [42101, 42102, 42103]
            .map(|port| id(&format!("http://127.0.0.1:{port}"), "tok-x"))
            .to_vec();
        let texts: Vec<String> = members.iter().map(|member| format!("{member:x}")).collect();
        assert_eq!(texts, ["ea0de4d133d41683", "23822f5dbd5befa9", "940935a2ac17811"]);
        let turned: Vec<u64> = members.iter().rev().copied().collect();
        assert_eq!(format!("{:x}", cluster_id(&members)), "de60c4a1314c7d5a");
        assert_eq!(cluster_id(&turned), cluster_id(&members));
    }

    #[test]
    fn rule_1_22_urls_are_sorted_before_they_are_hashed() {
        assert_eq!(id("http://b:1,http://a:1", "t"), id("http://a:1,http://b:1", "t"));
    }
}
