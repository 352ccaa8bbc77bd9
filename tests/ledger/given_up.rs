//! Calls that are given up at any point, as a time limit does: nothing of them stands half-way, and nothing that later calls
//! report as done is lost with them.

use std::{future::Future, pin::pin, task::Poll};

use replyfleet_worker::{ledger::Verdict, reason::Reason};

use crate::bed::{Ask, Bed, T0};

/// The most polls that a call gets. It needs one for each answer of the database that is not there at once.
const POLLS_MAX: usize = 12;
const ROUNDS: usize = 5 * POLLS_MAX;

promises! {
    a_call_that_is_given_up_at_any_point_takes_nothing_with_it,
}

/// Runs a future until it was polled `polls` times, and drops it then; `None` if it was not ready.
async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        let poll = future.as_mut().poll(context);
        left -= 1;
        match poll {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn a_call_that_is_given_up_at_any_point_takes_nothing_with_it(bed: &Bed) {
    let text = r#""answers_per_sender": 1000, "attachments_per_sender": 1000"#;
    let (ledger, other) = (bed.ledger(text).await, bed.ledger(text).await);
    Ask::new("first", "other@b.org").admit(&ledger, T0).await; // the day's key is there
    let mut given_up = 0;
    for round in 0..ROUNDS {
        let ask = Ask::new(round, "a@b.org");
        let admitted = polled(ask.try_admit(&ledger, T0), 1 + round % POLLS_MAX).await;
        // More than one, so that the connection that was given up is among those that they use.
        for again in 0..3 {
            let key = format!("ignored{round}.{again}");
            ledger.ignore(&key, Reason::Loop, T0).await.expect("noted");
            let seen = other.recall(&key).await.expect("recall").map(|known| known.verdict);
            assert_eq!(seen, Some(Verdict::Ignore(Reason::Loop)), "what was reported as done in round {round} is there for all");
        }
        given_up += usize::from(admitted.is_none());
        let known = other.recall(&ask.key).await.expect("recall");
        assert!(known.as_ref().is_none_or(|known| known.replies.len() == 2), "all or nothing: {known:?}");
        if let Some(admitted) = admitted {
            assert_eq!(known, Some(admitted.expect("admitted")));
        }
    }
    // Those that were polled once, at least: how many polls a call takes is the machine's affair.
    assert!(given_up >= ROUNDS / POLLS_MAX, "{given_up} calls were given up");
}
