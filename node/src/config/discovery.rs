//! Where a new member is to look for its fellows, instead of `--initial-cluster`.

use std::time::Duration;

use super::Error;
use super::auto_compaction::duration;
use super::flags::Given;

/// How the members of a new cluster find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// In a cluster that runs already.
    Registry(Registry),
    /// By records of the DNS.
    Srv(Srv),
}

/// Whose records name the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Where the records are.
    pub domain: String,
    /// Goes into their names; may be empty.
    pub suffix: String,
}

impl Srv {
    /// The name of the records of a service.
    #[must_use]
    pub fn record(&self, service: &str) -> String {
        let dash = if self.suffix.is_empty() { "" } else { "-" };
        // A name that ends in a dot is looked for nowhere else.
        let domain = self.domain.trim_end_matches('.');
        format!("_{service}{dash}{}._tcp.{domain}.", self.suffix)
    }
}

/// Where the members meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Addresses of the members of a cluster that runs already, `host:port` with or without
    /// `http://`.
    pub endpoints: Vec<String>,
    /// What the members of one new cluster share; it also takes the place of
    /// `--initial-cluster-token`.
    pub token: String,
    /// How long making a connection may take.
    pub dial_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
}

/// What was given about it; nothing if none of it was.
///
/// # Errors
/// When half of it is missing, or when the members can be found in two ways.
pub(crate) fn assemble(given: &Given) -> Result<Option<Discovery>, Error> {
    let text = |name| given.text(name).filter(|text: &&str| !text.is_empty());
    let (cluster, srv) = (text("initial-cluster"), text("discovery-srv"));
    let registry = text("discovery-endpoints").or(text("discovery-token"));
    if [cluster, srv, registry].iter().flatten().count() > 1 {
        return Err(Error::ManyBootstraps);
    }
    if let Some(domain) = srv {
        let suffix = text("discovery-srv-name").unwrap_or_default().to_owned();
        return Ok(Some(Discovery::Srv(Srv { domain: domain.to_owned(), suffix })));
    }
    let (endpoints, token) = match (text("discovery-endpoints"), text("discovery-token")) {
        (None, None) => return Ok(None),
        (Some(endpoints), Some(token)) => (endpoints, token.to_owned()),
        (Some(_), None) => return Err(Error::HalfDiscovery("--discovery-token")),
        (None, Some(_)) => return Err(Error::HalfDiscovery("--discovery-endpoints")),
    };
    let endpoints: Vec<String> = endpoints.split(',').map(|text| text.trim().to_owned()).collect();
    if endpoints.iter().any(String::is_empty) {
        return Err(Error::EmptyEndpoint);
    }
    if let Some(other) = endpoints.iter().find(|endpoint| scheme(endpoint) != "http") {
        return Err(Error::DiscoveryScheme(other.clone()));
    }
    let time = |name, default| {
        text(name).and_then(duration).map_or(Duration::from_secs(default), Duration::from_nanos)
    };
    Ok(Some(Discovery::Registry(Registry {
        endpoints,
        token,
        dial_timeout: time("discovery-dial-timeout", 2),
        request_timeout: time("discovery-request-timeout", 5),
    })))
}

fn scheme(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or("http", |(scheme, _)| scheme)
}
