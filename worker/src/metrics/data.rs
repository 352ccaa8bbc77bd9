//! What CloudWatch is told of a period: one datum for each metric and its dimensions, with the distinct values and how often each
//! was there, in parcels of which each fits into one call. Pure.
//!
//! Counts of replies and of receipts, and all gauges, are there also when nothing happened: an alarm shall see 0 rather than
//! nothing. A distribution without values is left out: it has no value.

use std::{collections::BTreeMap, time::Duration};

use replyfleet::clock::UnixMillis;

use super::{
    OpenBreaker,
    figures::{Distribution, Figures},
    gauges::{Gauges, MailQueue},
    table::{self, GROUP, Metric},
};

/// Distinct values of a datum (CloudWatch's limit).
const VALUES_MAX: usize = 150;
/// Data in a call (CloudWatch's limit).
const DATA_MAX: usize = 1_000;
/// Bytes of a call: CloudWatch takes 1 MB, and [`Datum::bytes`] is an estimate.
const CALL_BYTES_MAX: usize = 900_000;
/// Addresses of ours that are told apart in one period, those that were asked most; each is a metric that is paid for.
const ADDRESSES_MAX: usize = 500;
/// What stands for all others.
const OTHER_ADDRESSES: &str = "other";

/// Values of one metric with one set of dimensions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datum {
    pub(super) metric: &'static Metric,
    pub(super) dimensions: Vec<(&'static str, String)>,
    /// Each value, in the metric's unit, and how often it was there.
    pub(super) values: Vec<(f64, f64)>,
}

impl Datum {
    /// About so many bytes are sent for it.
    fn bytes(&self) -> usize {
        let texts: usize = self.dimensions.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        256 + texts + 18 * self.values.len()
    }
}

/// What goes in one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parcel {
    /// The time of which it tells.
    pub(super) at: UnixMillis,
    pub(super) namespace: String,
    pub(super) data: Vec<Datum>,
}

/// What is told of a period.
pub(super) struct Told<'a> {
    /// The Auto Scaling group.
    pub(super) group: &'a str,
    /// What was counted in it.
    pub(super) figures: &'a Figures,
    /// What is so at its end, if that is to be told.
    pub(super) gauges: Option<&'a Gauges>,
    /// The share of the slots that was taken in the minute that is over, if one is.
    pub(super) busy_fraction: Option<f64>,
    /// For how long it was counted.
    pub(super) time: Duration,
    /// Workers of the fleet, if they were counted.
    pub(super) workers: Option<usize>,
    /// What was away at its end.
    pub(super) breakers: &'a [OpenBreaker],
}

