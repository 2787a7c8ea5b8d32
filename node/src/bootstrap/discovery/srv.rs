//! Discovery by SRV records of the DNS: each member of a new cluster has one, with its host and its
//! port for peers.
//!
//! `_etcd-server-ssl._tcp.<domain>` and `_etcd-server._tcp.<domain>` are both asked for, and what
//! they say is taken together. The records do not say what the members are called, which matters to
//! nobody: this member finds itself by its addresses, the others get numbers for names.
//!
//! The servers asked are the system's, or the one in the variable `REVD_NAME_SERVER` (`ip:port`),
//! which need not be on port 53. Targets are resolved by the system in any case, as they will be
//! when they are dialled.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::DiscoveryError;
use crate::config::{Config, Scheme, Srv, Url};

/// The services, and how their members are reached.
const SERVICES: [(&str, Scheme); 2] =
    [("etcd-server-ssl", Scheme::Https), ("etcd-server", Scheme::Http)];

/// Names the server that is asked instead of the system's.
const NAME_SERVER: &str = "REVD_NAME_SERVER";

/// The initial cluster as the records have it.
pub(super) async fn find(config: &Config, srv: &Srv) -> Result<String, DiscoveryError> {
    let resolver = resolver().map_err(DiscoveryError::Resolver)?;
    let mut search = Search { own: BTreeSet::new(), found: Vec::new(), failed: Vec::new() };
    for url in &config.initial_advertise_peer_urls {
        search.add_own(url).await;
    }
    for (service, scheme) in SERVICES {
        let name = srv.record(service);
        match targets(&resolver, &name).await {
            Ok(targets) => {
                for (host, port) in targets {
                    search.add(scheme, &host, port).await;
                }
            }
            Err(error) => search.failed.push(format!("{name}: {}", brief(&error))),
        }
    }
    search.cluster(config, srv)
}

fn resolver() -> Result<TokioResolver, String> {
    let builder = match std::env::var(NAME_SERVER) {
        Ok(address) => {
            let address: SocketAddr =
                address.parse().map_err(|_| format!("{NAME_SERVER}={address} is no ip:port"))?;
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            let config = ResolverConfig::from_name_servers(vec![server]);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        }
        Err(_) => TokioResolver::builder_tokio(),
    };
    builder.and_then(|builder| builder.build()).map_err(|error| error.to_string())
}

/// Hosts and ports of the records with a name, each once, in an order that does not depend on the
/// answer's; and in lower case, since all members are to compute the same ids from them.
async fn targets(resolver: &TokioResolver, name: &str) -> Result<Vec<(String, u16)>, NetError> {
    let answer = resolver.lookup(name, RecordType::SRV).await?;
    let target = |data: &RData| match data {
        RData::SRV(record) => {
            let host = record.target.to_ascii().to_lowercase();
            Some((host.trim_end_matches('.').to_owned(), record.port))
        }
        _ => None,
    };
    let targets = answer.answers().iter().filter_map(|record| target(&record.data));
    Ok(targets.collect::<BTreeSet<_>>().into_iter().collect())
}

/// An error of the resolver in a few words: its own show the whole question.
fn brief(error: &NetError) -> String {
    match error {
        _ if error.is_nx_domain() => "no such name".to_owned(),
        _ if error.is_no_records_found() => "no records".to_owned(),
        other => other.to_string(),
    }
}

/// What has been found so far.
struct Search {
    /// Addresses of this member, each with the scheme that it advertises there.
    own: BTreeSet<(SocketAddr, &'static str)>,
    /// URLs of members, and whether it is this one.
    found: Vec<(String, bool)>,
    failed: Vec<String>,
}

impl Search {
    async fn add_own(&mut self, url: &Url) {
        match tokio::net::lookup_host((url.host(), url.port())).await {
            Ok(found) => self.own.extend(found.map(|address| (address, url.scheme().text()))),
            Err(error) => self.failed.push(format!("{url}: {error}")),
        }
    }

    async fn add(&mut self, scheme: Scheme, host: &str, port: u16) {
        let found: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
            Ok(found) => found.collect(),
            Err(error) => return self.failed.push(format!("{host:?}: {error}")),
        };
        let url = format!("{scheme}://{host}:{port}");
        let mut own = self.own.iter().filter(|(address, _)| found.contains(address));
        match own.next() {
            Some((_, advertised)) if *advertised != scheme.text() => {
                self.failed.push(format!("{url} is this member, but it advertises {advertised}"));
            }
            own => self.found.push((url, own.is_some())),
        }
    }

    /// All of it as an initial cluster, if this member is in it.
    fn cluster(self, config: &Config, srv: &Srv) -> Result<String, DiscoveryError> {
        for error in &self.failed {
            tracing::warn!(error, "failed to resolve during SRV discovery");
        }
        if self.found.is_empty() {
            let (domain, why) = (srv.domain.clone(), self.failed.join("; "));
            return Err(DiscoveryError::NoRecords { domain, why });
        }
        if !self.found.iter().any(|(_, is_own)| *is_own) {
            let urls: Vec<String> = self.found.into_iter().map(|(url, _)| url).collect();
            return Err(DiscoveryError::NoOwnRecord {
                name: config.name.clone(),
                found: urls.join(", "),
                advertised: config.initial_advertise_peer_urls.to_string(),
            });
        }
        let mut numbers = (0_u32..).map(|n| n.to_string()).filter(|name| *name != config.name);
        let mut entries = Vec::new();
        for (url, is_own) in self.found {
            let name = if is_own { Some(config.name.clone()) } else { numbers.next() };
            let name = name.expect("there are fewer records than numbers");
            tracing::info!(
                node = format!("{name}={url}"),
                "got bootstrap from DNS for etcd-server"
            );
            entries.push(format!("{name}={url}"));
        }
        Ok(entries.join(","))
    }
}
