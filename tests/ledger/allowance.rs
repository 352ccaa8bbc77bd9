//! Rules 10, 25, 27 and 28: what one sender gets.

use std::time::Duration;

use replyfleet::settings::Trust;
use replyfleet_worker::{ledger::Verdict, reason::Reason};

use crate::bed::{Ask, Bed, MANY, MIDNIGHT, OVER, T0, answered, at_once, at_once_by_their_clocks, promise};

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

promises! {
    a_sender_gets_its_allowance_and_no_more_whatever_the_spelling,
    a_redelivery_finds_its_verdict_and_is_not_counted_again,
    one_redelivery_at_many_workers_is_charged_once,
    a_clock_that_jumps_changes_no_verdict_and_gives_nobody_more,
    the_window_slides,
    a_window_reaches_back_over_midnight,
    workers_on_both_sides_of_midnight_give_exactly_the_allowance,
    a_worker_whose_clock_is_behind_counts_what_was_written_tomorrow,
    a_worker_whose_clock_is_ahead_counts_what_was_written_yesterday,
    a_window_of_a_week_counts_all_its_days,
    one_mail_to_two_of_our_addresses_is_answered_once,
    the_same_words_again_are_not_answered_again,
    a_repeat_at_many_workers_at_once_is_answered_once,
    many_requests_of_one_sender_at_once_get_exactly_the_allowance,
    attachments_have_an_allowance_of_their_own,
    many_requests_at_once_get_exactly_the_allowance_of_attachments,
    without_a_small_answer_no_attachments_left_means_no_answer,
    an_allowance_of_none_is_none,
    the_allow_list_lifts_the_allowance_but_not_the_repeat,
    what_a_request_is_not_trusted_with_is_not_promised,
    a_request_that_was_ignored_stays_ignored_and_counts_for_nobody,
}

async fn a_sender_gets_its_allowance_and_no_more_whatever_the_spelling(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 2"#).await;
    assert_eq!(Ask::new(1, "some.one@gmail.com").verdict(&ledger, T0).await, Verdict::Answer);
    assert_eq!(Ask::new(2, "SomeOne+x@googlemail.com").verdict(&ledger, T0).await, Verdict::Answer);
    assert_eq!(Ask::new(3, "someone@gmail.com").verdict(&ledger, T0).await, OVER);
    assert_eq!(Ask::new(4, "other@gmail.com").verdict(&ledger, T0).await, Verdict::Answer);
}

async fn a_redelivery_finds_its_verdict_and_is_not_counted_again(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1"#).await;
    let first = Ask::new(1, "a@b.org").admit(&ledger, T0).await;
    assert_eq!((first.verdict, first.replies.len(), first.granted), (Verdict::Answer, 2, Trust::Full));
    for _ in 0..3 {
        assert_eq!(Ask::new(1, "a@b.org").admit(&ledger, T0).await, first);
    }
    assert_eq!(Ask::new(2, "a@b.org").verdict(&ledger, T0).await, OVER);
    assert_eq!(Ask::new(2, "a@b.org").verdict(&ledger, T0 + DAY * 2).await, OVER, "a verdict stands");
}

async fn one_redelivery_at_many_workers_is_charged_once(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 2"#).await;
    let progress = at_once(&workers, (0..16).map(|_| Ask::new(1, "a@b.org")), T0).await;
    assert_eq!(answered(&progress), (16, 16));
    assert_eq!(Ask::new(2, "a@b.org").verdict(&workers[0], T0).await, Verdict::Answer, "one answer is left");
    assert_eq!(Ask::new(3, "a@b.org").verdict(&workers[0], T0).await, OVER);
}

async fn a_clock_that_jumps_changes_no_verdict_and_gives_nobody_more(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 7"#).await;
    let hour = SECOND * 3_600;
    // Back by an hour, and on by one, in the midst of it: all of it is within the window.
    let nows = [T0, T0 - hour, T0 + hour, T0];
    let first = at_once_by_their_clocks(&workers, (0..MANY).map(|number| Ask::new(number, "a@b.org")), &nows).await;
    assert_eq!(answered(&first).0, 7);
    for (number, told) in first.iter().enumerate() {
        for now in [T0 - DAY * 3, T0, T0 + DAY * 3] {
            assert_eq!(Ask::new(number, "a@b.org").admit(&workers[0], now).await, *told, "request {number} by a clock at {now:?}");
        }
    }
    assert_eq!(Ask::new("late", "a@b.org").verdict(&workers[1], T0 - hour * 2).await, OVER, "what was written in the future counts");
}

