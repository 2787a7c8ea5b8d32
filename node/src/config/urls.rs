//! URLs of listeners and members.
//!
//! Written here and not with a general URL crate because the text is hashed into the ids of
//! members: a crate that drops a default port or adds a slash would compute other ids than etcd.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// How traffic of a URL is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A Unix socket.
    Unix,
    /// TLS over a Unix socket.
    Unixs,
}

impl Scheme {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One URL: scheme, host and port of a TCP address, or the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// Without the brackets of an IPv6 address; empty for a socket.
    host: String,
    port: u16,
    text: String,
}

/// Why a text is not a URL that can be used here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is missing or another one.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// No port, or something in its place that is none.
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    /// A path, query or fragment behind the address.
    #[error("URL must not contain a path: {0}")]
    Path(String),
    /// A character that has no place in a host name.
    #[error("invalid character in host name: {0}")]
    Host(String),
}

impl Url {
    /// Reads one URL.
    ///
    /// # Errors
    /// Everything that etcd refuses in its lists of URLs, and user names or queries.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            let text = format!("{}:{rest}", scheme.text());
            return Ok(Url { scheme, host: String::new(), port: 0, text });
        }
        let address = rest.strip_prefix("//").ok_or_else(|| UrlError::HostPort(text.to_owned()))?;
        if address.contains(['/', '?', '#']) {
            return Err(UrlError::Path(text.to_owned()));
        }
        let (host, port) = split_address(address, text)?;
        Ok(Url { scheme, host, port, text: format!("{}://{address}", scheme.text()) })
    }

    /// A plain URL of the given address.
    #[must_use]
    pub fn http(host: IpAddr, port: u16) -> Url {
        let text = format!("http://{}", SocketAddr::new(host, port));
        Url { scheme: Scheme::Http, host: host.to_string(), port, text }
    }

    /// How its traffic is carried.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name or address, an IPv6 address without brackets; empty for a socket.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 for a socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As it was given, with the scheme in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address to listen on: `localhost` stands for 127.0.0.1. `None` for other names and for
    /// sockets.
    #[must_use]
    pub fn listen_address(&self) -> Option<SocketAddr> {
        let host = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(host, self.port))
    }

    /// The URL with its host replaced by the address the name stands for, IPv4 if there is one;
    /// unchanged if the name is not known.
    #[must_use]
    pub fn resolved(&self) -> String {
        let Ok(found) = (self.host.as_str(), self.port).to_socket_addrs() else {
            return self.text.clone();
        };
        let mut found: Vec<SocketAddr> = found.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        match found.first() {
            Some(address) => format!("{}://{address}", self.scheme.text()),
            None => self.text.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Host and port of `host:port`, where an IPv6 address stands in brackets.
fn split_address(address: &str, whole: &str) -> Result<(String, u16), UrlError> {
    let malformed = || UrlError::HostPort(whole.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(malformed)?,
        None if host.contains(':') => return Err(malformed()),
        None => host,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c) || !c.is_ascii();
    if !host.chars().all(allowed) {
        return Err(UrlError::Host(whole.to_owned()));
    }
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| port.parse().ok()).flatten().ok_or_else(malformed)?;
    Ok((host.to_owned(), port))
}

/// A list of URLs: each once, sorted as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Urls(Vec<Url>);

impl Urls {
    /// Reads a comma-separated list; the empty text is the empty list.
    ///
    /// # Errors
    /// When one of the items is not a URL.
    pub fn parse(text: &str) -> Result<Urls, UrlError> {
        if text.is_empty() {
            return Ok(Urls::default());
        }
        text.split(',').map(Url::parse).collect::<Result<Vec<Url>, UrlError>>().map(Urls::from)
    }

    /// The URLs in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Url> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URLs as text, in order.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl From<Vec<Url>> for Urls {
    fn from(mut urls: Vec<Url>) -> Urls {
        urls.sort_by(|a, b| a.text.cmp(&b.text));
        urls.dedup_by(|a, b| a.text == b.text);
        Urls(urls)
    }
}

impl<'a> IntoIterator for &'a Urls {
    type Item = &'a Url;
    type IntoIter = std::slice::Iter<'a, Url>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_strings().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_url() {
        let url = Url::parse(" HTTP://[::1]:2379 ").unwrap();
        assert_eq!((url.scheme(), url.host(), url.port()), (Scheme::Http, "::1", 2379));
        assert_eq!(url.as_str(), "http://[::1]:2379");
    }

    #[test]
    fn default_port_is_kept() {
        assert_eq!(Url::parse("http://a:80").unwrap().as_str(), "http://a:80");
    }

    #[test]
    fn refused_urls() {
        let refusal = |text: &str| Url::parse(text).unwrap_err().to_string();
        for text in ["foo", "", "ftp://a:1", "://a:1"] {
            assert!(refusal(text).starts_with("URL scheme must be"), "{text}");
        }
        for text in
            ["http://a", "http:a:1", "http://a:", "http://a:x", "http://a:65536", "http://::1:1"]
        {
            assert!(refusal(text).contains("\"host:port\""), "{text}");
        }
        for text in ["http://a:1/", "http://a:1/b", "http://a:1?b"] {
            assert!(refusal(text).starts_with("URL must not contain a path"), "{text}");
        }
        assert!(refusal("http://user@a:1").starts_with("invalid character"));
    }

    #[test]
    fn lists_are_split_trimmed_sorted_and_unique() {
        let urls = Urls::parse("http://b:2, http://a:1,http://b:2").unwrap();
        assert_eq!(urls.to_string(), "http://a:1,http://b:2");
        assert!(Urls::parse("").unwrap().is_empty());
        assert!(Urls::parse("http://a:1,").is_err());
    }

    #[test]
    fn listen_addresses() {
        let address = |text: &str| Url::parse(text).unwrap().listen_address();
        assert_eq!(address("http://localhost:1"), Some(([127, 0, 0, 1], 1).into()));
        assert_eq!(address("http://0.0.0.0:1"), Some(([0, 0, 0, 0], 1).into()));
        assert_eq!(address("http://example.com:1"), None);
        assert_eq!(address("unix://sock"), None);
    }

    #[test]
    fn localhost_resolves_to_the_loopback_address() {
        assert_eq!(Url::parse("http://localhost:1").unwrap().resolved(), "http://127.0.0.1:1");
    }
}
