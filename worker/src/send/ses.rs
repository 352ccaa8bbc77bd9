//! Amazon SES v2 as sender: `SendEmail` with the raw message.
//!
//! The SDK makes and signs the request, but its body's largest part is not made by it: `SendEmail` takes bytes of its own
//! and would copy them into base64 and that into JSON, for each reply. So the SDK writes the request with a placeholder,
//! and before it is signed, `Substitute` puts what replies share in the placeholder's place, with length and hash.
//!
//! SES has no idempotency token, so nothing here tries again: what follows from a failure is the ledger's business.

mod streamed;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_sesv2::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::get_account::GetAccountOutput,
    primitives::Blob,
    types::{Destination, EmailContent, MessageTag, RawMessage, SendQuota},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextMut, dyn_dispatch_hint},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use replyfleet::{
    aws::{Aws, Fault, fault},
    settings::SesSettings,
};

use self::streamed::{LastFrame, Streamed};
use super::{Accepted, SendError, Sender};
use crate::{address::Address, compose::Reply};

/// The longest name and the longest value of a tag, in bytes (SES API, MessageTag).
const TAG_BYTES_MAX: usize = 256;
/// The tag with the reply's id, by which its events are found.
const REPLY_TAG: &str = "reply";
/// What the SDK takes for the message.
const PLACEHOLDER: &str = "the message";
/// The part of MaxSendRate that is used: what is counted here and there never agrees to the second.
const RATE_PART: f64 = 0.9;

/// The account's SES.
pub struct SesSender {
    client: Client,
    settings: SesSettings,
    tags: Vec<MessageTag>,
}

impl SesSender {
    /// Nothing is asked of SES yet.
    ///
    /// # Errors
    /// A sentence that begins with the settings' key.
    pub fn new(aws: &Aws, settings: &SesSettings) -> Result<Self, String> {
        let mut limits = aws.config().timeout_config().map_or_else(Default::default, |limits| limits.to_builder());
        limits.set_operation_attempt_timeout(Some(settings.timeout_s.duration()));
        let config = aws_sdk_sesv2::config::Builder::from(aws.config())
            .timeout_config(limits.build())
            .retry_config(RetryConfig::disabled()) // a second attempt may be a second mail
            // The time-out is enough, and says clearly that it is not known what came of the mail.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let tags = settings.tags.iter().map(|(name, value)| settings_tag(name, value)).collect::<Result<_, _>>()?;
        Ok(Self { client: Client::from_conf(config), settings: settings.clone(), tags })
    }

    fn tags_of(&self, reply: &Reply) -> Result<Vec<MessageTag>, SendError> {
        let id: String = reply.id.chars().map(|c| if is_of_tag(c) { c } else { '_' }).take(TAG_BYTES_MAX).collect();
        let tag = tag(REPLY_TAG, &id).map_err(SendError::Refused)?;
        Ok(self.tags.iter().cloned().chain([tag]).collect())
    }
}

fn is_of_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn settings_tag(name: &str, value: &str) -> Result<MessageTag, String> {
    let is_valid = |text: &str| !text.is_empty() && text.len() <= TAG_BYTES_MAX && text.chars().all(is_of_tag);
    if !is_valid(name) {
        return Err(format!("tags: the name {name:?} must be 1 to {TAG_BYTES_MAX} ASCII letters, digits, _ and -"));
    }
    if !is_valid(value) {
        return Err(format!("tags.{name}: {value:?} must be 1 to {TAG_BYTES_MAX} ASCII letters, digits, _ and -"));
    }
    if name == REPLY_TAG {
        return Err(format!("tags.{name}: every mail has this tag already, with the left side of its Message-ID; take another name"));
    }
    tag(name, value)
}

fn tag(name: &str, value: &str) -> Result<MessageTag, String> {
    MessageTag::builder().name(name).value(value).build().map_err(|error| error.to_string())
}

