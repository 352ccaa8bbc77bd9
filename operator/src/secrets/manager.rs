//! AWS Secrets Manager: one secret, one `GetSecretValue`. It tries once; [`super`] says when again.

use aws_sdk_secretsmanager::Client;
use replyfleet::{
    aws::{Aws, fault},
    settings::{AwsSettings, Redacted, SettingsError},
};

/// The service.
pub(super) struct Manager(Client);

impl Manager {
    /// # Errors
    /// [`SettingsError`] with the key.
    pub(super) async fn open(aws: &AwsSettings) -> Result<Self, SettingsError> {
        Ok(Self(Client::new(Aws::load(aws).await?.config())))
    }

    /// The current text of a secret, by its ARN or its name.
    ///
    /// # Errors
    /// What the service said, or that the secret is no text. Never the secret.
    pub(super) async fn fetch(&self, name: &str) -> Result<Redacted, String> {
        let answer = self.0.get_secret_value().secret_id(name).send().await.map_err(|error| fault(&error).1)?;
        answer.secret_string.map(Redacted::new).ok_or_else(|| "it is bytes, and no text; store it as SecretString".into())
    }
}
