//! An SMTP relay as sender: our own dialogue over pooled connections.
//!
//! `route` says which way a mail takes, `limits` how long it may, `pool` which connection it has, `connection` how one is
//! opened and `tls` whom it trusts; `delivery` hands the mail over in the words of `dialogue` and `answer`. Why none of it
//! is a library's: `docs/decisions/0015-smtp-client.md`. Every failure is sorted by the phase of the dialogue in which it
//! came.

mod answer;
mod connection;
mod delivery;
mod dialogue;
mod limits;
mod pool;
mod route;
mod tls;

use std::time::Duration;

use async_trait::async_trait;
use replyfleet::settings::SmtpSettings;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    connection::Connection,
    delivery::{Failure, deliver},
    limits::{Limits, slot_wait},
    pool::Pool,
    route::{Routes, Way},
};
use super::{Accepted, SendError, Sender};
use crate::{address::Address, compose::Reply};

/// Where Linux keeps the machine's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// An SMTP relay, and other ways for some domains.
pub struct SmtpSender {
    settings: SmtpSettings,
    routes: Routes,
    /// Our name in EHLO.
    hello: Option<String>,
    pool: Pool,
}

impl SmtpSender {
    /// Reads the trusted roots; connects to nothing yet.
    ///
    /// # Errors
    /// A sentence that begins with the settings' key.
    pub fn new(settings: &SmtpSettings) -> Result<Self, String> {
        let hello = std::fs::read_to_string(HOST_NAME).ok().map(|name| name.trim().to_owned());
        Ok(Self {
            settings: settings.clone(),
            routes: Routes::open(settings)?,
            hello: hello.filter(|name| is_host_name(name)),
            pool: Pool::new(settings.connections_max.get()),
        })
    }

    async fn fresh(&self, way: &Way, deadline: Instant) -> Result<Connection, SendError> {
        let connect = async {
            let place = self.pool.place().await.ok_or("no free connection")?;
            Connection::open(way, self.hello.as_deref(), place).await
        };
        let connected = timeout_at(deadline, connect).await.unwrap_or_else(|_| Err("time-out".into()));
        connected.map_err(|text| SendError::NotSent(format!("connect: {text}")))
    }

    /// One mail over one connection, which is kept afterwards unless it broke.
    async fn deliver(&self, way: usize, connection: Connection, reply: &Reply, is_reused: bool, limits: Limits) -> Result<Accepted, Failure> {
        let (result, connection) = deliver(connection, reply, is_reused, limits).await;
        if matches!(result, Err(Failure::Final(SendError::TooBig(_)))) {
            self.routes.ways()[way].learn_too_big(reply.len(), Instant::now());
        }
        if let Some(connection) = connection {
            self.pool.keep(way, connection);
        }
        result
    }
}

#[async_trait]
impl Sender for SmtpSender {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let Some(rcpt_to) = Address::parse(&reply.rcpt_to) else { return Err(SendError::Refused("recipient address".into())) };
        let Some(way) = self.routes.way_to(&rcpt_to.ascii_domain()) else { return Err(SendError::Refused("TLS policy: refuse".into())) };
        let Ok(Some(_slot)) = timeout(slot_wait(self.settings.timeout_s.duration()), self.pool.slot()).await else {
            return Err(SendError::NotSent("no free connection".into()));
        };
        // It begins here: a mail that has waited must not be cut when its dot is about to leave.
        let limits = Limits::of(self.settings.timeout_s.duration(), Instant::now());
        if let Some(connection) = self.pool.reuse(way) {
            match self.deliver(way, connection, reply, true, limits).await {
                Err(Failure::Stale) => {}
                Err(Failure::Final(error)) => return Err(error),
                Ok(accepted) => return Ok(accepted),
            }
        }
        let connection = self.fresh(&self.routes.ways()[way], limits.end).await?;
        match self.deliver(way, connection, reply, false, limits).await {
            Err(Failure::Stale) => Err(SendError::NotSent("MAIL: connection lost".into())),
            Err(Failure::Final(error)) => Err(error),
            Ok(accepted) => Ok(accepted),
        }
    }

    async fn check(&self) -> Result<(), String> {
        for way in self.routes.ways() {
            let deadline = Instant::now() + self.settings.timeout_s.duration();
            let place = |error: String| format!("{} ({}:{}): {error}", way.name, way.host, way.port);
            let mut connection = self.fresh(way, deadline).await.map_err(|error| place(error.to_string()))?;
            let answer = timeout_at(deadline, connection.dialogue.ask("NOOP\r\n")).await;
            connection.part(false).await;
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(failed)) => return Err(place(format!("NOOP: {}", failed.word()))),
                Err(_) => return Err(place("NOOP: time-out".into())),
            }
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        let time = self.settings.timeout_s.duration();
        slot_wait(time) + time
    }

    fn message_bytes_max(&self, rcpt_to: &Address) -> Option<usize> {
        let way = self.routes.way_to(&rcpt_to.ascii_domain()).map(|way| &self.routes.ways()[way]);
        let learnt = way.and_then(|way| way.message_bytes_max(Instant::now()));
        [self.settings.message_bytes_max.map(|limit| limit.get()), learnt].into_iter().flatten().min()
    }

    async fn rate_max(&self) -> Option<f64> {
        self.settings.rate.map(|rate| rate.per_second())
    }
}

/// Whether EHLO may say it (RFC 5321 §4.1.2: letters, digits and hyphens between dots).
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.len() <= 255 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
