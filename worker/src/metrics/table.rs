//! Every metric, once: its name, unit, dimensions and meaning. CloudWatch, /metrics and `docs/metrics.md` are made from it, or
//! held against it by a test. Pure.

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many there were in a period; a sum since the start at `/metrics`.
    Counter,
    /// How much there is now.
    Gauge,
    /// Each of many values.
    Distribution,
}

/// A unit, as CloudWatch calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Unit {
    Milliseconds,
    Seconds,
    Count,
    Percent,
    /// A share from 0 to 1.
    None,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// What a value is.
    pub kind: Kind,
    /// Its dimensions in CloudWatch beside [`GROUP`].
    pub dimensions: &'static [&'static str],
    /// Its labels at `/metrics`.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence without a full stop.
    pub help: &'static str,
}

impl Metric {
    /// Its name at `/metrics`.
    pub fn exposed_name(&self) -> String {
        let suffix = match (self.kind, self.unit) {
            (Kind::Counter, Unit::Seconds) => "_seconds_total",
            (Kind::Counter, _) => "_total",
            (_, Unit::Milliseconds) => "_milliseconds",
            (_, Unit::Seconds) => "_seconds",
            _ => "",
        };
        format!("replyfleet_{}{suffix}", self.name)
    }
}

/// The dimension of every metric.
pub const GROUP: &str = "AutoScalingGroupName";

const fn times(name: &'static str, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Milliseconds, kind: Kind::Distribution, dimensions: &[], labels: &[], help }
}

