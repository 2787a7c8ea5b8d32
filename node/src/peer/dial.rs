//! A connection to a member, by one of its peer URLs.

use http::{HeaderMap, header::HOST};
use tokio::net::TcpStream;

use crate::config::Url;

/// Connects to the address in a URL; small messages do not wait for a full packet.
pub(super) async fn connect(url: &str) -> std::io::Result<TcpStream> {
    let url = Url::parse(url).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect((url.host(), url.port())).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says whom a request is for.
pub(super) fn write_host(headers: &mut HeaderMap, url: &str) {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    // A URL that was connected to has a host that can be said.
    if let Ok(host) = host.parse() {
        headers.insert(HOST, host);
    }
}
