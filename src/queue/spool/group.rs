//! Group commit: many messages made durable for little more than one.
//!
//! Alone, a message costs the disk two waits: for its file and for its folder. Here all files are written first; then
//! several threads wait for them side by side, so that the file system's journal carries them together; then
//! all are renamed, and one fsync of the folder makes all the names durable. What fails before its rename fails alone, and its
//! file is removed; if the folder cannot be synced, every message of the group has failed, though it may be there.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use tokio::task::{JoinSet, spawn_blocking};

use super::{SpoolQueue, unavailable};
use crate::{
    durable,
    envelope::Envelope,
    queue::{PutPace, QueueError, Result},
};

/// A group's size is bounded by what it holds in memory. While one waits for its names, another can wait for its bytes.
pub(super) const PACE: PutPace = PutPace { messages_max: 64, calls_max: 2 };
/// Threads that wait for the disk: Postfix has as many deliveries under way to one destination. Files that wait one after the
/// other cost a commit of the journal each; side by side, they share one.
const SYNCS_SIDE_BY_SIDE: usize = 20;

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
    let write_all = move || wires.iter().enumerate().map(|(index, (wire, group))| write(&spool, index, wire, group)).collect::<Vec<_>>();
    let named = if envelopes.len() <= 1 {
        // Alone it has one thread for all of it.
        let steps = spawn_blocking(move || {
            let (mut steps, mut synced) = (Vec::new(), Vec::new());
            for step in write_all() {
                match step.and_then(sync) {
                    Ok(written) => synced.push(written),
                    Err((index, error)) => steps.push((index, Err(error))),
                }
            }
            steps.extend(name_all(synced, &dir));
            steps
        });
        steps.await.unwrap_or_default()
    } else {
        let written = sort_out(spawn_blocking(write_all).await.unwrap_or_default(), &mut results);
        let synced = sync_side_by_side(written, &mut results).await;
        spawn_blocking(move || name_all(synced, &dir)).await.unwrap_or_default()
    };
    for (index, result) in named {
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
async fn sync_side_by_side(written: Vec<Written>, results: &mut [Result<()>]) -> Vec<Written> {
    let share = written.len().div_ceil(SYNCS_SIDE_BY_SIDE).max(1);
    let mut threads = JoinSet::new();
    let mut rest = written.into_iter().peekable();
    while rest.peek().is_some() {
        let mine: Vec<Written> = rest.by_ref().take(share).collect();
        threads.spawn_blocking(move || mine.into_iter().map(sync).collect::<Vec<_>>());
    }
    let mut synced = Vec::new();
    while let Some(done) = threads.join_next().await {
        synced.extend(sort_out(done.unwrap_or_default(), results));
    }
    // In the order of their arrival, by which they are named.
    synced.sort_unstable_by_key(|written: &Written| written.index);
    synced
}

fn sync(written: Written) -> Step<Written> {
    match written.file.sync_all() {
        Ok(()) => Ok(written),
        Err(error) => {
            let _ = fs::remove_file(&written.temporary);
            Err((written.index, unavailable("write to")(error)))
        }
    }
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
            *result = Err(unavailable("write to")(std::io::Error::new(error.kind(), error.to_string())));
        }
    }
    named
}

/// Keeps what goes on, and notes the errors of what does not.
fn sort_out(steps: Vec<Step<Written>>, results: &mut [Result<()>]) -> Vec<Written> {
    let keep = |step: Step<Written>| step.map_err(|(index, error)| results[index] = Err(error)).ok();
    steps.into_iter().filter_map(keep).collect()
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
