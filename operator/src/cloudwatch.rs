//! Reading CloudWatch: GetMetricData with all its pages, within a time. Who asks decides what the figures mean.
//!
//! A read is whole or it is an error: a page that is missing, a result that is not complete, a number that is none. Reading
//! changes nothing, so what failed for a passing reason is asked again within the same time.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use anyhow::{anyhow, bail, ensure};
use aws_sdk_cloudwatch::{
    Client,
    operation::get_metric_data::GetMetricDataOutput,
    primitives::DateTime,
    types::{Dimension as SdkDimension, Metric as SdkMetric, MetricDataQuery, MetricStat, ScanBy, StatusCode},
};
use replyfleet::{
    aws::{Aws, Fault, fault},
    settings::AwsSettings,
};

/// How long a whole read may take, with its pages and repetitions, unless somebody says otherwise.
pub(crate) const READ_TIMEOUT_S: u32 = 40;
/// How often a page is asked for.
const ATTEMPTS_MAX: u32 = 3;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The service's own limit of queries in one call.
const QUERIES_MAX: usize = 500;
/// Pages of one call: a year of minutes has five.
const PAGES_MAX: usize = 100;

/// A metric: its dimensions are part of its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dimensions: Vec<Dimension>,
}

/// One dimension of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dimension {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Dimension {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Self { name: name.to_owned(), value: value.to_owned() }),
            _ => Err(format!("{text:?} is no dimension: write NAME=VALUE")),
        }
    }
}

/// What CloudWatch makes of a period's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Sum,
    SampleCount,
    Average,
    Minimum,
    Maximum,
    /// `p99` or `p99.9`.
    Percentile(String),
}

impl FromStr for Statistic {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Sum, Self::SampleCount, Self::Average, Self::Minimum, Self::Maximum];
        if let Some(found) = known.into_iter().find(|statistic| statistic.to_string().eq_ignore_ascii_case(text)) {
            return Ok(found);
        }
        let percent = text.strip_prefix('p').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        match percent.map(str::parse::<f64>) {
            Some(Ok(0.0..=100.0)) => Ok(Self::Percentile(text.to_owned())),
            _ => Err(format!("no statistic {text:?}; there are Sum, SampleCount, Average, Minimum, Maximum, and percentiles such as p99")),
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "Sum",
            Self::SampleCount => "SampleCount",
            Self::Average => "Average",
            Self::Minimum => "Minimum",
            Self::Maximum => "Maximum",
            Self::Percentile(text) => text,
        })
    }
}

/// One line of figures.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) metric: Metric,
    pub(crate) statistic: Statistic,
    /// Seconds: 1, 5, 10, 20, 30, or a multiple of 60.
    pub(crate) period_s: u32,
}

/// A time from its first second to before its last, in seconds since 1970; both at the start of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from_s: u64,
    pub(crate) to_s: u64,
}

/// Data points by the second at which their period starts. A period without samples has none.
pub(crate) type Points = BTreeMap<u64, f64>;

/// Where figures are read: CloudWatch, or what a test has in its place.
pub(crate) trait Figures {
    /// The points of each query, in the order of the queries.
    ///
    /// # Errors
    /// In words: who could not be asked, why, and what helps. There are no half answers.
    async fn read(&self, queries: &[Query], window: Window) -> anyhow::Result<Vec<Points>>;
}

/// The service.
pub(crate) struct CloudWatch {
    client: Client,
    region: String,
    timeout: Duration,
}

/// Why a page is not there.
enum NoPage {
    /// Asking again may help.
    Passing(anyhow::Error),
    Lasting(anyhow::Error),
}

impl CloudWatch {
    /// A whole read may take `timeout_s`.
    ///
    /// # Errors
    /// No region, or a file of trusted roots that cannot be used.
    pub(crate) async fn open(settings: &AwsSettings, timeout_s: u32) -> anyhow::Result<Self> {
        let aws = Aws::load(settings).await?;
        let Some(region) = aws.config().region().map(ToString::to_string) else {
            bail!("CloudWatch: in which region? Set aws.region in the settings, or AWS_REGION");
        };
        Ok(Self { client: Client::new(aws.config()), region, timeout: Duration::from_secs(timeout_s.into()) })
    }

