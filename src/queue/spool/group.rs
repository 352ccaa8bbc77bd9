//! Group commit: many messages made durable for little more than one.
//!
//! Alone, a message costs the disk two waits: for its file and for its folder. Here all files are written first; then one
//! syncfs(2) waits for all of them; then all are renamed, and one fsync of the folder makes all the names durable. What fails
//! while it is written fails alone, and its file is removed; if the disk does not confirm the files or the folder, every message
//! of the group has failed, though it may be there.
//!
//! syncfs waits for all that was written to the file system, also by others. On an MX that is Postfix's queue, which is synced
//! anyway; an fsync for each file in a thread of its own cost twice the CPU (benches/record.md, the intake).

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use tokio::task::spawn_blocking;

use super::{SpoolQueue, unavailable};
use crate::{
    durable,
    envelope::Envelope,
    queue::{PutPace, QueueError, Result},
};

/// A group's size is bounded by what it holds in memory. While one waits for its names, another can wait for its bytes.
pub(super) const PACE: PutPace = PutPace { messages_max: 64, calls_max: 2 };

/// A message on its way from `tmp/` to `new/`.
struct Written {
    /// Its place in the group.
    index: usize,
    temporary: PathBuf,
    target: PathBuf,
    file: File,
}

/// [`Queue::put_all`](crate::queue::Queue::put_all) on a spool.
pub(super) async fn put_all(queue: &SpoolQueue, envelopes: &[Envelope]) -> Vec<Result<()>> {
    // Each counts as failed until its name is durable.
    let mut results: Vec<Result<()>> = envelopes.iter().map(|_| Err(ended())).collect();
    let wires: Vec<(Vec<u8>, String)> = envelopes.iter().map(|envelope| (envelope.encode(), envelope.facts.group.clone())).collect();

    let (spool, dir) = (queue.clone(), queue.0.dir.join("new"));
    // One thread for all of it: to wake others costs more than they save.
    let steps = spawn_blocking(move || {
        let (mut steps, mut written) = (Vec::new(), Vec::new());
        for (index, (wire, group)) in wires.iter().enumerate() {
            match write(&spool, index, wire, group) {
                Ok(one) => written.push(one),
                Err((index, error)) => steps.push((index, Err(error))),
            }
        }
        match sync(&written) {
            Ok(()) => steps.extend(name_all(written, &dir)),
            Err(error) => steps.extend(written.into_iter().map(|one| (one.index, Err(give_up(&one, &error))))),
        }
        steps
    });
    for (index, result) in steps.await.unwrap_or_default() {
        results[index] = result;
    }
    results
}

/// What came of one message so far, by its place in the group.
type Step<T> = std::result::Result<T, (usize, QueueError)>;

fn write(queue: &SpoolQueue, index: usize, wire: &[u8], group: &str) -> Step<Written> {
    let (temporary, target) = queue.0.fresh_paths(group).map_err(|error| (index, error))?;
    match durable::write_unsynced(&temporary, wire) {
        Ok(file) => Ok(Written { index, temporary, target, file }),
        Err(error) => {
            let _ = fs::remove_file(&temporary); // the write's own error is the one to report
            Err((index, unavailable("write to")(error)))
        }
    }
}

/// Waits for the bytes of all files at once.
fn sync(written: &[Written]) -> io::Result<()> {
    match written {
        [] => Ok(()),
        [alone] => alone.file.sync_all(),
        [first, ..] => Ok(rustix::fs::syncfs(&first.file)?),
    }
}

/// Removes what the disk did not confirm; its error is everybody's.
fn give_up(written: &Written, error: &io::Error) -> QueueError {
    let _ = fs::remove_file(&written.temporary); // the disk's own error is the one to report
    unavailable("write to")(io::Error::new(error.kind(), error.to_string()))
}

/// Renames the files, and makes their names durable.
fn name_all(synced: Vec<Written>, dir: &std::path::Path) -> Vec<(usize, Result<()>)> {
    let mut named = Vec::with_capacity(synced.len());
    for Written { index, temporary, target, file } in synced {
        drop(file);
        let renamed = fs::rename(&temporary, &target).map_err(|error| {
            let _ = fs::remove_file(&temporary);
            unavailable("write to")(error)
        });
        named.push((index, renamed));
    }
    if let Err(error) = durable::sync_dir(dir) {
        for (_, result) in named.iter_mut().filter(|(_, result)| result.is_ok()) {
            *result = Err(unavailable("write to")(io::Error::new(error.kind(), error.to_string())));
        }
    }
    named
}

/// A thread's panic could quote the mail: nothing is said of it.
fn ended() -> QueueError {
    QueueError::Unavailable("the spool's task ended".into())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    fn written(dir: &Path, index: usize) -> Written {
        let (temporary, target) = (dir.join(format!("tmp{index}")), dir.join(format!("new{index}")));
        let file = durable::write_unsynced(&temporary, b"x").expect("written");
        Written { index, temporary, target, file }
    }

    #[test]
    fn a_file_that_cannot_be_renamed_fails_alone() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut group: Vec<Written> = (0..3).map(|index| written(dir.path(), index)).collect();
        group[1].target = dir.path().join("missing/file");
        let named = name_all(group, dir.path());
        let failed: Vec<usize> = named.iter().filter(|(_, result)| result.is_err()).map(|(index, _)| *index).collect();
        assert_eq!(failed, [1]);
        let left = fs::read_dir(dir.path()).expect("folder").count();
        assert_eq!(left, 2, "the failed one's file is removed");
    }

    #[test]
    fn what_the_disk_does_not_confirm_is_removed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let one = written(dir.path(), 0);
        let error = give_up(&one, &io::Error::from_raw_os_error(5));
        assert!(matches!(error, QueueError::Unavailable(_)) && !one.temporary.exists(), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_synced_fails_all() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let group = (0..3).map(|index| written(dir.path(), index)).collect();
        let named = name_all(group, &dir.path().join("missing"));
        assert!(named.len() == 3 && named.iter().all(|(_, result)| result.is_err()));
    }

    #[tokio::test]
    async fn what_cannot_be_written_fails_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let queue = SpoolQueue::open(dir.path(), Duration::from_secs(60)).expect("spool");
        fs::remove_dir(dir.path().join("tmp")).expect("removed");
        let facts = crate::envelope::Facts::default();
        let envelope = Envelope { facts, mail: crate::envelope::Mail::Inline(bytes::Bytes::from_static(b"x")) };
        for count in [1, 8] {
            let results = put_all(&queue, &vec![envelope.clone(); count]).await;
            assert!(results.len() == count && results.iter().all(Result::is_err), "{results:?}");
        }
        assert_eq!(fs::read_dir(dir.path().join("new")).expect("folder").count(), 0);
    }
}
