//! The gatherer on a queue that holds every call until it is let through.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Facts, Mail},
    queue::{Chosen, Delivery, Depth, Limits, Parked, Receipt, Settlement, Unpark},
};
use tokio::sync::Semaphore;

use super::*;

/// Holds every call until it is let through, and notes what each carried.
struct Held {
    pace: PutPace,
    gate: Semaphore,
    calls: Mutex<Vec<usize>>,
}

impl Held {
    fn new(messages_max: usize, calls_max: usize) -> Arc<Self> {
        Arc::new(Self { pace: PutPace { messages_max, calls_max }, gate: Semaphore::new(0), calls: Mutex::default() })
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Queue for Held {
    async fn put(&self, _: &Envelope) -> Result<()> {
        unreachable!("the intake puts batches")
    }

    async fn put_all(&self, envelopes: &[Envelope]) -> Vec<Result<()>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(envelopes.len());
        self.gate.acquire().await.expect("open").forget();
        let is_bad = |envelope: &Envelope| envelope.facts.queue_id == "bad";
        envelopes.iter().map(|envelope| if is_bad(envelope) { Err(QueueError::Full("x".into())) } else { Ok(()) }).collect()
    }

    fn put_pace(&self) -> PutPace {
        self.pace
    }

    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Delivery>> {
        unreachable!()
    }

    async fn extend(&self, _: &[Receipt]) -> Vec<Result<()>> {
        unreachable!()
    }

    async fn settle(&self, _: &[(Delivery, Settlement)]) -> Vec<Result<()>> {
        unreachable!()
    }

    async fn depth(&self) -> Result<Depth> {
        unreachable!()
    }

    async fn parked(&self, _: usize) -> Result<Vec<Parked>> {
        unreachable!()
    }

    async fn unpark(&self, _: &Chosen, _: Unpark, _: UnixMillis, _: usize) -> Result<Vec<Bytes>> {
        unreachable!()
    }

    async fn limits(&self) -> Result<Limits> {
        unreachable!()
    }

    fn visibility(&self) -> Duration {
        unreachable!()
    }
}

fn envelope(queue_id: &str) -> Envelope {
    Envelope { facts: Facts { queue_id: queue_id.into(), ..Facts::default() }, mail: Mail::Inline(Bytes::new()) }
}

/// Puts so many mails at once; the results come when their calls are let through.
async fn put(intake: &Intake, count: usize) -> JoinSet<Result<()>> {
    let mut puts = JoinSet::new();
    for _ in 0..count {
        let intake = intake.clone();
        puts.spawn(async move { intake.put(&envelope("good")).await });
    }
    settled().await;
    puts
}

/// Until every task has done what it can without time passing.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

const LINGER: Duration = Duration::from_millis(3);

#[tokio::test]
async fn an_idle_queue_gets_a_mail_at_once_and_those_that_come_meanwhile_together() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), LINGER);
    let mut first = put(&intake, 1).await;
    assert_eq!(queue.calls(), [1]);
    let mut more = put(&intake, 14).await;
    assert_eq!(queue.calls(), [1], "one call at a time");
    queue.gate.add_permits(3);
    first.join_next().await.expect("a put").expect("no panic").expect("taken");
    while let Some(put) = more.join_next().await {
        put.expect("no panic").expect("taken");
    }
    assert_eq!(queue.calls(), [1, 10, 4]);
}

#[tokio::test]
async fn beside_a_call_under_way_mails_wait_until_they_are_as_many_as_a_call_takes() {
    let queue = Held::new(10, 2);
    let intake = Intake::start(queue.clone(), Duration::from_secs(3600));
    let _first = put(&intake, 1).await;
    let _nine = put(&intake, 9).await;
    assert_eq!(queue.calls(), [1], "they wait for others");
    let _tenth = put(&intake, 1).await;
    assert_eq!(queue.calls(), [1, 10]);
    let _more = put(&intake, 10).await;
    assert_eq!(queue.calls(), [1, 10], "no more calls side by side than the queue has at its best");
}

#[tokio::test]
async fn right_behind_a_call_a_mail_waits_for_others() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), Duration::from_secs(3600));
    queue.gate.add_permits(2);
    put(&intake, 1).await.join_next().await.expect("a put").expect("no panic").expect("taken");
    let mut next = put(&intake, 1).await;
    assert_eq!(queue.calls(), [1], "it waits for others");
    let _nine = put(&intake, 9).await;
    next.join_next().await.expect("a put").expect("no panic").expect("taken");
    assert_eq!(queue.calls(), [1, 10]);
}

#[tokio::test]
async fn some_time_behind_a_call_a_mail_goes_at_once() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), Duration::ZERO);
    queue.gate.add_permits(1);
    put(&intake, 1).await.join_next().await.expect("a put").expect("no panic").expect("taken");
    let _next = put(&intake, 1).await;
    assert_eq!(queue.calls(), [1, 1]);
}

#[tokio::test]
async fn beside_a_call_under_way_a_mail_waits_for_others_no_longer_than_its_linger() {
    let queue = Held::new(10, 2);
    let intake = Intake::start(queue.clone(), LINGER);
    let _first = put(&intake, 1).await;
    let _second = put(&intake, 2).await;
    let both = async {
        while queue.calls() != [1, 2] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("nobody came, and it went all the same");
}

#[tokio::test]
async fn each_mail_of_a_batch_has_its_own_result() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), LINGER);
    let _first = put(&intake, 1).await;
    let (bad, good) = (envelope("bad"), envelope("good"));
    queue.gate.add_permits(2);
    let (bad, good) = tokio::join!(intake.put(&bad), intake.put(&good));
    assert!(matches!(bad, Err(QueueError::Full(_))) && good.is_ok());
    assert_eq!(queue.calls().iter().sum::<usize>(), 3);
}

#[tokio::test]
async fn a_mail_whose_session_gave_up_before_its_call_is_not_put() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), LINGER);
    let mut first = put(&intake, 1).await;
    let mut given_up = put(&intake, 3).await;
    given_up.shutdown().await;
    queue.gate.add_permits(3);
    first.join_next().await.expect("a put").expect("no panic").expect("taken");
    intake.put(&envelope("good")).await.expect("taken");
    assert_eq!(queue.calls(), [1, 1]);
}

#[tokio::test]
async fn a_session_that_gave_up_does_not_disturb_the_others_and_the_gatherer_shows_that_it_moves() {
    let queue = Held::new(10, 1);
    let intake = Intake::start(queue.clone(), LINGER);
    let mut given_up = put(&intake, 1).await;
    given_up.abort_all();
    queue.gate.add_permits(2);
    intake.put(&envelope("good")).await.expect("taken");
    assert!(intake.pulse().is_beating(LINGER).await);
}
