//! The sockets: those that systemd opened for us, else those of the settings.
//!
//! A socket file is made beside its place and moved there, so that it has its mode from its first moment and takes the
//! place of one that a dead service left. One that a living service answers on is left alone, with an error. LMTP asks
//! nobody who he is: a TCP socket that is not on loopback is refused, also from systemd.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener as StdUnixListener,
    },
    path::Path,
};

use listenfd::ListenFd;
use replyfleet::settings::LmtpAddress;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::unix::UnixConnection;

/// Postfix's user belongs to the socket's group.
const SOCKET_MODE: u32 = 0o660;

/// Where connections come in.
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// One that came.
pub(crate) enum Connection {
    Unix(UnixConnection),
    Tcp(TcpStream),
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(listener) => Ok(Connection::Unix(UnixConnection::new(listener.accept().await?.0.into_std()?)?)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Replies are whole: none waits for more to come.
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
        }
    }
}

/// Opens all of them.
///
/// # Errors
/// A sentence that names the place and the remedy.
pub(crate) async fn open(addresses: &[LmtpAddress]) -> Result<Vec<Listener>, String> {
    let passed = passed_by_systemd()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    if addresses.is_empty() {
        return Err(r#"enqueuer.lmtp: names no socket, and systemd gave none; set lmtp = ["unix:/run/replyfleet/lmtp.sock"]"#.into());
    }
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let failed = |text: String| format!("enqueuer.lmtp: {address}: {text}");
        listeners.push(match address {
            LmtpAddress::Unix(path) => Listener::Unix(bind(path).await.map_err(failed)?),
            LmtpAddress::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await.map_err(|error| failed(error.to_string()))?),
        });
    }
    Ok(listeners)
}

/// sd_listen_fds(3).
fn passed_by_systemd() -> Result<Vec<Listener>, String> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        let failed = |error: io::Error| format!("socket {index} from systemd: {error}");
        if let Ok(Some(listener)) = passed.take_unix_listener(index) {
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push(Listener::Unix(UnixListener::from_std(listener).map_err(failed)?));
        } else if let Some(listener) = passed.take_tcp_listener(index).map_err(failed)? {
            let address = listener.local_addr().map_err(failed)?;
            if !address.ip().is_loopback() {
                return Err(format!("socket {index} from systemd listens on {address}, which is not loopback; LMTP asks nobody who he is"));
            }
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push(Listener::Tcp(TcpListener::from_std(listener).map_err(failed)?));
        }
    }
    Ok(listeners)
}

async fn bind(path: &Path) -> Result<UnixListener, String> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err("there is something else than a socket; remove it".into()),
        // Answers, or would if it were not so busy; a dead one's refuses.
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => return Err("another service listens there; stop it first".into()),
            Err(error) => return Err(format!("another service may listen there: {error}")),
        },
        Err(_) => {}
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = Path::new(&beside);
    let _ = fs::remove_file(beside); // of an earlier process with our id that died here
    let listener = StdUnixListener::bind(beside).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such folder; make it, or let systemd: RuntimeDirectory=replyfleet".to_owned(),
        _ => error.to_string(),
    })?;
    let placed = fs::set_permissions(beside, fs::Permissions::from_mode(SOCKET_MODE)).and_then(|()| fs::rename(beside, path));
    placed.and_then(|()| listener.set_nonblocking(true)).and_then(|()| UnixListener::from_std(listener)).map_err(|error| {
        let _ = fs::remove_file(beside);
        error.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_services_socket_is_replaced_and_a_living_ones_is_not() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("lmtp.sock");
        drop(StdUnixListener::bind(&path).expect("a socket that nobody serves"));
        let living = bind(&path).await.expect("replaced");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, SOCKET_MODE);
        let error = bind(&path).await.expect_err("left alone");
        assert!(error.contains("another service listens there"), "{error}");
        UnixStream::connect(&path).await.expect("the living one is served");
        drop(living);
        assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 1, "nothing beside it is left");
    }

    #[tokio::test]
    async fn what_is_no_socket_and_a_missing_folder_are_said() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("file");
        fs::write(&path, "x").expect("file");
        assert!(bind(&path).await.expect_err("a file").contains("something else"));
        assert!(bind(&dir.path().join("missing/lmtp.sock")).await.expect_err("no folder").contains("RuntimeDirectory"));
        assert!(open(&[]).await.err().expect("nowhere").contains("enqueuer.lmtp"));
    }
}
