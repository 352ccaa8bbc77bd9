//! Writing a file so that it is there after a crash, whole or not at all.
//!
//! Write beside the target, fsync the bytes, rename, fsync the directory. A crash before the rename leaves a temporary
//! file and no target; a crash after it leaves the whole target.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Owner only: what these files hold is mail, or speaks of it.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Writes `contents` to `target` by way of `temporary`, which must lie on the same file system.
///
/// # Errors
/// The system's; the temporary file is then removed and the target is as it was.
pub fn write_file(temporary: &Path, target: &Path, contents: &[u8]) -> io::Result<()> {
    let written = write_synced(temporary, contents).and_then(|()| fs::rename(temporary, target));
    if let Err(error) = written {
        let _ = fs::remove_file(temporary); // the write's own error is the one to report
        return Err(error);
    }
    sync_dir(target.parent().unwrap_or(Path::new(".")))
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_unsynced(path, contents)?.sync_all()
}

/// Writes `contents` to a new file at `path`, and returns it: nothing is durable before it and its folder are synced.
///
/// # Errors
/// The system's; what was written is then still there.
pub(crate) fn write_unsynced(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(contents)?;
    Ok(file)
}

/// Makes a rename or creation in `dir` durable.
///
/// # Errors
/// The system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `dir` and its parents, readable by their owner only and there after a crash; one that exists keeps its mode.
///
/// # Errors
/// The system's.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match fs::DirBuilder::new().mode(DIR_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()), // another process was faster
        created => created.and_then(|()| sync_dir(parent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rest() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (temporary, target) = (dir.path().join("t"), dir.path().join("missing/file"));
        write_file(&temporary, &target, b"x").expect_err("the target's folder is missing");
        assert!(!temporary.exists());
    }

    #[test]
    fn files_and_folders_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary folder");
        let sub = dir.path().join("a/b");
        create_dir(&sub).expect("create");
        write_file(&sub.join("t"), &sub.join("f"), b"x").expect("write");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!((mode(&sub), mode(&sub.join("f"))), (0o700, 0o600));
    }
}
