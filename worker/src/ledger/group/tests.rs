//! Calls that share a transaction: who is told what, and when; and what a full disk does to it.

use std::time::Duration;

use futures_util::future::join_all;
use replyfleet::{clock::UnixMillis, keyed::Secret};
use sea_orm::ConnectionTrait;

use super::*;
use crate::ledger::{Claim, ReplyState};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

async fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let url = format!("sqlite:{}", dir.path().join("ledger.sqlite").display());
    let ledger = Ledger::open(&url, Secret::from_text(SECRET).expect("secret"), Default::default()).await.expect("opened");
    (dir, ledger)
}

async fn write(transaction: &Transaction, key: &str) {
    let row = format!(
        "INSERT INTO reply (request_key, number, response, state, attempts, ambiguous, held_until_ms) VALUES ('{key}', 0, 'response', 'pending', 0, 0, 0)"
    );
    transaction.execute_unprepared(&row).await.expect("written");
}

/// What a connection of its own finds on the disk.
async fn is_there(dir: &tempfile::TempDir, key: &str) -> bool {
    let url = format!("sqlite:{}", dir.path().join("ledger.sqlite").display());
    let other = Ledger::join(&url, Secret::from_text(SECRET).expect("secret"), Default::default()).await.expect("joined");
    matches!(other.claim(key, 0, NOW, Duration::from_secs(1)).await, Ok(Claim::Granted(_)))
}

#[tokio::test]
async fn calls_at_once_share_a_transaction_and_are_told_once_it_is_on_the_disk() {
    let (dir, ledger) = ledger().await;
    let first = ledger.begin().await.expect("begun");
    write(&first, "k0").await;
    let (others, mine) = (
        (1..20).map(async |number| {
            let member = ledger.begin().await.expect("joined");
            let is_first = matches!(&member, Transaction::Shared(member) if member.is_first);
            write(&member, &format!("k{number}")).await;
            member.commit().await.expect("committed");
            is_first
        }),
        first.commit(),
    );
    // The others wait for their turn before the first gives its own back.
    let (firsts, committed) = tokio::join!(join_all(others), mine);
    committed.expect("committed");
    assert_eq!(firsts.iter().filter(|is_first| **is_first).count(), 0, "all in the first one's transaction");
    for number in 0..20 {
        assert!(is_there(&dir, &format!("k{number}")).await, "k{number}");
    }
}

#[tokio::test]
async fn nobody_is_told_before_the_commit() {
    let (_dir, ledger) = ledger().await;
    let first = ledger.begin().await.expect("begun");
    write(&first, "k0").await;
    let mut told = Box::pin(first.commit());
    let holder = {
        // The turn is the next one's before the commit can have it.
        let mut next = Box::pin(ledger.begin());
        assert!(futures_util::poll!(&mut next).is_pending());
        assert!(futures_util::poll!(&mut told).is_pending());
        next.await.expect("joined")
    };
    let waited = tokio::time::timeout(Duration::from_millis(100), &mut told).await;
    assert!(waited.is_err(), "told while another was still at it");
    holder.commit().await.expect("committed");
    told.await.expect("committed");
}

#[tokio::test]
async fn who_finds_nothing_known_does_not_wait_for_the_commit() {
    let (_dir, ledger) = ledger().await;
    let first = ledger.begin().await.expect("begun");
    write(&first, "k0").await;
    let sender = crate::address::Address::parse("someone@example.org").expect("an address");
    let senders = [&sender];
    let mut told = Box::pin(first.commit());
    let (mut looking, mut asking, mut next) = (Box::pin(ledger.recall("nobody")), Box::pin(ledger.listed(&senders, NOW)), Box::pin(ledger.begin()));
    assert!(futures_util::poll!(&mut looking).is_pending());
    assert!(futures_util::poll!(&mut asking).is_pending());
    assert!(futures_util::poll!(&mut next).is_pending());
    assert!(futures_util::poll!(&mut told).is_pending());
    // The next one's turn is before the commit's, and it does not give it back.
    let found = async { (looking.await.expect("answered"), asking.await.expect("answered")) };
    let (known, listed) = tokio::time::timeout(Duration::from_secs(5), found).await.expect("not made to wait");
    assert!(known.is_none() && !listed.is_blocked);
    assert!(futures_util::poll!(&mut told).is_pending(), "not committed yet");
    next.await.expect("joined").commit().await.expect("committed");
    told.await.expect("committed");
}

