//! The attachments: fetched from the store once per version, encoded once, kept on disk and in memory, shared by all replies.
//!
//! In memory there is only the encoded form, of which every reply in flight holds a pointer. On disk an attachment is
//! `<hash of its name>.bin` with `<hash of its name>.json` beside it: name, version, length, SHA-256. Both are written to a
//! temporary file, fsynced and renamed, the content first; what does not match its SHA-256 at the next start is fetched
//! again. While the store is away, the last good content serves. Where the catalogue says which SHA-256 the content has,
//! no other is ever given out, and the right one, once it is here, is not asked for again.

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
    store::{Fetched, ObjectName, Store, StoreError, Version},
};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    catalogue::Attachment,
    compose::{Segment, render::encoded},
};

/// For how long a failed fetch stands for all who ask.
const FAILURE_STANDS: Duration = Duration::from_secs(5);

/// Why there is no attachment.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttachmentError {
    /// The store has none, or does not answer.
    #[error("{0}")]
    Store(String),
    /// The store has another one than the catalogue says.
    #[error("its SHA-256 is {found}, and the catalogue wants {wanted}; put the right file there, or change the catalogue")]
    Differs {
        /// What the catalogue says.
        wanted: String,
        /// What the content has.
        found: String,
    },
}

impl From<StoreError> for AttachmentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// The content of an attachment, as it goes into a mail.
#[derive(Clone)]
pub struct Content {
    /// In base64.
    pub encoded: Arc<Segment>,
    /// The SHA-256 of the file itself, in hexadecimal: which version it is.
    pub sha256: Arc<str>,
}

/// The cache of attachments.
pub struct Attachments {
    store: Arc<dyn Store>,
    dir: PathBuf,
    refresh: Duration,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// Which object, and with which SHA-256 if only one will do.
type Key = (ObjectName, Option<String>);

/// What is at hand of one attachment.
#[derive(Default)]
struct Slot {
    held: Mutex<Option<Held>>,
    /// Whoever fetches holds this; in it is when nothing could be had, and why.
    fetching: tokio::sync::Mutex<Option<(Instant, AttachmentError)>>,
}

impl Slot {
    fn held(&self) -> Option<Held> {
        // Poisoned: it is assigned whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, held: Held) -> Content {
        let content = held.content.clone();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        content
    }
}

#[derive(Clone)]
struct Held {
    content: Content,
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

    /// The content of `attachment`. While a new version is fetched by whoever asked first, the others get the one that is
    /// held; where none is, they wait for that fetch.
    ///
    /// # Errors
    /// [`AttachmentError`], if nothing good is at hand.
    pub async fn get(&self, attachment: &Attachment) -> Result<Content, AttachmentError> {
        let key = (attachment.object.clone(), attachment.sha256.clone());
        let slot = {
            // Poisoned: a map of slots is whole whatever panicked.
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        let is_fresh = |held: &Held| key.1.is_some() || held.looked_at.is_some_and(|at| at.elapsed() < self.refresh);
        let mut fetching = match (slot.held(), slot.fetching.try_lock()) {
            (Some(held), _) if is_fresh(&held) => return Ok(held.content),
            (Some(held), Err(_)) => return Ok(held.content),
            (_, Ok(free)) => free,
            (None, Err(_)) => slot.fetching.lock().await,
        };
        let held = match slot.held() {
            Some(held) if is_fresh(&held) => return Ok(held.content), // by whoever fetched meanwhile
            Some(held) => Some(held),
            None => self.read_kept(&key).await,
        };
        // Those who waited behind a fetch that failed must not each wait for one of their own.
        if let Some((_, error)) = fetching.as_ref().filter(|(at, _)| held.is_none() && at.elapsed() < FAILURE_STANDS) {
            return Err(error.clone());
        }
        let looked_at = Some(Instant::now());
        match (self.fetch(&key, held.as_ref()).await, held) {
            (Ok(Some(new)), _) => Ok(slot.hold(Held { looked_at, ..new })),
            (Ok(None), Some(held)) => Ok(slot.hold(Held { looked_at, ..held })),
            (Err(error), Some(held)) => {
                tracing::warn!(object = %key.0, error = %error, "an attachment cannot be refreshed, the last good one is used");
                Ok(slot.hold(Held { looked_at, ..held }))
            }
            (Err(error), None) => {
                *fetching = Some((Instant::now(), error.clone()));
                Err(error)
            }
            (Ok(None), None) => Err(AttachmentError::Store("unchanged, but nothing is held".into())),
        }
    }

    /// A new version, if there is one.
    async fn fetch(&self, key: &Key, held: Option<&Held>) -> Result<Option<Held>, AttachmentError> {
        let (object, wanted) = key;
        let (content, version) = match self.store.get(object, held.map(|held| &held.version)).await? {
            Fetched::Unchanged => return Ok(None),
            Fetched::Changed(content, version) => (content, version),
        };
        let (content, sha256, encoded) = prepared(content).await?;
        if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != sha256) {
            return Err(AttachmentError::Differs { wanted: wanted.clone(), found: sha256 });
        }
        let label = Label { object: object.clone(), version: version.clone(), bytes: content.len() as u64, sha256: sha256.clone() };
        if let Err(error) = self.keep(key, &content, &label) {
            tracing::warn!(object = %object, error = %error, "an attachment cannot be kept on disk, it is used from memory");
        }
        Ok(Some(Held { content: Content { encoded, sha256: sha256.into() }, version, looked_at: None }))
    }

