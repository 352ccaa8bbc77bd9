//! What happens when the machine's Auto Scaling group ends it: the part of the settings below `[termination]`.

use serde::Deserialize;

/// The group's lifecycle hook. Without one, nothing is asked of the instance's metadata service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TerminationSettings {
    /// The name of the hook for `autoscaling:EC2_INSTANCE_TERMINATING` that this worker completes once it has drained.
    pub hook: Option<String>,
    /// The name of the Auto Scaling group; else the instance's tag `aws:autoscaling:groupName`, which its metadata must show.
    pub group: Option<String>,
}