    /// The region that is read.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    async fn page(&self, queries: &[MetricDataQuery], window: Window, token: Option<&str>) -> Result<GetMetricDataOutput, NoPage> {
        let seconds = |second: u64| DateTime::from_secs(i64::try_from(second).unwrap_or(i64::MAX));
        let call = self
            .client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.to_vec()))
            .start_time(seconds(window.from_s))
            .end_time(seconds(window.to_s))
            .scan_by(ScanBy::TimestampAscending)
            .set_next_token(token.map(ToOwned::to_owned));
        let output = call.send().await.map_err(|error| match fault(&error) {
            (Fault::Refused, text) => NoPage::Lasting(anyhow!(
                "CloudWatch refuses GetMetricData: {text}; it takes credentials with the permission cloudwatch:GetMetricData"
            )),
            (Fault::NotDone | Fault::Ambiguous, text) => NoPage::Passing(anyhow!("CloudWatch, GetMetricData: {text}")),
        })?;
        let is_internal = |result: &aws_sdk_cloudwatch::types::MetricDataResult| result.status_code() == Some(&StatusCode::InternalError);
        match output.metric_data_results().iter().find(|result| is_internal(result)) {
            Some(result) => Err(NoPage::Passing(anyhow!("CloudWatch has an internal error with a figure{}", messages(result)))),
            None => Ok(output),
        }
    }

    async fn page_again(&self, queries: &[MetricDataQuery], window: Window, token: Option<&str>) -> anyhow::Result<GetMetricDataOutput> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.page(queries, window, token).await {
                Ok(page) => return Ok(page),
                Err(NoPage::Lasting(error)) => return Err(error),
                Err(NoPage::Passing(_)) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        self.page(queries, window, token).await.map_err(|no_page| match no_page {
            NoPage::Passing(error) => error.context(format!("asked {ATTEMPTS_MAX} times in vain")),
            NoPage::Lasting(error) => error,
        })
    }

    async fn read_some(&self, queries: &[Query], window: Window) -> anyhow::Result<Vec<Points>> {
        let asked: Vec<_> = queries.iter().enumerate().map(|(index, query)| sdk_query(index, query)).collect::<anyhow::Result<_>>()?;
        let mut lines: Vec<(Points, Option<StatusCode>)> = vec![(Points::new(), None); queries.len()];
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.page_again(&asked, window, token.as_deref()).await?;
            for result in page.metric_data_results() {
                let index = result.id().and_then(|id| id.strip_prefix('q')).and_then(|number| number.parse::<usize>().ok());
                let Some((points, status)) = index.and_then(|index| lines.get_mut(index)) else {
                    bail!("CloudWatch answered a question that was not asked");
                };
                collect(points, result, window)?;
                *status = result.status_code().cloned();
            }
            let next = page.next_token().map(ToOwned::to_owned);
            if next.is_none() {
                return lines.into_iter().zip(queries).map(|((points, status), query)| whole(points, status.as_ref(), query)).collect();
            }
            ensure!(next != token, "CloudWatch gave the same page again and again");
            token = next;
        }
        bail!("CloudWatch gave {PAGES_MAX} pages and had more; ask for less time or a longer period")
    }
}

impl Figures for CloudWatch {
    async fn read(&self, queries: &[Query], window: Window) -> anyhow::Result<Vec<Points>> {
        let reading = async {
            let mut lines = Vec::with_capacity(queries.len());
            for some in queries.chunks(QUERIES_MAX) {
                lines.extend(self.read_some(some, window).await?);
            }
            Ok(lines)
        };
        let read = tokio::time::timeout(self.timeout, reading).await;
        read.unwrap_or_else(|_| Err(anyhow!("CloudWatch gave no whole answer within {} s", self.timeout.as_secs())))
    }
}

fn sdk_query(index: usize, query: &Query) -> anyhow::Result<MetricDataQuery> {
    let dimensions = query.metric.dimensions.iter().map(|dimension| SdkDimension::builder().name(&dimension.name).value(&dimension.value).build());
    let metric = SdkMetric::builder().namespace(&query.metric.namespace).metric_name(&query.metric.name).set_dimensions(Some(dimensions.collect()));
    let period = i32::try_from(query.period_s)?;
    let stat = MetricStat::builder().metric(metric.build()).period(period).stat(query.statistic.to_string()).build();
    Ok(MetricDataQuery::builder().id(format!("q{index}")).metric_stat(stat).return_data(true).build())
}

/// Adds what a page has of one line.
fn collect(points: &mut Points, result: &aws_sdk_cloudwatch::types::MetricDataResult, window: Window) -> anyhow::Result<()> {
    ensure!(
        result.timestamps().len() == result.values().len(),
        "CloudWatch gave {} times for {} figures",
        result.timestamps().len(),
        result.values().len()
    );
    for (time, value) in result.timestamps().iter().zip(result.values()) {
        ensure!(value.is_finite(), "CloudWatch gave a figure that is no number");
        let second = u64::try_from(time.secs()).unwrap_or_default();
        // It rounds the start of a window that lies far back.
        if (window.from_s..window.to_s).contains(&second) {
            points.insert(second, *value);
        }
    }
    Ok(())
}

/// The line, if the last that was said of it is that it is complete.
fn whole(points: Points, status: Option<&StatusCode>, query: &Query) -> anyhow::Result<Points> {
    let name = &query.metric.name;
    match status {
        Some(StatusCode::Complete) => Ok(points),
        Some(StatusCode::Forbidden) => bail!("CloudWatch does not show {name}: it takes the permission cloudwatch:GetMetricData for its account"),
        Some(_) => bail!("CloudWatch gave only a part of {name}"),
        None => bail!("CloudWatch said nothing of {name}"),
    }
}

fn messages(result: &aws_sdk_cloudwatch::types::MetricDataResult) -> String {
    let words = result.messages().iter().filter_map(aws_sdk_cloudwatch::types::MessageData::value);
    words.map(|word| format!(": {word}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    #[test]
    fn statistics_are_read_as_cloudwatch_names_them() {
        for text in ["Sum", "SampleCount", "Average", "Minimum", "Maximum", "p99", "p99.9", "p0", "p100"] {
            assert_eq!(text.parse::<Statistic>().map(|statistic| statistic.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("average".parse(), Ok(Statistic::Average));
        for text in ["", "p", "p101", "p-1", "pnan", "p1e1", "tm99", "Mean"] {
            assert!(text.parse::<Statistic>().unwrap_err().contains("percentiles such as p99"), "{text}");
        }
    }

    #[test]
    fn dimensions_have_a_name_and_a_value() {
        let found: Dimension = "Breaker=send.SES".parse().unwrap();
        assert_eq!((found.name.as_str(), found.value.as_str()), ("Breaker", "send.SES"));
        for text in ["Breaker", "=x", "Breaker=", ""] {
            assert!(text.parse::<Dimension>().unwrap_err().contains("NAME=VALUE"), "{text}");
        }
    }
}
