//! The ledger on SQLite: allowance, claims, ambiguity, forgetting.

use replyfleet::settings::Settings;

use super::*;

const HOLD: Duration = Duration::from_secs(60);
const T0: UnixMillis = UnixMillis(1_790_000_000_000);

fn allowance(answers: usize) -> AllowanceSettings {
    let text = format!("answers_per_sender = {answers}");
    let settings = include_str!("../../../docs/replyfleet.toml").replace("answers_per_sender = 3", &text);
    Settings::parse(&settings, "docs/replyfleet.toml", |_| None).expect("the annotated example").allowance
}

async fn ledger(answers: usize) -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough");
    let ledger = Ledger::open(&url, secret, allowance(answers)).await.expect("opened");
    (dir, ledger)
}

async fn admit(ledger: &Ledger, key: &str, mail: &str, sender: &str, now: UnixMillis) -> Verdict {
    let sender = Address::parse(sender).expect("address");
    let application = Application { request_key: key, mail_key: mail, sender: &sender, responses: &["r0".into(), "r1".into()], catalogue: "c" };
    ledger.admit(&application, now).await.expect("admitted").verdict
}

/// Claims a reply that is there to be claimed.
async fn claimed(ledger: &Ledger, index: usize, now: UnixMillis) -> Attempt {
    match ledger.claim("1", index, now, HOLD).await.expect("claim") {
        Claim::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

fn states(progress: &Progress) -> Vec<ReplyState> {
    progress.replies.iter().map(|reply| reply.state).collect()
}

const OVER: Verdict = Verdict::Ignore(Reason::OverAllowance);

#[tokio::test]
async fn a_sender_gets_its_allowance_and_no_more_whatever_the_spelling() {
    let (_dir, ledger) = ledger(2).await;
    assert_eq!(admit(&ledger, "1", "m1", "some.one@gmail.com", T0).await, Verdict::Answer);
    assert_eq!(admit(&ledger, "2", "m2", "SomeOne+x@googlemail.com", T0).await, Verdict::Answer);
    assert_eq!(admit(&ledger, "3", "m3", "someone@gmail.com", T0).await, OVER);
    assert_eq!(admit(&ledger, "4", "m4", "other@gmail.com", T0).await, Verdict::Answer);
}

#[tokio::test]
async fn a_redelivery_finds_its_verdict_and_is_not_counted_again() {
    let (_dir, ledger) = ledger(1).await;
    for _ in 0..3 {
        assert_eq!(admit(&ledger, "1", "m1", "a@b.org", T0).await, Verdict::Answer);
    }
    assert_eq!(admit(&ledger, "2", "m2", "a@b.org", T0).await, OVER);
    assert_eq!(admit(&ledger, "2", "m2", "a@b.org", T0 + Duration::from_secs(90_000)).await, OVER, "a verdict stands");
}

#[tokio::test]
async fn the_window_slides() {
    let (_dir, ledger) = ledger(1).await;
    assert_eq!(admit(&ledger, "1", "m1", "a@b.org", T0).await, Verdict::Answer);
    assert_eq!(admit(&ledger, "2", "m2", "a@b.org", T0 + Duration::from_secs(86_399)).await, OVER);
    assert_eq!(admit(&ledger, "3", "m3", "a@b.org", T0 + Duration::from_secs(86_401)).await, Verdict::Answer);
}

#[tokio::test]
async fn one_mail_to_two_of_our_addresses_is_answered_once() {
    let (_dir, ledger) = ledger(9).await;
    assert_eq!(admit(&ledger, "1", "same", "a@b.org", T0).await, Verdict::Answer);
    assert_eq!(admit(&ledger, "2", "same", "a@b.org", T0).await, Verdict::Ignore(Reason::AnsweredAlready));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_at_once_get_exactly_the_allowance() {
    let (_dir, ledger) = ledger(3).await;
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { admit(&ledger, &format!("k{number}"), &format!("m{number}"), "a@b.org", T0).await })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += usize::from(task.await.expect("no panic") == Verdict::Answer);
    }
    assert_eq!(answered, 3);
}

#[tokio::test]
async fn a_reply_is_claimed_by_one_worker_at_a_time_and_sent_once() {
    let (_dir, ledger) = ledger(3).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    let attempt = claimed(&ledger, 0, T0).await;
    assert_eq!(ledger.claim("1", 0, T0, HOLD).await.expect("claim"), Claim::Held(T0 + HOLD));
    assert_eq!(ledger.record("1", 0, attempt, Try::Sent).await.expect("record"), ReplyState::Sent);
    assert_eq!(ledger.claim("1", 0, T0 + HOLD * 2, HOLD).await.expect("claim"), Claim::Settled(ReplyState::Sent));
    let progress = ledger.recall("1").await.expect("recall").expect("known");
    assert_eq!(states(&progress), [ReplyState::Sent, ReplyState::Pending]);
    assert!(!progress.is_settled());
}

#[tokio::test]
async fn workers_that_die_while_sending_make_two_copies_at_most() {
    let (_dir, ledger) = ledger(3).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    let mut granted = 0;
    for round in 0..5 {
        match ledger.claim("1", 0, T0 + HOLD * 2 * round, HOLD).await.expect("claim") {
            Claim::Granted(_) => granted += 1,
            settled => assert_eq!(settled, Claim::Settled(ReplyState::Uncertain)),
        }
    }
    assert_eq!(granted, AMBIGUOUS_TRIES_MAX);
}

#[tokio::test]
async fn ambiguous_tries_are_bounded_and_definite_failures_are_not() {
    let (_dir, ledger) = ledger(3).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    for _ in 0..10 {
        let attempt = claimed(&ledger, 0, T0).await;
        assert_eq!(ledger.record("1", 0, attempt, Try::NotSent).await.expect("record"), ReplyState::Pending);
    }
    for state in [ReplyState::Pending, ReplyState::Uncertain] {
        let attempt = claimed(&ledger, 0, T0).await;
        assert_eq!(ledger.record("1", 0, attempt, Try::Ambiguous).await.expect("record"), state);
    }
    claimed(&ledger, 1, T0).await; // the other reply is its own
}

#[tokio::test]
async fn a_worker_whose_claim_ran_out_has_no_say_but_for_what_it_sent() {
    let (_dir, ledger) = ledger(3).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    let first = claimed(&ledger, 0, T0).await;
    let second = claimed(&ledger, 0, T0 + HOLD).await;
    assert_eq!(ledger.record("1", 0, first, Try::NotSent).await.expect("record"), ReplyState::Claimed, "it is the second's");
    assert_eq!(ledger.claim("1", 0, T0 + HOLD, HOLD).await.expect("claim"), Claim::Held(T0 + HOLD + HOLD));
    assert_eq!(ledger.record("1", 0, first, Try::Sent).await.expect("record"), ReplyState::Sent, "that is the truth");
    assert_eq!(ledger.record("1", 0, second, Try::NotSent).await.expect("record"), ReplyState::Sent);
}

#[tokio::test]
async fn a_request_that_was_ignored_stays_ignored_and_counts_for_nobody() {
    let (_dir, ledger) = ledger(1).await;
    ledger.ignore("0", Reason::MailingList, T0).await.expect("noted");
    assert_eq!(ledger.ignore("0", Reason::Report, T0).await.expect("noted before"), Verdict::Ignore(Reason::MailingList));
    let known = ledger.recall("0").await.expect("recall").expect("known");
    assert_eq!((known.verdict, known.is_settled()), (Verdict::Ignore(Reason::MailingList), true));
    assert_eq!(admit(&ledger, "1", "m", "a@b.org", T0).await, Verdict::Answer);
}

#[tokio::test]
async fn a_reply_that_is_withdrawn_is_refused_unless_it_may_have_been_sent() {
    let (_dir, ledger) = ledger(1).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    assert_eq!(ledger.withdraw("1", 1, T0).await.expect("withdrawn"), ReplyState::Refused);
    claimed(&ledger, 0, T0).await;
    assert_eq!(ledger.withdraw("1", 0, T0).await.expect("held"), ReplyState::Claimed);
    assert_eq!(ledger.withdraw("1", 0, T0 + HOLD).await.expect("abandoned"), ReplyState::Uncertain);
    assert!(ledger.recall("1").await.expect("recall").expect("known").is_settled());
}

#[tokio::test]
async fn looking_at_a_database_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let file = dir.path().join("none.db");
    Ledger::look(&format!("sqlite:{}", file.display())).await.expect_err("there is none");
    assert!(!file.exists());
    std::fs::write(&file, b"").expect("an empty one");
    let _ = Ledger::look(&format!("sqlite:{}", file.display())).await;
    assert_eq!(std::fs::metadata(&file).expect("there").len(), 0);
    let (dir, _ledger) = ledger(1).await;
    assert_eq!(Ledger::look(&format!("sqlite:{}", dir.path().join("ledger.db").display())).await.expect("answers"), 0);
}

