//! The instance's metadata service (IMDSv2), as far as it knows who the machine is. Every question is short, and none is asked
//! again here.

use std::time::Duration;

use aws_config::imds;
use replyfleet::settings::{AwsSettings, SettingsError};

/// How long it may take; it is on the machine itself.
const TIMEOUT: Duration = Duration::from_secs(2);
const GROUP_TAG: &str = "/latest/meta-data/tags/instance/aws:autoscaling:groupName";

/// The service.
pub(crate) struct Metadata(imds::Client);

impl Metadata {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`] with the key.
    pub(crate) fn open(aws: &AwsSettings) -> Result<Self, SettingsError> {
        let mut client = imds::Client::builder().max_attempts(1).connect_timeout(TIMEOUT).read_timeout(TIMEOUT).operation_timeout(TIMEOUT * 2);
        if let Some(url) = &aws.imds_endpoint_url {
            client = client.endpoint(url).map_err(|error| SettingsError::value("aws.imds_endpoint_url", &error.to_string()))?;
        }
        Ok(Self(client.build()))
    }

    /// What lies at a path.
    pub(super) async fn get(&self, path: &str) -> Result<String, String> {
        match self.0.get(path).await {
            Ok(value) => Ok(value.as_ref().trim().to_owned()),
            Err(error) => Err(format!("the instance's metadata service, {path}: {error}")),
        }
    }

    /// The Auto Scaling group that the machine is of, if its metadata shows its tags.
    pub(crate) async fn group(&self) -> Result<String, String> {
        self.get(GROUP_TAG).await
    }
}
