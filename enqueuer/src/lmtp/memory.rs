//! How much of the service's memory the mails may hold that are being received. Who gets none is sent away with 452, and
//! Postfix tries again.
//!
//! There are two parts. A mail begins in the *small* one (a quarter of all), which is never waited for. One that outgrows
//! [`SMALL_BYTES_MAX`], or finds its share of the small part used up, needs a place in the *large* one, of which each has
//! room for the largest mail. For those places mails wait in turn, while their further bytes stay with Postfix. Who waits
//! keeps what it has of the small part; so mails that grow share one half of that, and the other half is left to those that
//! begin, whoever waits.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a mail has room for at first.
pub const FIRST_BYTES: usize = 16 << 10;
/// A larger mail needs a place of its own.
pub const SMALL_BYTES_MAX: usize = 256 << 10;
/// By this much the small part is given out.
const UNIT_BYTES: usize = 1 << 10;

/// The memory of a service.
pub struct Memory {
    small: Arc<Semaphore>,
    /// What of the small part mails may have beyond their first bytes.
    growth: Arc<Semaphore>,
    large: Arc<Semaphore>,
    mail_bytes_max: usize,
    patience: Duration,
}

/// One mail's part of it, given back when it is dropped.
pub struct Hold {
    small: Vec<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
    /// So long may the mail be as things are.
    bytes: usize,
}

impl Memory {
    /// Of `bytes_max` bytes for mails of up to `mail_bytes_max`; a place in the large part is waited for by at most
    /// `patience`.
    pub fn new(bytes_max: usize, mail_bytes_max: usize, patience: Duration) -> Self {
        let small_bytes = (bytes_max / 4).max(FIRST_BYTES);
        let places = (bytes_max.saturating_sub(small_bytes) / mail_bytes_max).max(1);
        let units = small_bytes / UNIT_BYTES;
        Self {
            small: Arc::new(Semaphore::new(units)),
            growth: Arc::new(Semaphore::new(units / 2)),
            large: Arc::new(Semaphore::new(places)),
            mail_bytes_max,
            patience,
        }
    }

    /// Room for a mail's first bytes; `None` if there is none.
    pub fn begin(&self) -> Option<Hold> {
        let first = take(&self.small, FIRST_BYTES)?;
        Some(Hold { small: vec![first], large: None, bytes: FIRST_BYTES })
    }

    fn take_growth(&self, bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        Some([take(&self.growth, bytes)?, take(&self.small, bytes)?])
    }

    /// Makes room for more than `hold` has. Whether there is any: else the mail cannot be taken now. Not for mails beyond
    /// the largest, which the caller has sent away.
    pub async fn grow(&self, hold: &mut Hold) -> bool {
        if hold.large.is_some() {
            return false;
        }
        let wanted = (hold.bytes * 4).min(SMALL_BYTES_MAX);
        if let Some(more) = (wanted > hold.bytes).then(|| self.take_growth(wanted - hold.bytes)).flatten() {
            hold.small.extend(more);
            hold.bytes = wanted;
            return true;
        }
        match tokio::time::timeout(self.patience, Arc::clone(&self.large).acquire_owned()).await {
            Ok(Ok(place)) => {
                hold.large = Some(place);
                hold.bytes = self.mail_bytes_max;
                hold.small.clear();
                true
            }
            _ => false,
        }
    }
}

fn take(part: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let units = u32::try_from(bytes / UNIT_BYTES).ok()?;
    Arc::clone(part).try_acquire_many_owned(units).ok()
}

impl Hold {
    /// So many bytes the mail may have as things are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_mail_grows_to_the_largest_and_gives_all_back() {
        let memory = Memory::new(4 << 20, 1 << 20, PATIENCE);
        for _ in 0..10 {
            let mut hold = memory.begin().expect("room");
            let mut sizes = vec![hold.bytes()];
            while memory.grow(&mut hold).await {
                sizes.push(hold.bytes());
            }
            assert_eq!(sizes, [16 << 10, 64 << 10, 256 << 10, 1 << 20]);
        }
        let left = [&memory.small, &memory.growth, &memory.large].map(|part| part.available_permits());
        assert_eq!(left, [1 << 10, 1 << 9, 3]);
    }

    #[tokio::test]
    async fn what_all_hold_together_is_bounded() {
        let memory = Memory::new(4 << 20, 1 << 20, PATIENCE);
        let mut holds = Vec::new();
        while let Some(mut hold) = memory.begin() {
            while memory.grow(&mut hold).await {}
            holds.push(hold);
        }
        let all: usize = holds.iter().map(Hold::bytes).sum();
        assert!(holds.len() > 3 && all <= 4 << 20, "{} mails hold {all} bytes", holds.len());
        holds.clear();
        assert!(memory.begin().is_some());
    }

    #[tokio::test]
    async fn mails_that_grow_and_wait_leave_half_of_the_small_part_to_those_that_begin() {
        let memory = Memory::new(4 << 20, 1 << 20, PATIENCE);
        let _places = Arc::clone(&memory.large).try_acquire_many_owned(3).expect("all places");
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let mut hold = memory.begin().expect("room");
            while memory.grow(&mut hold).await {}
            waiting.push(hold);
        }
        assert_eq!(waiting.iter().map(Hold::bytes).max(), Some(SMALL_BYTES_MAX));
        let begun: Vec<Hold> = std::iter::from_fn(|| memory.begin()).collect();
        assert!(begun.len() + waiting.len() >= (512 << 10) / FIRST_BYTES, "{} more", begun.len());
    }

    #[tokio::test]
    async fn a_large_mail_waits_for_its_place() {
        let memory = Arc::new(Memory::new(2 << 20, 1 << 20, Duration::from_secs(30)));
        let grown = |memory: Arc<Memory>| async move {
            let mut hold = memory.begin().expect("room");
            while hold.bytes() < 1 << 20 {
                assert!(memory.grow(&mut hold).await);
            }
            hold
        };
        let first = grown(Arc::clone(&memory)).await;
        let second = tokio::spawn(grown(Arc::clone(&memory)));
        tokio::task::yield_now().await;
        assert!(!second.is_finished(), "one place only");
        drop(first);
        second.await.expect("it got the place");
    }
}
