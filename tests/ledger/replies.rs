//! Claim, send, record: how far a reply is, and who may send it.

use std::time::Duration;

use replyfleet::clock::UnixMillis;
use replyfleet_worker::ledger::{AMBIGUOUS_TRIES_MAX, Attempt, Claim, Ledger, Progress, ReplyState, Try, Withdrawn};

use crate::bed::{Ask, Bed, T0};

const HOLD: Duration = Duration::from_secs(60);

promises! {
    a_reply_is_claimed_by_one_worker_at_a_time_and_sent_once,
    of_many_workers_that_claim_at_once_one_gets_it,
    workers_that_die_while_sending_make_two_copies_at_most,
    ambiguous_tries_are_bounded_and_definite_failures_are_not,
    a_result_that_is_recorded_twice_counts_once,
    a_worker_whose_claim_ran_out_has_no_say_but_for_what_it_sent,
    a_reply_that_is_withdrawn_ends_unless_it_may_have_been_sent,
    what_is_too_old_expires_unless_a_worker_holds_it,
    what_may_have_been_sent_ends_as_uncertain_and_not_as_expired,
    a_clock_that_jumps_makes_no_third_copy_and_holds_nothing_for_ever,
    a_message_that_comes_again_after_its_end_finds_nothing_to_send,
    a_claim_that_is_given_back_is_anothers_without_a_doubt,
}

async fn admitted(bed: &Bed) -> Ledger {
    let ledger = bed.ledger("").await;
    Ask::new(1, "a@b.org").admit(&ledger, T0).await;
    ledger
}

async fn claim(ledger: &Ledger, index: usize, now: UnixMillis) -> Claim {
    ledger.claim("k1", index, now, HOLD).await.expect("claim")
}