async fn the_window_slides(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1"#).await;
    assert_eq!(Ask::new(1, "a@b.org").verdict(&ledger, T0).await, Verdict::Answer);
    assert_eq!(Ask::new(2, "a@b.org").verdict(&ledger, T0 + (DAY - SECOND)).await, OVER);
    assert_eq!(Ask::new(3, "a@b.org").verdict(&ledger, T0 + DAY + SECOND).await, Verdict::Answer);
}

async fn a_window_reaches_back_over_midnight(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1, "window_s": 60"#).await;
    assert_eq!(Ask::new(1, "a@b.org").verdict(&ledger, MIDNIGHT - SECOND).await, Verdict::Answer);
    assert_eq!(Ask::new(2, "a@b.org").verdict(&ledger, MIDNIGHT + SECOND).await, OVER);
    let other = bed.ledger(r#""answers_per_sender": 1, "window_s": 60"#).await;
    assert_eq!(Ask::new(3, "a@b.org").verdict(&other, MIDNIGHT + SECOND * 58).await, OVER);
    assert_eq!(Ask::new(4, "a@b.org").verdict(&other, MIDNIGHT + SECOND * 60).await, Verdict::Answer);
}

async fn workers_on_both_sides_of_midnight_give_exactly_the_allowance(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 7, "attachments_per_sender": 3"#).await;
    for (round, apart) in [SECOND, SECOND * 30, SECOND * 1_700].into_iter().enumerate() {
        // Neither day has a key yet in the first round.
        let asks = (0..MANY).map(|number| Ask::new(format!("{round}.{number}"), &format!("a{round}@b.org")));
        let progress = at_once_by_their_clocks(&workers, asks, &[MIDNIGHT - apart, MIDNIGHT + apart]).await;
        assert_eq!(answered(&progress), (7, 3), "{apart:?} before and after");
    }
}

async fn a_worker_whose_clock_is_behind_counts_what_was_written_tomorrow(bed: &Bed) {
    let text = r#""answers_per_sender": 1, "window_s": 600"#;
    let (ahead, behind) = (bed.ledger(text).await, bed.ledger(text).await);
    let repeat = |number: u8| Ask { identity: "<same@id>".into(), ..Ask::new(number, "a@b.org") };
    assert_eq!(Ask::new(0, "other@b.org").verdict(&behind, MIDNIGHT - SECOND * 3_000).await, Verdict::Answer, "it knows of today's key");
    assert_eq!(repeat(1).verdict(&ahead, MIDNIGHT + SECOND * 15).await, Verdict::Answer);
    assert_eq!(repeat(2).verdict(&behind, MIDNIGHT - SECOND * 15).await, Verdict::Ignore(Reason::Repeated));
    assert_eq!(Ask::new(3, "a@b.org").verdict(&behind, MIDNIGHT - SECOND * 15).await, OVER);
    assert_eq!(Ask::new(4, "third@b.org").verdict(&behind, MIDNIGHT - SECOND * 15).await, Verdict::Answer);
    assert_eq!(Ask::new(5, "third@b.org").verdict(&ahead, MIDNIGHT + SECOND * 15).await, OVER);
}

async fn a_worker_whose_clock_is_ahead_counts_what_was_written_yesterday(bed: &Bed) {
    let text = r#""answers_per_sender": 1"#;
    let (ahead, behind) = (bed.ledger(text).await, bed.ledger(text).await);
    assert_eq!(Ask::new(0, "other@b.org").verdict(&ahead, MIDNIGHT + SECOND * 15).await, Verdict::Answer, "nobody wrote yesterday");
    assert_eq!(Ask::new(1, "a@b.org").verdict(&behind, MIDNIGHT - SECOND * 15).await, Verdict::Answer);
    assert_eq!(Ask::new(2, "a@b.org").verdict(&ahead, MIDNIGHT + SECOND * 15).await, OVER);
}

async fn a_window_of_a_week_counts_all_its_days(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 4, "window_s": 604800"#).await;
    for day in 0..4 {
        assert_eq!(Ask::new(day, "a@b.org").verdict(&ledger, T0 + DAY * day).await, Verdict::Answer);
        ledger.forget_old(T0 + DAY * day).await.expect("forget");
    }
    assert_eq!(Ask::new(4, "a@b.org").verdict(&ledger, T0 + DAY * 6).await, OVER);
    assert_eq!(Ask::new(5, "a@b.org").verdict(&ledger, T0 + DAY * 7 + SECOND).await, Verdict::Answer);
    assert_eq!(Ask::new(6, "a@b.org").verdict(&ledger, T0 + DAY * 7 + SECOND).await, OVER);
}

async fn one_mail_to_two_of_our_addresses_is_answered_once(bed: &Bed) {
    let workers = bed.workers("").await;
    let asks = (0..16).map(|number| Ask { mail: "same".into(), ..Ask::new(number, "a@b.org") });
    let progress = at_once(&workers, asks, T0).await;
    assert_eq!(answered(&progress).0, 1);
    let others = progress.iter().filter(|one| one.verdict == Verdict::Ignore(Reason::AnsweredAlready)).count();
    assert_eq!(others, 15);
}

async fn the_same_words_again_are_not_answered_again(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 3"#).await;
    let repeat = |number: u8, sender: &str| Ask { identity: "<same@id>".into(), ..Ask::new(number, sender) };
    assert_eq!(repeat(1, "a@b.org").verdict(&ledger, T0).await, Verdict::Answer);
    assert_eq!(repeat(2, "A+x@B.org").verdict(&ledger, T0 + SECOND).await, Verdict::Ignore(Reason::Repeated));
    assert_eq!(repeat(3, "other@b.org").verdict(&ledger, T0 + SECOND).await, Verdict::Answer, "a Message-ID is not another sender's");
    assert_eq!(repeat(4, "a@b.org").verdict(&ledger, T0 + DAY + SECOND).await, Verdict::Answer, "the window is over");
    assert_eq!(Ask::new(5, "a@b.org").verdict(&ledger, T0 + DAY + SECOND).await, Verdict::Answer, "a repeat takes nothing from the allowance");
}

async fn a_repeat_at_many_workers_at_once_is_answered_once(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 100"#).await;
    let asks = (0..MANY).map(|number| Ask { identity: "<same@id>".into(), ..Ask::new(number, "a@b.org") });
    assert_eq!(answered(&at_once(&workers, asks, T0).await).0, 1);
}

async fn many_requests_of_one_sender_at_once_get_exactly_the_allowance(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 7"#).await;
    let progress = at_once(&workers, (0..MANY).map(|number| Ask::new(number, "a@b.org")), T0).await;
    assert_eq!(answered(&progress).0, 7);
    assert!(progress.iter().all(|one| one.replies.is_empty() == (one.verdict == OVER)));
}

async fn attachments_have_an_allowance_of_their_own(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 3, "attachments_per_sender": 1"#).await;
    let digests = async |ask: Ask| {
        let progress = ask.admit(&ledger, T0).await;
        (progress.granted, progress.replies.into_iter().map(|reply| reply.response).collect::<Vec<_>>().join(" "))
    };
    let links = Ask { responses: vec![promise("links", Trust::Small)], ..Ask::new(0, "a@b.org") };
    assert_eq!(digests(links).await, (Trust::Full, "links".into()), "an answer without attachments takes none");
    assert_eq!(digests(Ask::new(1, "a@b.org")).await, (Trust::Full, "small full".into()));
    assert_eq!(digests(Ask::new(2, "a@b.org")).await, (Trust::Small, "small".into()));
    assert_eq!(Ask::new(3, "a@b.org").verdict(&ledger, T0).await, OVER);
    let known = ledger.recall("k2").await.expect("recall").expect("known");
    assert_eq!((known.granted, known.replies.len()), (Trust::Small, 1), "what was granted stands");
}

async fn many_requests_at_once_get_exactly_the_allowance_of_attachments(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 20, "attachments_per_sender": 4"#).await;
    let progress = at_once(&workers, (0..MANY).map(|number| Ask::new(number, "a@b.org")), T0).await;
    assert_eq!(answered(&progress), (20, 4));
}

async fn without_a_small_answer_no_attachments_left_means_no_answer(bed: &Bed) {
    let ledger = bed.ledger(r#""attachments_per_sender": 1"#).await;
    let ask = |number: u8| Ask { responses: vec![promise("full", Trust::Full)], ..Ask::new(number, "a@b.org") };
    assert_eq!(ask(1).verdict(&ledger, T0).await, Verdict::Answer);
    let second = ask(2).admit(&ledger, T0).await;
    assert_eq!((second.verdict, second.granted, second.replies.len()), (OVER, Trust::None, 0));
}

async fn an_allowance_of_none_is_none(bed: &Bed) {
    let ledger = bed.ledger(r#""attachments_per_sender": 0"#).await;
    assert_eq!(Ask::new(1, "a@b.org").admit(&ledger, T0).await.granted, Trust::Small);
    let ledger = bed.ledger(r#""answers_per_sender": 0"#).await;
    assert_eq!(Ask::new(2, "other@b.org").verdict(&ledger, T0).await, OVER);
}

async fn the_allow_list_lifts_the_allowance_but_not_the_repeat(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1, "attachments_per_sender": 0, "per_domain": {"answers": 1, "attachments": 0}"#).await;
    let allowed = |number: u8| Ask { is_allowed: true, ..Ask::new(number, "a@b.org") };
    for number in 0..5 {
        assert_eq!(allowed(number).admit(&ledger, T0).await.granted, Trust::Full);
    }
    let repeat = Ask { identity: allowed(0).identity, ..allowed(6) };
    assert_eq!(repeat.verdict(&ledger, T0).await, Verdict::Ignore(Reason::Repeated));
    assert_eq!(Ask::new(7, "other@b.org").verdict(&ledger, T0).await, Verdict::Answer, "what is allowed counts for no cap");
}

async fn what_a_request_is_not_trusted_with_is_not_promised(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 9, "attachments_per_sender": 1"#).await;
    let small = Ask { trust: Trust::Small, ..Ask::new(1, "a@b.org") }.admit(&ledger, T0).await;
    assert_eq!((small.verdict, small.granted, small.replies.len()), (Verdict::Answer, Trust::Small, 1));
    assert_eq!(Ask::new(2, "a@b.org").admit(&ledger, T0).await.granted, Trust::Full, "it took no attachments");
}

async fn a_request_that_was_ignored_stays_ignored_and_counts_for_nobody(bed: &Bed) {
    let ledger = bed.ledger(r#""answers_per_sender": 1"#).await;
    ledger.ignore("k0", Reason::MailingList, T0).await.expect("noted");
    assert_eq!(ledger.ignore("k0", Reason::Report, T0).await.expect("noted before"), Verdict::Ignore(Reason::MailingList));
    let known = ledger.recall("k0").await.expect("recall").expect("known");
    assert_eq!((known.verdict, known.is_settled()), (Verdict::Ignore(Reason::MailingList), true));
    assert_eq!(Ask::new(0, "a@b.org").verdict(&ledger, T0).await, Verdict::Ignore(Reason::MailingList));
    assert_eq!(Ask::new(1, "a@b.org").verdict(&ledger, T0).await, Verdict::Answer);

    let racing = (0..16).map(|number| {
        let ledger = ledger.clone();
        let reason = if number % 2 == 0 { Reason::Report } else { Reason::Loop };
        tokio::spawn(async move { ledger.ignore("raced", reason, T0).await.expect("noted") })
    });
    let mut verdicts = Vec::new();
    for verdict in racing.collect::<Vec<_>>() {
        verdicts.push(verdict.await.expect("no panic"));
    }
    assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "one verdict stands");
}
