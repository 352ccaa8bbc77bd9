//! An SMTP relay as sender: lettre's connection under a pool of our own.
//!
//! lettre's transport does not tell in which phase a mail failed, and that is what decides whether it may be sent again:
//! before the final dot was answered with a 4xx or 5xx, or before DATA, it surely has not been taken; a connection lost
//! or a time-out after DATA is uncertain. It also lacks TCP_NODELAY (40 ms a mail) and a bound on connections.
//! See `docs/decisions/0005-smtp-pool.md`.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use lettre::{
    Address as EnvelopeAddress,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Noop, Rcpt},
        extension::{ClientId, Extension, MailParameter},
    },
};
use replyfleet::settings::{ENV_SMTP_PASSWORD, SmtpSettings, SmtpTls};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{Accepted, SendError, Sender};
use crate::compose::Reply;

/// How long a server may take to say goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may idle; Postfix closes one after 300 s, others after 60.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// An SMTP relay.
pub struct SmtpSender {
    settings: SmtpSettings,
    tls: Option<TlsParameters>,
    hello: ClientId,
    slots: Semaphore,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

/// Where in the dialogue a mail failed.
enum Failure {
    /// At the first command on a connection that had idled: the server had closed it.
    Stale,
    /// The reply's own fate.
    Final(SendError),
}

impl SmtpSender {
    /// Reads the trusted roots; connects to nothing yet.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(settings: &SmtpSettings) -> Result<Self, String> {
        let tls = match settings.tls {
            SmtpTls::None => None,
            SmtpTls::Encrypt | SmtpTls::Starttls | SmtpTls::Implicit => Some(tls_parameters(settings)?),
        };
        if settings.user.is_some() && settings.password().is_none() {
            return Err(format!("user: needs a password in the environment's {ENV_SMTP_PASSWORD}"));
        }
        Ok(Self {
            settings: settings.clone(),
            tls,
            hello: ClientId::default(),
            slots: Semaphore::new(settings.connections_max.get()),
            idle: Mutex::default(),
        })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let server = (self.settings.host.as_str(), self.settings.port);
        let mut connection = match (&self.tls, self.settings.tls) {
            (Some(tls), SmtpTls::Implicit) => {
                AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, Some(tls.clone()), None).await.map_err(|error| word(&error))?
            }
            _ => {
                let stream = TcpStream::connect(server).await.map_err(|error| error.kind().to_string())?;
                stream.set_nodelay(true).map_err(|error| error.kind().to_string())?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await.map_err(|error| word(&error))?
            }
        };
        if let (Some(tls), SmtpTls::Starttls) = (&self.tls, self.settings.tls) {
            connection.starttls(tls.clone(), &self.hello).await.map_err(|error| format!("STARTTLS: {}", word(&error)))?;
        }
        if let (Some(user), Some(password)) = (&self.settings.user, self.settings.password()) {
            let credentials = Credentials::new(user.clone(), password.to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &credentials).await.map_err(|error| format!("AUTH: {}", word(&error)))?;
        }
        Ok(connection)
    }

    async fn fresh(&self, deadline: Instant) -> Result<AsyncSmtpConnection, SendError> {
        let connected = timeout_at(deadline, self.connect()).await.unwrap_or_else(|_| Err("time-out".into()));
        connected.map_err(|text| SendError::NotSent(format!("connect: {text}")))
    }

    fn reuse(&self) -> Option<AsyncSmtpConnection> {
        // Poisoned: a list of connections is whole whatever panicked.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
    }

    /// One mail over one connection, which is kept afterwards unless it broke.
    async fn deliver(&self, mut connection: AsyncSmtpConnection, reply: &Reply, is_reused: bool, deadline: Instant) -> Result<Accepted, Failure> {
        let result = self.transact(&mut connection, reply, is_reused, deadline).await;
        match &result {
            Ok(Accepted) => self.keep(connection),
            // After a refusal the dialogue would have to be reset; a new connection is simpler, and refusals are rare.
            Err(_) => part(connection).await,
        }
        result
    }

    async fn transact(&self, connection: &mut AsyncSmtpConnection, reply: &Reply, is_reused: bool, deadline: Instant) -> Result<Accepted, Failure> {
        let refused = |text: &str| Failure::Final(SendError::Refused(text.into()));
        let mail_from: EnvelopeAddress = reply.mail_from.parse().map_err(|_| refused("sender address"))?;
        let rcpt_to: EnvelopeAddress = reply.rcpt_to.parse().map_err(|_| refused("recipient address"))?;
        let mut parameters = Vec::new();
        if !reply.rcpt_to.is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(refused("no SMTPUTF8"));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        match phase(deadline, connection.command(Mail::new(Some(mail_from), parameters))).await {
            Err(Phase::Broken(_)) if is_reused => return Err(Failure::Stale),
            // A 5xx here is about us, not about this reply: access denied, TLS or authentication first.
            answer => answer.map_err(|error| Failure::Final(SendError::NotSent(format!("MAIL: {}", error.word()))))?,
        }
        phase(deadline, connection.command(Rcpt::new(rcpt_to, Vec::new()))).await.map_err(|error| error.before_data("RCPT"))?;
        phase(deadline, connection.command(Data)).await.map_err(|error| error.before_data("DATA"))?;
        // lettre ends the message with CRLF and the dot: with the message's own last CRLF it would grow by a line.
        let message = reply.to_vec();
        let message = message.strip_suffix(b"\r\n").unwrap_or(&message);
        phase(deadline, connection.message(message)).await.map_err(Phase::after_data)?;
        Ok(Accepted)
    }
}

