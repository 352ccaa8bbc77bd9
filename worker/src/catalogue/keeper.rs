//! Keeps the catalogue current: fetched from the store, refreshed while running, and the last good one kept on disk, so
//! that neither a store that is away nor a broken new version silences the service, not even across a restart.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
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
/// What the name of one that is being written begins with; the process's id follows.
const TEMPORARY: &str = "catalogue.tmp-";

/// The current catalogue, and where the next one comes from.
pub struct CatalogueKeeper {
    store: Arc<dyn Store>,
    object: ObjectName,
    available: Vec<SendMethod>,
    last_good: PathBuf,
    current: RwLock<Arc<Catalogue>>,
    /// When the store last said that the one in force is its own.
    confirmed: RwLock<SystemTime>,
    /// The store's version of the file that was read last, good or not: a bad one is complained of once.
    read: tokio::sync::Mutex<Option<Version>>,
    /// Whether that one was good.
    is_read_good: AtomicBool,
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
        remove_what_the_dead_left(cache_dir);
        let mut confirmed = SystemTime::now();
        let (current, version) = match fetch(store.as_ref(), &object, &available).await {
            Ok((catalogue, text, version)) => {
                keep(&last_good, &text);
                (catalogue, Some(version))
            }
            Err(error) => {
                let kept = std::fs::read_to_string(&last_good).ok().and_then(|text| Catalogue::parse(&text, &available).ok());
                let Some(catalogue) = kept else { return Err(error) };
                confirmed = std::fs::metadata(&last_good).and_then(|file| file.modified()).unwrap_or(confirmed);
                let age_s = age(confirmed).as_secs();
                tracing::error!(error = %error, catalogue = catalogue.version(), age_s, "the catalogue cannot be used, the last good one stays in force");
                (catalogue, None)
            }
        };
        let is_read_good = AtomicBool::new(version.is_some());
        let (current, confirmed, read) = (RwLock::new(Arc::new(current)), RwLock::new(confirmed), tokio::sync::Mutex::new(version));
        Ok(Self { store, object, available, last_good, current, confirmed, read, is_read_good })
    }

    /// How long ago the store last said that the catalogue in force is its own: what an alarm is to watch.
    pub fn age(&self) -> Duration {
        // Poisoned: it is assigned whole.
        age(*self.confirmed.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn confirm(&self) {
        *self.confirmed.write().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    /// The catalogue in force.
    pub fn current(&self) -> Arc<Catalogue> {
        // Poisoned: whoever panicked held the lock for a single assignment, and the value is whole.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks for a new version and puts it in force if it is good. Returns whether it changed.
    ///
    /// # Errors
    /// Why the new one is not in force; the old one is.
    pub async fn refresh(&self) -> Result<bool, KeeperError> {
        let mut read = self.read.lock().await;
        let fetched = match self.store.get(&self.object, read.as_ref()).await? {
            Fetched::Unchanged => {
                // The same as it was when it was read; if that was a bad one, it confirms nothing.
                if self.is_read_good.load(Ordering::Relaxed) {
                    self.confirm();
                }
                return Ok(false);
            }
            Fetched::Changed(content, version) => (content, version),
        };
        *read = Some(fetched.1);
        self.is_read_good.store(false, Ordering::Relaxed);
        let (catalogue, text) = parse(&self.object, &fetched.0, &self.available)?;
        keep(&self.last_good, &text);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        self.is_read_good.store(true, Ordering::Relaxed);
        self.confirm();
        Ok(true)
    }

    /// Asks the store for the catalogue, to find out whether it answers: what it gives is left for the next refresh.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_store(&self) -> Result<(), StoreError> {
        let known = self.read.lock().await.clone();
        self.store.get(&self.object, known.as_ref()).await.map(drop)
    }

    /// Refreshes for ever, every `interval`.
    pub async fn keep_current(&self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            match self.refresh().await {
                Ok(true) => tracing::info!(catalogue = self.current().version(), "a new catalogue is in force"),
                Ok(false) => {}
                Err(error) => {
                    let (catalogue, age_s) = (self.current(), self.age().as_secs());
                    tracing::error!(error = %error, catalogue = catalogue.version(), age_s, "the last good catalogue stays in force");
                }
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

fn age(confirmed: SystemTime) -> Duration {
    confirmed.elapsed().unwrap_or_default() // the clock went back: it is not old
}

/// Removes files half written by processes that are gone.
fn remove_what_the_dead_left(cache_dir: &Path) {
    for entry in std::fs::read_dir(cache_dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(TEMPORARY) else { continue };
        if !Path::new("/proc").join(process).exists() {
            let _ = std::fs::remove_file(entry.path()); // another worker was faster
        }
    }
}

/// Keeps a good catalogue for the next start. It is in force now whether or not that works.
fn keep(path: &Path, text: &str) {
    let temporary = path.with_file_name(format!("{TEMPORARY}{}", std::process::id()));
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

    /// What the store says next, instead of what it holds.
    struct Moody {
        says: std::sync::Mutex<Option<StoreError>>,
        store: Arc<DirStore>,
    }

    #[async_trait::async_trait]
    impl Store for Moody {
        async fn get(&self, object: &ObjectName, known: Option<&Version>) -> replyfleet::store::Result<Fetched> {
            let says = self.says.lock().expect("whole").take();
            match says {
                Some(error) => Err(error),
                None => self.store.get(object, known).await,
            }
        }
        async fn put(&self, object: &ObjectName, content: Bytes) -> replyfleet::store::Result<()> {
            self.store.put(object, content).await
        }
        async fn delete(&self, object: &ObjectName) -> replyfleet::store::Result<()> {
            self.store.delete(object).await
        }
        async fn expire(&self, _: &str, _: &str, _: Duration) -> replyfleet::store::Result<u64> {
            Ok(0)
        }
        async fn check(&self, _: &str) -> replyfleet::store::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn whatever_the_store_gives_the_last_good_one_stays_and_grows_old() {
        let (dir, store, object) = world().await;
        let moody = Arc::new(Moody { says: std::sync::Mutex::default(), store: store.clone() });
        let keeper = CatalogueKeeper::open(moody.clone(), object.clone(), vec![SendMethod::Ses], dir.path()).await.expect("good");
        let version = keeper.current().version().to_owned();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3_600);
        let outages = [StoreError::Unavailable("away".into()), StoreError::Refused("403".into()), StoreError::Missing(object.clone())];
        let contents = [&GOOD.as_bytes()[..40], b"", b"[]", b"{}", b"[{\"email_addr\": 7}]", b"\xff\xfe", b"null"];
        let faults = outages.into_iter().map(Err).chain(contents.into_iter().map(Ok));
        for fault in faults {
            let what = format!("{fault:?}");
            *keeper.confirmed.write().expect("whole") = an_hour_ago;
            match fault {
                Err(error) => *moody.says.lock().expect("whole") = Some(error),
                Ok(content) => store.put(&object, Bytes::copy_from_slice(content)).await.expect("put"),
            }
            keeper.refresh().await.expect_err(&what);
            let again = keeper.refresh().await; // the same bad one, or the good one again
            assert_eq!(keeper.current().version(), version, "{what}");
            let is_back = keeper.age() < Duration::from_secs(60);
            assert_eq!(is_back, what.starts_with("Err"), "{what}: {again:?}");
        }
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not() {
        let (dir, store, object) = world().await;
        let (dead, living) = (dir.path().join(format!("{TEMPORARY}4194305")), dir.path().join(format!("{TEMPORARY}1")));
        std::fs::write(&dead, "x").and_then(|()| std::fs::write(&living, "x")).expect("write");
        open(&dir, &store, &object).await.expect("good");
        assert!(!dead.exists() && living.exists());
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
