//! One breaker's course, and what the breakers of a worker together say. Time stands still unless it is moved.

use replyfleet::clock::SystemClock;

use super::{state::FAILURES_MAX, *};
use crate::{reason::Reason, timer::tests::TestTimer};

const SES: Part = Part::Sender(SendMethod::Ses);
const SMTP: Part = Part::Sender(SendMethod::Smtp);
const MINUTE: Duration = Duration::from_secs(60);

fn breakers() -> (Arc<Breakers>, Arc<TestTimer>) {
    let (parts, timer) = ([Part::Ledger, Part::Dns, Part::Store, SES, SMTP], Arc::new(TestTimer::default()));
    let breakers = Breakers::new(parts, MINUTE, Arc::default(), Arc::new(SystemClock), Arc::clone(&timer) as _);
    (Arc::new(breakers), timer)
}

/// Replies leave by SES or by SMTP, and none by the other's sender.
fn both() -> Vec<Vec<SendMethod>> {
    vec![vec![SendMethod::Ses], vec![SendMethod::Smtp]]
}

/// What may be received: everything, one or nobody.
fn admitted(breakers: &Breakers) -> &'static str {
    match breakers.admit(both) {
        Admission::All => "all",
        Admission::One(_) => "one",
        Admission::Nobody => "nobody",
    }
}

fn open_names(breakers: &Breakers) -> Vec<(&'static str, &'static str)> {
    breakers.metrics.breakers().into_iter().map(|open| (open.name, open.reason)).collect()
}

#[test]
fn a_ledger_is_away_after_five_failures_in_a_row_of_different_messages() {
    let (breakers, _) = breakers();
    let fail = |key: &str| breakers.learn(&Outcome::Retry(Wait::Ledger), key, false);
    (0..20).for_each(|_| fail("the same"));
    assert_eq!(admitted(&breakers), "all", "one message may be one that nobody can work on");
    breakers.learn(&Outcome::Answered, "another", true);
    (1..FAILURES_MAX).for_each(|number| fail(&number.to_string()));
    assert_eq!(admitted(&breakers), "all");
    fail("the fifth");
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("nobody", vec![("ledger", "no_answer")]));
    assert!(matches!(breakers.blocking(both), Some(Wait::Breaker("ledger", away)) if away == MINUTE));
}

#[test]
fn a_good_probe_lets_one_message_go_first_and_its_failure_opens_again_for_longer() {
    let (breakers, timer) = breakers();
    (0..FAILURES_MAX).for_each(|number| breakers.learn(&Outcome::Retry(Wait::Ledger), &number.to_string(), false));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let at = breakers.next_probe().expect("it is asked");
        pauses.push((at - timer.now()).as_secs());
        timer.advance(at - timer.now());
        assert_eq!(breakers.due(timer.now()), [Part::Ledger]);
        breakers.probed(Part::Ledger, Ok(()));
        assert_eq!(open_names(&breakers), []);
        let Admission::One(first) = breakers.admit(both) else { panic!("one goes first") };
        assert_eq!(admitted(&breakers), "nobody", "until that one has ended");
        drop(first);
        breakers.learn(&Outcome::Retry(Wait::Ledger), "first", false);
        assert_eq!(admitted(&breakers), "nobody");
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "it answers reads, and nothing else");
    timer.advance(MINUTE);
    breakers.probed(Part::Ledger, Ok(()));
    breakers.learn(&Outcome::Answered, "first", true);
    assert_eq!(admitted(&breakers), "all");
}

#[test]
fn a_name_server_is_asked_before_it_is_taken_for_away() {
    let (breakers, timer) = breakers();
    let fail = || (0..FAILURES_MAX).for_each(|number| breakers.learn(&Outcome::Retry(Wait::Dns), &number.to_string(), false));
    fail();
    assert_eq!((admitted(&breakers), breakers.due(timer.now())), ("all", vec![Part::Dns]));
    breakers.probed(Part::Dns, Ok(()));
    assert_eq!((admitted(&breakers), breakers.due(timer.now())), ("all", vec![]), "it was the requesters' own name servers");
    fail();
    breakers.probed(Part::Dns, Err("no_answer"));
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("nobody", vec![("dns", "no_answer")]));
    breakers.probed(Part::Dns, Ok(()));
    assert_eq!(admitted(&breakers), "all");
}

#[test]
fn a_sender_that_says_that_it_is_away_stops_its_own_replies_and_all_if_there_is_no_other() {
    let (breakers, _) = breakers();
    breakers.is_away(SES, "paused");
    assert_eq!((admitted(&breakers), open_names(&breakers)), ("all", vec![("send.SES", "paused")]));
    assert_eq!(breakers.pass(SendMethod::Ses).err(), Some(Wait::Breaker("send.SES", MINUTE)));
    breakers.pass(SendMethod::Smtp).expect("another sender's").succeeded();
    breakers.is_away(SMTP, "no_answer");
    assert_eq!(admitted(&breakers), "nobody");
    breakers.probed(SMTP, Ok(()));
    breakers.pass(SendMethod::Smtp).expect("the first").succeeded();
    assert!(matches!(breakers.admit(|| vec![vec![SendMethod::Ses, SendMethod::Smtp]]), Admission::All), "the other stands in");
    assert!(matches!(breakers.admit(|| vec![vec![SendMethod::Ses]]), Admission::Nobody));
}

#[test]
fn one_reply_a_minute_tries_a_sender_that_its_probe_finds_good() {
    let (breakers, timer) = breakers();
    breakers.is_away(SES, "paused");
    let mut tried = 0;
    for _ in 0..10 {
        let at = breakers.next_probe().expect("it is asked");
        assert_eq!(at - timer.now(), MINUTE);
        timer.advance(MINUTE);
        breakers.probed(SES, Ok(()));
        let pass = breakers.pass(SendMethod::Ses).expect("one may");
        assert!(breakers.pass(SendMethod::Ses).is_err(), "and no other");
        drop(pass); // it had to wait for its turn
        breakers.pass(SendMethod::Ses).expect("another").is_away("paused");
        tried += 1;
    }
    assert_eq!((tried, open_names(&breakers)), (10, vec![("send.SES", "paused")]));
}

#[test]
fn a_message_waits_as_long_again_as_the_thing_has_been_away() {
    let (breakers, timer) = breakers();
    breakers.is_away(SES, "quota");
    let mut waits = Vec::new();
    for _ in 0..12 {
        let Err(Wait::Breaker(_, away)) = breakers.pass(SendMethod::Ses) else { panic!("open") };
        waits.push(away.as_secs() / 60);
        timer.advance(away);
    }
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
}

#[test]
fn failures_between_successes_are_the_messages_own() {
    let (breakers, _) = breakers();
    for number in 0..50 {
        let key = number.to_string();
        breakers.pass(SendMethod::Smtp).expect("closed").failed(&key);
        breakers.learn(&Outcome::Retry(Wait::Dns), &key, false);
        if number % 4 == 3 {
            breakers.pass(SendMethod::Smtp).expect("closed").succeeded();
            breakers.learn(&Outcome::Ignored(Reason::Unproven), &key, true);
        }
    }
    assert_eq!((admitted(&breakers), breakers.next_probe()), ("all", None));
}
