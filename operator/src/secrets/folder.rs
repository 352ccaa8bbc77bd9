//! The folder that holds a machine's secrets: each file whole or not at all, and never readable by others. It lies in memory
//! (`/run`), so nothing is synced; at the next boot all is fetched anew.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::content::{DKIM, SPAMHAUS, SecretFile};

/// For the owner only: so everything is made, and so it is until it is complete.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// What the group may read besides. It may not list the folder.
const FILE_MODE_GROUP: u32 = 0o640;
const DIR_MODE_GROUP: u32 = 0o710;
const GROUPS: &str = "/etc/group";

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
    group: u32,
}

impl Folder {
    /// Makes nothing yet.
    ///
    /// # Errors
    /// There is no such group.
    pub(super) fn new(path: &Path, group: &str) -> anyhow::Result<Self> {
        let groups = fs::read_to_string(GROUPS).with_context(|| format!("cannot read {GROUPS}"))?;
        let group = group_id(&groups, group)
            .with_context(|| format!("there is no group {group}; the package replyfleet makes it, or name one with --group"))?;
        Ok(Self { path: path.to_owned(), group })
    }

    /// Writes all files, and removes DKIM keys and Spamhaus' key that are not among them; returns how many files are new or have changed.
    ///
    /// # Errors
    /// The file, and what the system said.
    pub(super) fn write(&self, files: &[SecretFile]) -> anyhow::Result<usize> {
        let mut changed = 0;
        for dir in [self.path.clone(), self.path.join(DKIM)] {
            self.make_dir(&dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        }
        for file in files {
            let path = self.path.join(&file.name);
            let is_changed = self.write_file(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
            changed += usize::from(is_changed);
        }
        self.forget(files).with_context(|| format!("cannot remove an old key in {}", self.path.display()))?;
        Ok(changed)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if !dir.is_dir() {
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
        }
        let handle = fs::File::open(dir)?;
        fchown(&handle, None, Some(self.group))?;
        handle.set_permissions(Permissions::from_mode(DIR_MODE_GROUP))
    }

    fn write_file(&self, path: &Path, file: &SecretFile) -> io::Result<bool> {
        let text = file.content.expose().as_bytes();
        let (mode, group) = if file.is_for_group { (FILE_MODE_GROUP, Some(self.group)) } else { (FILE_MODE, None) };
        let is_same = fs::metadata(path).is_ok_and(|is| is.mode() & 0o7777 == mode && group.is_none_or(|group| is.gid() == group));
        if is_same && fs::read(path).is_ok_and(|current| current == text) {
            return Ok(false);
        }
        // No key's name begins so.
        let temporary = path.with_file_name(format!(".{}", file.name.rsplit('/').next().unwrap_or_default()));
        let _ = fs::remove_file(&temporary); // what a run left that was ended in the middle
        let written = self.write_new(&temporary, text, mode, group).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary); // the write's own error is the one to report
        }
        written.map(|()| true)
    }

    /// For its owner only, until it is whole and its group's.
    fn write_new(&self, path: &Path, text: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
        let mut new = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        new.write_all(text)?;
        if group.is_some() {
            fchown(&new, None, group)?;
        }
        new.set_permissions(Permissions::from_mode(mode))
    }

    fn forget(&self, files: &[SecretFile]) -> io::Result<()> {
        let spamhaus = self.path.join(SPAMHAUS);
        if spamhaus.exists() && files.iter().all(|file| file.name != SPAMHAUS) {
            fs::remove_file(spamhaus)?;
        }
        for entry in fs::read_dir(self.path.join(DKIM))? {
            let entry = entry?;
            let is_named = entry.file_name().to_str().is_some_and(|name| files.iter().any(|file| file.name == format!("{DKIM}/{name}")));
            if !is_named {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The id of a group, from the lines of /etc/group (group(5)).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use replyfleet::settings::Redacted;

    use super::*;

    fn file(name: &str, text: &str, is_for_group: bool) -> SecretFile {
        SecretFile { name: name.into(), content: Redacted::new(text.into()), is_for_group }
    }

    #[test]
    fn files_have_their_modes_whatever_was_there_and_old_keys_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder { path: dir.path().join("run/secrets"), group: fs::metadata(dir.path()).unwrap().gid() };
        let files = [file("secret.key", "a\n", true), file("dkim/one.pem", "b\n", true), file("worker.env", "c\n", false)];
        assert_eq!(folder.write(&files).unwrap(), 3);
        assert_eq!(folder.write(&[file("spamhaus.key", "d\n", false)]).unwrap(), 1);
        assert!(folder.path.join("spamhaus.key").exists() && !folder.path.join("dkim/one.pem").exists());
        assert_eq!(folder.write(&files).unwrap(), 1, "the key that was forgotten");
        assert!(!folder.path.join("spamhaus.key").exists(), "a key that is no longer in the secret");
        let mode = |name: &str| fs::metadata(folder.path.join(name)).unwrap().mode() & 0o7777;
        assert_eq!([mode(""), mode("dkim"), mode("secret.key"), mode("dkim/one.pem"), mode("worker.env")], [0o710, 0o710, 0o640, 0o640, 0o600]);
        assert_eq!(folder.write(&files).unwrap(), 0, "nothing has changed");
        // Somebody has opened one; another was ended in the middle.
        fs::set_permissions(folder.path.join("worker.env"), Permissions::from_mode(0o644)).unwrap();
        fs::write(folder.path.join(".secret.key"), "half").unwrap();
        let files = [file("secret.key", "changed\n", true), file("dkim/two.pem", "d\n", true), file("worker.env", "c\n", false)];
        assert_eq!(folder.write(&files).unwrap(), 3);
        assert_eq!((fs::read_to_string(folder.path.join("secret.key")).unwrap().as_str(), mode("worker.env")), ("changed\n", 0o600));
        let keys: Vec<_> = fs::read_dir(folder.path.join("dkim")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(keys, ["two.pem"]);
        assert!(!folder.path.join(".secret.key").exists());
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nreplyfleet-old:x:7:\nreplyfleet:x:991:a,b\nbroken\n";
        assert_eq!((group_id(groups, "replyfleet"), group_id(groups, "broken"), group_id(groups, "x")), (Some(991), None, None));
    }
}
