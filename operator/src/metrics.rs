//! `replyfleet metrics`: the fleet's figures from CloudWatch, for other programs. Where they lie is said here, once.

mod mrtg;

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use replyfleet::settings::{AwsSettings, DEFAULT_PATH, Settings};
use replyfleet_worker::metrics::table::{GROUP, Kind, PUBLISHED};

use crate::cloudwatch::{Dimension, Metric, Statistic};

#[derive(Args)]
pub(crate) struct MetricsArguments {
    #[command(subcommand)]
    command: MetricsCommand,
}

#[derive(Subcommand)]
enum MetricsCommand {
    /// Prints two metrics in MRTG's four lines: everything since the last time that this was asked, once.
    Mrtg(mrtg::MrtgArguments),
}

/// Where a fleet's metrics lie.
#[derive(Args, Clone)]
pub(crate) struct FleetArguments {
    /// The metrics' namespace, if it is not the fleet's own.
    #[arg(long)]
    namespace: Option<String>,
    /// The fleet's Auto Scaling group: the dimension AutoScalingGroupName of its metrics.
    #[arg(long)]
    group: Option<String>,
}

/// Where a fleet's metrics lie, with what the settings know.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    /// Whether the workers publish there.
    is_own: bool,
    group: Option<String>,
}

pub(crate) async fn run(arguments: &MetricsArguments, config: &Path) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        MetricsCommand::Mrtg(arguments) => mrtg::run(arguments, config).await,
    }
}

/// The settings; `None` where there are none at the default place: a machine that only monitors needs none.
pub(crate) fn settings(config: &Path) -> anyhow::Result<Option<Settings>> {
    if config == Path::new(DEFAULT_PATH) && !config.exists() {
        return Ok(None);
    }
    Ok(Some(Settings::load(config)?))
}

/// The account.
pub(crate) fn aws(settings: Option<&Settings>) -> AwsSettings {
    settings.map(|settings| settings.aws.clone()).unwrap_or_default()
}

impl FleetArguments {
    #[cfg(test)]
    pub(crate) fn of(namespace: Option<&str>, group: Option<&str>) -> Self {
        Self { namespace: namespace.map(Into::into), group: group.map(Into::into) }
    }

    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.namespace.is_some() || self.group.is_some()
    }

    /// The place that these name, else the settings.
    pub(crate) fn place(&self, settings: Option<&Settings>) -> Place {
        let own = settings.map(|settings| settings.metrics.clone()).unwrap_or_default();
        let of_hook = || settings.and_then(|settings| settings.termination.group.clone());
        let namespace = self.namespace.clone().unwrap_or_else(|| own.namespace.as_str().to_owned());
        let is_own = namespace == own.namespace.as_str();
        let group = self.group.clone().or_else(|| own.auto_scaling_group.clone().or_else(of_hook).filter(|_| is_own));
        Place { namespace, is_own, group }
    }
}

impl Place {
    /// The group, or a blank.
    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }

    /// The metric of this name with these dimensions, and the group's own.
    ///
    /// # Errors
    /// No group is known, and no dimension given: such a metric is never published.
    pub(crate) fn metric(&self, name: &str, more: &[Dimension]) -> anyhow::Result<Metric> {
        let mut dimensions = more.to_vec();
        if let Some(group) = self.group.as_ref().filter(|_| !more.iter().any(|dimension| dimension.name == GROUP)) {
            dimensions.push(Dimension { name: GROUP.into(), value: group.clone() });
        }
        anyhow::ensure!(!dimensions.is_empty(), "{name}: of which fleet? Say its Auto Scaling group with --group, or --dimension NAME=VALUE");
        dimensions.sort_unstable();
        Ok(Metric { namespace: self.namespace.clone(), name: name.to_owned(), dimensions })
    }

    /// What is asked of this metric by default.
    ///
    /// # Errors
    /// It is none of the fleet's: only a person knows what its figures mean.
    fn statistic(&self, name: &str) -> anyhow::Result<Statistic> {
        anyhow::ensure!(
            self.is_own,
            "{name}: say with --statistic what to ask of a metric in {}: Sum of what counts, Average of what is measured",
            self.namespace
        );
        let is_count = PUBLISHED.iter().any(|metric| metric.name == name && metric.kind == Kind::Counter);
        Ok(if is_count { Statistic::Sum } else { Statistic::Average })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    fn place(namespace: Option<&str>, group: Option<&str>) -> Place {
        FleetArguments::of(namespace, group).place(None)
    }

    #[test]
    fn the_group_is_a_dimension_of_every_metric_of_the_fleet() {
        let more = ["Why=x".parse().unwrap()];
        let metric = place(None, Some("fleet")).metric("ended", &more).unwrap();
        let names: Vec<_> = metric.dimensions.iter().map(|dimension| format!("{}={}", dimension.name, dimension.value)).collect();
        assert_eq!((metric.namespace.as_str(), names), ("replyfleet", vec!["AutoScalingGroupName=fleet".to_owned(), "Why=x".into()]));
        let own = ["AutoScalingGroupName=other".parse().unwrap()];
        assert_eq!(place(None, Some("fleet")).metric("ended", &own).unwrap().dimensions, own, "who says it means it");
        assert!(place(None, None).metric("ended", &[]).unwrap_err().to_string().contains("--group"));
    }

    #[test]
    fn counts_are_added_and_measures_averaged_unless_the_metric_is_anothers() {
        let own = place(None, Some("fleet"));
        assert_eq!((own.statistic("response_sent").unwrap(), own.statistic("busy_fraction").unwrap()), (Statistic::Sum, Statistic::Average));
        assert!(place(Some("AWS/EC2"), None).statistic("NetworkIn").unwrap_err().to_string().contains("--statistic"));
    }
}
