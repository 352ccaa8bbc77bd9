//! What each step decides, row by row. How they play together is in the model.

use super::*;

const T0: UnixMillis = UnixMillis(1_790_000_000_000);
const HOLD: Duration = Duration::from_secs(60);

fn claimed(row: &mut Standing, now: UnixMillis, holder: i64) -> Attempt {
    match claim(row, now, HOLD, holder) {
        Claim::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_claim_is_what_a_single_statement_of_the_database_writes() {
    let mut row = Standing::NEW;
    assert_eq!(claim(&mut row, T0, HOLD, 7), Claim::Granted(first_attempt(7)));
    assert_eq!(row, Standing { state: ReplyState::Claimed, attempts: 1, held_until: T0 + HOLD, holder: 7, ..Standing::NEW });
}

#[test]
fn what_may_have_left_is_never_said_to_have_been_withheld() {
    for why in [Withdrawn::Refused, Withdrawn::TooBig, Withdrawn::Expired] {
        let mut abandoned = Standing::NEW;
        claimed(&mut abandoned, T0, 1);
        assert_eq!(give_up(&mut abandoned, why, T0), ReplyState::Claimed, "its worker may be sending it");
        assert_eq!(give_up(&mut abandoned, why, T0 + HOLD), ReplyState::Uncertain);
        let mut tried = Standing::NEW;
        let attempt = claimed(&mut tried, T0, 1);
        record(&mut tried, attempt, Try::Ambiguous);
        assert_eq!(give_up(&mut tried, why, T0), ReplyState::Uncertain);
        let mut new = Standing::NEW;
        let attempt = claimed(&mut new, T0, 1);
        record(&mut new, attempt, Try::NotSent);
        assert!(!matches!(give_up(&mut new, why, T0), ReplyState::Uncertain | ReplyState::Sent | ReplyState::Pending));
    }
    let mut second = Standing::NEW;
    claimed(&mut second, T0, 1);
    let attempt = claimed(&mut second, T0 + HOLD, 2);
    assert_eq!(record(&mut second, attempt, Try::Refused), ReplyState::Uncertain, "the first may have sent it");
}

#[test]
fn a_claim_by_a_clock_that_was_ahead_does_not_hold_for_as_long() {
    let mut row = Standing::NEW;
    claimed(&mut row, T0 + Duration::from_secs(86_400), 1);
    assert!(matches!(claim(&mut row, T0, HOLD, 2), Claim::Granted(_)), "no claim reaches that far");
    assert_eq!(row.ambiguous, 1, "it may have been sent");
    let mut row = Standing::NEW;
    claimed(&mut row, T0 + HOLD_MAX - HOLD, 1);
    assert_eq!(claim(&mut row, T0, HOLD, 2), Claim::Held(T0 + HOLD_MAX), "this one might be another sender's");
}

#[test]
fn no_claim_holds_longer_than_any_claim_may() {
    let mut row = Standing::NEW;
    claim(&mut row, T0, HOLD_MAX * 2, 1);
    assert_eq!(row.held_until, T0 + HOLD_MAX);
}

#[test]
fn a_claim_is_taken_back_only_by_its_own_number_and_leaves_no_doubt_behind() {
    let mut row = Standing::NEW;
    claimed(&mut row, T0, 1);
    assert!(!disown(&mut row, 2));
    assert!(disown(&mut row, 1));
    assert_eq!((row.state, row.ambiguous), (ReplyState::Pending, 0));
    assert!(!disown(&mut row, 1), "once");
    claimed(&mut row, T0, 1);
    claimed(&mut row, T0 + HOLD, 2);
    assert!(!disown(&mut row, 1), "another has it by now");
}
