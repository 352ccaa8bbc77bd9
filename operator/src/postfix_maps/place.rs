//! Puts the text of a map where Postfix reads it, with the indexed file that postmap makes of it.
//!
//! Both are made beside their places and renamed, the indexed one first: a reader sees the old map or the new one, whole, and
//! a text that is there says that its indexed file is. After a crash or a failure the map is the old one or the new one, and
//! the next run does what is left. A file of the same text is not touched.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use replyfleet::durable;

/// Everyone may read which addresses are ours; postmap gives its file the same mode.
const FILE_MODE: u32 = 0o644;
/// Where Debian has it; it is not on everybody's PATH.
const POSTMAP: &str = "/usr/sbin/postmap";

/// The folder of the maps, which nobody else writes to meanwhile.
pub(super) struct Place<'a> {
    folder: &'a Path,
    config_directory: Option<&'a Path>,
    /// Locked as long as it is open.
    _lock: File,
}

impl<'a> Place<'a> {
    /// The folder, locked.
    ///
    /// # Errors
    /// It cannot be opened, or another run is at work there.
    pub(super) fn open(folder: &'a Path, config_directory: Option<&'a Path>) -> anyhow::Result<Self> {
        let lock =
            File::open(folder).with_context(|| format!("cannot open the maps' folder {}; make it, or name it by --directory", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, config_directory, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another `replyfleet postfix-maps` is at work in {}", folder.display()),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
        }
    }

    /// Makes the map of this name hold this text; returns whether it did not before.
    ///
    /// # Errors
    /// The system's, or what postmap said; the map is then as it was.
    pub(super) fn put(&self, name: &str, text: &str) -> anyhow::Result<bool> {
        let target = self.folder.join(name);
        let is_there = fs::read(&target).is_ok_and(|found| found == text.as_bytes()) && indexed(&target).exists();
        if is_there {
            return Ok(false);
        }
        let beside = self.folder.join(format!(".{name}.new"));
        let made = self.make(&beside, &target, text);
        if made.is_err() {
            // What a failed run, this one or an earlier one, left there; the error that counts is the one below.
            let _ = fs::remove_file(&beside);
            let _ = fs::remove_file(indexed(&beside));
        }
        made.with_context(|| format!("cannot write {}, which stays as it was", target.display()))?;
        Ok(true)
    }

    fn make(&self, beside: &Path, target: &Path, text: &str) -> anyhow::Result<()> {
        for left in [beside.to_owned(), indexed(beside)] {
            match fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let mut file = File::options().write(true).create_new(true).mode(FILE_MODE).open(beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        self.postmap(beside)?;
        File::open(indexed(beside))?.sync_all()?;
        fs::rename(indexed(beside), indexed(target))?;
        // On disk before the text that says so.
        durable::sync_dir(self.folder)?;
        fs::rename(beside, target)?;
        Ok(durable::sync_dir(self.folder)?)
    }

    fn postmap(&self, text: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(if Path::new(POSTMAP).exists() { POSTMAP } else { "postmap" });
        if let Some(folder) = self.config_directory {
            command.arg("-c").arg(folder);
        }
        let output = command.arg(format!("hash:{}", text.display())).output().context("cannot run postmap; is Postfix installed?")?;
        // It also warns, of two lines with one key, and ends well then.
        if !output.status.success() || !output.stderr.is_empty() {
            bail!("postmap: {}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// The file that postmap makes of a text.
fn indexed(text: &Path) -> PathBuf {
    let mut path = text.as_os_str().to_owned();
    path.push(".db");
    path.into()
}
