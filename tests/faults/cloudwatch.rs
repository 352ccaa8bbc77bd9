//! Row 32: CloudWatch is away, slow, refuses or says nonsense. Mail is answered as fast, nothing is counted twice, and what surely did
//! not arrive comes later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Datapoint, Dimension, StandardUnit, Statistic},
};
use replyfleet::clock::UnixMillis;
use replyfleet_tests::{
    cloudwatch::{Endpoint, PUT},
    faults::{Fault, Rule},
    installation::aws,
    metadata::Metadata,
    ministack::Ministack,
    skipped, wait_for,
    web::{Answer, serve},
};

use crate::bed::{Bed, PATIENCE};

const BASE: &str = "database.url = \"sqlite:DIR/ledger.db\"\nsend.SES = { kind = \"maildir\", dir = \"DIR/replies\" }";
const MAILS: usize = 20;
/// All mails are answered in that time, on a slow machine; a call to CloudWatch is given up after five seconds, and there are twenty mails.
const QUICK: Duration = Duration::from_secs(30);
/// The end of a worker, on a slow machine. How long exactly the metrics may delay it is a test of the publisher.
const STOP_QUICK: Duration = Duration::from_secs(20);

fn settings(url: &str, more: &str) -> String {
    let aws = aws(url).replace(" }", ", imds_endpoint_url = \"http://127.0.0.1:9\" }");
    format!("{BASE}\naws = {aws}\nmetrics = {{ cloudwatch = true, period_s = 1, sample_s = 1, {more} }}")
}

fn bed(url: &str) -> Bed {
    Bed::new(&settings(url, "auto_scaling_group = \"workers\""))
}

/// All mails, answered; how long that took.
async fn answer(bed: &Bed) -> Duration {
    let start = Instant::now();
    for number in 0..MAILS {
        bed.put(number).await;
    }
    bed.wait_until_empty();
    assert_eq!(bed.answered("replies").len(), MAILS, "each once");
    start.elapsed()
}

