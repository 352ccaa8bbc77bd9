//! Keeps the catalogue current: fetched from the store, refreshed while running, and the last good one kept on disk, so
//! that neither a store that is away nor a broken new version silences the service, not even across a restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use replyfleet::{
    durable,
    store::{Fetched, ObjectName, Store, StoreError, Version},
};

use super::{Catalogue, CatalogueError, SendMethod};

/// The largest catalogue that is read.
const CATALOGUE_BYTES_MAX: usize = 16 << 20;
/// The last good catalogue's name in the cache folder.
const LAST_GOOD: &str = "catalogue.json";

/// The current catalogue, and where the next one comes from.
pub struct CatalogueKeeper {
    store: Arc<dyn Store>,
    object: ObjectName,
    available: Vec<SendMethod>,
    last_good: PathBuf,
    current: RwLock<Arc<Catalogue>>,
    /// The store's version of the file that was read last, good or not: a bad one is complained of once.
    read: tokio::sync::Mutex<Option<Version>>,
}

/// Why there is no new catalogue.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The store did not give it.
    #[error("cannot fetch the catalogue: {0}")]
    Store(#[from] StoreError),
    /// It was refused.
    #[error("catalogue {object}: {error}")]
    Refused {
        /// Where it lies.
        object: ObjectName,
        /// Why.
        error: Box<CatalogueError>,
    },
    /// It cannot be a catalogue.
    #[error("catalogue {0}: is not UTF-8 text, or larger than {CATALOGUE_BYTES_MAX} bytes")]
    NotText(ObjectName),
}

impl CatalogueKeeper {
    /// Fetches the catalogue; if that fails and an earlier run kept a good one, takes that and says so.
    ///
    /// # Errors
    /// What was wrong with the fetched one, if there is no kept one either.
    pub async fn open(store: Arc<dyn Store>, object: ObjectName, available: Vec<SendMethod>, cache_dir: &Path) -> Result<Self, KeeperError> {
        let last_good = cache_dir.join(LAST_GOOD);
        let (current, version) = match fetch(store.as_ref(), &object, &available).await {
            Ok((catalogue, text, version)) => {
                keep(&last_good, &text);
                (catalogue, Some(version))
            }
            Err(error) => {
                let kept = std::fs::read_to_string(&last_good).ok().and_then(|text| Catalogue::parse(&text, &available).ok());
                let Some(catalogue) = kept else { return Err(error) };
                tracing::error!(error = %error, catalogue = catalogue.version(), "the catalogue cannot be used, the last good one stays in force");
                (catalogue, None)
            }
        };
        Ok(Self { store, object, available, last_good, current: RwLock::new(Arc::new(current)), read: tokio::sync::Mutex::new(version) })
    }

    /// The catalogue in force.
    pub fn current(&self) -> Arc<Catalogue> {
        // Poisoned: whoever panicked held the lock for a single assignment, and the value is whole.
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Looks for a new version and puts it in force if it is good. Returns whether it changed.
    ///
    /// # Errors
    /// Why the new one is not in force; the old one is.
    pub async fn refresh(&self) -> Result<bool, KeeperError> {
        let mut read = self.read.lock().await;
        let fetched = match self.store.get(&self.object, read.as_ref()).await? {
            Fetched::Unchanged => return Ok(false),
            Fetched::Changed(content, version) => (content, version),
        };
        *read = Some(fetched.1);
        let (catalogue, text) = parse(&self.object, &fetched.0, &self.available)?;
        keep(&self.last_good, &text);
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(catalogue);
        Ok(true)
    }

    /// Refreshes for ever, every `interval`.
    pub async fn keep_current(&self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match self.refresh().await {
                Ok(true) => tracing::info!(catalogue = self.current().version(), "a new catalogue is in force"),
                Ok(false) => {}
                Err(error) => tracing::error!(error = %error, catalogue = self.current().version(), "the last good catalogue stays in force"),
            }
        }
    }
}

/// Fetches and reads the catalogue once, for a look at it; nothing is kept.
///
/// # Errors
/// As for [`CatalogueKeeper::open`].
pub async fn look(store: &dyn Store, object: &ObjectName, available: &[SendMethod]) -> Result<Catalogue, KeeperError> {
    fetch(store, object, available).await.map(|(catalogue, ..)| catalogue)
}

async fn fetch(store: &dyn Store, object: &ObjectName, available: &[SendMethod]) -> Result<(Catalogue, String, Version), KeeperError> {
    match store.get(object, None).await? {
        Fetched::Changed(content, version) => parse(object, &content, available).map(|(catalogue, text)| (catalogue, text, version)),
        Fetched::Unchanged => unreachable!("a get without a known version gives the content"),
    }
}

fn parse(object: &ObjectName, content: &[u8], available: &[SendMethod]) -> Result<(Catalogue, String), KeeperError> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() <= CATALOGUE_BYTES_MAX);
    let text = text.ok_or_else(|| KeeperError::NotText(object.clone()))?;
    let catalogue = Catalogue::parse(text, available).map_err(|error| KeeperError::Refused { object: object.clone(), error: Box::new(error) })?;
    Ok((catalogue, text.to_owned()))
}

/// Keeps a good catalogue for the next start. It is in force now whether or not that works.
fn keep(path: &Path, text: &str) {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let _ = std::fs::remove_file(&temporary); // of an earlier process with our id that died here
    if let Err(error) = durable::write_file(&temporary, path, text.as_bytes()) {
        tracing::error!(error = %error, path = %path.display(), "the catalogue cannot be kept for the next start");
    }
}
