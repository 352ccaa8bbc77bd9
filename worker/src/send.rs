//! The senders: bytes in, accepted or not. Each failure is sorted here, once, by what may follow from it.

pub mod maildir;
pub mod ses;
pub mod smtp;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use replyfleet::{
    aws::Aws,
    settings::{SendMethodName, SenderSettings, Settings},
};

use crate::{address::Address, catalogue::SendMethod, compose::Reply};

/// A reply was accepted: the next hop answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted;

/// Why a reply was not accepted. The texts hold codes and words of ours, never what a server said: it quotes addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The next hop will never take this reply: terminal for it.
    #[error("refused: {0}")]
    Refused(String),
    /// It surely has not been taken, because it is too large for the next hop; compose it anew with what
    /// [`Sender::message_bytes_max`] says now, and try again.
    #[error("too big: {0}")]
    TooBig(String),
    /// It surely has not been taken; try again.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It surely has not been taken, because we send too fast; slow down, and try again.
    #[error("throttled: {0}")]
    Throttled(String),
    /// It surely has not been taken, and nobody may send this way now, as the next hop says itself: the word for why.
    #[error("away: {0}")]
    Away(&'static str),
    /// It may have been taken: the connection was lost, or time ran out, after the last byte may have left.
    #[error("uncertain: {0}")]
    Uncertain(String),
}

/// The seam.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Hands one reply over.
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError>;

    /// Whether the next hop answers and would let us in.
    async fn check(&self) -> Result<(), String>;

    /// Whether replies would be taken again, for one that is taken for away. Where nobody may ask, a reply shows.
    ///
    /// # Errors
    /// [`SendError::Away`] with the next hop's own word, or any other.
    async fn probe(&self) -> Result<(), SendError> {
        self.check().await.map_err(SendError::NotSent)
    }

    /// The longest that [`Sender::send`] takes.
    fn timeout(&self) -> Duration;

    /// The largest mail that the next hop on the way to `rcpt_to` takes, in bytes, as far as that is known yet: after a
    /// [`SendError::TooBig`] it is.
    fn message_bytes_max(&self, _rcpt_to: &Address) -> Option<usize> {
        None
    }

    /// How many replies a second the whole fleet may send this way, as far as that is known. It may ask the next hop:
    /// for every few minutes, not for every reply.
    async fn rate_max(&self) -> Option<f64> {
        None
    }
}

/// By which other sender a method's replies leave while its own is away.
pub fn fallbacks(settings: &Settings) -> HashMap<SendMethod, SendMethod> {
    let method = |name| match name {
        SendMethodName::Ses => SendMethod::Ses,
        SendMethodName::Smtp => SendMethod::Smtp,
    };
    let both = [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)];
    both.into_iter().filter_map(|(own, sender)| Some((own, method(sender.as_ref()?.fallback()?)))).collect()
}

/// The senders by the catalogue's `send_method`.
pub type Senders = HashMap<SendMethod, Arc<dyn Sender>>;

/// The send methods for which the settings have a sender.
pub fn available(settings: &Settings) -> Vec<SendMethod> {
    let both = [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)];
    both.into_iter().filter(|(_, sender)| sender.is_some()).map(|(method, _)| method).collect()
}

/// The send methods that can reach a local part beyond ASCII (SMTPUTF8, RFC 6531). SES cannot: "the local part of a
/// destination email address can only contain 7-bit ASCII" (SES API, SendEmail). An SMTP relay that cannot refuses the mail.
pub fn with_smtputf8(settings: &Settings) -> Vec<SendMethod> {
    let both = [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)];
    let can = |sender: &Option<SenderSettings>| matches!(sender, Some(SenderSettings::Smtp(_) | SenderSettings::Maildir { .. }));
    both.into_iter().filter(|(_, sender)| can(sender)).map(|(method, _)| method).collect()
}

/// Whether a sender in the settings is SES, which needs the AWS account.
pub fn needs_aws(settings: &Settings) -> bool {
    [&settings.send.ses, &settings.send.smtp].into_iter().flatten().any(|sender| matches!(sender, SenderSettings::Ses(_)))
}

/// Opens the senders of the settings.
///
/// # Errors
/// A sentence with the settings' key.
pub fn open(settings: &Settings, aws: Option<&Aws>) -> Result<Senders, String> {
    let mut senders = Senders::new();
    for (method, sender) in [(SendMethod::Ses, &settings.send.ses), (SendMethod::Smtp, &settings.send.smtp)] {
        let Some(sender) = sender else { continue };
        let opened: Result<Arc<dyn Sender>, String> = match sender {
            SenderSettings::Maildir { dir, .. } => maildir::MaildirSender::open(dir).map(|sender| Arc::new(sender) as _),
            SenderSettings::Smtp(smtp) => smtp::SmtpSender::new(smtp).map(|sender| Arc::new(sender) as _),
            SenderSettings::Ses(ses) => match aws {
                Some(aws) => ses::SesSender::new(aws, ses).map(|sender| Arc::new(sender) as _),
                None => Err("needs the AWS account".into()),
            },
        };
        senders.insert(method, opened.map_err(|error| format!("send.{}: {error}", method.word()))?);
    }
    Ok(senders)
}