#[tokio::test]
async fn one_that_is_given_up_undoes_the_transaction_and_the_others_are_told_so() {
    let (dir, ledger) = ledger().await;
    let first = ledger.begin().await.expect("begun");
    write(&first, "k0").await;
    let mut told = Box::pin(first.commit());
    let mut next = Box::pin(ledger.begin());
    assert!(futures_util::poll!(&mut next).is_pending());
    assert!(futures_util::poll!(&mut told).is_pending());
    let next = next.await.expect("joined");
    write(&next, "k1").await;
    drop(next);
    assert!(matches!(told.await, Err(LedgerError::Undone)));
    let after = ledger.begin().await.expect("begun");
    write(&after, "k2").await;
    after.commit().await.expect("committed");
    assert!(!is_there(&dir, "k0").await && !is_there(&dir, "k1").await);
    assert!(is_there(&dir, "k2").await);
}

#[tokio::test]
async fn the_transaction_is_committed_although_who_began_it_has_given_up() {
    let (dir, ledger) = ledger().await;
    let first = ledger.begin().await.expect("begun");
    write(&first, "k0").await;
    let mut next = Box::pin(ledger.begin());
    assert!(futures_util::poll!(&mut next).is_pending());
    let mut told = Box::pin(first.commit());
    assert!(futures_util::poll!(&mut told).is_pending());
    drop(told);
    let next = next.await.expect("joined");
    write(&next, "k1").await;
    next.commit().await.expect("committed");
    assert!(is_there(&dir, "k0").await && is_there(&dir, "k1").await);
}

#[tokio::test]
async fn calls_succeed_although_their_neighbours_fail_and_are_given_up() {
    let (_dir, ledger) = ledger().await;
    for number in 0..30 {
        let transaction = ledger.begin().await.expect("begun");
        write(&transaction, &format!("k{number}")).await;
        transaction.commit().await.expect("committed");
    }
    let calls = (0..30).map(async |number: usize| {
        let key = format!("k{number}");
        match number % 3 {
            // There is no such reply.
            0 => assert!(ledger.claim("nobody", 0, NOW, Duration::from_secs(1)).await.is_err()),
            1 => drop(tokio::time::timeout(Duration::from_micros(300), ledger.claim(&key, 0, NOW, Duration::from_secs(1))).await),
            _ => {
                let Ok(Claim::Granted(attempt)) = ledger.claim(&key, 0, NOW, Duration::from_secs(1)).await else { panic!("{key} is claimed") };
                let state = ledger.record(&key, 0, attempt, crate::ledger::Try::Sent).await.expect("recorded");
                assert_eq!(state, ReplyState::Sent);
            }
        }
    });
    join_all(calls).await;
}

/// SQLite takes a transaction back by itself where there is no room, and sqlx then counts one more than there are: what it
/// "commits" from then on is nothing.
#[tokio::test]
async fn what_is_reported_after_a_full_disk_is_on_the_disk() {
    let (dir, ledger) = ledger().await;
    let mut failures = 0;
    for number in 0..200 {
        ledger.database.execute_unprepared("PRAGMA max_page_count = 1").await.expect("no more pages than there are");
        let transaction = ledger.begin().await.expect("begun");
        let row = format!("INSERT INTO reply VALUES ('{number}{}', 0, 'response', 'pending', 0, 0, 0)", "x".repeat(3_000));
        // The statement may fail, or the commit.
        let is_written = transaction.execute_unprepared(&row).await.is_ok() && transaction.commit().await.is_ok();
        failures += usize::from(!is_written);
    }
    assert!(failures > 2, "the disk is full");
    drop(ledger.begin().await);
    ledger.database.execute_unprepared("PRAGMA max_page_count = 1000000").await.expect("room again");
    for number in 0..3 {
        let key = format!("after{number}");
        let transaction = ledger.begin().await.expect("begun");
        write(&transaction, &key).await;
        transaction.commit().await.expect("committed");
        assert!(is_there(&dir, &key).await, "{key}");
    }
}
