//! Which way a mail takes to its recipient's domain, and how that way is protected.
//!
//! Decided once, from the settings: the relay for all, other ways for some domains, and for some no way at all. Nothing is
//! connected to here.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use replyfleet::settings::{ENV_SMTP_PASSWORD, RouteSettings, SmtpSettings, SmtpTls};
use tokio::time::Instant;

use super::tls::{Belief, Tls};

/// How long it counts that a mail was too big for a server that had not said so in advance. Much longer than a retry waits,
/// or the same mail would be tried for ever; yet some day a limit may be raised.
const TOO_BIG_TIME: Duration = Duration::from_secs(6 * 3_600);

/// Whom we are at the relay. No `Debug`: there is a password in it.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// One way for mail to leave.
pub(super) struct Way {
    /// What the settings call it.
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) protection: SmtpTls,
    /// `None` only with [`SmtpTls::None`].
    pub(super) tls: Option<Tls>,
    pub(super) credentials: Option<Credentials>,
    /// What it last said of SIZE; 0 for no limit.
    message_bytes_max: AtomicUsize,
    /// The size of the smallest mail that was too big although SIZE did not say so, and when that was.
    too_big: Mutex<Option<(usize, Instant)>>,
}

impl Way {
    fn open(
        name: String,
        host: &str,
        port: u16,
        protection: SmtpTls,
        roots: Option<&Path>,
        credentials: Option<Credentials>,
    ) -> Result<Self, String> {
        let belief = match protection {
            SmtpTls::None => None,
            SmtpTls::Encrypt if credentials.is_some() => {
                return Err("tls: \"encrypt\" would show the password to whoever stands between; set \"starttls\", with trusted_roots_file".into());
            }
            SmtpTls::Encrypt => Some(Belief::Any),
            SmtpTls::Starttls | SmtpTls::Implicit => Some(roots.map_or(Belief::System, Belief::File)),
        };
        let tls = belief.map(|belief| Tls::new(host, belief)).transpose()?;
        Ok(Self {
            name,
            host: host.to_owned(),
            port,
            protection,
            tls,
            credentials,
            message_bytes_max: AtomicUsize::new(0),
            too_big: Mutex::default(),
        })
    }

    /// Remembers what the server said of SIZE (RFC 1870).
    pub(super) fn learn(&self, message_bytes_max: Option<usize>) {
        self.message_bytes_max.store(message_bytes_max.unwrap_or(0), Ordering::Relaxed);
    }

    /// Remembers that the server would not take so many bytes. If its SIZE says the same, there is nothing to remember.
    pub(super) fn learn_too_big(&self, bytes: usize, now: Instant) {
        if self.size().is_some_and(|size| bytes > size) {
            return;
        }
        // Poisoned: it is assigned whole.
        let mut too_big = self.too_big.lock().unwrap_or_else(PoisonError::into_inner);
        if current(*too_big, now).is_none_or(|smallest| bytes < smallest) {
            *too_big = Some((bytes, now));
        }
    }

    /// The largest mail that it takes, in bytes, as far as it said so in one way or the other.
    pub(super) fn message_bytes_max(&self, now: Instant) -> Option<usize> {
        let too_big = current(*self.too_big.lock().unwrap_or_else(PoisonError::into_inner), now);
        [self.size(), too_big.map(|bytes| bytes.saturating_sub(1))].into_iter().flatten().min()
    }

    fn size(&self) -> Option<usize> {
        Some(self.message_bytes_max.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }
}

/// A size that was too big, while it still counts.
fn current(too_big: Option<(usize, Instant)>, now: Instant) -> Option<usize> {
    too_big.filter(|&(_, since)| now.duration_since(since) < TOO_BIG_TIME).map(|(bytes, _)| bytes)
}

/// The ways, by the recipient's domain.
pub(super) struct Routes {
    /// The relay's first.
    ways: Vec<Way>,
    /// For a domain and what is below it, the way's place in `ways`; `None` if no mail goes there.
    by_domain: HashMap<String, Option<usize>>,
}

impl Routes {
    /// Reads the settings and the files that they name.
    ///
    /// # Errors
    /// A sentence that begins with the settings' key.
    pub(super) fn open(settings: &SmtpSettings) -> Result<Self, String> {
        let credentials = match (&settings.user, settings.password()) {
            (Some(user), Some(password)) => Some(Credentials { user: user.clone(), password: password.to_owned() }),
            (Some(_), None) => return Err(format!("user: needs a password in the environment's {ENV_SMTP_PASSWORD}")),
            (None, _) => None,
        };
        let roots = settings.trusted_roots_file.as_deref();
        let relay = Way::open("the relay".into(), &settings.host, settings.port, settings.tls, roots, credentials.clone())?;
        let mut routes = Self { ways: vec![relay], by_domain: HashMap::new() };
        for (index, route) in settings.routes.iter().enumerate() {
            routes.add(settings, route, credentials.as_ref(), index).map_err(|error| format!("routes[{index}].{error}"))?;
        }
        Ok(routes)
    }

    fn add(&mut self, settings: &SmtpSettings, route: &RouteSettings, credentials: Option<&Credentials>, index: usize) -> Result<(), String> {
        let way = match route.tls.of_connection() {
            None => None,
            Some(protection) => {
                let host = route.host.as_ref().unwrap_or(&settings.host);
                let roots = route.trusted_roots_file.as_deref().or(settings.trusted_roots_file.as_deref());
                // The relay's password is for the relay only.
                let credentials = credentials.filter(|_| *host == settings.host).cloned();
                let port = route.port.unwrap_or(settings.port);
                self.ways.push(Way::open(format!("routes[{index}]"), host, port, protection, roots, credentials)?);
                Some(self.ways.len() - 1)
            }
        };
        for domain in &route.domains {
            let label = idna::domain_to_ascii(domain).ok().filter(|label| !label.is_empty() && !label.starts_with('.') && !label.ends_with('.'));
            let Some(label) = label else {
                return Err(format!("domains: {domain:?} is no domain, such as \"example.org\""));
            };
            if self.by_domain.insert(label, way).is_some() {
                return Err(format!("domains: {domain:?} is in two routes, or twice in one"));
            }
        }
        Ok(())
    }

    /// All ways, the relay's first.
    pub(super) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Where in [`Routes::ways`] the way to `domain`, an A-label in lower case, stands: that of the longest suffix with a
    /// route, else the relay's. `None` if no mail goes there.
    pub(super) fn way_to(&self, domain: &str) -> Option<usize> {
        let mut suffix = Some(domain);
        while let Some(name) = suffix {
            if let Some(way) = self.by_domain.get(name) {
                return *way;
            }
            suffix = name.split_once('.').map(|(_, above)| above);
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests;
