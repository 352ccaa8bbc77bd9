//! What goes to CloudWatch when it works, when it does not, and at the end. Periods are short; the sink does what it is told.

use replyfleet::clock::SystemClock;
use tokio::sync::mpsc;

use super::*;
use crate::metrics::data::Datum;

const PERIOD: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(20);

/// Tells of each parcel that it gets, and says what the test wants.
struct Scripted {
    script: Mutex<VecDeque<Failure>>,
    is_hung: bool,
    got: mpsc::UnboundedSender<(Parcel, bool)>,
}

#[async_trait]
impl Sink for Scripted {
    async fn put(&self, parcel: &Parcel) -> Result<(), Failure> {
        let failure = self.script.lock().expect("whole").pop_front();
        let _ = self.got.send((parcel.clone(), failure.is_none())); // the test has ended
        if self.is_hung {
            std::future::pending::<()>().await;
        }
        failure.map_or(Ok(()), Err)
    }
}

struct World {
    publisher: Publisher,
    metrics: Arc<Metrics>,
    got: mpsc::UnboundedReceiver<(Parcel, bool)>,
}

impl World {
    fn start(script: Vec<Failure>, is_hung: bool, period: Duration) -> Self {
        let (sender, got) = mpsc::unbounded_channel();
        let sink = Arc::new(Scripted { script: Mutex::new(script.into()), is_hung, got: sender });
        let metrics = Arc::new(Metrics::default());
        metrics.received(Some(Duration::from_millis(7)));
        let plan = Plan { namespace: "replyfleet".into(), period, busy_every: PERIOD * 2, host: None };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(publish(plan, sink, "workers", Arc::clone(&metrics), Arc::new(SystemClock), stopped));
        Self { publisher: Publisher { stop, task }, metrics, got }
    }

    /// The next parcel, and whether it was taken.
    async fn next(&mut self) -> (Parcel, bool) {
        tokio::time::timeout(DEADLINE, self.got.recv()).await.expect("in time").expect("it publishes")
    }

    /// All that comes until the publisher has ended.
    async fn rest(mut self) -> Vec<(Parcel, bool)> {
        self.publisher.finish().await;
        let mut rest = Vec::new();
        while let Some(got) = self.got.recv().await {
            rest.push(got);
        }
        rest
    }
}

fn away() -> Failure {
    Failure::NotDone("throttled".into())
}

fn of<'a>(parcel: &'a Parcel, name: &str) -> Option<&'a Datum> {
    parcel.data.iter().find(|datum| datum.metric.name == name)
}

fn received(parcel: &Parcel) -> f64 {
    of(parcel, "message_received").expect("in every parcel").values[0].0
}

#[tokio::test]
async fn every_period_has_its_own_batch_and_each_message_is_in_one_of_them() {
    let mut world = World::start(vec![], false, PERIOD);
    let (first, _) = world.next().await;
    world.metrics.received(None);
    let mut parcels = vec![first];
    for _ in 0..5 {
        parcels.push(world.next().await.0);
    }
    parcels.extend(world.rest().await.into_iter().map(|(parcel, _)| parcel));
    assert!((parcels.iter().map(received).sum::<f64>() - 2.0).abs() < 1e-9, "{parcels:?}");
    assert!((received(&parcels[0]) - 1.0).abs() < 1e-9);
    let waits: Vec<_> = parcels.iter().filter_map(|parcel| of(parcel, "queue_wait")).flat_map(|datum| &datum.values).collect();
    assert_eq!(waits, [&(7.0, 1.0)]);
    let (last, others) = parcels.split_last().expect("some");
    for parcel in others {
        assert_eq!(parcel.at.0 % 50, 49, "the last millisecond of its period");
        assert!(of(parcel, "oldest_age").is_some(), "gauges are never missing");
    }
    let busy: Vec<u64> = others.iter().filter(|parcel| of(parcel, "busy_fraction").is_some()).map(|parcel| parcel.at.0 / 100).collect();
    assert!(!busy.is_empty() && busy.windows(2).all(|pair| pair[0] < pair[1]), "once in a time of its own: {busy:?}");
    assert!(others.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert!(of(last, "oldest_age").is_none(), "a part of a period says nothing of what is so");
}

#[tokio::test]
async fn what_surely_did_not_arrive_is_sent_later_once_with_its_own_stamp() {
    let mut world = World::start(vec![away(), away(), away()], false, PERIOD);
    let (first, is_taken) = world.next().await;
    assert!(!is_taken);
    let mut taken: Vec<Parcel> = Vec::new();
    while taken.len() < 6 {
        let (parcel, is_taken) = world.next().await;
        taken.extend(is_taken.then_some(parcel));
    }
    taken.extend(world.rest().await.into_iter().filter_map(|(parcel, is_taken)| is_taken.then_some(parcel)));
    assert_eq!(taken[0], first, "as it was, and the oldest first");
    assert!(taken.windows(2).all(|pair| pair[0].at < pair[1].at), "each once: {taken:?}");
    assert!((taken.iter().map(received).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn what_may_have_arrived_is_not_sent_again() {
    let mut world = World::start(vec![Failure::Uncertain("no answer".into())], false, PERIOD);
    let (lost, _) = world.next().await;
    for _ in 0..3 {
        let (parcel, is_taken) = world.next().await;
        assert!(is_taken && parcel.at > lost.at);
    }
}

#[tokio::test]
async fn what_cloudwatch_will_never_take_keeps_nothing_back() {
    let mut world = World::start(vec![away(), Failure::Unfit("a value".into())], false, PERIOD);
    let (unfit, _) = world.next().await;
    assert_eq!(world.next().await, (unfit.clone(), false));
    let (next, is_taken) = world.next().await;
    assert!(is_taken && next.at > unfit.at);
}

#[tokio::test]
async fn what_was_not_told_yet_is_told_at_the_end_even_before_the_first_period_is_over() {
    let world = World::start(vec![], false, Duration::from_secs(3_600));
    let rest = world.rest().await;
    assert_eq!(rest.len(), 1);
    assert!((received(&rest[0].0) - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_sink_that_never_answers_delays_neither_the_count_nor_the_end() {
    let mut world = World::start(vec![], true, PERIOD);
    world.next().await;
    world.metrics.received(None);
    assert_eq!(world.metrics.figures().received, 2);
    let start = Instant::now();
    assert!(world.rest().await.is_empty(), "one call at a time");
    assert!(start.elapsed() < STOP_TIME + Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_waits_for_too_long_is_given_up() {
    let backlog = Backlog::default();
    let minute = |minute: u64| Parcel { at: UnixMillis(minute * 60_000), namespace: "replyfleet".into(), data: vec![] };
    let given_up: Vec<usize> = (0..18).map(|at| backlog.push(minute(at))).collect();
    assert_eq!(given_up, [vec![0; 15], vec![1; 3]].concat());
    assert_eq!(backlog.lock().len(), 15);
    assert_eq!(backlog.lock().front(), Some(&minute(3)), "the oldest are gone");
}

#[test]
fn a_batch_lies_in_the_period_of_which_it_tells_whatever_the_clock_does() {
    let (minute, millis) = (Duration::from_secs(60), UnixMillis);
    assert_eq!(period_end(millis(60_000), minute), millis(120_000));
    assert_eq!(period_end(millis(119_999), minute), millis(120_000));
    for (now, wanted) in [(120_003, 119_999), (119_990, 119_999), (179_000, 119_999), (500_000, 479_999), (1_000, 119_999)] {
        assert_eq!(stamp(millis(120_000), millis(now), minute), millis(wanted), "{now}");
    }
}
