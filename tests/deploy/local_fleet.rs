//! A surge sees a local fleet grow and shrink: real workers publish to an emulator of CloudWatch, its alarms tell SNS, and a [`bridge`] obeys
//! the policies of `ami/scaling.yaml` by starting workers and ending them as Auto Scaling ends machines. One SQS, one SES and one
//! database are everybody's.
//!
//! What differs from AWS: time passes a hundred times as fast as the template's, but for periods, which are a second, the shortest that
//! the emulator (ministack 1.5.33) has. It evaluates alarms on one metric and no metric math; so in the recommended profile its own
//! alarm on `processing_time`, which else only tells people, calls the way up, and the faithful profile's low one the way down. It looks
//! at an alarm whenever metrics come, ignores its dimensions (the test has a namespace of its own), and tells of a change only; that Auto
//! Scaling is called again while an alarm rings is the bridge's.

mod bridge;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Envelope, Facts, Mail, mail_key, request_key},
    keyed::Secret,
    queue::{Queue, sqs::SqsQueue},
};
use replyfleet_simulator::{
    scaling::{Alarm, Comparison, Input, Policy, Scaling, Statistic},
    template::{DEPLOYED, PROFILE, Template},
};
use replyfleet_tests::{
    autoscaling::AutoScaling,
    databases::{Kind, Server},
    eventually,
    faults::{Fault, Rule},
    ministack::{Ministack, load_aws, venv},
    ses, skipped, sqs,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::bridge::{Bridge, Fleet, SECRET, Wire};

/// So many times as fast as in the template time passes here.
const LAPSE: u32 = 100;
/// Mails of the surge, how long each has waited when it comes, and how often another comes, before and after.
const SURGE: usize = 60;
const WAITED: Duration = Duration::from_secs(20);
const QUIET_EVERY: Duration = Duration::from_millis(400);
/// The largest fleet.
const FLEET_MAX: u32 = 5;
/// How long SES takes for a mail. With two slots a worker answers four a second.
const SES_MS: u64 = 500;
/// How long anything may take on a machine that others use too. It takes a minute in all where nobody does.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long an idle fleet is watched: alarms ring, and it stays as it is.
const IDLE: Duration = Duration::from_secs(4);

/// The template's time, faster.
fn lapsed(mut scaling: Scaling) -> Scaling {
    let faster = |seconds: &mut u32| *seconds = (*seconds / LAPSE).max(1);
    faster(&mut scaling.group.cooldown_s);
    scaling.group.warmup_s.iter_mut().for_each(faster);
    for policy in scaling.policies.values_mut() {
        match policy {
            Policy::Simple { cooldown_s, .. } => cooldown_s.iter_mut().for_each(faster),
            Policy::Step { warmup_s, .. } | Policy::TargetTracking { warmup_s, .. } => warmup_s.iter_mut().for_each(faster),
        }
    }
    for alarm in scaling.alarms.values_mut() {
        if let Input::Metric(query) = &mut alarm.input {
            faster(&mut query.period_s);
        }
    }
    scaling
}

fn read(profile: &str, namespace: &str, more: &[(&str, &str)]) -> Scaling {
    let given = [(PROFILE, profile), ("MetricNamespace", namespace)];
    let given: BTreeMap<String, String> = given.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    lapsed(Template::parse(DEPLOYED).unwrap().scaling(&given).unwrap())
}

/// What `PutMetricAlarm` takes.
fn described(name: &str, alarm: &Alarm) -> Value {
    let Input::Metric(query) = &alarm.input else { panic!("{name}: the emulator knows no metric math") };
    let statistic = match query.statistic {
        Statistic::Average => "Average",
        Statistic::Maximum => "Maximum",
        other => panic!("{name}: {other:?} is not needed yet"),
    };
    let comparison = match alarm.comparison {
        Comparison::GreaterThanThreshold => "GreaterThanThreshold",
        Comparison::LessThanThreshold => "LessThanThreshold",
        other => panic!("{name}: {other:?} is not needed yet"),
    };
    json!({
        "AlarmName": name, "Namespace": query.namespace, "MetricName": query.name, "Statistic": statistic, "Period": query.period_s,
        "EvaluationPeriods": alarm.evaluation_periods, "ComparisonOperator": comparison, "Threshold": alarm.threshold,
    })
}

fn put_alarms(ministack: &Ministack, name: &str, wires: &[Wire]) {
    let alarms: Vec<Value> = wires.iter().map(|wire| described(&wire.name, &wire.alarm)).collect();
    let mut child = Command::new(venv().join("bin/python"))
        .arg(replyfleet_tests::repository().join("tests/deploy/local_fleet/alarms.py"))
        .args([ministack.endpoint(), name.to_owned()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(json!(alarms).to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "alarms.py failed");
}

/// Who sends requests: each of another sender, each once.
struct Senders {
    queue: SqsQueue,
    sent: AtomicUsize,
}

impl Senders {
    /// Sends one that the MX took so long ago.
    async fn send(&self, waited: Duration) {
        let number = self.sent.fetch_add(1, Ordering::SeqCst);
        let (secret, queue_id, sender) = (Secret::from_text(SECRET).unwrap(), format!("q{number}"), format!("a{number}@example.org"));
        let facts = Facts {
            request_key: request_key(&secret, "mx", &queue_id, "get@responder.test"),
            mail_key: mail_key(&secret, "mx", &queue_id),
            mail_from: sender.clone(),
            rcpt_to: "get@responder.test".into(),
            queue_id,
            host: "mx".into(),
            arrived: UnixMillis::now() - waited,
            ..Facts::default()
        };
        let mail = Mail::Inline(Bytes::from(format!("From: {sender}\nMessage-ID: <{number}@client.test>\n\nplease\n")));
        self.queue.put(&Envelope { facts, mail }).await.unwrap();
    }
}

/// A fleet under this policy, with these alarms, through a surge and back.
async fn surge(name: &str, scaling: Scaling, wires: Vec<Wire>) {
    let (ministack, database) = match (Ministack::shared(), Server::shared(Kind::MariaDb)) {
        (Ok(ministack), Ok(database)) => (ministack, database),
        (Err(why), _) | (_, Err(why)) => return skipped(&why.0),
    };
    let (min, max) = (scaling.group.min, scaling.group.max);
    let (sqs, ses, group) = (sqs::Endpoint::start(), ses::Endpoint::start(), AutoScaling::start());
    let (queue, dead) = (sqs.create_queue("requests"), sqs.create_queue("dead"));
    sqs.redrive("requests", "dead", 1_000);
    ses.faults().add(Rule::new("SendEmail", Fault::Delay { ms: SES_MS }));
    put_alarms(ministack, name, &wires);
    let environment = vec![
        ("AWS_ENDPOINT_URL_SQS", sqs.endpoint()),
        ("AWS_ENDPOINT_URL_SESV2", ses.endpoint()),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", ministack.endpoint()),
        ("AWS_ENDPOINT_URL_AUTO_SCALING", group.url.clone()),
        ("REPLYFLEET_DATABASE_URL", database.new_database().await),
    ];
    let fleet = Fleet::new(name, [&queue, &dead], environment, group);
    let shown = Arc::new(Mutex::default());
    let (stop, stopped) = watch::channel(false);
    let notifications = (aws_sdk_sqs::Client::new(ministack.aws().await.config()), ministack.queue_url(name));
    let bridge = tokio::spawn(Bridge::new(scaling, wires, fleet, Arc::clone(&shown)).run(notifications, stopped.clone()));
    let look = || shown.lock().unwrap().clone();
    let until = async |what: &str, is_so: &dyn Fn(&bridge::Shown) -> bool| {
        let wait = eventually(what, PATIENCE, async || {
            assert!(!bridge.is_finished(), "the bridge has ended: {:?}", look());
            is_so(&look()).then_some(())
        });
        wait.await;
    };
    until("the smallest fleet", &|shown| shown.in_service == min).await;

    // Quiet: the low alarm rings, and there is nothing to end.
    let senders = Arc::new(Senders {
        queue: SqsQueue::new(&load_aws(sqs.endpoint()).await, &queue, &dead, Duration::from_secs(30), 262_144),
        sent: AtomicUsize::new(0),
    });
    let (quiet, mut is_over) = (Arc::clone(&senders), stopped);
    let trickle = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(QUIET_EVERY);
        while !*is_over.borrow_and_update() {
            ticks.tick().await;
            quiet.send(Duration::ZERO).await;
        }
    });
    until("the low alarm", &|shown| shown.ringing.iter().any(|alarm| alarm.contains("Low"))).await;
    let watched = UnixMillis::now();
    until("an idle fleet that stays as it is", &|_| UnixMillis::now().since(watched) > IDLE).await;
    assert_eq!((look().peak, look().scaled.clone()), (min, Vec::<String>::new()));

    for _ in 0..SURGE {
        senders.send(WAITED).await;
    }
    until("a grown fleet", &|shown| shown.in_service >= 3.max(min + 1)).await;
    until("the smallest fleet again", &|shown| shown.peak > min && (shown.desired, shown.in_service, shown.draining) == (min, min, 0)).await;

    stop.send_replace(true);
    trickle.await.unwrap();
    let sent = senders.sent.load(Ordering::SeqCst);
    let is_answered = |arrivals: &[replyfleet_tests::arrivals::Arrival]| {
        arrivals.iter().flat_map(|arrival| arrival.to.clone()).collect::<BTreeSet<_>>().len() == sent
    };
    eventually("all answers", PATIENCE, async || is_answered(&ses.arrivals()).then_some(())).await;
    let fleet = bridge.await.unwrap();
    let shown = look();
    eprintln!("{name}: {sent} mails, {:?}", shown.scaled);
    assert_eq!(ses.arrivals().len(), sent, "each once");
    assert_eq!(sqs.messages("dead"), [""; 0]);
    assert!(shown.peak >= 3 && shown.peak <= max, "{shown:?}");
    assert!(shown.ended >= shown.peak - min, "{shown:?}");
    eventually("an empty queue", PATIENCE, async || sqs.messages("requests").is_empty().then_some(())).await;
    drop(fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_surge_sees_a_fleet_of_real_workers_grow_and_shrink_by_the_faithful_policy() {
    let name = format!("faithful-{}", std::process::id());
    let mut scaling = read("faithful", &name, &[]);
    // No more than a test's machine carries; on a busy one the policy would call for nine.
    scaling.group.max = scaling.group.max.min(FLEET_MAX);
    // Its alarms as they are; the other signals are the machines', and nobody publishes them here.
    let wires = ["FaithfulProcessingTimeHigh", "FaithfulProcessingTimeLow"].map(|alarm| {
        let deployed = scaling.alarms[alarm].clone();
        let [policy] = deployed.actions.as_slice() else { panic!("one policy") };
        Wire { name: format!("{alarm}-{name}"), policy: policy.clone(), alarm: deployed, unit: 1.0 }
    });
    surge(&name, scaling, wires.into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_surge_sees_a_fleet_of_real_workers_grow_and_shrink_by_the_recommended_policy() {
    let name = format!("recommended-{}", std::process::id());
    let scaling = read("recommended", &name, &[("WorkersMin", "2"), ("WorkersMax", &FLEET_MAX.to_string())]);
    let low = read("faithful", &name, &[]).alarms["FaithfulProcessingTimeLow"].clone();
    let wires = vec![
        // Its steps are in seconds, and the alarm is in milliseconds.
        Wire { name: format!("High-{name}"), alarm: scaling.alarms["ProcessingTimeHigh"].clone(), policy: "PredictedWaitUp".into(), unit: 1_000.0 },
        Wire { name: format!("Low-{name}"), alarm: low, policy: "Down".into(), unit: 1_000.0 },
    ];
    surge(&name, scaling, wires).await;
}