impl Told<'_> {
    /// The data in our own namespace.
    pub(super) fn data(&self) -> Vec<Datum> {
        let figures = self.figures;
        let mut data = Vec::new();
        for (metric, times) in [
            (&table::PROCESSING_TIME, &figures.processing_time),
            (&table::PROCESSING_TIME_STALE, &figures.processing_time_stale),
            (&table::HANDLING_TIME, &figures.handling_time),
            (&table::QUEUE_WAIT, &figures.queue_wait),
            (&table::SEND_WAIT, &figures.send_wait),
            (&table::SEND_TIME, &figures.send_time),
        ] {
            data.extend(self.distribution(metric, times));
        }
        data.push(self.count(&table::RESPONSE_SENT, [], figures.responses_sent.values().sum()));
        data.push(self.count(&table::MESSAGE_RECEIVED, [], figures.received));
        data.push(self.count(&table::SES_THROTTLED, [], figures.throttled.values().sum()));
        for (address, count) in most_asked(&figures.requests) {
            data.push(self.count(&table::REQUEST, [plain(address)], count));
        }
        for ((outcome, why), &count) in &figures.ended {
            // A dimension has no empty value.
            let why = if why.is_empty() { "none" } else { why };
            data.push(self.count(&table::ENDED, [(*outcome).to_owned(), why.to_owned()], count));
        }
        data.extend(self.busy_fraction.map(|share| self.one(&table::BUSY_FRACTION, [], share)));
        // It belongs to the counts: with both an alarm has a rate, whoever else has not told yet.
        let share = |workers: usize| self.time.as_secs_f64() / number(workers.max(1) as u64);
        data.extend(self.workers.map(|workers| self.one(&table::REPORTED_TIME, [], share(workers))));
        let Some(gauges) = self.gauges else { return data };
        let (depth, oldest) = (gauges.depth, gauges.oldest_age.unwrap_or_default());
        data.push(self.count(&table::IN_HAND, [], gauges.in_hand as u64));
        data.push(self.one(&table::OLDEST_AGE, [], oldest.as_secs_f64()));
        data.push(self.one(&table::CATALOGUE_AGE, [], gauges.catalogue_age.as_secs_f64()));
        data.extend(depth.map(|depth| self.count(&table::QUEUE_DEPTH, [], depth.visible)));
        data.extend(depth.and_then(|depth| depth.parked).map(|parked| self.count(&table::PARKED, [], parked)));
        data.extend(self.breakers.iter().map(|breaker| self.count(&table::BREAKER_OPEN, [breaker.name.to_owned()], 1)));
        data
    }

    /// Shares of the machine's memory and disk, in percent.
    pub(super) fn host(&self, memory: Option<f64>, disk: Option<f64>) -> Vec<Datum> {
        let shares = [(&table::MEMORY, memory), (&table::DISK, disk)];
        shares.into_iter().filter_map(|(metric, share)| Some(self.one(metric, [], share?))).collect()
    }

    /// What waits in the machine's Postfix.
    pub(super) fn mail_queue(&self, queue: MailQueue) -> Vec<Datum> {
        let age = self.one(&table::MAIL_QUEUE_AGE, [], queue.oldest_age.as_secs_f64());
        vec![self.count(&table::MAIL_QUEUE_DEPTH, [], queue.depth), age]
    }

    fn dimensions<const N: usize>(&self, metric: &Metric, values: [String; N]) -> Vec<(&'static str, String)> {
        let group = (GROUP, self.group.to_owned());
        std::iter::once(group).chain(metric.dimensions.iter().copied().zip(values)).collect()
    }

    fn one<const N: usize>(&self, metric: &'static Metric, dimensions: [String; N], value: f64) -> Datum {
        Datum { metric, dimensions: self.dimensions(metric, dimensions), values: vec![(value, 1.0)] }
    }

    fn count<const N: usize>(&self, metric: &'static Metric, dimensions: [String; N], count: u64) -> Datum {
        self.one(metric, dimensions, number(count))
    }

    fn distribution(&self, metric: &'static Metric, times: &Distribution) -> Vec<Datum> {
        let values: Vec<(f64, f64)> = times.values().map(|(millis, count)| (number(millis), number(count))).collect();
        let datum = |values: &[(f64, f64)]| Datum { metric, dimensions: self.dimensions(metric, []), values: values.to_vec() };
        values.chunks(VALUES_MAX).map(datum).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The addresses that were asked most, and the sum of all others.
fn most_asked(requests: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut asked: Vec<(&str, u64)> = requests.iter().map(|(address, &count)| (address.as_str(), count)).collect();
    if asked.len() > ADDRESSES_MAX {
        asked.sort_by_key(|&(address, count)| (address != OTHER_ADDRESSES, std::cmp::Reverse(count)));
        let rest: u64 = asked.split_off(ADDRESSES_MAX - 1).iter().map(|(_, count)| count).sum();
        match asked.first_mut() {
            Some((OTHER_ADDRESSES, count)) => *count += rest,
            _ => asked.push((OTHER_ADDRESSES, rest)),
        }
    }
    asked
}

/// A dimension's value is ASCII: every other character becomes `%` and its bytes, as in a URL.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' => plain.push(char::from(byte)),
            _ => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    // Nor does it begin with a colon.
    if plain.starts_with(':') { plain.replacen(':', "%3A", 1) } else { plain }
}

