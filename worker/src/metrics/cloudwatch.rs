//! Amazon CloudWatch: one parcel, one `PutMetricData`. It tries once; [`super::publisher`] says when again.
//!
//! What came of a call that failed is one of three: surely nothing, so that it may be sent again; perhaps all; or CloudWatch
//! will never take this parcel.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatch::{
    Client,
    config::timeout::TimeoutConfig,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_metric_data::PutMetricDataError,
    primitives::DateTime,
    types::{Dimension, MetricDatum, StandardUnit},
};
use replyfleet::{
    aws::{Aws, Fault, fault},
    settings::{AwsSettings, SettingsError},
};

use super::{
    data::{Datum, Parcel},
    publisher::{Failure, Sink},
    table::Unit,
};

/// The longest that a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Metrics that are published more often than this are stored with high resolution.
const STANDARD_PERIOD: Duration = Duration::from_secs(60);
/// CloudWatch's two resolutions, in seconds.
const HIGH_RESOLUTION_S: i32 = 1;
const STANDARD_RESOLUTION_S: i32 = 60;

/// CloudWatch.
pub(super) struct CloudWatch {
    client: Client,
    resolution_s: i32,
}

impl CloudWatch {
    /// # Errors
    /// [`SettingsError`] with the key.
    pub(super) async fn open(aws: &AwsSettings, period: Duration) -> Result<Self, SettingsError> {
        let limits = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).operation_attempt_timeout(CALL_TIMEOUT).build();
        // A parcel is some ten kilobytes: packing it would cost more than it saves.
        let config =
            aws_sdk_cloudwatch::config::Builder::from(Aws::load(aws).await?.config()).timeout_config(limits).disable_request_compression(true);
        let resolution_s = if period < STANDARD_PERIOD { HIGH_RESOLUTION_S } else { STANDARD_RESOLUTION_S };
        Ok(Self { client: Client::from_conf(config.build()), resolution_s })
    }

    /// Whether we may publish to a namespace; nothing is: a call without data is either taken or found faulty, but first of all
    /// refused to one who may not make it.
    pub(super) async fn ask(&self, namespace: &str) -> Result<(), String> {
        match self.client.put_metric_data().namespace(namespace).set_metric_data(Some(Vec::new())).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failure(&error) {
                Failure::Unfit(_) => Ok(()),
                Failure::NotDone(text) | Failure::Uncertain(text) => Err(text),
            },
        }
    }

    fn datum(&self, datum: &Datum, at: DateTime) -> MetricDatum {
        let unit = match datum.metric.unit {
            Unit::Milliseconds => StandardUnit::Milliseconds,
            Unit::Seconds => StandardUnit::Seconds,
            Unit::Count => StandardUnit::Count,
            Unit::Percent => StandardUnit::Percent,
            Unit::None => StandardUnit::None,
        };
        let dimensions = datum.dimensions.iter().map(|(name, value)| Dimension::builder().name(*name).value(value).build());
        let (values, counts) = datum.values.iter().copied().unzip();
        let told = MetricDatum::builder().metric_name(datum.metric.name).set_dimensions(Some(dimensions.collect())).timestamp(at).unit(unit);
        told.set_values(Some(values)).set_counts(Some(counts)).storage_resolution(self.resolution_s).build()
    }
}

#[async_trait]
impl Sink for CloudWatch {
    async fn put(&self, parcel: &Parcel) -> Result<(), Failure> {
        let at = DateTime::from_millis(i64::try_from(parcel.at.0).unwrap_or(i64::MAX));
        let data = parcel.data.iter().map(|datum| self.datum(datum, at)).collect();
        let call = self.client.put_metric_data().namespace(&parcel.namespace).set_metric_data(Some(data));
        call.send().await.map(drop).map_err(|error| failure(&error))
    }
}

/// Codes of CloudWatch for a call that it will never take, by the names that it had before its protocol changed and after.
const UNFIT: [&str; 7] = [
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "MissingParameter",
    "MissingRequiredParameter",
    "Serialization",
    "Validation",
    "ValidationError",
];

fn failure(error: &SdkError<PutMetricDataError>) -> Failure {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    match fault(error) {
        (_, text) if UNFIT.contains(&code.trim_end_matches("Exception")) => Failure::Unfit(text),
        (Fault::Refused, text) if text.starts_with("AccessDenied") => {
            Failure::NotDone(format!("{text}; it takes cloudwatch:PutMetricData in this namespace"))
        }
        (Fault::Refused | Fault::NotDone, text) => Failure::NotDone(text),
        (Fault::Ambiguous, text) => Failure::Uncertain(text),
    }
}
