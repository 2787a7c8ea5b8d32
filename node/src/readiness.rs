//! Tells the init system that the member serves: `READY=1` to the socket that it named.

use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends the message if `NOTIFY_SOCKET` is set. A failure is logged: a service that works must
/// not stop over it.
pub fn notify() {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    tracing::info!("notifying init daemon");
    match address.to_str().ok_or_else(not_text).and_then(send) {
        Ok(()) => tracing::info!("successfully notified init daemon"),
        Err(error) => tracing::error!(error = %error, "failed to notify systemd for readiness"),
    }
}

fn not_text() -> std::io::Error {
    std::io::Error::other("NOTIFY_SOCKET is not text")
}

/// A name with `@` in front is one without a file.
fn send(name: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("revd-test-{}", std::process::id());
        use std::os::linux::net::SocketAddrExt as _;
        let hidden =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap());
        for (socket, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (hidden.unwrap(), format!("@{abstract_name}")),
        ] {
            send(&name).unwrap();
            let mut message = [0; 16];
            let length = socket.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1", "{name}");
        }
    }
}
