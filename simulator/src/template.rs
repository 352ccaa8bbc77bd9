//! The CloudFormation template of the stack, read as what scales the fleet: [`Scaling`]. The simulation obeys the file that is deployed, not
//! a copy of its numbers (docs/decisions/0019-template.md).
//!
//! Of the properties that can change the group's size, each is read or refused by name and line; only those that cannot are passed
//! over. No file is read here: [`DEPLOYED`] is part of the program.

mod alarm;
mod policy;
mod properties;
mod resolve;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;

use crate::scaling::{Group, Scaling};
use properties::Properties;
use resolve::{Resolved, Scope, Value};

/// `ami/scaling.yaml`, as it was when this program was built.
pub const DEPLOYED: &str = include_str!("../../ami/scaling.yaml");
/// The parameter that chooses the profile.
pub const PROFILE: &str = "ScalingProfile";

const GROUP: &str = "AWS::AutoScaling::AutoScalingGroup";
const POLICY: &str = "AWS::AutoScaling::ScalingPolicy";
const HOOK: &str = "AWS::AutoScaling::LifecycleHook";
const ALARM: &str = "AWS::CloudWatch::Alarm";
/// Types that change the size of a group and that the simulation does not know.
const NOT_SIMULATED: [&str; 3] = ["AWS::AutoScaling::ScheduledAction", "AWS::AutoScaling::WarmPool", "AWS::CloudWatch::CompositeAlarm"];

/// Why a template cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}{place}: {text}", if place.is_empty() { "" } else { ", " })]
pub struct TemplateError {
    /// The line of the template; the first is 1.
    pub line: usize,
    /// The logical id and the property, `Workers.MaxSize`; empty if it is neither's.
    pub place: String,
    /// What is wrong, and what helps.
    pub text: String,
}

/// A template that is read, and whose parameters are open.
#[derive(Clone, Debug)]
pub struct Template {
    root: yaml::Node,
}

/// A resource that is made under the given parameters.
struct Resource<'a> {
    id: &'a str,
    kind: &'a str,
    node: &'a yaml::Node,
}

impl Template {
    /// Reads a template's text, YAML or JSON.
    ///
    /// # Errors
    /// With the line of what is none.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let root = yaml::read(text)?;
        if root.get("Resources").is_none() {
            return Err(TemplateError { line: root.line, place: String::new(), text: "no Resources; is this a CloudFormation template?".into() });
        }
        Ok(Template { root })
    }

    /// The values that a parameter allows, in the template's order; none if there is no such parameter or it allows all.
    pub fn allowed(&self, parameter: &str) -> Vec<&str> {
        let allowed = self.root.get("Parameters").and_then(|all| all.get(parameter)).and_then(|one| one.get("AllowedValues"));
        match allowed.map(|node| &node.value) {
            Some(yaml::Value::List(values)) => values.iter().filter_map(yaml::Node::text).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether there is a parameter of this name.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.root.get("Parameters").is_some_and(|all| all.get(name).is_some())
    }

    /// A parameter's value: the `given` one, else its default. None if there is no such parameter, or it has no default.
    pub fn parameter<'a>(&'a self, name: &str, given: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let declared = self.root.get("Parameters").and_then(|all| all.get(name))?;
        given.get(name).map(String::as_str).or_else(|| declared.get("Default").and_then(yaml::Node::text))
    }

    /// What is made with `given` parameters (the others have their defaults), as far as it scales the group that policies scale.
    ///
    /// # Errors
    /// What cannot be known without the deployment and matters, what is not simulated, what CloudFormation would refuse: with logical id,
    /// property and line.
    pub fn scaling(&self, given: &BTreeMap<String, String>) -> Result<Scaling, TemplateError> {
        let scope = Scope::new(&self.root, given)?;
        let resources = self.resources(&scope)?;
        if let Some(other) = resources.iter().find(|resource| NOT_SIMULATED.contains(&resource.kind)) {
            let text = format!("{} can change what scales, and is not simulated", other.kind);
            return Err(TemplateError { line: other.node.line, place: other.id.to_owned(), text });
        }
        let mut policies = BTreeMap::new();
        let mut scaled: Option<Resolved> = None;
        for resource in resources.iter().filter(|resource| resource.kind == POLICY) {
            let (group, policy) = policy::read(Properties::of(resource, &scope)?)?;
            if scaled.as_ref().is_some_and(|before| before.value != group.value) {
                let text = "a policy of a second group; only one group is simulated".into();
                return Err(TemplateError { line: group.line, place: format!("{}.AutoScalingGroupName", resource.id), text });
            }
            scaled = Some(group);
            policies.insert(resource.id.to_owned(), policy);
        }
        let (group_id, group_name, mut group) = Self::group(&resources, &scope, scaled.as_ref())?;
        let is_group = |value: &Value| match value {
            Value::Resource(id) => id == group_id,
            Value::Text(text) => Some(text) == group_name.as_ref(),
            _ => false,
        };
        group.termination_hook_s = hooks(&resources, &scope, &is_group)?;
        let mut alarms = BTreeMap::new();
        for resource in resources.iter().filter(|resource| resource.kind == ALARM) {
            if let Some(alarm) = alarm::read(Properties::of(resource, &scope)?, &policies, &is_group)? {
                alarms.insert(resource.id.to_owned(), alarm);
            }
        }
        Ok(Scaling { group, policies, alarms })
    }

    /// The resources whose condition holds.
    fn resources(&self, scope: &Scope<'_>) -> Result<Vec<Resource<'_>>, TemplateError> {
        let mut resources = Vec::new();
        for (id, node) in self.root.get("Resources").map(yaml::Node::entries).unwrap_or_default() {
            let wrong = |text: &str| TemplateError { line: node.line, place: id.clone(), text: text.to_owned() };
            if id.starts_with("Fn::") {
                return Err(wrong("is not simulated; write the resources out"));
            }
            let kind = node.get("Type").and_then(yaml::Node::text).ok_or_else(|| wrong("has no Type"))?;
            let is_ours = [GROUP, POLICY, HOOK, ALARM].contains(&kind) || NOT_SIMULATED.contains(&kind);
            // A condition of a resource that scales nothing need not be known.
            let is_made = match node.get("Condition").and_then(yaml::Node::text) {
                Some(condition) if is_ours => scope.holds(condition, node.line)?,
                _ => true,
            };
            if is_ours && is_made {
                resources.push(Resource { id, kind, node });
            }
        }
        Ok(resources)
    }

    /// The group that the policies scale, or the only one: its id, its name if that is known, and what scales it.
    fn group<'a>(
        resources: &[Resource<'a>],
        scope: &Scope<'_>,
        scaled: Option<&Resolved>,
    ) -> Result<(&'a str, Option<String>, Group), TemplateError> {
        let groups: Vec<&Resource<'_>> = resources.iter().filter(|resource| resource.kind == GROUP).collect();
        let mut found = Vec::new();
        for resource in &groups {
            let mut properties = Properties::of(resource, scope)?;
            let name = properties.take("AutoScalingGroupName").and_then(|name| if let Value::Text(text) = name.value { Some(text) } else { None });
            let is_it = match scaled.map(|resolved| &resolved.value) {
                Some(Value::Resource(id)) => id == resource.id,
                Some(Value::Text(text)) => Some(text) == name.as_ref(),
                Some(_) => false,
                None => groups.len() == 1,
            };
            if is_it {
                found.push((resource, name, properties));
            }
        }
        let (Some((resource, name, properties)), true) = (found.pop(), found.is_empty()) else {
            let line = scaled.map_or(1, |resolved| resolved.line);
            let text = format!("{} Auto Scaling groups, and no one that the policies scale", groups.len());
            return Err(TemplateError { line, place: "Resources".into(), text });
        };
        Ok((resource.id, name, group(properties)?))
    }
}