/// The data in as many parcels as it takes.
pub(super) fn parcels(at: UnixMillis, namespace: &str, data: Vec<Datum>) -> Vec<Parcel> {
    let mut parcels: Vec<Parcel> = Vec::new();
    let mut bytes = 0;
    for datum in data {
        let more = datum.bytes();
        match parcels.last_mut() {
            Some(parcel) if parcel.data.len() < DATA_MAX && bytes + more <= CALL_BYTES_MAX => {
                bytes += more;
                parcel.data.push(datum);
            }
            _ => {
                bytes = more;
                parcels.push(Parcel { at, namespace: namespace.to_owned(), data: vec![datum] });
            }
        }
    }
    parcels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::table::{PUBLISHED, Unit};

    const AT: UnixMillis = UnixMillis(1_790_000_059_999);

    fn telling<'a>(figures: &'a Figures, gauges: &'a Gauges, breakers: &'a [OpenBreaker]) -> Told<'a> {
        let busy_fraction = Some(gauges.busy_fraction);
        Told { group: "workers", figures, gauges: Some(gauges), busy_fraction, time: Duration::from_secs(10), workers: gauges.workers, breakers }
    }

    fn told(figures: &Figures, gauges: &Gauges) -> Vec<Datum> {
        telling(figures, gauges, &[]).data()
    }

    fn of<'a>(data: &'a [Datum], name: &str) -> Vec<&'a Datum> {
        data.iter().filter(|datum| datum.metric.name == name).collect()
    }

    /// Something of everything.
    fn busy_minute() -> (Figures, Gauges, Vec<OpenBreaker>) {
        let mut figures = Figures::default();
        for times in [
            &mut figures.processing_time,
            &mut figures.processing_time_stale,
            &mut figures.handling_time,
            &mut figures.queue_wait,
            &mut figures.send_wait,
            &mut figures.send_time,
        ] {
            times.add(Duration::from_millis(1_500));
        }
        figures.requests.insert("get@example.com".into(), 2);
        figures.ended.insert(("ignored", "robot"), 1);
        let depth = replyfleet::queue::Depth { visible: 7, parked: Some(1), ..Default::default() };
        let oldest_age = Some(Duration::from_millis(2_500));
        let gauges = Gauges { depth: Some(depth), oldest_age, in_hand: 3, busy_fraction: 0.75, workers: Some(4), ..Gauges::default() };
        (figures, gauges, vec![OpenBreaker { name: "send.SES", reason: "paused", since: AT }])
    }

    #[test]
    fn an_idle_minute_has_every_gauge_and_the_counts_that_alarms_look_at() {
        let data = told(&Figures::default(), &Gauges::default());
        let names: Vec<&str> = data.iter().map(|datum| datum.metric.name).collect();
        assert_eq!(names, ["response_sent", "message_received", "ses_throttled", "busy_fraction", "in_hand", "oldest_age", "catalogue_age"]);
        assert!(data.iter().all(|datum| datum.values == [(0.0, 1.0)]), "{data:?}");
    }

    #[test]
    fn the_dimensions_are_exactly_the_group_and_what_the_table_names() {
        let (figures, gauges, breakers) = busy_minute();
        let data = telling(&figures, &gauges, &breakers).data();
        for metric in PUBLISHED {
            let found = of(&data, metric.name);
            assert_eq!(found.len(), 1, "{}", metric.name);
            let names: Vec<&str> = found[0].dimensions.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [&[GROUP], metric.dimensions].concat(), "{}", metric.name);
            assert_eq!(found[0].dimensions[0].1, "workers");
        }
        assert_eq!(of(&data, "ended")[0].dimensions[1..], [("Outcome", "ignored".into()), ("Why", "robot".into())]);
    }

    #[test]
    fn times_are_milliseconds_under_that_unit_and_ages_are_seconds() {
        let (figures, gauges, breakers) = busy_minute();
        let data = telling(&figures, &gauges, &breakers).data();
        for name in ["processing_time", "processing_time_stale", "handling_time", "queue_wait", "send_wait", "send_time"] {
            let datum = of(&data, name)[0];
            assert_eq!((datum.metric.unit, datum.values.as_slice()), (Unit::Milliseconds, &[(1_500.0 - 1_500.0 % 32.0, 1.0)][..]), "{name}");
        }
        assert_eq!((of(&data, "oldest_age")[0].metric.unit, of(&data, "oldest_age")[0].values[0].0), (Unit::Seconds, 2.5));
        assert_eq!((of(&data, "busy_fraction")[0].metric.unit, of(&data, "busy_fraction")[0].values[0].0), (Unit::None, 0.75));
        assert_eq!((of(&data, "queue_depth")[0].metric.unit, of(&data, "queue_depth")[0].values[0].0), (Unit::Count, 7.0));
    }

    #[test]
    fn the_reported_time_is_a_workers_part_of_the_fleets_also_with_the_last_counts() {
        let (figures, gauges, _) = busy_minute();
        for gauges_told in [Some(&gauges), None] {
            let data = Told { gauges: gauges_told, ..telling(&figures, &gauges, &[]) }.data();
            let reported = of(&data, "reported_time");
            assert_eq!((reported[0].metric.unit, reported[0].values.as_slice()), (Unit::Seconds, &[(2.5, 1.0)][..]), "10 s of one of four");
        }
        let nobody_counted = Told { workers: None, ..telling(&figures, &gauges, &[]) }.data();
        assert!(of(&nobody_counted, "reported_time").is_empty(), "it would be a guess");
    }

    #[test]
    fn no_datum_has_more_values_than_cloudwatch_takes_and_none_is_lost() {
        let mut figures = Figures::default();
        for second in 0..100_000_u64 {
            figures.queue_wait.add(Duration::from_millis(second * 731));
        }
        let data = told(&figures, &Gauges::default());
        let waits = of(&data, "queue_wait");
        assert!(waits.len() > 1 && waits.iter().all(|datum| datum.values.len() <= VALUES_MAX), "{}", waits.len());
        let count: f64 = waits.iter().flat_map(|datum| &datum.values).map(|(_, count)| count).sum();
        assert!((count - 100_000.0).abs() < 0.5, "{count}");
    }

    #[test]
    fn a_call_has_no_more_data_and_bytes_than_cloudwatch_takes() {
        let gauges = Gauges::default();
        let figures = Figures::default();
        let told = telling(&figures, &gauges, &[]);
        let small: Vec<Datum> = (0..2_500).map(|_| told.count(&table::RESPONSE_SENT, [], 1)).collect();
        let sizes: Vec<usize> = parcels(AT, "replyfleet", small).iter().map(|parcel| parcel.data.len()).collect();
        assert_eq!(sizes, [1_000, 1_000, 500]);
        let large = |_| Datum { values: vec![(1.0, 1.0); VALUES_MAX], ..told.count(&table::RESPONSE_SENT, [], 1) };
        let parcels = parcels(AT, "replyfleet", (0..1_000).map(large).collect());
        assert!(parcels.len() > 1, "150 values in each of a thousand are more than 1 MB");
        for parcel in &parcels {
            assert!(parcel.data.iter().map(Datum::bytes).sum::<usize>() <= CALL_BYTES_MAX);
        }
        assert_eq!(parcels.iter().map(|parcel| parcel.data.len()).sum::<usize>(), 1_000);
    }

    #[test]
    fn a_catalogue_of_thousands_of_addresses_makes_no_more_metrics_than_the_limit() {
        let mut figures = Figures::default();
        for number in 0..3_000_u64 {
            figures.requests.insert(format!("a{number}@example.com"), 1 + number % 7);
        }
        let all: u64 = figures.requests.values().sum();
        for has_other in [false, true] {
            if has_other {
                figures.requests.insert(OTHER_ADDRESSES.into(), 5);
            }
            let asked = most_asked(&figures.requests);
            assert_eq!(asked.len(), ADDRESSES_MAX - usize::from(has_other), "{has_other}");
            assert_eq!(asked.iter().map(|(_, count)| count).sum::<u64>(), all + if has_other { 5 } else { 0 });
            assert_eq!(asked.iter().filter(|(address, _)| *address == OTHER_ADDRESSES).count(), 1);
        }
    }

    #[test]
    fn a_dimension_is_printable_ascii_whatever_the_catalogue_has() {
        for (text, wanted) in [("get@example.com", "get@example.com"), ("é@x", "%C3%A9@x"), (":a@x", "%3Aa@x"), ("\"a b\"@x", "\"a%20b\"@x")] {
            assert_eq!(plain(text), wanted);
        }
    }
}
