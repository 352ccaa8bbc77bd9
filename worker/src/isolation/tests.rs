//! Who goes into the lane. Its processes cannot start: this program of tests does not know what it is told to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::{SystemClock, UnixMillis},
    envelope::{Facts, Mail},
    keyed::Secret,
    queue::Receipt,
    settings::AllowanceSettings,
};
use tokio::sync::Semaphore;

use super::*;
use crate::{catalogue::SendMethod, lease::Leases};

const MINUTE: Duration = Duration::from_secs(60);

struct Answers;

#[async_trait]
impl Respond for Answers {
    async fn respond(&self, _: u32, _: Option<&Envelope>, _: &Hold, _: &mut Account) -> Outcome {
        Outcome::Answered
    }
    fn ways(&self) -> Vec<Vec<SendMethod>> {
        Vec::new()
    }
}

fn key(number: usize) -> String {
    format!("{number:064x}")
}

/// The isolation of a worker whose journals lie in `cache` of this folder.
async fn isolation(dir: &std::path::Path) -> (Isolation, Ledger) {
    let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("valid");
    let url = format!("sqlite:{}", dir.join("ledger.db").display());
    let ledger = Ledger::open(&url, secret, AllowanceSettings::default()).await.expect("opened");
    let plan = Plan { config: dir.join("no.toml"), cache_dir: dir.join("cache"), slots: 1, time_max: Arc::new(|| MINUTE), receives_max: 8 };
    (Isolation::open(plan, ledger.clone(), Arc::new(SystemClock)), ledger)
}

/// Answers a message that comes for the first time.
async fn answered(isolation: &Isolation, request_key: String) -> Outcome {
    let (receipt, slots) = (Receipt::of_text("x"), Arc::new(Semaphore::new(1)));
    let hold = Arc::new(Leases::new(MINUTE)).hold(&receipt);
    let delivery = Delivery { wire: Bytes::from_static(b"x"), receipt, receive_count: 1, is_replayed: false };
    let envelope = Envelope { facts: Facts { request_key, ..Facts::default() }, mail: Mail::Inline(Bytes::from_static(b"x")) };
    let mut slot = Slot::new(slots.try_acquire_owned().expect("a slot"), None);
    isolation.answer(&Answers, &delivery, Some(&envelope), &hold, &mut Account::default(), &mut slot).await
}

#[tokio::test]
async fn a_listed_message_that_comes_as_if_for_the_first_time_is_worked_on_alone_with_a_journal_and_without() {
    for has_journal in [true, false] {
        let dir = tempfile::tempdir().expect("temporary folder");
        if has_journal {
            std::fs::create_dir(dir.path().join("cache")).expect("created");
        }
        let (isolation, ledger) = isolation(dir.path()).await;
        ledger.suspect(&[key(1)], UnixMillis::now()).await.expect("listed");
        let (_stop, mut is_stopping) = watch::channel(false);
        isolation.begin(&mut is_stopping, &Pulse::new(MINUTE)).await;
        assert_eq!(answered(&isolation, key(1)).await, Outcome::Retry(Wait::Quarantine), "{has_journal}");
        assert_eq!(answered(&isolation, key(2)).await, Outcome::Answered, "{has_journal}");
        isolation.close();
    }
}

#[tokio::test]
async fn each_message_that_is_noted_is_a_sign_of_life() {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(dir.path().join("cache")).expect("created");
    std::fs::write(dir.path().join("cache/in-hand-dead"), [key(1), key(2), key(3)].concat()).expect("written");
    let (isolation, ledger) = isolation(dir.path()).await;
    let (parts, beats) = (isolation.0.as_ref().expect("it has parts"), AtomicUsize::new(0));
    let beat = || {
        beats.fetch_add(1, Ordering::Relaxed);
    };
    assert!(parts.note_left(&beat).await);
    assert_eq!((beats.load(Ordering::Relaxed), ledger.suspects().await.expect("asked").len()), (3, 3));
}