fn group(mut properties: Properties) -> Result<Group, TemplateError> {
    let min: u32 = properties.number("MinSize")?;
    let max: u32 = properties.number("MaxSize")?;
    let desired = properties.optional_number("DesiredCapacity")?;
    if !(min..=max).contains(&desired.unwrap_or(min)) {
        return Err(properties.wrong("MinSize", format!("{min} to {max} machines, of which {} are desired", desired.unwrap_or(min))));
    }
    let group = Group {
        min,
        max,
        desired: desired.unwrap_or(min),
        cooldown_s: properties.optional_number("Cooldown")?.unwrap_or(300),
        warmup_s: properties.optional_number("DefaultInstanceWarmup")?,
        termination_hook_s: None,
    };
    properties.finish(&[
        "AvailabilityZones",
        "AvailabilityZoneDistribution",
        "Context",
        "HealthCheckGracePeriod",
        "HealthCheckType",
        "InstanceMaintenancePolicy",
        "LaunchTemplate",
        "MetricsCollection",
        "NotificationConfigurations",
        "ServiceLinkedRoleARN",
        "Tags",
        "TargetGroupARNs",
        "TerminationPolicies",
        "VPCZoneIdentifier",
    ])?;
    Ok(group)
}

/// How long the end of a machine of our group may be held up, in seconds: by the hook that allows most, since it waits for all of them.
fn hooks(resources: &[Resource<'_>], scope: &Scope<'_>, is_group: &impl Fn(&Value) -> bool) -> Result<Option<u32>, TemplateError> {
    let mut found: Vec<Hook> = Vec::new();
    for resource in resources.iter().filter(|resource| resource.kind == HOOK) {
        found.extend(hook(Properties::of(resource, scope)?, is_group)?);
    }
    if let (true, Some(abandons)) = (found.len() > 1, found.iter_mut().find_map(|hook| hook.abandons.take())) {
        return Err(abandons);
    }
    Ok(found.iter().map(|hook| hook.seconds).max())
}

/// A lifecycle hook of our group.
struct Hook {
    seconds: u32,
    /// What is said if there are others: that one ends the wait for all of them when its time is over.
    abandons: Option<TemplateError>,
}

/// None if the hook is another group's.
fn hook(mut properties: Properties, is_group: &impl Fn(&Value) -> bool) -> Result<Option<Hook>, TemplateError> {
    if !properties.take("AutoScalingGroupName").is_some_and(|group| is_group(&group.value)) {
        return Ok(None);
    }
    let transition = properties.text("LifecycleTransition")?;
    if transition != "autoscaling:EC2_INSTANCE_TERMINATING" {
        return Err(properties.wrong("LifecycleTransition", format!("{transition} delays what is added, and is not simulated")));
    }
    let seconds = properties.optional_number("HeartbeatTimeout")?.unwrap_or(3_600);
    let abandons = match properties.optional_text("DefaultResult")?.as_deref() {
        Some("CONTINUE") => None,
        // Also where nothing is said.
        _ => Some(properties.wrong("DefaultResult", "ends the wait for the group's other hooks, which is not simulated; wants CONTINUE".into())),
    };
    properties.finish(&["LifecycleHookName", "NotificationMetadata", "NotificationTargetARN", "RoleARN"])?;
    Ok(Some(Hook { seconds, abandons }))
}
