//! The enqueuer's settings: what holds for a mail however it comes, and where the service listens.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Error};

use super::value::{Count, Seconds};

/// The longest path of a socket: the system's 108 bytes, less what its name has more while it is made.
const SOCKET_PATH_BYTES_MAX: usize = 96;

/// The enqueuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnqueuerSettings {
    /// When the enqueuer gives up by itself, so that Postfix keeps the mail. Postfix *bounces* at the time limit of pipe(8).
    pub deadline_s: Seconds<1, 600>,
    /// The largest mail that is taken; a larger one is deferred until someone raises this or Postfix's limit is lowered.
    pub mail_bytes_max: Count<1_024, 67_108_864>,
    /// The MX's name in envelopes; else the machine's host name.
    pub host: Option<String>,
    /// Where the service listens for LMTP, unless systemd gives it sockets; to the first unix socket the pipe hands over.
    pub lmtp: Vec<LmtpAddress>,
    /// LMTP connections at a time; one more is sent away with 421, after which Postfix tries nothing here for a while.
    pub connections_max: Count<1, 10_000>,
    /// What the mails that are being received may hold of the service's memory; more is sent away. At least twice
    /// `mail_bytes_max`.
    pub memory_bytes_max: Count<65_536, 17_179_869_184>,
    /// How long transactions may take after SIGTERM.
    pub stop_timeout_s: Seconds<1, 3_600>,
    /// How long, in milliseconds, a mail waits for others while the queue is busy with earlier ones, or was so a moment ago.
    pub linger_ms: Count<0, 1_000>,
}

impl Default for EnqueuerSettings {
    fn default() -> Self {
        Self {
            deadline_s: Seconds::new(60),
            mail_bytes_max: Count::new(40 << 20),
            host: None,
            lmtp: Vec::new(),
            connections_max: Count::new(250),
            memory_bytes_max: Count::new(256 << 20),
            stop_timeout_s: Seconds::new(30),
            linger_ms: Count::new(8),
        }
    }
}

impl EnqueuerSettings {
    /// The socket to which the pipe hands over: the first of the list that is a file.
    pub fn unix_socket(&self) -> Option<&Path> {
        self.sockets().next()
    }

    /// The sockets that are files.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Path> {
        self.lmtp.iter().filter_map(|address| match address {
            LmtpAddress::Unix(path) => Some(path.as_path()),
            LmtpAddress::Tcp(_) => None,
        })
    }

    /// What no single value can show.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, text: String| Err((format!("enqueuer.{key}"), text));
        if self.memory_bytes_max.get() < 2 * self.mail_bytes_max.get() {
            return fault("memory_bytes_max", format!("must be at least twice enqueuer.mail_bytes_max = {}", self.mail_bytes_max.get()));
        }
        if let Some(path) = self.sockets().find(|path| path.as_os_str().len() > SOCKET_PATH_BYTES_MAX) {
            return fault("lmtp", format!("{}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes", path.display()));
        }
        Ok(())
    }
}

/// A place where the service listens for LMTP. Nobody is asked who he is there, so it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LmtpAddress {
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `tcp:127.0.0.1:PORT` or `tcp:[::1]:PORT`.
    Tcp(SocketAddr),
}

impl std::fmt::Display for LmtpAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for LmtpAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        match text.strip_prefix("tcp:").map(str::parse::<SocketAddr>) {
            Some(Ok(address)) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Some(Ok(_)) => {
                Err(D::Error::custom(format!("{text:?}: not a loopback address; LMTP asks nobody who he is, so it stays on this machine")))
            }
            _ => Err(D::Error::custom(format!("{text:?}: expected \"unix:PATH\", \"tcp:127.0.0.1:PORT\" or \"tcp:[::1]:PORT\""))),
        }
    }
}