fn is_about(sum: f64, count: usize) -> bool {
    (sum - count as f64).abs() < 1e-6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_surely_did_not_arrive_comes_later_and_once() {
    for (status, code) in [(400, "Throttling"), (503, "ServiceUnavailable"), (403, "AccessDenied")] {
        let cloudwatch = Endpoint::start();
        let fault = cloudwatch.faults().add(Rule::new(PUT, Fault::Answer { status, code: code.into() }));
        let bed = bed(&cloudwatch.endpoint());
        let start = Instant::now();
        let mut worker = bed.start_ready();
        let took = answer(&bed).await;
        assert!(took < QUICK, "{code}: {took:?}");
        worker.wait_until_logged(&["WARN", "CloudWatch does not take metrics", code]);
        wait_for("three periods", PATIENCE, || (cloudwatch.calls() >= 3).then_some(()));
        assert!(cloudwatch.data().is_empty());
        cloudwatch.faults().remove(fault);
        worker.wait_until_logged(&["INFO", "CloudWatch takes metrics again"]);
        wait_for(&format!("all counts after {code}"), PATIENCE, || is_about(cloudwatch.sum("message_received"), MAILS).then_some(()));
        let lines_max = 1 + start.elapsed().as_secs() as usize / 60;
        assert!(worker.logged(&["CloudWatch does not take metrics"]) <= lines_max, "one line a minute");
        worker.stop();
        assert!(is_about(cloudwatch.sum("response_sent"), MAILS) && is_about(cloudwatch.sum("message_received"), MAILS), "{code}");
        assert_eq!(cloudwatch.refusals(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_arrived_is_never_counted_twice() {
    for fault in [Fault::ActThenHang, Fault::ActThenCut, Fault::BlackHole, Fault::Answer { status: 500, code: "InternalServiceFault".into() }] {
        let cloudwatch = Endpoint::start();
        let id = cloudwatch.faults().add(Rule::new(PUT, fault.clone()));
        let bed = bed(&cloudwatch.endpoint());
        let mut worker = bed.start_ready();
        let took = answer(&bed).await;
        assert!(took < QUICK, "{fault:?}: {took:?}");
        worker.wait_until_logged(&["WARN", "CloudWatch does not take metrics"]);
        cloudwatch.faults().remove(id);
        worker.wait_until_logged(&["INFO", "CloudWatch takes metrics again"]);
        let start = Instant::now();
        worker.stop();
        assert!(start.elapsed() < STOP_QUICK, "{fault:?}: {:?}", start.elapsed());
        let (sum, is_kept) = (cloudwatch.sum("message_received"), matches!(fault, Fault::ActThenHang | Fault::ActThenCut));
        assert!(sum <= MAILS as f64 + 1e-6, "{fault:?}: {sum}");
        assert!(!is_kept || is_about(sum, MAILS), "{fault:?}: {sum}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloudwatch_that_never_answers_does_not_keep_a_worker_from_ending() {
    let cloudwatch = Endpoint::start();
    cloudwatch.faults().add(Rule::new(PUT, Fault::BlackHole));
    let bed = bed(&cloudwatch.endpoint());
    let worker = bed.start_ready();
    answer(&bed).await;
    wait_for("a call", PATIENCE, || (cloudwatch.calls() > 0).then_some(()));
    let start = Instant::now();
    worker.stop();
    assert!(start.elapsed() < STOP_QUICK, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_cloudwatch_disturbs_nobody() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let bodies = [(200, "<html>"), (502, "<html>"), (200, "\u{ff}\0"), (418, "")];
    let url = serve(move |_| {
        let (status, body) = bodies[seen.fetch_add(1, Ordering::SeqCst) % bodies.len()];
        Answer::new(status, body)
    });
    let bed = bed(&url);
    let worker = bed.start_ready();
    assert!(answer(&bed).await < QUICK);
    wait_for("all kinds of nonsense", PATIENCE, || (calls.load(Ordering::SeqCst) >= 6).then_some(()));
    worker.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_tells_of_every_period_and_calls_once_a_period_however_much_mail_there_is() {
    let cloudwatch = Endpoint::start();
    let bed = bed(&cloudwatch.endpoint());
    let start = Instant::now();
    let worker = bed.start_ready();
    answer(&bed).await;
    let every_period = ["in_hand", "oldest_age", "queue_depth", "response_sent", "message_received", "catalogue_age"];
    wait_for("six periods", PATIENCE, || every_period.iter().all(|name| cloudwatch.of(name).len() >= 6).then_some(()));
    worker.stop();
    let most = start.elapsed().as_secs() + 3;
    assert!(cloudwatch.calls() <= most, "{} calls in {most} s", cloudwatch.calls());
    assert!(is_about(cloudwatch.sum("response_sent"), MAILS) && is_about(cloudwatch.sum("message_received"), MAILS), "the last part too");
    let answered: f64 = cloudwatch.of("processing_time").iter().flat_map(|datum| &datum.values).map(|(_, count)| count).sum();
    assert!(is_about(answered, MAILS), "{answered}");
    for datum in cloudwatch.data() {
        assert_eq!((datum.namespace.as_str(), datum.resolution_s), ("replyfleet", 1));
        assert_eq!(datum.dimensions["AutoScalingGroupName"], "workers");
    }
    let reported = cloudwatch.of("reported_time");
    let seconds: f64 = reported.iter().flat_map(|datum| &datum.values).map(|(value, _)| value).sum();
    // One worker is the whole fleet. A batch from before it was counted does not say.
    assert!(reported.len() >= 5 && seconds <= start.elapsed().as_secs_f64() && seconds >= 4.0, "{seconds} s in {} batches", reported.len());
    for name in every_period {
        let data = cloudwatch.of(name);
        assert!(data.iter().all(|datum| datum.dimensions.len() == 1), "{name}");
    }
    let stamps: Vec<u64> = cloudwatch.of("in_hand").iter().map(|datum| datum.at.0).collect();
    assert!(stamps.iter().all(|stamp| stamp % 1_000 == 999), "the last millisecond of a period: {stamps:?}");
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
    assert_eq!(cloudwatch.refusals(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_is_the_machines_own_if_the_settings_name_none_and_without_one_nothing_is_published() {
    let (cloudwatch, metadata) = (Endpoint::start(), Metadata::start(&[("tags/instance/aws:autoscaling:groupName", "by-tag")]));
    let text = settings(&cloudwatch.endpoint(), "host = true").replace("http://127.0.0.1:9", &metadata.url);
    let bed = Bed::new(&text);
    let worker = bed.start_ready();
    wait_for("metrics", PATIENCE, || (!cloudwatch.of("MemoryUtilization").is_empty()).then_some(()));
    worker.stop();
    let (memory, disk, own) = (cloudwatch.of("MemoryUtilization"), cloudwatch.of("DiskSpaceUtilization"), cloudwatch.of("in_hand"));
    for datum in [&memory[0], &disk[0]] {
        assert_eq!((datum.namespace.as_str(), datum.unit.as_str()), ("System/Linux", "Percent"));
    }
    for datum in [&memory[0], &disk[0], &own[0]] {
        assert_eq!(datum.dimensions.iter().collect::<Vec<_>>(), [(&"AutoScalingGroupName".to_owned(), &"by-tag".to_owned())]);
    }

    // Away, its group is asked for a few times; the end of the worker does not wait for that.
    let elsewhere = Endpoint::start();
    bed.set(&settings(&elsewhere.endpoint(), ""));
    let worker = bed.start_ready();
    let start = Instant::now();
    worker.stop();
    assert!(start.elapsed() < STOP_QUICK && elsewhere.calls() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_read_back_from_an_emulator_of_aws() {
    let Ok(ministack) = Ministack::shared().map_err(|why| skipped(&why.0)) else { return };
    let group = format!("workers-{}", std::process::id());
    let bed = Bed::new(&settings(&ministack.endpoint(), &format!("auto_scaling_group = \"{group}\"")));
    let worker = bed.start_ready();
    answer(&bed).await;
    worker.stop();
    let client = aws_sdk_cloudwatch::Client::new(ministack.aws().await.config());
    let now = UnixMillis::now();
    let time = |at: UnixMillis| DateTime::from_millis(i64::try_from(at.0).unwrap());
    for (name, unit, statistic, wanted) in [
        ("response_sent", StandardUnit::Count, Statistic::Sum, MAILS),
        ("message_received", StandardUnit::Count, Statistic::Sum, MAILS),
        ("processing_time", StandardUnit::Milliseconds, Statistic::SampleCount, MAILS),
    ] {
        let dimension = Dimension::builder().name("AutoScalingGroupName").value(&group).build();
        let asked = client.get_metric_statistics().namespace("replyfleet").metric_name(name).dimensions(dimension).period(60);
        let asked = asked.start_time(time(now - Duration::from_secs(600))).end_time(time(now + Duration::from_secs(60)));
        let points = asked.statistics(statistic.clone()).unit(unit).send().await.unwrap().datapoints.unwrap_or_default();
        let value = |point: &Datapoint| if statistic == Statistic::Sum { point.sum } else { point.sample_count };
        let sum: f64 = points.iter().filter_map(value).sum();
        assert!(is_about(sum, wanted), "{name}: {points:?}");
    }
}
