//! The group as AWS has it: the instance's metadata service (IMDSv2) says what the machine is to become and who it is, Auto
//! Scaling takes heartbeats and the end. Every call is short, and none is tried again here.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::imds;
use aws_sdk_autoscaling::Client;
use replyfleet::{
    aws::{Aws, fault},
    settings::{AwsSettings, SettingsError},
};

use super::Group;

/// How long the metadata service may take, which is on the machine itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
const GROUP_TAG: &str = "/latest/meta-data/tags/instance/aws:autoscaling:groupName";
/// The result by which the group goes on and ends the machine.
const CONTINUE: &str = "CONTINUE";

/// The machine's own group.
pub(super) struct AwsGroup {
    metadata: imds::Client,
    client: Client,
    hook: String,
    group: Option<String>,
}

impl AwsGroup {
    /// # Errors
    /// [`SettingsError`] with the key.
    pub(super) async fn open(hook: &str, group: Option<String>, aws: &AwsSettings) -> Result<Self, SettingsError> {
        let mut metadata = imds::Client::builder()
            .max_attempts(1)
            .connect_timeout(METADATA_TIMEOUT)
            .read_timeout(METADATA_TIMEOUT)
            .operation_timeout(METADATA_TIMEOUT * 2);
        if let Some(url) = &aws.imds_endpoint_url {
            metadata = metadata.endpoint(url).map_err(|error| SettingsError::value("aws.imds_endpoint_url", &error.to_string()))?;
        }
        let client = Client::new(Aws::load(aws).await?.config());
        Ok(Self { metadata: metadata.build(), client, hook: hook.to_owned(), group })
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        match self.metadata.get(path).await {
            Ok(value) => Ok(value.as_ref().trim().to_owned()),
            Err(error) => Err(format!("the instance's metadata service, {path}: {error}")),
        }
    }

    /// The machine's id and its group.
    async fn names(&self) -> Result<(String, String), String> {
        let group = match &self.group {
            Some(group) => group.clone(),
            None => self.get(GROUP_TAG).await.map_err(|error| format!("{error}; set termination.group, or show tags in the metadata"))?,
        };
        Ok((self.get(INSTANCE_ID).await?, group))
    }
}

#[async_trait]
impl Group for AwsGroup {
    async fn target_state(&self) -> Option<String> {
        let asked = self.get(TARGET_STATE).await;
        if let Err(error) = &asked {
            tracing::debug!(error, "the machine's target state is not known");
        }
        asked.ok()
    }

    async fn heartbeat(&self) -> Result<(), String> {
        let (id, group) = self.names().await?;
        let call = self.client.record_lifecycle_action_heartbeat().auto_scaling_group_name(group);
        call.lifecycle_hook_name(&self.hook).instance_id(id).send().await.map(drop).map_err(|error| fault(&error).1)
    }

    async fn complete(&self) -> Result<(), String> {
        let (id, group) = self.names().await?;
        let call = self.client.complete_lifecycle_action().auto_scaling_group_name(group).lifecycle_action_result(CONTINUE);
        call.lifecycle_hook_name(&self.hook).instance_id(id).send().await.map(drop).map_err(|error| fault(&error).1)
    }
}
