//! Binding the addresses of a list of URLs.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Url, Urls};

/// Connections that may wait to be accepted; the kernel caps it at its own bound.
const BACKLOG: u32 = 4096;

/// File descriptors that are kept for files and other members, as in etcd.
pub(crate) const RESERVED_DESCRIPTORS: u64 = 150;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {url}: {source}")]
pub struct ListenError {
    /// The URL.
    pub url: Url,
    /// What the operating system said.
    #[source]
    pub source: std::io::Error,
}

/// Starts listening on each URL. Connections wait until they are accepted.
///
/// # Errors
/// [`ListenError`] for the first address that is in use or is not ours; the others are closed.
pub fn bind(urls: &Urls) -> Result<Vec<TcpListener>, ListenError> {
    urls.iter()
        .map(|url| {
            let no_address = || std::io::Error::other("it is not an address");
            let address = url.listen_address().ok_or_else(no_address);
            address.and_then(bind_one).map_err(|source| ListenError { url: url.clone(), source })
        })
        .collect()
}

fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many files the process may have open, if there is a limit.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// How many clients may be connected at a time; `None` when the limit of the process leaves
/// room for none.
#[must_use]
pub fn client_limit() -> Option<usize> {
    let limit = descriptor_limit().unwrap_or(u64::MAX);
    let clients = limit.checked_sub(RESERVED_DESCRIPTORS).filter(|clients| *clients > 0)?;
    let most = tokio::sync::Semaphore::MAX_PERMITS;
    Some(usize::try_from(clients).unwrap_or(most).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = bind(&Urls::parse("http://127.0.0.1:0").unwrap()).unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(&Urls::parse(&format!("http://{address}")).unwrap()).unwrap_err();
        let expected = format!("cannot listen on http://{address}: Address already in use");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
