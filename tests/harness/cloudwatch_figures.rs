//! Figures in the emulator's CloudWatch, put there as a fleet's workers put them: with the dimension of their group.

use std::time::SystemTime;

use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime,
    types::{Dimension, MetricDatum},
};

use crate::ministack::Ministack;

/// The namespace that workers publish in by default.
pub const NAMESPACE: &str = "replyfleet";

/// Puts samples of one metric of `group`, taken at `at`.
///
/// # Panics
/// If the emulator does not take them.
pub async fn put(account: &Ministack, group: &str, name: &str, samples: &[f64], at: SystemTime) {
    let dimension = Dimension::builder().name("AutoScalingGroupName").value(group).build();
    let at = DateTime::from(at);
    let datum = MetricDatum::builder().metric_name(name).dimensions(dimension).timestamp(at).set_values(Some(samples.to_vec()));
    let datum = datum.set_counts(Some(vec![1.0; samples.len()])).build();
    let client = Client::new(account.aws().await.config());
    client.put_metric_data().namespace(NAMESPACE).metric_data(datum).send().await.expect("put metric data");
}
