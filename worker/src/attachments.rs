//! The attachments: fetched from the store once per version, kept on disk and in memory, shared by all replies.
//!
//! On disk an attachment is `<hash of its name>.bin` with `<hash of its name>.json` beside it: name, version, length,
//! SHA-256. Both are written to a temporary file, fsynced and renamed, the content first; what does not match its
//! SHA-256 at the next start is fetched again. While the store is away, the last good content serves.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use replyfleet::{
    durable,
    keyed::sha256_hex,
    store::{Fetched, ObjectName, Result, Store, StoreError, Version},
};
use serde::{Deserialize, Serialize};

/// For how long a failed fetch stands for all who ask.
const FAILURE_STANDS: Duration = Duration::from_secs(5);

/// The cache of attachments.
pub struct Attachments {
    store: Arc<dyn Store>,
    dir: PathBuf,
    refresh: Duration,
    slots: Mutex<HashMap<ObjectName, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What is at hand of one attachment.
#[derive(Default)]
struct Slot {
    held: Option<Held>,
    /// When nothing could be had, and why.
    failed: Option<(Instant, String)>,
}

struct Held {
    content: Bytes,
    version: Version,
    looked_at: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct Label {
    object: ObjectName,
    version: Version,
    bytes: u64,
    sha256: String,
}

impl Attachments {
    /// A cache in `dir`, which exists; each attachment is looked at for a new version at most every `refresh`.
    pub fn new(store: Arc<dyn Store>, dir: &Path, refresh: Duration) -> Self {
        Self { store, dir: dir.to_owned(), refresh, slots: Mutex::default() }
    }

    /// The content of `object`. Those who ask for one object at the same time wait for one fetch.
    ///
    /// # Errors
    /// The store's, if nothing good is at hand.
    pub async fn get(&self, object: &ObjectName) -> Result<Bytes> {
        let slot = {
            // Poisoned: a map of slots is whole whatever panicked.
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(object.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        let Slot { held, failed } = &mut *slot;
        if held.is_none() {
            *held = self.read_kept(object);
        }
        // Those who waited behind a fetch that failed must not each wait for one of their own.
        if let Some((_, text)) = failed.as_ref().filter(|(at, _)| held.is_none() && at.elapsed() < FAILURE_STANDS) {
            return Err(StoreError::Unavailable(text.clone()));
        }
        if let Some(fresh) = held.as_ref().filter(|held| held.looked_at.is_some_and(|at| at.elapsed() < self.refresh)) {
            return Ok(fresh.content.clone());
        }
        match self.store.get(object, held.as_ref().map(|held| &held.version)).await {
            Ok(Fetched::Changed(content, version)) => {
                if let Err(error) = self.keep(object, &content, &version) {
                    tracing::warn!(object = %object, error = %error, "an attachment cannot be kept on disk, it is used from memory");
                }
                *held = Some(Held { content: content.clone(), version, looked_at: Some(Instant::now()) });
                Ok(content)
            }
            fetched => {
                let Some(last_good) = held.as_mut() else {
                    // Unwrap: "unchanged" is only said of a version that is held.
                    let error = fetched.expect_err("nothing is held");
                    *failed = Some((Instant::now(), error.to_string()));
                    return Err(error);
                };
                last_good.looked_at = Some(Instant::now());
                if let Err(error) = fetched {
                    tracing::warn!(object = %object, error = %error, "an attachment cannot be refreshed, the last good one is used");
                }
                Ok(last_good.content.clone())
            }
        }
    }

    fn paths(&self, object: &ObjectName) -> (PathBuf, PathBuf) {
        let name = sha256_hex(object.to_string().as_bytes());
        (self.dir.join(format!("{name}.bin")), self.dir.join(format!("{name}.json")))
    }

    fn read_kept(&self, object: &ObjectName) -> Option<Held> {
        let (content_path, label_path) = self.paths(object);
        let label: Label = serde_json::from_slice(&std::fs::read(label_path).ok()?).ok()?;
        let content = std::fs::read(content_path).ok()?;
        let is_whole = label.object == *object && label.bytes == content.len() as u64 && label.sha256 == sha256_hex(&content);
        is_whole.then(|| Held { content: Bytes::from(content), version: label.version, looked_at: None })
    }

    fn keep(&self, object: &ObjectName, content: &Bytes, version: &Version) -> std::io::Result<()> {
        let (content_path, label_path) = self.paths(object);
        let label = Label { object: object.clone(), version: version.clone(), bytes: content.len() as u64, sha256: sha256_hex(content) };
        let label = serde_json::to_vec(&label).map_err(std::io::Error::other)?;
        for (path, bytes) in [(content_path, content.as_ref()), (label_path, &label)] {
            let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
            let _ = std::fs::remove_file(&temporary); // of an earlier process with our id that died here
            durable::write_file(&temporary, &path, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use replyfleet::store::dir::DirStore;

    use super::*;

    async fn world() -> (tempfile::TempDir, Arc<DirStore>, ObjectName, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Arc::new(DirStore::open(&dir.path().join("store")).expect("store"));
        let object = ObjectName::new("files", "a.bin").expect("valid");
        store.put(&object, Bytes::from_static(b"one")).await.expect("put");
        let cache = dir.path().join("cache");
        std::fs::create_dir(&cache).expect("cache folder");
        (dir, store, object, cache)
    }

    #[tokio::test]
    async fn a_new_version_is_seen_after_the_refresh_interval_and_not_before() {
        let (_dir, store, object, cache) = world().await;
        let (lazy, eager) =
            (Attachments::new(store.clone(), &cache, Duration::from_secs(60)), Attachments::new(store.clone(), &cache, Duration::ZERO));
        assert_eq!(lazy.get(&object).await.expect("fetched"), "one");
        assert_eq!(eager.get(&object).await.expect("fetched"), "one");
        store.put(&object, Bytes::from_static(b"two")).await.expect("put");
        assert_eq!(lazy.get(&object).await.expect("held"), "one");
        assert_eq!(eager.get(&object).await.expect("fetched"), "two");
    }

    #[tokio::test]
    async fn the_last_good_content_survives_the_store_and_a_restart() {
        let (_dir, store, object, cache) = world().await;
        Attachments::new(store.clone(), &cache, Duration::ZERO).get(&object).await.expect("fetched");
        store.delete(&object).await.expect("deleted");
        let restarted = Attachments::new(store.clone(), &cache, Duration::ZERO);
        assert_eq!(restarted.get(&object).await.expect("kept on disk"), "one");
    }

    #[tokio::test]
    async fn a_half_written_cache_file_is_fetched_again() {
        let (_dir, store, object, cache) = world().await;
        let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
        attachments.get(&object).await.expect("fetched");
        std::fs::write(attachments.paths(&object).0, b"on").expect("cut");
        assert_eq!(Attachments::new(store, &cache, Duration::ZERO).get(&object).await.expect("fetched"), "one");
    }

    #[tokio::test]
    async fn what_never_was_is_missing() {
        let (_dir, store, _, cache) = world().await;
        let object = ObjectName::new("files", "b.bin").expect("valid");
        Attachments::new(store, &cache, Duration::ZERO).get(&object).await.expect_err("missing");
    }
}