/// Claims a reply that is there to be claimed.
async fn claimed(ledger: &Ledger, index: usize, now: UnixMillis) -> Attempt {
    match claim(ledger, index, now).await {
        Claim::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

async fn record(ledger: &Ledger, attempt: Attempt, result: Try) -> ReplyState {
    ledger.record("k1", 0, attempt, result).await.expect("record")
}

fn states(progress: &Progress) -> Vec<ReplyState> {
    progress.replies.iter().map(|reply| reply.state).collect()
}

async fn a_reply_is_claimed_by_one_worker_at_a_time_and_sent_once(bed: &Bed) {
    let ledger = admitted(bed).await;
    let attempt = claimed(&ledger, 0, T0).await;
    assert_eq!(claim(&ledger, 0, T0).await, Claim::Held(T0 + HOLD));
    assert_eq!(record(&ledger, attempt, Try::Sent).await, ReplyState::Sent);
    assert_eq!(claim(&ledger, 0, T0 + HOLD * 2).await, Claim::Settled(ReplyState::Sent));
    let progress = ledger.recall("k1").await.expect("recall").expect("known");
    assert_eq!(states(&progress), [ReplyState::Sent, ReplyState::Pending]);
    assert!(!progress.is_settled());
}

async fn of_many_workers_that_claim_at_once_one_gets_it(bed: &Bed) {
    let ledger = admitted(bed).await;
    let workers = bed.workers("").await;
    let claims = (0..32).map(|number| {
        let worker = workers[number % workers.len()].clone();
        tokio::spawn(async move { claim(&worker, 0, T0).await })
    });
    let mut granted = 0;
    for one in claims.collect::<Vec<_>>() {
        granted += usize::from(matches!(one.await.expect("no panic"), Claim::Granted(_)));
    }
    assert_eq!(granted, 1);
    assert_eq!(claim(&ledger, 0, T0).await, Claim::Held(T0 + HOLD));
}

async fn workers_that_die_while_sending_make_two_copies_at_most(bed: &Bed) {
    let ledger = admitted(bed).await;
    let mut granted = 0;
    for round in 0..5 {
        match claim(&ledger, 0, T0 + HOLD * 2 * round).await {
            Claim::Granted(_) => granted += 1,
            settled => assert_eq!(settled, Claim::Settled(ReplyState::Uncertain)),
        }
    }
    assert_eq!(granted, AMBIGUOUS_TRIES_MAX);
}

async fn ambiguous_tries_are_bounded_and_definite_failures_are_not(bed: &Bed) {
    let ledger = admitted(bed).await;
    for _ in 0..10 {
        let attempt = claimed(&ledger, 0, T0).await;
        assert_eq!(record(&ledger, attempt, Try::NotSent).await, ReplyState::Pending);
    }
    for state in [ReplyState::Pending, ReplyState::Uncertain] {
        let attempt = claimed(&ledger, 0, T0).await;
        assert_eq!(record(&ledger, attempt, Try::Ambiguous).await, state);
    }
    claimed(&ledger, 1, T0).await; // the other reply is its own
}

async fn a_result_that_is_recorded_twice_counts_once(bed: &Bed) {
    let ledger = admitted(bed).await;
    let attempt = claimed(&ledger, 0, T0).await;
    for _ in 0..3 {
        assert_eq!(record(&ledger, attempt, Try::Ambiguous).await, ReplyState::Pending, "the answer to the first was lost");
    }
    let second = claimed(&ledger, 0, T0).await;
    assert_eq!(record(&ledger, second, Try::Sent).await, ReplyState::Sent);
}

async fn a_worker_whose_claim_ran_out_has_no_say_but_for_what_it_sent(bed: &Bed) {
    let ledger = admitted(bed).await;
    let first = claimed(&ledger, 0, T0).await;
    let second = claimed(&ledger, 0, T0 + HOLD).await;
    assert_eq!(record(&ledger, first, Try::NotSent).await, ReplyState::Claimed, "it is the second's");
    assert_eq!(claim(&ledger, 0, T0 + HOLD).await, Claim::Held(T0 + HOLD + HOLD));
    assert_eq!(record(&ledger, first, Try::Sent).await, ReplyState::Sent, "that is the truth");
    assert_eq!(record(&ledger, second, Try::NotSent).await, ReplyState::Sent);
}

async fn a_reply_that_is_withdrawn_ends_unless_it_may_have_been_sent(bed: &Bed) {
    let ledger = admitted(bed).await;
    assert_eq!(ledger.withdraw("k1", 1, Withdrawn::Refused, T0).await.expect("withdrawn"), ReplyState::Refused);
    assert_eq!(ledger.withdraw("k1", 1, Withdrawn::TooBig, T0).await.expect("ended"), ReplyState::Refused, "it has ended before");
    claimed(&ledger, 0, T0).await;
    assert_eq!(ledger.withdraw("k1", 0, Withdrawn::TooBig, T0).await.expect("held"), ReplyState::Claimed);
    assert_eq!(ledger.withdraw("k1", 0, Withdrawn::TooBig, T0 + HOLD).await.expect("abandoned"), ReplyState::Uncertain);
    assert!(ledger.recall("k1").await.expect("recall").expect("known").is_settled());
}

async fn what_may_have_been_sent_ends_as_uncertain_and_not_as_expired(bed: &Bed) {
    let ledger = admitted(bed).await;
    let attempt = claimed(&ledger, 0, T0).await;
    assert_eq!(record(&ledger, attempt, Try::Ambiguous).await, ReplyState::Pending);
    claimed(&ledger, 1, T0).await; // its worker dies
    let progress = ledger.expire("k1", T0 + HOLD).await.expect("expire").expect("known");
    assert_eq!(states(&progress), [ReplyState::Uncertain, ReplyState::Uncertain]);
    Ask::new(2, "c@b.org").admit(&ledger, T0).await;
    let attempt = match ledger.claim("k2", 0, T0, HOLD).await.expect("claim") {
        Claim::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    };
    ledger.record("k2", 0, attempt, Try::Ambiguous).await.expect("record");
    assert_eq!(ledger.withdraw("k2", 0, Withdrawn::Refused, T0).await.expect("withdrawn"), ReplyState::Uncertain);
}

async fn a_clock_that_jumps_makes_no_third_copy_and_holds_nothing_for_ever(bed: &Bed) {
    let day = Duration::from_secs(86_400);
    let ledger = admitted(bed).await;
    // Three living workers; the clocks of the second and the third are ahead.
    let first = claimed(&ledger, 0, T0).await;
    let second = claimed(&ledger, 0, T0 + day).await;
    assert_eq!(claim(&ledger, 0, T0 + day * 2).await, Claim::Settled(ReplyState::Uncertain), "no third copy");
    assert_eq!(record(&ledger, first, Try::Sent).await, ReplyState::Sent);
    assert_eq!(record(&ledger, second, Try::NotSent).await, ReplyState::Sent);
    // A claim by a clock that was a day ahead; its worker died, and the clock is right again.
    claimed(&ledger, 1, T0 + day).await;
    assert!(matches!(claim(&ledger, 1, T0).await, Claim::Granted(_)), "not held for a day");
    assert_eq!(claim(&ledger, 1, T0 - HOLD).await, Claim::Held(T0 + HOLD), "a small jump back holds a little longer");
}

async fn a_message_that_comes_again_after_its_end_finds_nothing_to_send(bed: &Bed) {
    let ledger = admitted(bed).await;
    for index in [0, 1] {
        let attempt = claimed(&ledger, index, T0).await;
        ledger.record("k1", index, attempt, Try::Sent).await.expect("record");
    }
    // DeleteMessage failed: it comes again, at two workers at once.
    for worker in bed.workers("").await.iter().take(2) {
        assert!(Ask::new(1, "a@b.org").admit(worker, T0 + HOLD).await.is_settled());
        for index in [0, 1] {
            assert_eq!(claim(worker, index, T0 + HOLD * 9).await, Claim::Settled(ReplyState::Sent));
        }
    }
}

async fn a_claim_that_is_given_back_is_anothers_without_a_doubt(bed: &Bed) {
    let ledger = admitted(bed).await;
    for _ in 0..5 {
        let attempt = claimed(&ledger, 0, T0).await;
        assert_eq!(record(&ledger, attempt, Try::NotSent).await, ReplyState::Pending);
        assert_eq!(record(&ledger, attempt, Try::Ambiguous).await, ReplyState::Pending, "it has been given back before");
    }
    let progress = ledger.expire("k1", T0).await.expect("expire").expect("known");
    assert_eq!(states(&progress)[0], ReplyState::Expired, "surely not sent");
}

async fn what_is_too_old_expires_unless_a_worker_holds_it(bed: &Bed) {
    let ledger = admitted(bed).await;
    claimed(&ledger, 0, T0).await;
    let progress = ledger.expire("k1", T0).await.expect("expire").expect("known");
    assert_eq!(states(&progress), [ReplyState::Claimed, ReplyState::Expired]);
    let progress = ledger.expire("k1", T0 + HOLD).await.expect("expire").expect("known");
    assert!(progress.is_settled());
}
