//! Claims whose answers were lost.

use futures_util::FutureExt;
use replyfleet::{keyed::Secret, settings::AllowanceSettings};
use sea_orm::ActiveValue::Set;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &str = "k1";

/// With one reply that nobody has tried to send.
async fn ledger() -> (Ledger, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("valid");
    let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
    let ledger = Ledger::open(&url, secret, AllowanceSettings::default()).await.expect("opened");
    let row = reply::ActiveModel {
        request_key: Set(KEY.into()),
        number: Set(0),
        response: Set("r".into()),
        state: Set(ReplyState::Pending.word().into()),
        attempts: Set(0),
        ambiguous: Set(0),
        held_until_ms: Set(0),
        holder: Set(0),
    };
    reply::Entity::insert(row).exec_without_returning(&ledger.database).await.expect("inserted");
    (ledger, dir)
}

#[tokio::test]
async fn a_lost_claim_that_gets_to_the_database_late_is_taken_back_all_the_same() {
    let (ledger, _dir) = ledger().await;
    let (now, hold, holder) = (UnixMillis::now(), Duration::from_secs(600), 7);
    let mut disowning = tokio::spawn(ledger.clone().disown(KEY.into(), 0, holder, hold));
    timeout(DISOWN_PAUSE_MIN / 2, &mut disowning).await.expect_err("not to find it is no end");
    assert!(matches!(ledger.try_claim(KEY, 0, now, hold, holder).await.expect("it gets there"), Claim::Granted(_)));
    timeout(PATIENCE, disowning).await.expect("in time").expect("no panic");
    let again = ledger.claim(KEY, 0, now, hold).await.expect("asked");
    assert!(matches!(again, Claim::Granted(_)), "{again:?}");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_open_until_it_has_run_out() {
    let (ledger, _dir) = ledger().await;
    assert!(ledger.no_claims_lost().now_or_never().is_some());
    ledger.database.clone().close().await.expect("closed");
    ledger.claim(KEY, 0, UnixMillis::now(), Duration::from_millis(100)).await.expect_err("the database is away");
    assert!(ledger.no_claims_lost().now_or_never().is_none(), "it may have been made");
    timeout(PATIENCE, ledger.no_claims_lost()).await.expect("it has run out");
}
