//! The journal: which messages this worker has in hand, in a file that outlives it. Whoever starts after a worker died
//! reads there which messages were in hand, and has them looked at alone ([`crate::quarantine`]).
//!
//! A file in `worker.cache_dir`, `in-hand-<random>`, with a slot of 64 characters for each message: its request key (a keyed
//! hash) while it is worked on, spaces before and after. A slot is written before the work begins and cleared after it ended, each
//! by one `pwrite` of a microsecond; a panic clears it too, the end of the process does not. Nothing is fsynced: what it
//! is for is a process that dies, and the system keeps what it wrote. After a crash of the
//! whole machine some of it may be there and some not: who is suspected then without need is answered alone, and is off the list.
//!
//! Each worker locks its own file; the system unlocks it when the worker is gone, however it went. So workers that share a
//! folder do not mix, and a file that is not locked is a dead worker's. It is removed after its messages were noted in
//! the ledger, and stays until that answers. A journal that cannot be written is said once, and no message waits for it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use replyfleet::keyed::hex;

/// Characters of a request key, and of a slot.
const KEY_CHARS: usize = 64;
const PREFIX: &str = "in-hand-";
/// While it is not locked yet, so that nobody takes it for a dead worker's.
const UNLOCKED_PREFIX: &str = "new-in-hand-";
/// What of a dead worker's file is read: far more than a worker has slots.
const BYTES_MAX: u64 = 1 << 20;

/// This worker's journal.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    free: Mutex<Vec<u64>>,
    has_failed: AtomicBool,
}

/// A message in hand. Dropped, it is in hand no more.
pub(crate) struct InHand {
    journal: Arc<Journal>,
    slot: Option<u64>,
}

/// A dead worker's journal, locked so that only one takes it up.
pub(crate) struct Left {
    path: PathBuf,
    _lock: File,
    /// The request keys of what it had in hand.
    pub(crate) request_keys: Vec<String>,
}

impl Journal {
    /// Begins a journal in `dir` for as many messages as there are slots.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(dir: &Path, slots: usize) -> io::Result<Arc<Self>> {
        let mut random = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers to give"))?;
        let name = hex(&random);
        let (unlocked, path) = (dir.join(format!("{UNLOCKED_PREFIX}{name}")), dir.join(format!("{PREFIX}{name}")));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unlocked)?;
        file.lock()?;
        std::fs::rename(&unlocked, &path)?;
        let free = (0..slots as u64).rev().collect();
        Ok(Arc::new(Self { file, path, free: Mutex::new(free), has_failed: AtomicBool::new(false) }))
    }

    /// Notes that a message is in hand. A key that is none is not noted: nothing of it could be found again.
    pub(crate) fn enter(self: &Arc<Self>, request_key: &str) -> InHand {
        let is_key = request_key.len() == KEY_CHARS && request_key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let slot = if is_key { self.free().pop() } else { None };
        if let Some(slot) = slot {
            self.write(slot, request_key.as_bytes());
        }
        InHand { journal: Arc::clone(self), slot }
    }

    fn write(&self, slot: u64, content: &[u8]) {
        if let Err(error) = self.file.write_all_at(content, slot * KEY_CHARS as u64)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(error = %error, "the journal in worker.cache_dir cannot be written; a message that kills the worker is not found out");
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        // Poisoned: a list of numbers is whole whatever panicked.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the journal of a worker that ends by itself with nothing in hand.
    pub(crate) fn close(&self) {
        let _ = std::fs::remove_file(&self.path); // an empty journal tells nothing to whoever finds it
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.journal.write(slot, &[b' '; KEY_CHARS]);
            self.journal.free().push(slot);
        }
    }
}

/// The journals of dead workers in `dir`.
///
/// # Errors
/// The system's, if the folder cannot be listed.
pub(crate) fn left_behind(dir: &Path) -> io::Result<Vec<Left>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_journal = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if is_journal && let Some(one) = open_left(path) {
            left.push(one);
        }
    }
    Ok(left)
}

/// A journal that nobody holds; `None` if its worker lives, or another has just taken it up.
fn open_left(path: PathBuf) -> Option<Left> {
    let file = OpenOptions::new().read(true).open(&path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return None,
        Err(TryLockError::Error(error)) => {
            tracing::warn!(error = %error, "a worker's journal cannot be locked");
            return None;
        }
    }
    let mut content = Vec::new();
    (&file).take(BYTES_MAX).read_to_end(&mut content).ok()?;
    let keys = content.chunks(KEY_CHARS).filter(|slot| slot.len() == KEY_CHARS && slot.iter().all(u8::is_ascii_hexdigit));
    let request_keys = keys.map(|slot| String::from_utf8_lossy(slot).into_owned()).collect();
    Some(Left { path, _lock: file, request_keys })
}

impl Left {
    /// Removes it; its messages are noted.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> String {
        format!("{number:064x}")
    }

    #[test]
    fn what_a_dead_worker_had_in_hand_is_found_and_what_had_ended_is_not() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let journal = Journal::open(dir.path(), 3).expect("opened");
        let (first, second, third) = (journal.enter(&key(1)), journal.enter(&key(2)), journal.enter(&key(3)));
        drop(second);
        assert!(left_behind(dir.path()).expect("listed").is_empty(), "its worker lives");
        std::mem::forget((first, third)); // as if the process had died: nobody clears the slots
        let journal = Arc::into_inner(journal);
        assert!(journal.is_none(), "they hold it");
        // The lock is the open file's: another process's copy of the file stands in for the dead one's.
        let name = std::fs::read_dir(dir.path()).expect("listed").next().expect("one").expect("entry").path();
        let copy = dir.path().join(format!("{PREFIX}dead"));
        std::fs::copy(&name, &copy).expect("copied");
        let mut left = left_behind(dir.path()).expect("listed");
        assert_eq!(left.len(), 1);
        let left = left.remove(0);
        assert_eq!(left.request_keys, [key(1), key(3)]);
        assert!(left_behind(dir.path()).expect("listed").is_empty(), "one takes it up, and no other meanwhile");
        left.remove().expect("removed");
        assert!(!copy.exists());
    }

    #[test]
    fn a_slot_is_used_again_and_more_messages_than_slots_are_not_noted() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let journal = Journal::open(dir.path(), 1).expect("opened");
        for number in 1..100 {
            let _in_hand = journal.enter(&key(number));
            let _beyond = journal.enter(&key(100 + number));
        }
        assert_eq!(std::fs::read(&journal.path).expect("read"), [b' '; KEY_CHARS]);
        let _no_key = journal.enter("someone@example.org");
        assert_eq!(std::fs::read(&journal.path).expect("read"), [b' '; KEY_CHARS], "nothing but a key is written");
        journal.close();
        assert!(!journal.path.exists());
    }
}
