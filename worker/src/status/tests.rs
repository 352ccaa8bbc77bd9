//! What is so at each step of a worker's life.

use super::*;
use crate::metrics::OpenBreaker;

fn watched(is_blocked: bool) -> Watched {
    let (metrics, pulse) = (Arc::default(), Arc::new(Pulse::new(Duration::from_secs(60))));
    Watched { metrics, pulse, stage: watch::Sender::new(Stage::Receiving).subscribe(), is_blocked: Arc::new(move || is_blocked) }
}

fn status() -> (watch::Sender<bool>, Status) {
    let (stop, is_stopping) = watch::channel(false);
    (stop, Status::new(Arc::new(Pulse::new(Duration::from_secs(60))), is_stopping, Errors::default()))
}

#[test]
fn a_worker_starts_answers_is_blocked_and_stops() {
    let (stop, status) = status();
    assert_eq!(status.readiness(), Readiness { state: State::Starting, waits_for: None });
    status.waits_for("the database");
    assert_eq!(status.readiness(), Readiness { state: State::Starting, waits_for: Some("the database") });
    assert_eq!((status.view().waits_for.as_deref(), status.metrics().is_some()), (Some("the database"), false));
    status.opened(watched(false));
    assert_eq!((status.readiness().state, status.metrics().is_some()), (State::Answering, true));
    status.opened(watched(true));
    assert_eq!(status.readiness().state, State::Blocked);
    stop.send_replace(true);
    assert_eq!(status.readiness().state, State::Stopping);
}

#[test]
fn an_open_worker_is_not_ready_before_it_receives() {
    let (_stop, status) = status();
    let stage = watch::Sender::new(Stage::Beginning);
    status.opened(Watched { stage: stage.subscribe(), ..watched(false) });
    assert_eq!(status.readiness(), Readiness { state: State::Starting, waits_for: Some("the database") });
    assert!(status.metrics().is_some(), "what it counts is served already");
    stage.send_replace(Stage::Receiving);
    assert_eq!(status.readiness(), Readiness { state: State::Answering, waits_for: None });
}

#[test]
fn a_loop_or_a_start_that_does_not_keep_its_word_is_stuck() {
    let (_stop, is_stopping) = watch::channel(false);
    let status = Status::new(Arc::new(Pulse::new(Duration::ZERO)), is_stopping, Errors::default());
    assert!(!status.is_alive() && !status.view().is_alive);
    let open = watched(false);
    status.opened(open.clone());
    assert!(status.is_alive());
    open.pulse.beat(Duration::ZERO);
    assert!(!status.is_alive());
}

#[test]
fn what_is_away_is_in_the_view() {
    let (_stop, status) = status();
    let open = watched(false);
    open.metrics.breaker_opened(OpenBreaker { name: "send.SES", reason: "paused", since: UnixMillis(7) });
    status.opened(open);
    let view = status.view();
    assert_eq!(view.breakers, [BreakerView { name: "send.SES".into(), reason: "paused".into(), since_ms: 7 }]);
    assert_eq!((view.queue, view.catalogue), (None, None), "nobody has looked yet");
}

#[test]
fn nothing_waits_for_long_where_nothing_waits() {
    let depth = |visible| Some(replyfleet::queue::Depth { visible, ..Default::default() });
    let gauges = |visible| Gauges { depth: depth(visible), oldest_age: Some(Duration::from_secs(9)), ..Gauges::default() };
    assert_eq!(queue(&gauges(0)).and_then(|queue| queue.oldest_s), None);
    assert_eq!(queue(&gauges(2)).and_then(|queue| queue.oldest_s), Some(9));
}
