//! A directory as a queue, for one machine: what the embedded default runs on.
//!
//! ```text
//! tmp/<id>                       being written, or cut by a crash; nobody was told "accepted"
//! new/<due>-<id>.<receives>      waiting; <due> is the millisecond from which it may be received
//! cur/<id>.<receives>            with a receiver; the file's mtime is when its lease ends
//! parked/<parked>-<id>.<receives>.<reason>
//! ```
//! `<id>` is the millisecond of arrival, 64 random bits, the start of the envelope's group (a keyed hash of the sender),
//! length and hash of the file, and `_replayed` if it comes from the dead letters; nothing in a name speaks of a requester. A file's
//! content is the envelope's wire form. `ls` shows all there is to know.
//!
//! * **Accepted** means written, renamed into `new/`, and then bytes and name durable together; of many at once, by `group`.
//!   A power cut just before that can leave a name in `new/` without its bytes. Who receives it finds it `unfinished` by its
//!   name, and puts it back into `tmp/`, out of which what is old is removed; its sender comes again.
//! * **Claimed** means renamed into `cur/` with the receive count one up. A rename has one winner, so several processes
//!   may share the directory. A receipt is the name in `cur/`: once the lease ended and another receiver renamed the
//!   file, the old receipt names nothing and is stale.
//! * **Crash**: `kill -9` of a receiver leaves the file in `cur/`; it is claimed again when its lease has ended.
//!   No rename after the first needs an fsync: undone by a power cut, it only brings a message back.
//! * **Fair**: the groups take turns, so that one flooder does not starve the others (`names` says how).
//!
//! All processes must run as one user (only a file's owner may set its mtime).

mod dead_letters;
mod group;
mod names;
mod whole;

use std::{
    collections::VecDeque,
    fs::{self, File, FileTimes},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use names::{Held, Waiting, in_fair_order};

use super::{
    BATCH_MAX, Chosen, Delivery, Depth, Limits, Parked, PutPace, Queue, QueueError, RELEASE_DELAY_MAX, Receipt, Result, Settlement, Unpark,
    Unreceived,
};
use crate::{clock::UnixMillis, durable, envelope::Envelope};

/// How often a waiting receive looks. A look at an empty directory costs some ten microseconds.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// How long a listing of `new/` is used before it is read again, so that who came meanwhile gets a turn in time; but at
/// least so many times as long as the reading took: a million files must not be listed every second.
const LISTING_FRESH: Duration = Duration::from_millis(100);
const LISTING_FRESH_TIMES: u32 = 20;
/// How often `cur/` is searched for ended leases.
const LEASE_SCAN_EVERY: Duration = Duration::from_millis(500);
/// A file in `tmp/` that is older belongs to a writer that died (Maildir's own rule is 36 hours).
const ABANDONED_AFTER: Duration = Duration::from_secs(36 * 3600);
/// How long a dead letter is kept, as the longest retention of SQS.
const PARKED_FOR: Duration = Duration::from_secs(14 * 86_400);
/// How often the old is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// The longest file is bounded by the MX's `message_size_limit`; this only keeps a stray file out of memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A spool directory.
#[derive(Clone)]
pub struct SpoolQueue(Arc<Spool>);

struct Spool {
    dir: PathBuf,
    visibility: Duration,
    listing: Mutex<Listing>,
}

/// Names in `new/` that were due when it was read, in the order in which they are to be received.
#[derive(Default)]
struct Listing {
    names: VecDeque<String>,
    stale_at: Option<Instant>,
    leases_scanned_at: Option<Instant>,
    swept_at: Option<Instant>,
}

impl SpoolQueue {
    /// Opens the spool at `dir`, creating it where it is missing.
    ///
    /// # Errors
    /// [`QueueError::Refused`] if the directory cannot be created or written.
    pub fn open(dir: &Path, visibility: Duration) -> Result<Self> {
        for sub in ["tmp", "new", "cur", "parked"] {
            let path = dir.join(sub);
            durable::create_dir(&path).map_err(|error| QueueError::Refused(format!("cannot create {}: {error}", path.display())))?;
        }
        Ok(Self(Arc::new(Spool { dir: dir.to_owned(), visibility, listing: Mutex::default() })))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Spool) -> T + Send + 'static) -> Result<T> {
        let spool = Arc::clone(&self.0);
        // What a panic said could quote the mail.
        spawn_blocking(move || work(&spool)).await.map_err(|_| QueueError::Unavailable("the spool's task ended".into()))
    }

    /// Runs `work` on each item in the blocking pool, in order; all fail together if the pool is gone.
    async fn run_each<T: Send + 'static>(&self, items: Vec<T>, work: impl Fn(&Spool, T) -> Result<()> + Send + 'static) -> Vec<Result<()>> {
        let count = items.len();
        match self.run(move |spool| items.into_iter().map(|item| work(spool, item)).collect()).await {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(QueueError::Unavailable(error.to_string()))).collect(),
        }
    }
}

