//! A folder as a store: `<dir>/<bucket>/<key>`.
//!
//! Writes go to a temporary file, are fsynced and renamed, so a reader sees an object whole or not at all. The version
//! is the file's time of change, size and inode number: replacing a file by a rename changes it even within one tick.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{Fetched, OBJECT_BYTES_MAX, ObjectName, Result, Store, StoreError, Version};
use crate::durable;

/// A folder with a sub-folder for each bucket.
pub struct DirStore {
    dir: PathBuf,
}

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl DirStore {
    /// Opens the store at `dir`, creating it where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it cannot be created.
    pub fn open(dir: &Path) -> Result<Self> {
        durable::create_dir(dir).map_err(|error| StoreError::Refused(format!("cannot create {}: {error}", dir.display())))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, object: &ObjectName) -> PathBuf {
        self.dir.join(object.bucket()).join(object.key())
    }
}

#[async_trait]
impl Store for DirStore {
    async fn get(&self, object: &ObjectName, known: Option<&Version>) -> Result<Fetched> {
        let (path, known) = (self.path(object), known.cloned());
        let read = move || {
            // The version is read from the open file: a rename in between replaces neither bytes nor version alone.
            let mut file = fs::File::open(&path)?;
            let version = version(&file.metadata()?);
            if known.as_ref() == Some(&version) {
                return Ok(Fetched::Unchanged);
            }
            if file.metadata()?.len() > OBJECT_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut content = Vec::new();
            io::Read::read_to_end(&mut file, &mut content)?;
            Ok(Fetched::Changed(Bytes::from(content), version))
        };
        blocking(object, read).await
    }

    async fn put(&self, object: &ObjectName, content: Bytes) -> Result<()> {
        let path = self.path(object);
        let write = move || {
            let parent = path.parent().unwrap_or(Path::new("."));
            durable::create_dir(parent)?;
            let count = TEMPORARY.fetch_add(1, Ordering::Relaxed);
            let temporary = parent.join(format!(".tmp-{}-{count}", std::process::id()));
            let _ = fs::remove_file(&temporary); // of an earlier process with our id that died here
            durable::write_file(&temporary, &path, &content)
        };
        blocking(object, write).await
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        let path = self.path(object);
        match blocking(object, move || fs::remove_file(&path)).await {
            Err(StoreError::Missing(_)) => Ok(()),
            other => other,
        }
    }

    async fn expire(&self, bucket: &str, prefix: &str, age_max: Duration) -> Result<u64> {
        let object = ObjectName::new(bucket, prefix).map_err(StoreError::Refused)?;
        let dir = self.path(&object);
        let oldest = SystemTime::now().checked_sub(age_max).unwrap_or(SystemTime::UNIX_EPOCH);
        match blocking(&object, move || remove_older(&dir, oldest)).await {
            Err(StoreError::Missing(_)) => Ok(0), // no object was ever put there
            removed => removed,
        }
    }

    async fn check(&self, bucket: &str) -> Result<()> {
        let path = self.dir.join(bucket);
        let listed = spawn_blocking(move || fs::read_dir(&path).map(drop).map_err(|error| format!("cannot list {}: {error}", path.display())));
        listed.await.map_err(|_| StoreError::Unavailable("the store's task ended".into()))?.map_err(StoreError::Refused)
    }
}

/// Removes the files below `dir` that were last changed before `oldest`. A bucket's folders are few, its depth is ours.
fn remove_older(dir: &Path, oldest: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.metadata()?;
        if file.is_dir() {
            removed += remove_older(&entry.path(), oldest)?;
        } else if file.modified()? < oldest {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn version(file: &fs::Metadata) -> Version {
    Version(format!("{}.{:09}-{}-{}", file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
}

async fn blocking<T: Send + 'static>(object: &ObjectName, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    // What a panic said could quote the mail.
    let result = spawn_blocking(work).await.map_err(|_| StoreError::Unavailable("the store's task ended".into()))?;
    result.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(object.clone()),
        io::ErrorKind::FileTooLarge => StoreError::TooBig(object.clone()),
        io::ErrorKind::PermissionDenied => StoreError::Refused(format!("{object}: {error}")),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(format!("{object}: {error}")),
        _ => StoreError::Unavailable(format!("{object}: {error}")),
    })
}