#[async_trait]
impl Sender for SesSender {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let raw = RawMessage::builder().data(Blob::new(PLACEHOLDER)).build().map_err(|error| SendError::Refused(error.to_string()))?;
        let last_frame = Arc::new(LastFrame::default());
        let call = self
            .client
            .send_email()
            .destination(Destination::builder().to_addresses(&reply.rcpt_to).build())
            .content(EmailContent::builder().raw(raw).build())
            .set_configuration_set_name(self.settings.configuration_set.clone())
            .set_email_tags(Some(self.tags_of(reply)?))
            .customize()
            .interceptor(Substitute { message: reply.base64().into(), last_frame: Arc::clone(&last_frame) });
        match call.send().await {
            Ok(_) => Ok(Accepted),
            // SES cannot take what it has not had in full (Content-Length): an upload that was cut is no riddle.
            Err(error) => Err(match send_error(&error) {
                SendError::Uncertain(text) if last_frame.keep_back() => SendError::NotSent(format!("{text}, in the upload")),
                error => error,
            }),
        }
    }

    async fn check(&self) -> Result<(), String> {
        let account = self.client.get_account().send().await.map_err(|error| fault(&error).1)?;
        match away(&account) {
            None => Ok(()),
            Some(QUOTA) => Err("the account has sent as many mails as it may in 24 hours".into()),
            Some(_) => Err("sending is paused for this account".into()),
        }
    }

    async fn probe(&self) -> Result<(), SendError> {
        match self.client.get_account().send().await {
            Ok(account) => away(&account).map_or(Ok(()), |reason| Err(SendError::Away(reason))),
            // A role that may send need not be one that may ask.
            Err(error) => match fault(&error) {
                (Fault::Refused, _) => Ok(()),
                (Fault::NotDone | Fault::Ambiguous, _) => Err(SendError::NotSent("GetAccount: no answer".into())),
            },
        }
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout_s.duration()
    }

    fn message_bytes_max(&self, _rcpt_to: &Address) -> Option<usize> {
        Some(self.settings.message_bytes_max.get())
    }

    /// As the settings say; else nine tenths of what SES grants the account (GetAccount, MaxSendRate).
    async fn rate_max(&self) -> Option<f64> {
        if let Some(rate) = self.settings.rate {
            return Some(rate.per_second());
        }
        match self.client.get_account().send().await {
            // -1 is no limit (SES API, SendQuota).
            Ok(account) => account.send_quota().map(|quota| quota.max_send_rate()).filter(|&rate| rate > 0.0).map(|rate| rate * RATE_PART),
            Err(error) => {
                tracing::warn!(error = fault(&error).1, "SES does not say how fast it may be sent to");
                None
            }
        }
    }
}

/// Puts a message into a request in which the SDK wrote [`PLACEHOLDER`].
struct Substitute {
    /// In base64, in pieces.
    message: Arc<[Bytes]>,
    /// Of the request.
    last_frame: Arc<LastFrame>,
}

impl fmt::Debug for Substitute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Substitute(redacted)")
    }
}

#[dyn_dispatch_hint]
impl Intercept for Substitute {
    fn name(&self) -> &'static str {
        "Substitute"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let json = request.body().bytes().ok_or("the request has no body in memory")?;
        let (before, after) = split(json).ok_or("the request has no placeholder")?;
        let pieces = [before].into_iter().chain(self.message.iter().cloned()).chain([after]).collect();
        let body = Streamed::new(pieces, Arc::clone(&self.last_frame));
        request.headers_mut().insert("content-length", body.len().to_string());
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(body.sha256()));
        *request.body_mut() = SdkBody::from_body_1_x(body);
        Ok(())
    }
}

/// What is before and what is after the placeholder. Nothing that a requester chose can look like it: inside a JSON
/// text, quotation marks are escaped.
fn split(json: &[u8]) -> Option<(Bytes, Bytes)> {
    const KEY: &str = "\"Data\":\"";
    let placeholder = format!("{KEY}{}\"", BASE64_STANDARD.encode(PLACEHOLDER));
    let at = json.windows(placeholder.len()).position(|window| window == placeholder.as_bytes())?;
    let (start, end) = (at + KEY.len(), at + placeholder.len() - 1);
    Some((Bytes::copy_from_slice(&json[..start]), Bytes::copy_from_slice(&json[end..])))
}