#[async_trait]
impl Queue for SpoolQueue {
    async fn put(&self, envelope: &Envelope) -> Result<()> {
        self.put_all(std::slice::from_ref(envelope)).await.remove(0)
    }

    async fn put_all(&self, envelopes: &[Envelope]) -> Vec<Result<()>> {
        let messages: Vec<_> = envelopes.iter().map(|envelope| (envelope.encode(), envelope.facts.group.clone())).collect();
        match self.run(move |spool| group::put_all(spool, &messages)).await {
            Ok(results) => results,
            Err(error) => envelopes.iter().map(|_| Err(QueueError::Unavailable(error.to_string()))).collect(),
        }
    }

    fn put_pace(&self) -> PutPace {
        group::PACE
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let received = self.run(move |spool| spool.receive(max.min(BATCH_MAX))).await??;
            if !received.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(received);
            }
            tokio::time::sleep(POLL_EVERY.min(deadline - tokio::time::Instant::now())).await;
        }
    }

    async fn extend(&self, receipts: &[Receipt]) -> Vec<Result<()>> {
        self.run_each(receipts.to_vec(), |spool, receipt| spool.extend(&receipt)).await
    }

    async fn settle(&self, settlements: &[(Delivery, Settlement)]) -> Vec<Result<()>> {
        let items = settlements.iter().map(|(delivery, settlement)| (delivery.receipt.clone(), *settlement)).collect();
        self.run_each(items, |spool, (receipt, settlement)| spool.settle(&receipt, settlement)).await
    }

    async fn depth(&self) -> Result<Depth> {
        self.run(Spool::depth).await?
    }

    async fn parked(&self, max: usize) -> Result<Vec<Parked>> {
        self.run(move |spool| spool.parked(max)).await?
    }

    async fn unpark(&self, chosen: &Chosen, what: Unpark, until: UnixMillis, max: usize) -> Result<Vec<Bytes>> {
        let parked = self.parked(usize::MAX).await?;
        let names = parked.into_iter().filter(|parked| chosen.includes(parked, until)).map(|parked| parked.id).take(max).collect();
        self.run(move |spool| spool.unpark(names, what)).await?
    }

    async fn limits(&self) -> Result<Limits> {
        Ok(Limits { parked_retention: Some(PARKED_FOR), ..Limits::default() })
    }

    fn visibility(&self) -> Duration {
        self.0.visibility
    }
}