#[tokio::test]
async fn what_is_too_old_expires_unless_a_worker_holds_it() {
    let (_dir, ledger) = ledger(3).await;
    admit(&ledger, "1", "m", "a@b.org", T0).await;
    claimed(&ledger, 0, T0).await;
    let progress = ledger.expire("1", T0).await.expect("expire").expect("known");
    assert_eq!(states(&progress), [ReplyState::Claimed, ReplyState::Expired]);
    let progress = ledger.expire("1", T0 + HOLD).await.expect("expire").expect("known");
    assert!(progress.is_settled());
}

#[tokio::test]
async fn old_requests_are_forgotten_and_no_sender_can_be_read() {
    let (dir, ledger) = ledger(1).await;
    admit(&ledger, "1", "m", "canary@example.org", T0).await;
    assert_eq!(ledger.forget_old(T0).await.expect("forget"), 0);
    let database = std::fs::read(dir.path().join("ledger.db")).expect("database");
    let journal = std::fs::read(dir.path().join("ledger.db-wal")).unwrap_or_default();
    assert!(![database, journal].concat().windows(6).any(|window| window == b"canary"));
    assert_eq!(ledger.forget_old(T0 + RETENTION + HOLD).await.expect("forget"), 1);
    assert_eq!(ledger.recall("1").await.expect("recall"), None);
}

#[tokio::test]
async fn a_database_that_a_newer_program_changed_is_refused() {
    let (dir, ledger) = ledger(1).await;
    use sea_orm::ConnectionTrait;
    ledger.database.execute_unprepared("INSERT INTO seaql_migrations VALUES ('9999_later', 0)").await.expect("insert");
    let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let reopened = Ledger::open(&url, ledger.secret.clone(), ledger.allowance.clone()).await;
    assert!(matches!(reopened, Err(LedgerError::Schema(_))));
}