const fn count(name: &'static str, dimensions: &'static [&'static str], labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, unit: Unit::Count, kind: Kind::Counter, dimensions, labels, help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, unit, kind: Kind::Gauge, dimensions: &[], labels: &[], help }
}

/// Its help says what it is.
pub const PROCESSING_TIME: Metric =
    times("processing_time", "From when the MX took a mail to the acceptance of its last reply, once for each answered message; below zero is zero");
/// Its help says what it is.
pub const PROCESSING_TIME_STALE: Metric =
    times("processing_time_stale", "The same for messages that were replayed from the dead letters or are older than an hour");
/// Its help says what it is.
pub const HANDLING_TIME: Metric = times("handling_time", "For how long a worker had a message in hand, once for each receipt");
/// Its help says what it is.
pub const QUEUE_WAIT: Metric = times("queue_wait", "From when the MX took a mail to its first receipt; not of replayed messages");
/// Its help says what it is.
pub const SEND_WAIT: Metric = times("send_wait", "For how long a reply was put back because of a rate, each time");
/// Its help says what it is.
pub const SEND_TIME: Metric = times("send_time", "How long a next hop took for a reply, whatever came of it");
/// Its help says what it is.
pub const RESPONSE_SENT: Metric = count("response_sent", &[], &["method"], "Replies that a next hop accepted");
/// Its help says what it is.
pub const MESSAGE_RECEIVED: Metric = count("message_received", &[], &[], "Messages that were received for the first time");
/// Its help says what it is.
pub const SES_THROTTLED: Metric = count("ses_throttled", &[], &["method"], "Times that a next hop said that we send too fast");
/// Its help says what it is.
pub const REQUEST: Metric = count("request", &["Address"], &["address"], "Requests that ended, by the address of ours that they asked");
/// Its help says what it is.
pub const ENDED: Metric = count("ended", &["Outcome", "Why"], &["outcome", "why"], "Receipts that ended, by outcome and why");
/// Its help says what it is.
pub const BUSY_FRACTION: Metric =
    gauge("busy_fraction", Unit::None, "Share of the slots that was taken in the last minute; in CloudWatch one value a minute from each worker");
/// Only to CloudWatch: `/metrics` is asked one worker at a time.
pub const REPORTED_TIME: Metric = gauge(
    "reported_time",
    Unit::Seconds,
    "The part of the fleet's time that a batch tells of: for how long its worker counted, divided by the number of workers",
);
/// Its help says what it is.
pub const IN_HAND: Metric = gauge("in_hand", Unit::Count, "Messages that the worker has in hand");
/// Its help says what it is.
pub const QUEUE_DEPTH: Metric = gauge("queue_depth", Unit::Count, "Messages that wait in the whole queue and could be received now");
/// Its help says what it is.
pub const OLDEST_AGE: Metric = gauge("oldest_age", Unit::Seconds, "How long the oldest message has waited that nobody received yet");
/// Its help says what it is.
pub const PARKED: Metric = gauge("parked", Unit::Count, "Messages in the dead letters, where the queue tells");
/// Its help says what it is.
pub const CATALOGUE_AGE: Metric = gauge("catalogue_age", Unit::Seconds, "For how long the store has not said that the catalogue in force is its own");
/// Its help says what it is.
pub const BREAKER_OPEN: Metric = Metric {
    name: "breaker_open",
    unit: Unit::Count,
    kind: Kind::Gauge,
    dimensions: &["Breaker"],
    labels: &["breaker"],
    help: "1 while this is away: ledger, dns, store, send.SES or send.SMTP",
};
/// Only at `/metrics`; so the next two.
pub const BUSY: Metric = Metric {
    name: "busy",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    dimensions: &[],
    labels: &[],
    help: "The time that slots were taken, added up over all slots",
};
/// Its help says what it is.
pub const SLOTS: Metric = gauge("slots", Unit::Count, "Messages that the worker can have in hand");
/// Its help says what it is.
pub const INFO: Metric = Metric {
    name: "info",
    unit: Unit::None,
    kind: Kind::Gauge,
    dimensions: &[],
    labels: &["worker", "version", "catalogue"],
    help: "Always 1: who this worker is",
};
/// Only to CloudWatch, in the namespace [`HOST_NAMESPACE`]; so the next one.
pub const MEMORY: Metric = gauge("MemoryUtilization", Unit::Percent, "Share of the machine's memory that is not available to a new program");
/// Its help says what it is.
pub const DISK: Metric = gauge("DiskSpaceUtilization", Unit::Percent, "Share of the disk with the spool that is used, else of the root's");

/// Only to CloudWatch, by `replyfleet mail-queue`; so the next one.
pub const MAIL_QUEUE_DEPTH: Metric = gauge("mail_queue_depth", Unit::Count, "Mails that wait in the queues of the machine's Postfix");
/// Its help says what it is.
pub const MAIL_QUEUE_AGE: Metric = gauge("mail_queue_age", Unit::Seconds, "How long ago the oldest of them came");

/// The namespace that Amazon's own scripts gave to what a machine says of itself, and the ancestor's alarms look in.
pub const HOST_NAMESPACE: &str = "System/Linux";

/// What is at `/metrics`, in its order.
pub const EXPOSED: [&Metric; 21] = [
    &PROCESSING_TIME,
    &PROCESSING_TIME_STALE,
    &HANDLING_TIME,
    &QUEUE_WAIT,
    &SEND_WAIT,
    &SEND_TIME,
    &RESPONSE_SENT,
    &MESSAGE_RECEIVED,
    &SES_THROTTLED,
    &REQUEST,
    &ENDED,
    &BUSY,
    &BUSY_FRACTION,
    &IN_HAND,
    &SLOTS,
    &QUEUE_DEPTH,
    &OLDEST_AGE,
    &PARKED,
    &BREAKER_OPEN,
    &CATALOGUE_AGE,
    &INFO,
];

/// What goes to CloudWatch in our own namespace.
pub const PUBLISHED: [&Metric; 19] = [
    &PROCESSING_TIME,
    &PROCESSING_TIME_STALE,
    &HANDLING_TIME,
    &QUEUE_WAIT,
    &SEND_WAIT,
    &SEND_TIME,
    &RESPONSE_SENT,
    &MESSAGE_RECEIVED,
    &SES_THROTTLED,
    &REQUEST,
    &ENDED,
    &BUSY_FRACTION,
    &REPORTED_TIME,
    &IN_HAND,
    &QUEUE_DEPTH,
    &OLDEST_AGE,
    &PARKED,
    &BREAKER_OPEN,
    &CATALOGUE_AGE,
];

/// What a machine says of itself, only to CloudWatch: the first two by a worker or by `replyfleet mail-queue`, the others by the latter.
pub const OF_MACHINE: [&Metric; 4] = [&MEMORY, &DISK, &MAIL_QUEUE_DEPTH, &MAIL_QUEUE_AGE];

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

    #[test]
    fn the_document_has_a_row_for_every_metric_with_its_unit_dimension_and_exposed_name() {
        let rows: Vec<Vec<&str>> =
            DOCUMENT.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').map(str::trim).collect()).collect();
        for metric in EXPOSED.iter().chain(&PUBLISHED).chain(&OF_MACHINE) {
            let row = rows.iter().find(|row| row[1] == format!("`{}`", metric.name)).unwrap_or_else(|| panic!("{} has no row", metric.name));
            assert_eq!(row[2], format!("{:?}", metric.unit), "{}", metric.name);
            assert_eq!(
                row[3],
                if PUBLISHED.contains(metric) || OF_MACHINE.contains(metric) { metric.dimensions.join(", ") } else { "not there".into() }
            );
            let exposed = if EXPOSED.contains(metric) { format!("`{}`", labelled(metric)) } else { "not there".into() };
            assert_eq!(row[4], exposed, "{}", metric.name);
        }
        let names: Vec<&str> = EXPOSED.iter().chain(&PUBLISHED).chain(&OF_MACHINE).map(|metric| metric.name).collect();
        for row in rows {
            assert!(names.contains(&row[1].trim_matches('`')), "{} is no metric", row[1]);
        }
    }

    fn labelled(metric: &Metric) -> String {
        let labels = metric.labels.join(",");
        metric.exposed_name() + &if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
    }
}
