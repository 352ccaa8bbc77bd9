//! The lane, whose processes cannot start: this program of tests does not know what it is told to do.

use replyfleet::{clock::UnixMillis, keyed::Secret, queue::Receipt, settings::AllowanceSettings};

use super::*;
use crate::lease::Leases;

const RECEIVES_MAX: u32 = 3;
const MINUTE: Duration = Duration::from_secs(60);

struct Lane {
    _dir: tempfile::TempDir,
    ledger: Ledger,
    quarantine: Quarantine,
}

fn key() -> String {
    "5".repeat(64)
}

impl Lane {
    /// With one suspect on the list.
    async fn new(places: usize) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("valid");
        let url = format!("sqlite:{}", dir.path().join("ledger.db").display());
        let ledger = Ledger::open(&url, secret, AllowanceSettings::default()).await.expect("opened");
        ledger.suspect(&[key()], UnixMillis::now()).await.expect("listed");
        let quarantine = Quarantine::new(dir.path().join("no.toml"), ledger.clone(), Arc::new(|| MINUTE), RECEIVES_MAX, places);
        Self { _dir: dir, ledger, quarantine }
    }

    /// Works on the suspect, which surely is this worker's for so long.
    async fn work(&self, receive_count: u32, lease: Duration) -> Outcome {
        let receipt = Receipt::of_text("x");
        let hold = Arc::new(Leases::new(lease)).hold(&receipt);
        let delivery = Delivery { wire: Bytes::from_static(b"x"), receipt, receive_count, is_replayed: false };
        let slots = Arc::new(Semaphore::new(1));
        let mut slot = Slot::new(Arc::clone(&slots).try_acquire_owned().expect("a slot"), None);
        self.quarantine.work(&delivery, &key(), &hold, &mut slot).await.0
    }
}

#[tokio::test]
async fn a_suspect_whose_process_cannot_start_or_that_gets_no_place_is_parked_when_it_has_come_too_often() {
    for places in [1, 0] {
        let lane = Lane::new(places).await;
        assert_eq!(lane.work(RECEIVES_MAX, MINUTE).await, Outcome::Retry(Wait::Quarantine), "{places}");
        assert_eq!(lane.work(RECEIVES_MAX + 1, MINUTE).await, Outcome::Parked(Park::ReceivedTooOften), "{places}");
    }
}

#[tokio::test]
async fn a_suspect_that_may_be_anothers_when_its_turn_comes_is_not_begun() {
    let lane = Lane::new(1).await;
    assert_eq!(lane.work(1, Duration::ZERO).await, Outcome::Retry(Wait::Lease), "its lease could not be extended");
    lane.ledger.clear_suspect(&key()).await.expect("cleared");
    assert_eq!(lane.work(1, MINUTE).await, Outcome::Retry(Wait::Lease), "another worker has ended it");
}
