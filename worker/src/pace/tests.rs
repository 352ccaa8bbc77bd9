//! The lanes, on a clock that the test moves.

use super::*;

const SES: Lane = Lane::Sender(SendMethod::Ses);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// How many of `wanted` new replies leave at `now`.
fn left(pace: &Pace, wanted: usize, now: Instant) -> usize {
    (0..wanted).filter(|_| pace.take(&[SES], Turn::New, now).is_ok()).count()
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
        match pace.take(&[SES], if is_new { Turn::New } else { Turn::Back }, start + at) {
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
    assert_eq!(left(&pace, 7, start), 4, "one, and three replies of slack");
    let later = start + seconds(1.5);
    assert!(pace.take(&[SES], Turn::New, later).is_err(), "three others have places");
    assert!(pace.take(&[SES], Turn::Back, later).is_ok());
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
    for _ in 0..4 {
        assert!(pace.take(&both, Turn::New, start).is_ok());
    }
    assert!(pace.take(&both, Turn::New, start).is_err());
    assert_eq!((0..10).filter(|_| pace.take(std::slice::from_ref(&fast), Turn::New, start).is_ok()).count(), 1, "5 may go at once, 4 have");
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
    assert!((0..100).filter_map(|_| pace.take(&[SES], Turn::New, start).err()).all(|away| away <= AWAY_MAX));
}

#[test]
fn a_request_that_waits_takes_one_place_for_all_its_replies() {
    let (pace, start) = (Pace::new([(SES, 1.0)]), Instant::now());
    while pace.take(&[SES], Turn::New, start).is_ok() {}
    let alone = pace.take(&[SES], Turn::New, start).expect_err("full");
    assert_eq!(pace.take(&[SES], Turn::Waiting, start), Err(Duration::ZERO));
    let next = pace.take(&[SES], Turn::New, start).expect_err("full");
    assert_eq!(next - alone, seconds(1.0), "the second reply of the first took no place");
}

/// Many workers, each with a small share; messages come back to any of them; each request has two replies.
#[test]
fn a_fleet_uses_most_of_its_rate_and_never_more() {
    const WORKERS: usize = 20;
    const RATE: f64 = 12.5;
    let start = Instant::now();
    let fleet: Vec<Pace> = (0..WORKERS).map(|_| Pace::new([(SES, RATE)])).collect();
    fleet.iter().for_each(|pace| pace.set_workers(WORKERS));
    // When each comes, how many of its replies are left; the earliest is taken next.
    let mut due: BinaryHeap<Reverse<(Duration, bool, u32)>> = (0..5_000).map(|_| Reverse((Duration::ZERO, true, 2))).collect();
    let (mut sent, mut last, mut takes, mut seed) = (0_u32, Duration::ZERO, 0, 1_u64);
    while let Some(Reverse((at, is_new, left))) = due.pop() {
        let mut remaining = left;
        takes += 1;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pace = &fleet[usize::try_from(seed >> 33).expect("31 bits") % WORKERS];
        let (mut turn, mut place) = (if is_new { Turn::New } else { Turn::Back }, None);
        for _ in 0..left {
            match pace.take(&[SES], turn, start + at) {
                Ok(()) => {
                    (sent, remaining, last) = (sent + 1, remaining - 1, at);
                    let burst = f64::from(BURST_REPLIES + 1) * f64::from(u32::try_from(WORKERS).expect("few"));
                    assert!(f64::from(sent) <= RATE * at.as_secs_f64() + burst + 1.0, "{sent} at {at:?}");
                }
                Err(away) => {
                    place = place.or(Some(away));
                    turn = Turn::Waiting;
                }
            }
        }
        if remaining > 0 {
            due.push(Reverse((at + seconds(place.expect("a place").as_secs_f64().ceil().max(1.0)), false, remaining)));
        }
    }
    let used = f64::from(sent) / (RATE * last.as_secs_f64());
    assert!(sent == 10_000 && used > 0.75, "{used:.2} of the rate, {} receives a request", f64::from(takes) / 5_000.0);
    assert!(takes < 6 * 5_000, "{takes} receives of 5,000 requests");
}

#[test]
fn no_more_is_received_once_too_many_are_away() {
    let (pace, start) = (Pace::new([(SES, 1_000.0)]), Instant::now());
    assert!(!pace.is_full(start));
    while pace.away_count() < AWAY_COUNT_MAX {
        let _ = pace.take(&[SES], Turn::New, start); // some leave, the others are sent away
    }
    assert!(pace.is_full(start));
    assert!(!pace.is_full(start + seconds(2.0)), "some are due");
}

#[test]
fn a_complaint_about_a_lane_without_a_rate_gives_it_one_for_a_while() {
    let (pace, start) = (Pace::new([]), Instant::now());
    assert_eq!(left(&pace, 100, start), 100);
    pace.throttled(&SES, start);
    assert_eq!(left(&pace, 1_000, start), 51, "100 left within the second, and half as many a second may");
    assert_eq!(left(&pace, 1_000, start + seconds(60.0)), 1_000, "recovered");
}

#[test]
fn places_are_given_as_if_nobody_complained() {
    let (pace, start) = (Pace::new([(SES, 10.0)]), Instant::now());
    let mut now = start;
    for _ in 0..10 {
        now += ONE_COMPLAINT;
        pace.throttled(&SES, now);
    }
    let farthest = (0..100).filter_map(|_| pace.take(&[SES], Turn::New, now).err()).max().expect("some wait");
    assert!(farthest < seconds(20.0), "{farthest:?}");
}
