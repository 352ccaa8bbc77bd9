//! The DNS cache of all mails: bounded in bytes, each entry for as long as its owner says, within limits.
//!
//! What did not answer is never in it: that is [`super::silence`]'s. A cache that is full drops what is asked for least.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::proto::rr::RecordType;
use moka::{Expiry, sync::Cache as Entries};

use super::{Missing, answer::Answer};

/// What an entry may take on average. One that takes less counts as much, so that there are never more entries than
/// the settings allow.
const ENTRY_BYTES_MEAN: usize = 512;
/// What an entry takes besides its name and records: in the table, the lists of age and use, and the timer.
const ENTRY_BYTES_OWN: usize = 256;
/// What the cache may take in all, whatever the settings allow.
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// For how long an answer is remembered at most, whatever its owner says: a revoked key must not live on for days.
const REMEMBER_MAX: Duration = Duration::from_secs(3_600);
/// For how long "there is none" is remembered where the answer does not say (no SOA), and where it says less.
const REMEMBER_NOTHING_MIN: Duration = Duration::from_secs(10);
/// For how long "there is none" is remembered at most: a key or record that was just published is found soon.
const REMEMBER_NOTHING_MAX: Duration = Duration::from_secs(300);

/// A name in lower case without the last dot, and what was asked of it.
type Key = (String, RecordType);
/// What DNS said: records, or that there are none.
pub(super) type Said = Result<Answer, Missing>;

/// The cache. A clone is the same one.
#[derive(Clone)]
pub(super) struct Cache {
    entries: Entries<Key, Arc<Entry>>,
}

struct Entry {
    said: Arc<Said>,
    remembered: Duration,
}

impl Cache {
    /// An empty cache for this many answers of ordinary size, and for none at 0.
    pub(super) fn new(entries: usize) -> Self {
        let capacity = (entries as u64).saturating_mul(ENTRY_BYTES_MEAN as u64).min(CACHE_BYTES_MAX);
        let weigh = |key: &Key, entry: &Arc<Entry>| u32::try_from(weight(key, &entry.said)).unwrap_or(u32::MAX);
        Self { entries: Entries::builder().max_capacity(capacity).weigher(weigh).expire_after(Expires).build() }
    }

    /// What is remembered of a name.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Said>> {
        self.entries.get(key).map(|entry| Arc::clone(&entry.said))
    }

    /// Remembers what DNS said for `time_to_live`, within the limits. What says nothing lasting is not remembered.
    pub(super) fn put(&self, key: Key, said: Said, time_to_live: Duration) -> Arc<Said> {
        let remembered = match said {
            Ok(_) => time_to_live.min(REMEMBER_MAX),
            Err(Missing::Name | Missing::Record) => time_to_live.clamp(REMEMBER_NOTHING_MIN, REMEMBER_NOTHING_MAX),
            Err(Missing::Temporary) => Duration::ZERO,
        };
        let said = Arc::new(said);
        if !remembered.is_zero() {
            self.entries.insert(key, Arc::new(Entry { said: Arc::clone(&said), remembered }));
        }
        said
    }

    /// Entries and the bytes that they count for, with all that is under way done.
    #[cfg(test)]
    pub(super) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

fn weight((name, _): &Key, said: &Said) -> usize {
    (ENTRY_BYTES_OWN + name.len() + said.as_ref().map_or(0, Answer::bytes)).max(ENTRY_BYTES_MEAN)
}

/// Each entry ends when its own time is over.
struct Expires;

impl Expiry<Key, Arc<Entry>> for Expires {
    fn expire_after_create(&self, _: &Key, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.remembered)
    }

    fn expire_after_update(&self, _: &Key, entry: &Arc<Entry>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.remembered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), RecordType::TXT)
    }

    fn text(length: usize) -> Said {
        Ok(Answer::Texts(vec![vec![b'x'; length]]))
    }

    #[test]
    fn what_is_said_lasts_as_long_as_its_owner_says_within_limits() {
        for (what, said, seconds, expected) in [
            ("records", text(1), 60, Some(60)),
            ("records for a day", text(1), 86_400, Some(3_600)),
            ("records for no time", text(1), 0, None),
            ("no name", Err(Missing::Name), 60, Some(60)),
            ("no record, without an SOA", Err(Missing::Record), 0, Some(10)),
            ("no record for a day", Err(Missing::Record), 86_400, Some(300)),
            ("trouble", Err(Missing::Temporary), 60, None),
        ] {
            let cache = Cache::new(10);
            assert_eq!(*cache.put(key("a.org"), said.clone(), Duration::from_secs(seconds)), said, "{what}");
            let remembered = cache.entries.get(&key("a.org")).map(|entry| entry.remembered.as_secs());
            assert_eq!(remembered, expected, "{what}");
            let is_known = cache.get(&key("a.org")).is_some();
            assert_eq!((is_known, cache.get(&("a.org".to_owned(), RecordType::MX)).is_some()), (expected.is_some(), false), "{what}");
        }
    }

    #[test]
    fn an_entry_ends_when_its_time_is_over() {
        let cache = Cache::new(10);
        cache.put(key("a.org"), text(1), Duration::from_millis(1));
        let end = Instant::now() + Duration::from_secs(10);
        while cache.get(&key("a.org")).is_some() {
            assert!(Instant::now() < end, "it never ends");
            std::thread::yield_now();
        }
    }

    #[test]
    fn neither_bytes_nor_entries_grow_over_the_capacity() {
        for length in [0, 100, 4_000, 100_000] {
            let cache = Cache::new(100);
            for n in 0..2_000 {
                cache.put(key(&format!("n{n}.example.org")), text(length), Duration::from_secs(60));
            }
            let (entries, bytes) = cache.size();
            assert!(entries <= 100 && bytes <= 100 * ENTRY_BYTES_MEAN as u64, "{length}: {entries} entries, {bytes} bytes");
            assert_eq!(entries > 0, length < 50_000, "{length}");
        }
        let cache = Cache::new(0);
        cache.put(key("a.org"), text(1), Duration::from_secs(60));
        assert!(cache.get(&key("a.org")).is_none());
        assert_eq!(Cache::new(usize::MAX).entries.policy().max_capacity(), Some(CACHE_BYTES_MAX));
    }
}
