//! The group as AWS has it: the instance's metadata service (IMDSv2) says what the machine is to become and who it is, Auto
//! Scaling takes heartbeats and the end. Every call is short, and none is tried again here.

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use replyfleet::{
    aws::{Aws, fault},
    settings::{AwsSettings, SettingsError},
};

use super::{Group, metadata::Metadata};

const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
/// The result by which the group goes on and ends the machine.
const CONTINUE: &str = "CONTINUE";

/// The machine's own group.
pub(super) struct AwsGroup {
    metadata: Metadata,
    client: Client,
    hook: String,
    group: Option<String>,
}

impl AwsGroup {
    /// # Errors
    /// [`SettingsError`] with the key.
    pub(super) async fn open(hook: &str, group: Option<String>, aws: &AwsSettings) -> Result<Self, SettingsError> {
        let metadata = Metadata::open(aws)?;
        let client = Client::new(Aws::load(aws).await?.config());
        Ok(Self { metadata, client, hook: hook.to_owned(), group })
    }

    /// The machine's id and its group.
    async fn names(&self) -> Result<(String, String), String> {
        let group = match &self.group {
            Some(group) => group.clone(),
            None => self.metadata.group().await.map_err(|error| format!("{error}; set termination.group, or show tags in the metadata"))?,
        };
        Ok((self.metadata.get(INSTANCE_ID).await?, group))
    }
}

#[async_trait]
impl Group for AwsGroup {
    async fn target_state(&self) -> Option<String> {
        let asked = self.metadata.get(TARGET_STATE).await;
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
