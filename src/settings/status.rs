//! Where the worker shows how it is: the part of the settings below `[status]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Deserializer, de::Error};

/// Where the page is served unless the settings say otherwise.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_125);

/// The worker's status page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusSettings {
    /// Where it is served.
    pub listen: StatusListen,
}

/// A place for the status page. Nobody is asked who he is there, so it is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusListen {
    /// `off`: nowhere.
    Off,
    /// `127.0.0.1:PORT` or `[::1]:PORT`; port 0 is any free one, which the log names.
    At(SocketAddr),
}

impl Default for StatusListen {
    fn default() -> Self {
        Self::At(LISTEN_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for StatusListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::At(address)),
            Ok(_) => Err(D::Error::custom(format!("{text:?}: not a loopback address, and the page asks nobody who he is; reach it by ssh -L"))),
            Err(_) => Err(D::Error::custom(format!("{text:?}: expected \"127.0.0.1:PORT\", \"[::1]:PORT\" or \"off\""))),
        }
    }
}