/// Codes by which SES refuses this one mail for good; every other failure may pass.
const REFUSALS: [&str; 3] = ["MessageRejected", "MailFromDomainNotVerifiedException", "BadRequestException"];
/// Codes by which SES says that mails come too fast.
const THROTTLES: [&str; 3] = ["TooManyRequestsException", "ThrottlingException", "Throttling"];

/// The words for why nobody may send.
const PAUSED: &str = "paused";
const SUSPENDED: &str = "suspended";
const QUOTA: &str = "quota";
/// Codes by which SES says that nobody may send for this account now.
const AWAY: [(&str, &str); 3] = [("SendingPausedException", PAUSED), ("AccountSuspendedException", SUSPENDED), ("LimitExceededException", QUOTA)];
/// How a throttle says that it is the day's quota (SES Developer Guide, "Errors related to sending quotas").
const DAILY_QUOTA: &str = "daily message quota exceeded";

/// Why the account may not send now, if it may not. A quota of -1 is none (SES API, SendQuota).
fn away(account: &GetAccountOutput) -> Option<&'static str> {
    let is_used_up = |quota: &SendQuota| quota.max24_hour_send() >= 0.0 && quota.sent_last24_hours() >= quota.max24_hour_send();
    match account.enforcement_status() {
        _ if !account.sending_enabled() => Some(PAUSED),
        Some("SHUTDOWN") => Some(SUSPENDED),
        _ if account.send_quota().is_some_and(is_used_up) => Some(QUOTA),
        _ => None,
    }
}

fn send_error<E, R>(error: &SdkError<E, R>) -> SendError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + replyfleet::aws::HttpStatus + 'static,
{
    // The code only: SES's messages quote addresses.
    let (code, status) = match error {
        SdkError::ServiceError(service) => (service.err().code().unwrap_or("no code").to_owned(), Some(service.raw().status_code())),
        SdkError::TimeoutError(_) => ("time-out".into(), None),
        SdkError::DispatchFailure(_) => ("no connection".into(), None),
        _ => ("no valid answer".into(), None),
    };
    if REFUSALS.contains(&code.as_str()) {
        return SendError::Refused(code);
    }
    if let Some((_, reason)) = AWAY.into_iter().find(|(away, _)| *away == code) {
        return SendError::Away(reason);
    }
    if THROTTLES.contains(&code.as_str()) || status == Some(429) {
        let message = error.message().unwrap_or_default();
        if message.to_ascii_lowercase().contains(DAILY_QUOTA) {
            return SendError::Away(QUOTA);
        }
        return SendError::Throttled(code);
    }
    match fault(error).0 {
        Fault::Refused | Fault::NotDone => SendError::NotSent(code),
        Fault::Ambiguous => SendError::Uncertain(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_found_where_it_stands_and_nowhere_else() {
        let json = br#"{"Content":{"Raw":{"Data":"dGhlIG1lc3NhZ2U="}},"Destination":{"ToAddresses":["\"Data\":\"dGhlIG1lc3NhZ2U=\"@example.org"]}}"#;
        let (before, after) = split(json).expect("it is there");
        assert!(before.ends_with(b"{\"Data\":\"") && after.starts_with(b"\"}},\"Dest"));
        assert_eq!(json.len() - before.len() - after.len(), BASE64_STANDARD.encode(PLACEHOLDER).len());
        assert!(split(&json[50..]).is_none(), "an address is no placeholder");
    }

    #[test]
    fn a_tag_that_ses_would_refuse_is_refused_with_its_key() {
        assert!(settings_tag("stage", "test-1_A").is_ok());
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        for (name, value, want) in [
            ("a b", "x", "tags: the name \"a b\" must"),
            ("", "x", "tags: the name \"\" must"),
            (&long, "x", "tags: the name"),
            ("stage", "ä", "tags.stage: \"ä\" must"),
            ("stage", "", "tags.stage: \"\" must"),
            ("stage", &long, "tags.stage:"),
            ("reply", "x", "tags.reply: every mail has this tag"),
        ] {
            let error = settings_tag(name, value).expect_err(want);
            assert!(error.starts_with(want), "{error}");
        }
    }
}
