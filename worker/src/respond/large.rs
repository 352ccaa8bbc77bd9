//! Memory for the mails that come from the store: those are the large ones, and every slot may have one at a time. A mail that finds
//! no room waits until others were read; its lease is kept meanwhile. The small ones come with their messages, and are bounded there.

use tokio::sync::{Semaphore, SemaphorePermit};

/// All of them together, in KiB: a machine with 2 GiB has room for it.
const ROOM_KIB: u32 = 256 << 10;

/// The room.
#[derive(Debug)]
pub(crate) struct LargeMails(Semaphore);

impl Default for LargeMails {
    fn default() -> Self {
        Self(Semaphore::new(ROOM_KIB as usize))
    }
}

impl LargeMails {
    /// Room for a mail of so many bytes, kept until the permit is dropped. A mail that is larger than all room takes all of it.
    pub(super) async fn room_for(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let wanted = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(ROOM_KIB).min(ROOM_KIB);
        self.0.acquire_many(wanted).await.ok() // never closed
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_large_mail_waits_until_another_was_read() {
        let large = LargeMails::default();
        let first = large.room_for(200 << 20).await;
        assert!(large.room_for(100 << 20).now_or_never().is_none(), "300 MiB have no room");
        assert!(large.room_for(50 << 20).now_or_never().is_some());
        drop(first);
        assert!(large.room_for(100 << 20).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_mail_larger_than_all_room_has_it_alone() {
        let large = LargeMails::default();
        let all = large.room_for(u64::MAX).now_or_never().flatten();
        assert!(all.is_some() && large.room_for(1).now_or_never().is_none());
    }
}