#[async_trait]
impl Sender for SmtpSender {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let deadline = Instant::now() + self.settings.timeout_s.duration();
        let Ok(Ok(_slot)) = timeout_at(deadline, self.slots.acquire()).await else {
            return Err(SendError::NotSent("no free connection".into()));
        };
        if let Some(connection) = self.reuse() {
            match self.deliver(connection, reply, true, deadline).await {
                Err(Failure::Stale) => {}
                Err(Failure::Final(error)) => return Err(error),
                Ok(accepted) => return Ok(accepted),
            }
        }
        let connection = self.fresh(deadline).await?;
        match self.deliver(connection, reply, false, deadline).await {
            Err(Failure::Stale) => Err(SendError::NotSent("MAIL: connection lost".into())),
            Err(Failure::Final(error)) => Err(error),
            Ok(accepted) => Ok(accepted),
        }
    }

    async fn check(&self) -> Result<(), String> {
        let deadline = Instant::now() + self.timeout();
        let mut connection = self.fresh(deadline).await.map_err(|error| error.to_string())?;
        let answer = phase(deadline, connection.command(Noop)).await;
        part(connection).await;
        answer.map_err(|error| error.word())
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout_s.duration()
    }
}

/// Says QUIT, and waits but a moment for a server that may be the one that fell silent.
async fn part(mut connection: AsyncSmtpConnection) {
    let _ = timeout_at(Instant::now() + QUIT_TIMEOUT, connection.abort()).await; // whatever it says, it is over
}

/// How one exchange of the dialogue failed.
enum Phase {
    /// The server said 4xx or 5xx.
    Answered { is_permanent: bool, code: String },
    /// No answer: the connection is lost or silent.
    Broken(String),
}

impl Phase {
    fn word(&self) -> String {
        match self {
            Phase::Answered { code, .. } => code.clone(),
            Phase::Broken(word) => word.clone(),
        }
    }

    /// Before the message's first byte: whatever broke, nothing was taken.
    fn before_data(self, command: &str) -> Failure {
        let text = format!("{command}: {}", self.word());
        Failure::Final(match self {
            Phase::Answered { is_permanent: true, .. } => SendError::Refused(text),
            Phase::Answered { is_permanent: false, .. } | Phase::Broken(_) => SendError::NotSent(text),
        })
    }

    /// Once the message is on its way only an answer is certain.
    fn after_data(self) -> Failure {
        let text = format!("message: {}", self.word());
        Failure::Final(match self {
            Phase::Answered { is_permanent: true, .. } => SendError::Refused(text),
            Phase::Answered { is_permanent: false, .. } => SendError::NotSent(text),
            Phase::Broken(_) => SendError::Uncertain(text),
        })
    }
}

async fn phase<T>(deadline: Instant, exchange: impl Future<Output = Result<T, SmtpError>>) -> Result<(), Phase> {
    match timeout_at(deadline, exchange).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(match error.status() {
            Some(code) => Phase::Answered { is_permanent: error.is_permanent(), code: code.to_string() },
            None => Phase::Broken(word(&error)),
        }),
        Err(_) => Err(Phase::Broken("time-out".into())),
    }
}

/// A word for a failure; what the server wrote stays out of it.
fn word(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => code.to_string(),
        None if error.is_tls() => "TLS failed".into(),
        None if error.is_timeout() => "time-out".into(),
        None if error.is_client() => "the server lacks STARTTLS or our way of authentication".into(),
        None if error.is_response() => "no SMTP answer".into(),
        None => "connection lost".into(),
    }
}

fn tls_parameters(settings: &SmtpSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.trusted_roots_file {
        let pem = std::fs::read(path).map_err(|error| format!("trusted_roots_file: cannot read {}: {error}", path.display()))?;
        let roots = Certificate::from_pem(&pem).map_err(|_| format!("trusted_roots_file: {} is not a PEM file of certificates", path.display()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(roots);
    }
    builder.build_rustls().map_err(|error| format!("no TLS: {error}"))
}

#[cfg(test)]
mod tests;
