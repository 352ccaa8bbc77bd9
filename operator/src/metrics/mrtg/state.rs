//! The file in which a target's [`Tally`] lies between two runs: for its owner only, whole or not there, and one run's at a time.
//!
//! A file that cannot be read as a tally is put aside, and counting begins anew: a graph that never moves again because
//! of a bad block helps nobody. The note says so, since a few minutes may then be told twice.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use replyfleet::{
    durable::{create_dir, sync_dir},
    keyed::sha256_hex,
};
use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// The form of the file.
const VERSION: u32 = 1;
/// Characters of the hash in its name.
const HASH_CHARS: usize = 16;
/// Characters of the words in its name.
const WORDS_CHARS_MAX: usize = 80;
/// How often a lock is tried.
const LOCK_EVERY: Duration = Duration::from_millis(50);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    /// Everything that makes the target what it is.
    target: String,
    tally: Tally,
}

/// A target's file, locked.
pub(super) struct StateFile {
    path: PathBuf,
    target: String,
    _lock: File,
}

/// A new tally that is on the disk, and not yet in its place.
pub(super) struct Prepared {
    temporary: PathBuf,
    path: PathBuf,
}

impl StateFile {
    /// Opens the file of `target` in `dir`, which is made if it is not there; `words` go into its name for people.
    ///
    /// # Errors
    /// The folder or the lock cannot be had; another run has the lock for longer than `patience`.
    pub(super) async fn open(dir: &Path, words: &str, target: String, patience: Duration) -> anyhow::Result<Self> {
        create_dir(dir).with_context(|| format!("--state-dir: cannot make {}", dir.display()))?;
        let safe = |character: char| if character.is_ascii_alphanumeric() || "_-.".contains(character) { character } else { '_' };
        let words: String = words.chars().map(safe).take(WORDS_CHARS_MAX).collect();
        let hash = sha256_hex(target.as_bytes());
        let path = dir.join(format!("mrtg-{words}-{}.json", hash.get(..HASH_CHARS).unwrap_or(&hash)));
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.with_context(|| format!("--state-dir: cannot open {}", lock_path.display()))?;
        let waiting = async {
            let mut ticks = tokio::time::interval(LOCK_EVERY);
            loop {
                ticks.tick().await;
                match lock.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(locked) => locked.with_context(|| format!("cannot lock {}", lock_path.display()))?,
            Err(_) => bail!("another run works on this target; two graphs of the same figures need a --state-dir each ({})", lock_path.display()),
        }
        Ok(Self { path, target, _lock: lock })
    }

    /// What was told so far, or `None` at the first time; and a note if there was something that could not be used.
    ///
    /// # Errors
    /// The system's: nothing is known then of what was told.
    pub(super) fn load(&self, check: impl Fn(&Tally) -> anyhow::Result<()>) -> anyhow::Result<(Option<Tally>, Option<String>)> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        let read = || {
            let saved: Saved = serde_json::from_slice(&bytes).context("it is damaged")?;
            ensure!(saved.version == VERSION, "it is of another version");
            ensure!(saved.target == self.target, "it is another target's");
            check(&saved.tally)?;
            Ok(saved.tally)
        };
        match read() {
            Ok(tally) => Ok((Some(tally), None)),
            Err(error) => {
                let aside = self.path.with_extension("broken");
                fs::rename(&self.path, &aside).with_context(|| format!("cannot use {} ({error:#}), nor put it aside", self.path.display()))?;
                let path = self.path.display();
                Ok((None, Some(format!("cannot use {path} ({error:#}): it is now {}, and counting begins anew, 15 minutes back", aside.display()))))
            }
        }
    }

    /// Writes a tally beside the file, and has it on the disk.
    ///
    /// # Errors
    /// The system's; the file is as it was.
    pub(super) fn prepare(&self, tally: &Tally) -> anyhow::Result<Prepared> {
        let saved = Saved { version: VERSION, target: self.target.clone(), tally: tally.clone() };
        let temporary = self.path.with_extension("new");
        let write = || {
            // What a run that was killed left.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(&saved)?)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", temporary.display()))?;
        Ok(Prepared { temporary, path: self.path.clone() })
    }
}

impl Prepared {
    /// Puts it in its place.
    ///
    /// # Errors
    /// The system's; the file is as it was, or the new one may be gone after a crash.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let moved = fs::rename(&self.temporary, &self.path).and_then(|()| sync_dir(self.path.parent().unwrap_or(Path::new("."))));
        moved.with_context(|| format!("cannot write {}: what was just printed will be told again", self.path.display()))
    }
}
