//! The lanes, on a clock that the test moves.

use super::*;

const SES: Lane = Lane::Sender(SendMethod::Ses);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// How many of `wanted` new replies leave at `now`.
fn left(pace: &Pace, wanted: usize, now: Instant) -> usize {
    (0..wanted).filter(|_| pace.take(&[SES], true, now).is_ok()).count()
}

#[test]
fn what_has_no_rate_has_room() {
    let pace = Pace::new([]);
    assert_eq!(left(&pace, 1_000, Instant::now()), 1_000);
}

#[test]
fn over_its_rate_a_reply_is_sent_away_and_finds_room_when_it_comes_back() {
    let (pace, start) = (Pace::new([(SES, 10.0)]), Instant::now());
    // Everyone at once, and each again when it was told to. The queue's delays are whole seconds, so some come late.
    let mut due: Vec<(Duration, bool)> = vec![(Duration::ZERO, true); 200];
    let (mut sent, mut takes) = (Vec::new(), 0);
    while !due.is_empty() {
        due.sort_by(|a, b| b.cmp(a));
        let (at, is_new) = due.pop().expect("not empty");
        takes += 1;
        match pace.take(&[SES], is_new, start + at) {
            Ok(()) => sent.push(at),
            Err(away) => due.push((at + seconds(away.as_secs_f64().ceil()), false)),
        }
    }
    for window in 0..20 {
        let within = sent.iter().filter(|at| (seconds(window.into())..seconds(f64::from(window) + 1.0)).contains(*at)).count();
        assert!(within <= 21, "second {window}: {within}");
    }
    let last = sent.last().expect("all sent").as_secs_f64();
    assert!((18.0..24.0).contains(&last), "200 at 10/s took {last} s");
    assert!(takes <= 3 * 200, "each was received {takes} / 200 times");
}

#[test]
fn who_comes_new_does_not_overtake() {
    let (pace, start) = (Pace::new([(SES, 1.0)]), Instant::now());
    assert_eq!(left(&pace, 5, start), 2, "one, and a second's worth of slack");
    let later = start + seconds(1.5);
    assert!(pace.take(&[SES], true, later).is_err(), "three others have places");
    assert!(pace.take(&[SES], false, later).is_ok());
}

#[test]
fn the_workers_share_a_rate() {
    let (pace, start) = (Pace::new([(SES, 100.0)]), Instant::now());
    pace.set_workers(10);
    assert_eq!(left(&pace, 1_000, start), 11);
}

#[test]
fn the_fullest_lane_decides_and_no_other_is_charged() {
    let (slow, fast) = (Lane::Provider("p".into()), Lane::Domain("example.com".into()));
    let (pace, start) = (Pace::new([(slow.clone(), 1.0), (fast.clone(), 4.0)]), Instant::now());
    let both = [slow, fast.clone()];
    assert!(pace.take(&both, true, start).is_ok() && pace.take(&both, true, start).is_ok());
    assert!(pace.take(&both, true, start).is_err());
    assert_eq!((0..10).filter(|_| pace.take(std::slice::from_ref(&fast), true, start).is_ok()).count(), 3, "5 are the burst, 2 have gone");
}

#[test]
fn a_complaint_halves_the_rate_which_recovers() {
    let (pace, start) = (Pace::new([(SES, 100.0)]), Instant::now());
    for _ in 0..20 {
        pace.throttled(&SES, start);
    }
    assert_eq!(left(&pace, 1_000, start), 51, "many complaints at once are one");
    let mut now = start;
    for _ in 0..20 {
        now += ONE_COMPLAINT;
        pace.throttled(&SES, now);
    }
    let later = now + AWAY_MAX;
    assert_eq!(left(&pace, 1_000, later), 101, "an hour later all is forgotten");
}

#[test]
fn a_rate_can_change_and_go() {
    let (pace, start) = (Pace::new([(SES, 1.0)]), Instant::now());
    pace.set_rate(SES, Some(50.0));
    assert_eq!(left(&pace, 1_000, start), 51);
    pace.set_rate(SES, None);
    assert_eq!(left(&pace, 1_000, start), 1_000);
}

#[test]
fn nobody_is_sent_away_for_longer_than_the_queue_can_hide_it() {
    let (pace, start) = (Pace::new([(SES, 0.001)]), Instant::now());
    assert!((0..100).filter_map(|_| pace.take(&[SES], true, start).err()).all(|away| away <= AWAY_MAX));
}
