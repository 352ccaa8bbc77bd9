//! Amazon SES v2 as sender: `SendEmail` with the raw message.
//!
//! SES has no idempotency token, so nothing here tries again: what follows from a failure is the ledger's business.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sesv2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{Destination, EmailContent, RawMessage},
};
use replyfleet::{
    aws::{Aws, Fault, fault},
    settings::SesSettings,
};

use super::{Accepted, SendError, Sender};
use crate::compose::Reply;

/// The account's SES.
pub struct SesSender {
    client: Client,
    settings: SesSettings,
}

impl SesSender {
    /// Nothing is asked of SES yet.
    pub fn new(aws: &Aws, settings: &SesSettings) -> Self {
        let mut limits = aws.config().timeout_config().map_or_else(Default::default, |limits| limits.to_builder());
        limits.set_operation_attempt_timeout(Some(settings.timeout_s.duration()));
        let config = aws_sdk_sesv2::config::Builder::from(aws.config()).timeout_config(limits.build()).build();
        Self { client: Client::from_conf(config), settings: settings.clone() }
    }
}

#[async_trait]
impl Sender for SesSender {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let raw = RawMessage::builder().data(Blob::new(reply.to_vec())).build().map_err(|error| SendError::Refused(error.to_string()))?;
        let call = self
            .client
            .send_email()
            .destination(Destination::builder().to_addresses(&reply.rcpt_to).build())
            .content(EmailContent::builder().raw(raw).build())
            .set_configuration_set_name(self.settings.configuration_set.clone());
        match call.send().await {
            Ok(_) => Ok(Accepted),
            Err(error) => Err(send_error(&error)),
        }
    }

    async fn check(&self) -> Result<(), String> {
        let account = self.client.get_account().send().await.map_err(|error| fault(&error).1)?;
        if account.sending_enabled() { Ok(()) } else { Err("sending is paused for this account".into()) }
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout_s.duration()
    }

    fn message_bytes_max(&self) -> Option<usize> {
        Some(self.settings.message_bytes_max.get())
    }
}

/// Codes by which SES refuses this one mail for good; every other failure may pass.
const REFUSALS: [&str; 3] = ["MessageRejected", "MailFromDomainNotVerifiedException", "BadRequestException"];

fn send_error<E, R>(error: &SdkError<E, R>) -> SendError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + replyfleet::aws::HttpStatus + 'static,
{
    // The code only: SES's messages quote addresses.
    let code = match error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("no code").to_owned(),
        SdkError::TimeoutError(_) => "time-out".into(),
        SdkError::DispatchFailure(_) => "no connection".into(),
        _ => "no valid answer".into(),
    };
    if REFUSALS.contains(&code.as_str()) {
        return SendError::Refused(code);
    }
    match fault(error).0 {
        Fault::Refused | Fault::NotDone => SendError::NotSent(code),
        Fault::Ambiguous => SendError::Uncertain(code),
    }
}
