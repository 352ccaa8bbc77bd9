//! The attachments on disk: `<hash of a name>.bin`, and `<hash of a name>.json` beside it with name, version, length and SHA-256.
//!
//! Both are written to a temporary file, fsynced and renamed, the content first; what does not match its SHA-256 is as if it
//! were not there, and is fetched again. A disk that is full or broken costs that only. Everything here blocks.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use replyfleet::{
    durable,
    keyed::sha256_hex,
    store::{ObjectName, Version},
};
use serde::{Deserialize, Serialize};

use super::{AttachmentError, Content, Held, Key};
use crate::compose::render::encoded;

/// What is younger stays, whoever wants it: another worker on this folder may have a newer catalogue.
const STAYS_FOR: Duration = Duration::from_secs(86_400);
/// Hexadecimal characters of a SHA-256.
const HASH_CHARS: usize = 64;
/// What the extension of a temporary file begins with.
const TEMPORARY: &str = "tmp-";

/// The folder.
#[derive(Clone)]
pub(super) struct Kept {
    dir: Arc<Path>,
    /// Makes the names of temporary files differ within this process.
    writes: Arc<AtomicU64>,
}

#[derive(Serialize, Deserialize)]
struct Label {
    object: ObjectName,
    version: Version,
    bytes: u64,
    sha256: String,
}

impl Kept {
    /// What lies in `dir`, which exists.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), writes: Arc::default() }
    }

    /// Takes a content that was fetched: compared with what is wanted first, then encoded, and written down.
    pub(super) fn take(&self, key: &Key, content: &Bytes, version: Version) -> Result<Held, AttachmentError> {
        let (object, wanted) = key;
        let sha256 = sha256_hex(content);
        if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != sha256) {
            return Err(AttachmentError::Differs { wanted: wanted.clone(), found: sha256 });
        }
        let label = Label { object: object.clone(), version, bytes: content.len() as u64, sha256 };
        if let Err(error) = self.write(key, content, &label) {
            tracing::warn!(object = %object, error = %error, "an attachment cannot be kept on disk, it is used from memory");
        }
        Ok(held(content, label))
    }

    /// What was written down, if it is whole and the wanted one.
    pub(super) fn read(&self, key: &Key) -> Option<Held> {
        let (content_path, label_path) = self.paths(key);
        let label: Label = serde_json::from_slice(&fs::read(label_path).ok()?).ok()?;
        let content = fs::read(content_path).ok()?;
        let is_whole = label.object == key.0 && label.bytes == content.len() as u64 && label.sha256 == sha256_hex(&content);
        let is_wanted = key.1.as_ref().is_none_or(|wanted| *wanted == label.sha256);
        (is_whole && is_wanted).then(|| held(&content, label))
    }

    /// Removes what has none of these names and is older than a day, and what was left half-written; returns how many files.
    pub(super) fn keep_only(&self, named: &HashSet<Key>) -> io::Result<u64> {
        let paths: HashSet<PathBuf> = named.iter().map(|key| self.paths(key)).flat_map(|(content, label)| [content, label]).collect();
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= STAYS_FOR));
            if is_ours(&path) && is_old && !paths.contains(&path) && fs::remove_file(&path).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Where content and label lie.
    pub(super) fn paths(&self, (object, wanted): &Key) -> (PathBuf, PathBuf) {
        let name = match wanted {
            None => sha256_hex(object.to_string().as_bytes()),
            Some(wanted) => sha256_hex(format!("{object}\n{wanted}").as_bytes()),
        };
        (self.dir.join(format!("{name}.bin")), self.dir.join(format!("{name}.json")))
    }

    fn write(&self, key: &Key, content: &Bytes, label: &Label) -> io::Result<()> {
        let (content_path, label_path) = self.paths(key);
        let label = serde_json::to_vec(&label).map_err(io::Error::other)?;
        for (path, bytes) in [(content_path, content.as_ref()), (label_path, &label)] {
            let number = self.writes.fetch_add(1, Ordering::Relaxed);
            let temporary = path.with_extension(format!("{TEMPORARY}{}-{number}", std::process::id()));
            let _ = fs::remove_file(&temporary); // of an earlier process with our id that died here
            durable::write_file(&temporary, &path, bytes)?;
        }
        Ok(())
    }
}

fn held(content: &[u8], label: Label) -> Held {
    let content = Content { encoded: Arc::new(encoded(content)), sha256: label.sha256.into() };
    Held { content, version: label.version, looked_at: None }
}

/// Whether a file of this name is one of this module's: the folder is the catalogue keeper's as well, and perhaps of others.
fn is_ours(path: &Path) -> bool {
    let (stem, extension) = (path.file_stem().and_then(OsStr::to_str), path.extension().and_then(OsStr::to_str));
    let is_hash = stem.is_some_and(|stem| stem.len() == HASH_CHARS && stem.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hash && extension.is_some_and(|extension| ["bin", "json"].contains(&extension) || extension.starts_with(TEMPORARY))
}
