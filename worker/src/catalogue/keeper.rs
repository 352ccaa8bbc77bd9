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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use replyfleet::store::dir::DirStore;

    use super::*;

    const GOOD: &str = r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SES"}]"#;

    async fn world() -> (tempfile::TempDir, Arc<DirStore>, ObjectName) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Arc::new(DirStore::open(&dir.path().join("store")).expect("store"));
        let object = ObjectName::new("catalogue", "catalogue.json").expect("valid");
        store.put(&object, Bytes::from_static(GOOD.as_bytes())).await.expect("put");
        (dir, store, object)
    }

    async fn open(dir: &tempfile::TempDir, store: &Arc<DirStore>, object: &ObjectName) -> Result<CatalogueKeeper, KeeperError> {
        CatalogueKeeper::open(store.clone(), object.clone(), vec![SendMethod::Ses], dir.path()).await
    }

    #[tokio::test]
    async fn the_last_good_catalogue_survives_a_restart_with_a_broken_one_and_with_none() {
        let (dir, store, object) = world().await;
        let version = open(&dir, &store, &object).await.expect("good").current().version().to_owned();
        store.put(&object, Bytes::from_static(b"[{}]")).await.expect("put");
        assert_eq!(open(&dir, &store, &object).await.expect("kept").current().version(), version);
        store.delete(&object).await.expect("deleted");
        assert_eq!(open(&dir, &store, &object).await.expect("kept").current().version(), version);
    }

    #[tokio::test]
    async fn without_a_good_one_from_before_a_broken_one_is_an_error_with_its_place() {
        let (dir, store, object) = world().await;
        store.put(&object, Bytes::from_static(b"[{}]")).await.expect("put");
        let error = open(&dir, &store, &object).await.err().expect("refused").to_string();
        assert!(error.contains("catalogue/catalogue.json: line 1, column 2, entry 1"), "{error}");
    }

    #[tokio::test]
    async fn a_broken_one_is_complained_of_once_and_the_next_good_one_comes_into_force() {
        let (dir, store, object) = world().await;
        let keeper = open(&dir, &store, &object).await.expect("good");
        assert!(!keeper.refresh().await.expect("unchanged"));
        store.put(&object, Bytes::from_static(b"[")).await.expect("put");
        keeper.refresh().await.expect_err("broken");
        assert!(!keeper.refresh().await.expect("the same broken one"));
        store.put(&object, Bytes::from(GOOD.replace("links", "more"))).await.expect("put");
        assert!(keeper.refresh().await.expect("good"));
        assert_eq!(keeper.current().responses()[0].plain.as_deref(), Some("more"));
    }

    #[tokio::test]
    async fn a_good_one_is_in_force_even_if_it_cannot_be_kept() {
        let (dir, store, object) = world().await;
        let keeper = open(&dir, &store, &object).await.expect("good");
        std::fs::remove_file(dir.path().join(LAST_GOOD)).expect("removed");
        std::fs::create_dir(dir.path().join(LAST_GOOD)).expect("in its place");
        store.put(&object, Bytes::from(GOOD.replace("links", "more"))).await.expect("put");
        assert!(keeper.refresh().await.expect("good"));
        assert_eq!(keeper.current().responses()[0].plain.as_deref(), Some("more"));
    }
}
