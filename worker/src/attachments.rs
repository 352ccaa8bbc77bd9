//! The attachments: fetched from the store once per version, encoded once, kept on disk and in memory, shared by all replies.
//!
//! In memory there is only the encoded form, of which every reply in flight holds a pointer; what no reply asked for within
//! an hour is let go. `attachments/kept.rs` has the files on disk, where it is found again. While the store is away, the last good
//! content serves. Where the catalogue says which SHA-256 the content has, no other is ever given out, and the right one,
//! once it is here, is not asked for again. What takes milliseconds, files and encoding, holds up no other task.

mod kept;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};
use replyfleet::store::{Fetched, ObjectName, Store, StoreError, Version};
use tokio::task::spawn_blocking;

use self::kept::Kept;
use crate::{
    catalogue::{Attachment, Catalogue},
    compose::Segment,
};

/// For how long a fetch that failed stands for all who ask.
const FAILURE_STANDS: Duration = Duration::from_secs(5);
/// The same where the store has another content than the catalogue wants: only a person mends that, and each look costs
/// the whole file.
const DIFFERENCE_STANDS: Duration = Duration::from_secs(60);
/// After this long without a reply, an attachment is let go of; the next reply takes it from disk.
const UNUSED_FOR: Duration = Duration::from_secs(3_600);
/// Encoded bytes that are held at most, beside those of replies in flight. For SES there are 4/3 as many again, in base64.
const BYTES_MAX: u64 = 1 << 30;

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

impl AttachmentError {
    fn stands(&self) -> Duration {
        match self {
            Self::Store(_) => FAILURE_STANDS,
            Self::Differs { .. } => DIFFERENCE_STANDS,
        }
    }
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
    kept: Kept,
    refresh: Duration,
    slots: Cache<Key, Arc<Slot>>,
}

/// Which object, and with which SHA-256 if only one will do.
type Key = (ObjectName, Option<String>);

fn key_of(attachment: &Attachment) -> Key {
    (attachment.object.clone(), attachment.sha256.clone())
}

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

    /// What it weighs in the cache, in bytes; never nothing, so that empty slots are bounded too.
    fn weight(&self) -> u32 {
        self.held().map_or(1, |held| u32::try_from(held.content.encoded.bytes().len()).unwrap_or(u32::MAX).max(1))
    }
}

#[derive(Clone)]
struct Held {
    content: Content,
    version: Version,
    looked_at: Option<Instant>,
}

impl Attachments {
    /// A cache in `dir`, which exists; each attachment is looked at for a new version at most every `refresh`.
    pub fn new(store: Arc<dyn Store>, dir: &Path, refresh: Duration) -> Self {
        Self::with_bounds(store, dir, refresh, UNUSED_FOR, BYTES_MAX)
    }

    fn with_bounds(store: Arc<dyn Store>, dir: &Path, refresh: Duration, unused_for: Duration, bytes_max: u64) -> Self {
        // Not moka's own policy, which would not let in what is new and heavy.
        let slots = Cache::builder().eviction_policy(EvictionPolicy::lru()).time_to_idle(unused_for).max_capacity(bytes_max);
        let slots = slots.weigher(|_: &Key, slot: &Arc<Slot>| slot.weight()).build();
        Self { store, kept: Kept::new(dir), refresh, slots }
    }

    /// The content of `attachment`. While a new version is fetched by whoever asked first, the others get the one that is
    /// held; where none is, they wait for that fetch.
    ///
    /// # Errors
    /// [`AttachmentError`], if nothing good is at hand.
    pub async fn get(&self, attachment: &Attachment) -> Result<Content, AttachmentError> {
        let key = key_of(attachment);
        // Whoever holds a slot goes on with it if the cache lets it go meanwhile: at worst the content is there twice.
        let slot = self.slots.get_with_by_ref(&key, Arc::default);
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
            None => {
                // Those who waited behind a fetch that failed must not each wait for one of their own.
                if let Some((_, error)) = fetching.as_ref().filter(|(at, error)| at.elapsed() < error.stands()) {
                    return Err(error.clone());
                }
                self.read_kept(&key).await
            }
        };
        let looked_at = Some(Instant::now());
        match (self.fetch(&key, held.as_ref()).await, held) {
            (Ok(Some(new)), _) => Ok(self.hold(&key, &slot, Held { looked_at, ..new })),
            (Ok(None), Some(held)) => Ok(self.hold(&key, &slot, Held { looked_at, ..held })),
            (Err(error), Some(held)) => {
                tracing::warn!(object = %key.0, error = %error, "an attachment cannot be refreshed, the last good one is used");
                Ok(self.hold(&key, &slot, Held { looked_at, ..held }))
            }
            (Err(error), None) => {
                *fetching = Some((Instant::now(), error.clone()));
                Err(error)
            }
            (Ok(None), None) => Err(AttachmentError::Store("unchanged, but nothing is held".into())),
        }
    }

    /// Lets go of what `catalogue` does not name, in memory and, once it is a day old, on disk; and of what no reply
    /// asked for. Worth calling now and then, and after each new catalogue.
    pub async fn keep_only(&self, catalogue: &Catalogue) {
        let named: HashSet<Key> = catalogue.responses().iter().flat_map(|response| &response.attachments).map(key_of).collect();
        for (key, _) in &self.slots {
            if !named.contains(&*key) {
                self.slots.invalidate(&*key);
            }
        }
        self.slots.run_pending_tasks(); // else idle ones would stay until the next reply
        let kept = self.kept.clone();
        match spawn_blocking(move || kept.keep_only(&named)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(files)) => tracing::info!(files, "attachments that the catalogue does not name are removed from worker.cache_dir"),
            Ok(Err(error)) => tracing::warn!(error = %error, "worker.cache_dir cannot be tidied yet"),
        }
    }

    fn hold(&self, key: &Key, slot: &Arc<Slot>, held: Held) -> Content {
        let content = held.content.clone();
        *slot.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        // Once more, since it is weighed when it is put in; or again, if it was let go meanwhile.
        self.slots.insert(key.clone(), Arc::clone(slot));
        content
    }

    /// A new version, if there is one.
    async fn fetch(&self, key: &Key, held: Option<&Held>) -> Result<Option<Held>, AttachmentError> {
        let (content, version) = match self.store.get(&key.0, held.map(|held| &held.version)).await? {
            Fetched::Unchanged => return Ok(None),
            Fetched::Changed(content, version) => (content, version),
        };
        let (kept, key) = (self.kept.clone(), key.clone());
        let taken = spawn_blocking(move || kept.take(&key, &content, version)).await;
        taken.unwrap_or_else(|_| Err(AttachmentError::Store("its encoding was given up".into()))).map(Some)
    }

    /// What an earlier fetch left on disk.
    async fn read_kept(&self, key: &Key) -> Option<Held> {
        let (kept, key) = (self.kept.clone(), key.clone());
        spawn_blocking(move || kept.read(&key)).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