    fn paths(&self, (object, wanted): &Key) -> (PathBuf, PathBuf) {
        let name = match wanted {
            None => sha256_hex(object.to_string().as_bytes()),
            Some(wanted) => sha256_hex(format!("{object}\n{wanted}").as_bytes()),
        };
        (self.dir.join(format!("{name}.bin")), self.dir.join(format!("{name}.json")))
    }

    async fn read_kept(&self, key: &Key) -> Option<Held> {
        let (content_path, label_path) = self.paths(key);
        let label: Label = serde_json::from_slice(&std::fs::read(label_path).ok()?).ok()?;
        let (content, sha256, encoded) = prepared(std::fs::read(content_path).ok()?.into()).await.ok()?;
        let is_wanted = key.1.as_ref().is_none_or(|wanted| *wanted == sha256);
        let is_whole = label.object == key.0 && label.bytes == content.len() as u64 && label.sha256 == sha256;
        (is_whole && is_wanted).then(|| Held { content: Content { encoded, sha256: sha256.into() }, version: label.version, looked_at: None })
    }

    fn keep(&self, key: &Key, content: &Bytes, label: &Label) -> std::io::Result<()> {
        let (content_path, label_path) = self.paths(key);
        let label = serde_json::to_vec(&label).map_err(std::io::Error::other)?;
        for (path, bytes) in [(content_path, content.as_ref()), (label_path, &label)] {
            let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
            let _ = std::fs::remove_file(&temporary); // of an earlier process with our id that died here
            durable::write_file(&temporary, &path, bytes)?;
        }
        Ok(())
    }
}

/// The content with its SHA-256 and its encoded form: some milliseconds a megabyte, on a thread where that holds up nothing.
async fn prepared(content: Bytes) -> Result<(Bytes, String, Arc<Segment>), AttachmentError> {
    let prepare = move || {
        let (sha256, encoded) = (sha256_hex(&content), Arc::new(encoded(&content)));
        (content, sha256, encoded)
    };
    spawn_blocking(prepare).await.map_err(|_| AttachmentError::Store("its encoding was given up".into()))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use replyfleet::store::dir::DirStore;

    use super::*;

    /// What an attachment with this content looks like in a mail.
    async fn content_of(attachments: &Attachments, attachment: &Attachment) -> String {
        let content = attachments.get(attachment).await.expect("had");
        let lines = String::from_utf8(content.encoded.bytes().to_vec()).expect("base64");
        let bytes = BASE64_STANDARD.decode(lines.replace("\r\n", "")).expect("base64");
        assert_eq!(*content.sha256, sha256_hex(&bytes));
        String::from_utf8(bytes).expect("text")
    }

    async fn world() -> (tempfile::TempDir, Arc<DirStore>, Attachment, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Arc::new(DirStore::open(&dir.path().join("store")).expect("store"));
        let object = ObjectName::new("files", "a.bin").expect("valid");
        store.put(&object, Bytes::from_static(b"one")).await.expect("put");
        let cache = dir.path().join("cache");
        std::fs::create_dir(&cache).expect("cache folder");
        (dir, store, Attachment { object, file_name: "a.bin".into(), sha256: None }, cache)
    }

    #[tokio::test]
    async fn a_new_version_is_seen_after_the_refresh_interval_and_not_before() {
        let (_dir, store, file, cache) = world().await;
        let (lazy, eager) =
            (Attachments::new(store.clone(), &cache, Duration::from_secs(60)), Attachments::new(store.clone(), &cache, Duration::ZERO));
        assert_eq!(content_of(&lazy, &file).await, "one");
        assert_eq!(content_of(&eager, &file).await, "one");
        store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
        assert_eq!(content_of(&lazy, &file).await, "one");
        assert_eq!(content_of(&eager, &file).await, "two");
    }

    #[tokio::test]
    async fn the_last_good_content_survives_the_store_and_a_restart() {
        let (_dir, store, file, cache) = world().await;
        Attachments::new(store.clone(), &cache, Duration::ZERO).get(&file).await.expect("fetched");
        store.delete(&file.object).await.expect("deleted");
        let restarted = Attachments::new(store.clone(), &cache, Duration::ZERO);
        assert_eq!(content_of(&restarted, &file).await, "one");
    }

    #[tokio::test]
    async fn a_half_written_cache_file_is_fetched_again() {
        let (_dir, store, file, cache) = world().await;
        let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
        attachments.get(&file).await.expect("fetched");
        std::fs::write(attachments.paths(&(file.object.clone(), None)).0, b"on").expect("cut");
        assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &file).await, "one");
    }

    #[tokio::test]
    async fn what_never_was_is_missing() {
        let (_dir, store, file, cache) = world().await;
        let other = Attachment { object: ObjectName::new("files", "b.bin").expect("valid"), ..file };
        Attachments::new(store, &cache, Duration::ZERO).get(&other).await.map(|content| content.sha256).expect_err("missing");
    }

    #[tokio::test]
    async fn no_other_content_is_given_out_than_the_catalogue_says() {
        let (_dir, store, file, cache) = world().await;
        let of = |content: &str| Attachment { sha256: Some(sha256_hex(content.as_bytes())), ..file.clone() };
        let attachments = Attachments::new(store.clone(), &cache, Duration::ZERO);
        let error = attachments.get(&of("two")).await.map(|content| content.sha256).expect_err("not yet there").to_string();
        assert!(error.contains(&sha256_hex(b"one")) && error.contains(&sha256_hex(b"two")), "{error}");
        assert_eq!(content_of(&attachments, &of("one")).await, "one");
        store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
        assert_eq!(content_of(&attachments, &of("one")).await, "one", "whoever wants the old one keeps it");
        assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &of("two")).await, "two");
        let store = Arc::new(DirStore::open(&cache.join("empty")).expect("store"));
        assert_eq!(content_of(&Attachments::new(store, &cache, Duration::ZERO), &of("one")).await, "one", "a restart too");
    }

    /// A store in which every look for a new version waits until it is let go.
    struct Slow(Arc<DirStore>, tokio::sync::Semaphore);

    #[async_trait::async_trait]
    impl Store for Slow {
        async fn get(&self, object: &ObjectName, known: Option<&Version>) -> replyfleet::store::Result<Fetched> {
            if known.is_some() {
                self.1.acquire().await.expect("open").forget();
            }
            self.0.get(object, known).await
        }
        async fn put(&self, object: &ObjectName, content: Bytes) -> replyfleet::store::Result<()> {
            self.0.put(object, content).await
        }
        async fn delete(&self, object: &ObjectName) -> replyfleet::store::Result<()> {
            self.0.delete(object).await
        }
        async fn expire(&self, bucket: &str, prefix: &str, age: Duration) -> replyfleet::store::Result<u64> {
            self.0.expire(bucket, prefix, age).await
        }
        async fn check(&self, bucket: &str) -> replyfleet::store::Result<()> {
            self.0.check(bucket).await
        }
    }

    #[tokio::test]
    async fn while_a_new_version_is_fetched_the_old_one_goes_out() {
        let (_dir, store, file, cache) = world().await;
        let slow = Arc::new(Slow(store.clone(), tokio::sync::Semaphore::new(0)));
        let attachments = Arc::new(Attachments::new(slow.clone(), &cache, Duration::ZERO));
        assert_eq!(content_of(&attachments, &file).await, "one");
        store.put(&file.object, Bytes::from_static(b"two")).await.expect("put");
        let fetches = tokio::spawn({
            let (attachments, file) = (Arc::clone(&attachments), file.clone());
            async move { content_of(&attachments, &file).await }
        });
        while attachments.slots.lock().expect("whole").values().all(|slot| slot.fetching.try_lock().is_ok()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(content_of(&attachments, &file).await, "one");
        slow.1.add_permits(1);
        assert_eq!(fetches.await.expect("fetched"), "two");
    }
}