impl Spool {
    /// Where a new message of a group is written, and where it waits then.
    fn fresh_paths(&self, wire: &[u8], group: &str) -> Result<(PathBuf, PathBuf)> {
        let now = UnixMillis::now();
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| QueueError::Unavailable("no random numbers".into()))?;
        let id = names::id(now, random, group, &whole::seal(wire));
        let waiting = Waiting { due: now, id: &id, receives: 0 };
        Ok((self.dir.join("tmp").join(&id), self.new_path(&waiting.name())))
    }

    fn receive(&self, max: usize) -> Result<Vec<Delivery>> {
        // Poisoned: a panic while listing leaves a shorter listing, which is read again soon.
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if listing.leases_scanned_at.is_none_or(|at| at.elapsed() >= LEASE_SCAN_EVERY) {
            self.release_ended_leases()?;
            listing.leases_scanned_at = Some(Instant::now());
        }
        if listing.swept_at.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            self.sweep("tmp", ABANDONED_AFTER)?; // its writer died before it said "accepted"
            self.sweep("parked", PARKED_FOR)?;
            listing.swept_at = Some(Instant::now());
        }
        let mut received = Vec::new();
        let mut is_reread = false;
        while received.len() < max {
            let is_stale = listing.stale_at.is_none_or(|at| at <= Instant::now());
            if (listing.names.is_empty() || is_stale) && !is_reread {
                is_reread = true;
                let start = Instant::now();
                let (waiting, held) = (names_in(&self.dir.join("new"))?, names_in(&self.dir.join("cur"))?);
                listing.names = in_fair_order(waiting, &held, UnixMillis::now());
                listing.stale_at = Some(Instant::now() + LISTING_FRESH.max(start.elapsed() * LISTING_FRESH_TIMES));
            }
            let Some(name) = listing.names.pop_front() else { break };
            let Some(waiting) = Waiting::parse(&name) else { continue };
            match self.claim(&name, &waiting) {
                Ok(claimed) => received.extend(claimed),
                // One file that another user owns, or that the disk cannot give, must not keep the others waiting.
                Err(error) => tracing::error!(error = %error, file = name, "a waiting message cannot be received"),
            }
        }
        Ok(received)
    }

    /// Renames a waiting file into `cur/` and reads it; `None` if another receiver was faster, or the file was never accepted.
    fn claim(&self, name: &str, waiting: &Waiting<'_>) -> Result<Option<Delivery>> {
        let held = Held { id: waiting.id, receives: waiting.receives + 1 };
        let (from, to) = (self.new_path(name), self.cur_path(&held.name()));
        // The lease is written before the rename: from its first moment in cur/ the file has a lease that runs.
        let file = match self.set_lease(&from).and_then(|file| fs::rename(&from, &to).map(|()| file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            claimed => claimed.map_err(unavailable("claim in"))?,
        };
        let wire = match read_whole(file).map_err(unavailable("read from"))? {
            None => Vec::new(),
            Some(wire) => match whole::state(&wire, names::seal(held.id)) {
                whole::State::Whole => wire,
                whole::State::Unfinished if !names::is_replayed(held.id) => return self.take_back(name, &held).map(|()| None),
                // No envelope, so that it is parked for people to see; what it says now is not what was accepted.
                whole::State::Unfinished | whole::State::Damaged => Vec::new(),
            },
        };
        Ok(Some(Delivery {
            wire: Bytes::from(wire),
            receive_count: held.receives,
            receipt: Receipt(held.name()),
            is_replayed: names::is_replayed(held.id),
        }))
    }

    /// Puts what a crash cut before it was accepted to what is being written: it is removed in time, and is nobody's mail.
    fn take_back(&self, name: &str, held: &Held<'_>) -> Result<()> {
        tracing::warn!(file = name, "a file that a crash cut before it was accepted is put aside in tmp/; its sender delivers it again");
        match fs::rename(self.cur_path(&held.name()), self.dir.join("tmp").join(held.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // another process was faster
            renamed => renamed.map_err(unavailable("put aside in")),
        }
    }

    fn extend(&self, receipt: &Receipt) -> Result<()> {
        let path = self.cur_path(&receipt.0);
        self.set_lease(&path).map(drop).map_err(stale_or_unavailable)?;
        // The lease was set on the file, whatever its name is by now: is it still ours?
        fs::symlink_metadata(&path).map(drop).map_err(stale_or_unavailable)
    }

    fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<()> {
        let path = self.cur_path(&receipt.0);
        let held = Held::parse(&receipt.0).ok_or(QueueError::StaleReceipt)?;
        let now = UnixMillis::now();
        match settlement {
            Settlement::Delete => fs::remove_file(&path),
            Settlement::Release(delay) => {
                let due = now + delay.min(RELEASE_DELAY_MAX);
                fs::rename(&path, self.new_path(&Waiting { due, id: held.id, receives: held.receives }.name()))
            }
            Settlement::Park(reason) => fs::rename(&path, self.parked_path(&dead_letters::name(now, &held, reason))),
        }
        .map_err(stale_or_unavailable)
    }

    /// Puts what is in `cur/` without a living receiver back into `new/`, due now.
    fn release_ended_leases(&self) -> Result<()> {
        let now = UnixMillis::now();
        for name in names_in(&self.dir.join("cur"))? {
            let path = self.cur_path(&name);
            let Some(held) = Held::parse(&name) else { continue };
            let Ok(lease_end) = fs::symlink_metadata(&path).and_then(|file| file.modified()) else { continue };
            if UnixMillis::from(lease_end) <= now {
                let back = Waiting { due: now, id: held.id, receives: held.receives };
                let _ = fs::rename(&path, self.new_path(&back.name())); // gone: another receiver was faster
            }
        }
        Ok(())
    }

    /// Removes what has been in a folder, unchanged, for longer than `age_max`.
    fn sweep(&self, folder: &str, age_max: Duration) -> Result<()> {
        let (folder, now) = (self.dir.join(folder), UnixMillis::now());
        for path in names_in(&folder)?.into_iter().map(|name| folder.join(name)) {
            let changed = fs::symlink_metadata(&path).and_then(|file| file.modified());
            if changed.is_ok_and(|at| now.since(at.into()) > age_max) {
                let _ = fs::remove_file(&path); // another process was faster, or it is tried again
            }
        }
        Ok(())
    }

    fn depth(&self) -> Result<Depth> {
        let now = UnixMillis::now();
        let count = |folder| names_in(&self.dir.join(folder)).map(|names| names.len() as u64);
        let mut depth = Depth { in_flight: count("cur")?, parked: Some(count("parked")?), unreceived: Unreceived::Nobody, ..Depth::default() };
        for waiting in names_in(&self.dir.join("new"))?.iter().filter_map(|name| Waiting::parse(name)) {
            if waiting.due > now {
                depth.delayed += 1
            } else {
                depth.visible += 1
            }
            let arrival = names::arrival(waiting.id);
            depth.oldest = [depth.oldest, arrival].into_iter().flatten().min();
            if let (0, Some(arrival)) = (waiting.receives, arrival) {
                depth.unreceived = depth.unreceived.or_older(arrival);
            }
        }
        Ok(depth)
    }

    /// Sets the end of a file's lease, and returns the file.
    fn set_lease(&self, path: &Path) -> io::Result<File> {
        let lease_end = UnixMillis::now() + self.visibility;
        let file = File::open(path)?;
        file.set_times(FileTimes::new().set_modified(lease_end.to_system_time()))?;
        Ok(file)
    }

    fn new_path(&self, name: &str) -> PathBuf {
        self.dir.join("new").join(name)
    }

    fn cur_path(&self, name: &str) -> PathBuf {
        self.dir.join("cur").join(name)
    }

    fn parked_path(&self, name: &str) -> PathBuf {
        self.dir.join("parked").join(name)
    }
}

/// What a file holds; `None` if it is longer than any envelope is.
fn read_whole(mut file: File) -> io::Result<Option<Vec<u8>>> {
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Ok(None);
    }
    let mut wire = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    file.read_to_end(&mut wire)?;
    Ok(Some(wire))
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>();
    // A name that is not UTF-8 is not one of ours; neither is a dot file.
    let names = read().map_err(unavailable("list"))?.into_iter().flatten();
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

fn unavailable(doing: &'static str) -> impl Fn(io::Error) -> QueueError {
    move |error| {
        let text = format!("cannot {doing} the spool: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => QueueError::Full(text),
            _ => QueueError::Unavailable(text),
        }
    }
}

fn stale_or_unavailable(error: io::Error) -> QueueError {
    match error.kind() {
        io::ErrorKind::NotFound => QueueError::StaleReceipt,
        _ => unavailable("change")(error),
    }
}
