//! Group commit: many messages made durable for the price of one.
//!
//! All files are written in `tmp/` and renamed; then one syncfs(2) makes bytes and names durable together. Readers of the same boot
//! see whole files only. After a power cut before that moment a name may have no bytes, or not all: nobody was told
//! "accepted", and its receiver knows it by the seal in its name (`whole`). What fails while it is written or renamed fails alone;
//! if the disk does not confirm, every message of the group has failed, and is removed. A reader may have it by then: its sender
//! delivers it again, under the same request key.
//!
//! syncfs waits for all that was written to the file system, also by others. On an MX that is Postfix's queue, which is
//! synced anyway; an fsync for each file in a thread of its own cost twice the CPU (benches/record.md, the intake).

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use super::{Spool, unavailable};
use crate::{
    durable,
    queue::{PutPace, Result},
};

/// A group's size is bounded by what it holds in memory. One at a time: a second beside it would only make both smaller, for the disk
/// commits one after the other.
pub(super) const PACE: PutPace = PutPace { messages_max: 64, calls_max: 1 };

/// A message that has its name in `new/`.
struct Named {
    target: PathBuf,
    file: File,
}

/// Puts messages, each with its group; the results are in their order. Blocks.
pub(super) fn put_all(spool: &Spool, messages: &[(Vec<u8>, String)]) -> Vec<Result<()>> {
    let named: Vec<Result<Named>> = messages.iter().map(|(wire, group)| name(spool, wire, group)).collect();
    let synced = sync(spool, &named.iter().flatten().collect::<Vec<_>>());
    named.into_iter().map(|named| confirmed(named?, &synced)).collect()
}

/// A message is put if the disk has confirmed it, else it is removed.
fn confirmed(named: Named, synced: &io::Result<()>) -> Result<()> {
    synced.as_ref().copied().map_err(|error| {
        let _ = fs::remove_file(&named.target); // the disk's own error is the one to report
        unavailable("write to")(io::Error::new(error.kind(), error.to_string()))
    })
}

/// Writes a message, and gives it its name; nothing is durable then.
fn name(spool: &Spool, wire: &[u8], group: &str) -> Result<Named> {
    let (temporary, target) = spool.fresh_paths(wire, group)?;
    let written = durable::write_unsynced(&temporary, wire).and_then(|file| fs::rename(&temporary, &target).map(|()| file));
    written.map(|file| Named { target, file }).map_err(|error| {
        let _ = fs::remove_file(&temporary); // the write's own error is the one to report
        unavailable("write to")(error)
    })
}

/// Makes bytes and names durable.
fn sync(spool: &Spool, named: &[&Named]) -> io::Result<()> {
    match named {
        [] => Ok(()),
        // By now the first commits the rename with the bytes, where the file system has a journal, and the second finds little to do.
        [alone] => alone.file.sync_all().and_then(|()| durable::sync_dir(&spool.dir.join("new"))),
        [first, ..] => Ok(rustix::fs::syncfs(&first.file)?),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::queue::{QueueError, spool::SpoolQueue};

    fn spool(dir: &Path) -> SpoolQueue {
        SpoolQueue::open(dir, Duration::from_secs(60)).expect("spool")
    }

    fn messages(count: usize) -> Vec<(Vec<u8>, String)> {
        vec![(b"x".to_vec(), "0123456789abcdef".into()); count]
    }

    fn count(dir: &Path, folder: &str) -> usize {
        fs::read_dir(dir.join(folder)).expect("folder").count()
    }

    #[test]
    fn what_is_put_has_its_name_whole_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let queue = spool(dir.path());
        for (messages_count, wanted) in [(0, 0), (1, 1), (8, 9)] {
            let results = put_all(&queue.0, &messages(messages_count));
            assert!(results.len() == messages_count && results.iter().all(Result::is_ok), "{results:?}");
            assert_eq!((count(dir.path(), "new"), count(dir.path(), "tmp")), (wanted, 0));
        }
    }

    #[test]
    fn what_the_disk_does_not_confirm_is_removed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let queue = spool(dir.path());
        let named = name(&queue.0, b"x", "").expect("named");
        assert_eq!(count(dir.path(), "new"), 1);
        let error = confirmed(named, &Err(io::Error::from_raw_os_error(5))).expect_err("not confirmed");
        assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
        assert_eq!(count(dir.path(), "new"), 0);
    }

    #[test]
    fn what_cannot_be_written_or_renamed_fails_and_leaves_nothing() {
        for missing in ["tmp", "new"] {
            let dir = tempfile::tempdir().expect("temporary folder");
            let queue = spool(dir.path());
            fs::remove_dir(dir.path().join(missing)).expect("removed");
            for messages_count in [1, 8] {
                let results = put_all(&queue.0, &messages(messages_count));
                assert!(results.len() == messages_count && results.iter().all(Result::is_err), "{results:?}");
            }
            let left = if missing == "tmp" { "new" } else { "tmp" };
            assert_eq!(count(dir.path(), left), 0);
        }
    }

    #[test]
    fn of_a_group_one_that_has_no_name_fails_alone() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let queue = spool(dir.path());
        let named = [name(&queue.0, b"x", ""), Err(QueueError::Full("no room".into())), name(&queue.0, b"y", "")];
        let results: Vec<Result<()>> = named.into_iter().map(|named| confirmed(named?, &Ok(()))).collect();
        assert!(matches!(results[..], [Ok(()), Err(QueueError::Full(_)), Ok(())]), "{results:?}");
    }
}
