//! The initial cluster: who belongs to it at the first start, `name=url,name=url`.

use super::{Config, UrlError, Urls};
use std::collections::BTreeMap;

/// The members of a new cluster by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster(BTreeMap<String, Urls>);

/// Why a cluster cannot be started as it was described.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// An item without a name.
    #[error("--initial-cluster item {0:?} does not have the form \"name=url\"")]
    Item(String),
    /// An item whose URL is none.
    #[error("--initial-cluster: {0}")]
    Url(#[from] UrlError),
    /// Two members, or one member twice, at the same address.
    #[error("--initial-cluster has duplicate url {0}")]
    Duplicate(String),
    /// This member is not among them.
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NoLocalName(String),
    /// The entry of this member and what it advertises are not the same.
    #[error("{flag} has {found} but missing from {other}={listed}")]
    Mismatch {
        /// Flag that has the URL.
        flag: &'static str,
        /// The URL.
        found: String,
        /// Flag that lacks it.
        other: &'static str,
        /// What that flag has.
        listed: String,
    },
}

impl InitialCluster {
    /// Reads the value of `--initial-cluster`; a repeated name adds a URL to its member.
    ///
    /// # Errors
    /// When an item is malformed or a URL stands there twice.
    pub fn parse(text: &str) -> Result<InitialCluster, ClusterError> {
        let mut members: BTreeMap<String, String> = BTreeMap::new();
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (name, url) = item
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| ClusterError::Item(item.to_owned()))?;
            if seen.contains(&url) {
                return Err(ClusterError::Duplicate(url.to_owned()));
            }
            seen.push(url);
            let urls = members.entry(name.to_owned()).or_default();
            if !urls.is_empty() {
                urls.push(',');
            }
            urls.push_str(url);
        }
        let members = members
            .into_iter()
            .map(|(name, urls)| {
                // An empty list is allowed elsewhere, but a member has to be somewhere.
                if urls.is_empty() {
                    return Err(ClusterError::Item(name + "="));
                }
                Ok((name, Urls::parse(&urls)?))
            })
            .collect::<Result<_, ClusterError>>()?;
        Ok(InitialCluster(members))
    }

    /// All members: name and URLs, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Urls)> {
        self.0.iter().map(|(name, urls)| (name.as_str(), urls))
    }

    /// The URLs of this member, after checking that it advertises what is written there.
    ///
    /// # Errors
    /// When this member is missing, or when the URLs differ even after their names have been
    /// resolved.
    pub fn own_urls(&self, config: &Config) -> Result<&Urls, ClusterError> {
        let own = self
            .0
            .get(&config.name)
            .ok_or_else(|| ClusterError::NoLocalName(config.name.clone()))?;
        let advertised = &config.initial_advertise_peer_urls;
        if own == advertised {
            return Ok(own);
        }
        let (cluster, flag) = ("--initial-cluster", "--initial-advertise-peer-urls");
        missing(own, advertised, cluster, flag)?;
        missing(advertised, own, flag, cluster)?;
        Ok(own)
    }
}

/// Refuses a URL of `urls` that is not in `others` under any of its names.
fn missing(
    urls: &Urls,
    others: &Urls,
    flag: &'static str,
    other: &'static str,
) -> Result<(), ClusterError> {
    let resolved: Vec<String> = others.iter().map(|url| url.resolved()).collect();
    match urls.iter().find(|url| !resolved.contains(&url.resolved())) {
        None => Ok(()),
        Some(url) => Err(ClusterError::Mismatch {
            flag,
            found: url.to_string(),
            other,
            listed: others.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, peers: &str) -> Config {
        Config {
            name: name.to_owned(),
            initial_advertise_peer_urls: Urls::parse(peers).unwrap(),
            ..Config::default()
        }
    }

    fn check(cluster: &str, name: &str, peers: &str) -> Result<String, ClusterError> {
        let cluster = InitialCluster::parse(cluster)?;
        cluster.own_urls(&config(name, peers)).map(Urls::to_string)
    }

    #[test]
    fn one_member_with_several_urls() {
        let both = "http://127.0.0.1:1,http://127.0.0.1:2";
        let found = check("a=http://127.0.0.1:2,a=http://127.0.0.1:1", "a", both);
        assert_eq!(found.as_deref(), Ok(both));
    }

    #[test]
    fn names_of_one_address_are_equal() {
        let found = check("a=http://localhost:1", "a", "http://127.0.0.1:1");
        assert_eq!(found.as_deref(), Ok("http://localhost:1"));
    }

    #[test]
    fn malformed_items() {
        for text in ["", "a", "=http://a:1", "a=http://a:1,"] {
            assert!(matches!(InitialCluster::parse(text), Err(ClusterError::Item(_))), "{text:?}");
        }
        assert!(matches!(InitialCluster::parse("a="), Err(ClusterError::Item(_))));
        assert!(matches!(InitialCluster::parse("a=b"), Err(ClusterError::Url(_))));
    }

    #[test]
    fn duplicate_url() {
        let found = InitialCluster::parse("a=http://x:1,b=http://x:1");
        assert_eq!(found, Err(ClusterError::Duplicate("http://x:1".into())));
    }

    #[test]
    fn own_name_is_missing() {
        let found = check("a=http://localhost:1", "b", "http://localhost:1");
        assert_eq!(found, Err(ClusterError::NoLocalName("b".into())));
    }

    #[test]
    fn each_member_finds_itself_among_several() {
        let cluster = "a=http://localhost:1,b=http://localhost:2";
        let found = |name, urls| check(cluster, name, urls);
        assert_eq!(found("a", "http://localhost:1").as_deref(), Ok("http://localhost:1"));
        assert_eq!(found("b", "http://localhost:2").as_deref(), Ok("http://localhost:2"));
    }

    #[test]
    fn mismatch_names_the_flag_that_lacks_the_url() {
        let message = |found: Result<String, ClusterError>| found.unwrap_err().to_string();
        assert_eq!(
            message(check("a=http://127.0.0.1:1", "a", "http://127.0.0.1:2")),
            "--initial-cluster has http://127.0.0.1:1 but missing from \
             --initial-advertise-peer-urls=http://127.0.0.1:2"
        );
        assert_eq!(
            message(check("a=http://127.0.0.1:1", "a", "http://127.0.0.1:1,http://127.0.0.1:2")),
            "--initial-advertise-peer-urls has http://127.0.0.1:2 but missing from \
             --initial-cluster=http://127.0.0.1:1"
        );
    }
}
