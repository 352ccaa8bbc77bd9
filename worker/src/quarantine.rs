//! The quarantine lane: a message that was in hand when a worker died is worked on alone, in a process of its own
//! ([`crate::alone`]), so that it takes nobody with it if it is the one to blame.
//!
//! * Which messages those are stands in the ledger (`ledger/suspects.rs`); dead workers' journals say it ([`crate::journal`]).
//!   Only what was received before, or is among the keys that were listed when it was looked last, is looked up: on the usual way
//!   nothing costs a query. A listed message that was replayed, or is in the queue twice, comes as if for the first time.
//! * One message at a time and worker is in the lane. Those behind it give their slots back, and only keep their leases: other
//!   mail goes on at full width. Beyond [`Quarantine::places`] they go back to the queue for a while. When its turn comes, the
//!   message must still be this worker's, and on the list: another may have had it meanwhile.
//! * The process that works on the message may die or be killed at its time limit: that is a death, and the message comes again.
//!   With the second death in its own process it is parked as `kills_worker`. Nothing else counts: not to be in hand when a worker
//!   is killed, not a process that cannot start.
//! * A message that ends takes itself off the list. One that is parked for its deaths keeps its place there, with none counted:
//!   replayed, it has its chances anew.
//!
//! If the ledger is away, or the process cannot start, the message waits like any other, and like any other it is parked when it
//! has come too often (`worker.receives_max`).

use std::{
    collections::HashSet,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use replyfleet::queue::Delivery;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::unix::pipe::{Receiver, Sender},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    alone::{self, Told},
    drain::Slot,
    lease::Hold,
    ledger::{Ledger, LedgerError},
    outcome::{Outcome, Park, Wait},
    respond::Account,
};

/// Deaths of a message's own process after which it is parked.
pub(crate) const DEATHS_MAX: u32 = 2;
/// What starts the process at the lowest priority: one that loops or dies all the time must not take the CPU from other mail.
const LOW_PRIORITY: [&str; 3] = ["nice", "-n", "19"];
/// How long the process may take to open what it needs.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one that has closed its output may take to end, and how often that is looked at.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What it is told to end by: the service's stop, or a person.
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// How long the process may work on its message, asked when it begins: what is sent by then says how long that may take.
pub(crate) type TimeMax = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Who finds no place in the lane waits no longer than after so many tries: the lane takes one after the other.
const PLACE_TRIES_MAX: u32 = 3;

/// The lane.
pub(crate) struct Quarantine {
    config: PathBuf,
    ledger: Ledger,
    time_max: TimeMax,
    /// How often a message may come.
    receives_max: u32,
    /// The keys on the list when it was looked last.
    listed: Mutex<HashSet<String>>,
    /// Who has it is in the lane.
    lane: Semaphore,
    /// In the lane, or waiting for it.
    places: Arc<Semaphore>,
    places_max: u32,
    stop: watch::Sender<bool>,
}

/// How a message's process ended.
enum Ending {
    Told(Told),
    Died(String),
    /// Not by the message.
    Failed(String),
}

impl Quarantine {
    /// A lane whose processes read the settings in `config`, with so many places, for messages that may come `receives_max` times.
    pub(crate) fn new(config: PathBuf, ledger: Ledger, time_max: TimeMax, receives_max: u32, places: usize) -> Self {
        let places_max = u32::try_from(places).unwrap_or(u32::MAX);
        let (lane, places) = (Semaphore::new(1), Arc::new(Semaphore::new(places)));
        let (listed, stop) = (Mutex::default(), watch::Sender::new(false));
        Self { config, ledger, time_max, receives_max, listed, lane, places, places_max, stop }
    }

    /// Looks which messages are on the list now.
    ///
    /// # Errors
    /// [`LedgerError`]; those of before are kept.
    pub(crate) async fn look(&self) -> Result<(), LedgerError> {
        let listed = self.ledger.suspects().await?.into_iter().collect();
        *self.listed() = listed;
        Ok(())
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Poisoned: it is assigned whole.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the message is a suspect.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(crate) async fn is_suspect(&self, request_key: &str, receive_count: u32) -> Result<bool, LedgerError> {
        let is_asked = receive_count >= 2 || self.listed().contains(request_key);
        Ok(is_asked && self.ledger.deaths(request_key).await?.is_some())
    }

    /// Works on a suspect. Its slot is given back as soon as there is a place for it in the lane, which is in `slot` then.
    pub(crate) async fn work(&self, delivery: &Delivery, request_key: &str, hold: &Hold, slot: &mut Slot) -> (Outcome, Account) {
        let end = |outcome| (outcome, Account::default());
        let wait = |wait| end(Outcome::Retry(wait));
        let once_more = || match delivery.receive_count > self.receives_max {
            true => end(Outcome::Parked(Park::ReceivedTooOften)),
            false => wait(Wait::Quarantine),
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // However often it was received before: there is a place soon.
            let tries = Some(delivery.receive_count.min(PLACE_TRIES_MAX));
            let (outcome, account) = once_more();
            return (outcome, Account { tries, ..account });
        };
        slot.exchange(place);
        let mut stop = self.stop.subscribe();
        let turn = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return wait(Wait::Stopping),
            turn = self.lane.acquire() => turn,
        };
        let Ok(_turn) = turn else { return wait(Wait::Stopping) };
        // Its turn may have been long in coming.
        if !hold.is_sure() {
            return wait(Wait::Lease);
        }
        let deaths = match self.ledger.deaths(request_key).await {
            Ok(Some(deaths)) => deaths,
            Ok(None) => return wait(Wait::Lease), // another worker has ended it, and what came twice finds that next time
            Err(error) => {
                tracing::warn!(error = %error, "the ledger does not say how often a suspect has killed");
                return wait(Wait::Ledger);
            }
        };
        let request = request_key.get(..16).unwrap_or_default();
        match self.in_own_process(&delivery.wire, delivery.receive_count).await {
            Ending::Told(told) => self.told(request_key, told).await,
            Ending::Died(how) => {
                let deaths = deaths + 1;
                tracing::error!(request, how, deaths, "a message has killed the process that worked on it");
                self.died(request_key, deaths).await
            }
            Ending::Failed(why) => {
                tracing::error!(request, why, "no process can be had for a message that must be worked on alone; it comes again");
                once_more()
            }
        }
    }

    async fn told(&self, request_key: &str, told: Told) -> (Outcome, Account) {
        let (outcome, account) = told.into_parts();
        // What only waits has not been gone through with yet.
        if !matches!(outcome, Outcome::Retry(_))
            && let Err(error) = self.ledger.clear_suspect(request_key).await
        {
            tracing::warn!(error = %error, "a message that has ended cannot be taken off the list of suspects; it is forgotten in time");
        }
        (outcome, account)
    }

    async fn died(&self, request_key: &str, deaths: u32) -> (Outcome, Account) {
        let is_to_park = deaths >= DEATHS_MAX;
        // Counted anew if it is ever replayed.
        let counted = self.ledger.set_deaths(request_key, if is_to_park { 0 } else { deaths }).await;
        let outcome = match counted {
            _ if is_to_park => Outcome::Parked(Park::KillsWorker),
            Ok(()) => Outcome::Retry(Wait::Quarantine),
            Err(error) => {
                tracing::warn!(error = %error, "a death cannot be counted yet");
                Outcome::Retry(Wait::Ledger)
            }
        };
        // However often it was received before: it comes again soon.
        (outcome, Account { tries: Some(deaths), ..Account::default() })
    }

    async fn in_own_process(&self, wire: &Bytes, receive_count: u32) -> Ending {
        let Begun { mut process, mut input, mut lines } = match self.begin() {
            Ok(begun) => begun,
            Err(error) => return Ending::Failed(format!("it cannot be started: {error}")),
        };
        match timeout(READY_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == alone::READY => {}
            _ => return Ending::Failed("it did not get ready".into()),
        }
        let telling = async {
            // An error means that it is gone: its silence says so as well. Its input stays open, or it would go with us.
            if input.write_all(&alone::head(receive_count, wire)).await.is_ok() {
                let _ = input.write_all(wire).await;
            }
            told(&mut lines).await
        };
        let time_max = (self.time_max)();
        match timeout(time_max, telling).await {
            Ok(Some(told)) => Ending::Told(told),
            Ok(None) => process.ended().await,
            Err(_) => Ending::Died(format!("killed after {} s", time_max.as_secs())),
        }
    }

    fn begin(&self) -> io::Result<Begun> {
        // This program, even if its file was replaced since.
        let ourselves = format!("/proc/{}/exe", std::process::id());
        let start = |mut command: Command| {
            command.arg("--config").arg(&self.config).arg("--alone").stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn()
        };
        let [program, arguments @ ..] = LOW_PRIORITY;
        let mut low = Command::new(program);
        low.args(arguments).arg(&ourselves);
        let mut child = match start(low) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => start(Command::new(&ourselves))?, // a machine without nice(1)
            started => started?,
        };
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Process(Some(child));
        let (Some(input), Some(output)) = (input, output) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (input, output) = (Sender::from_owned_fd(OwnedFd::from(input))?, Receiver::from_owned_fd(OwnedFd::from(output))?);
        Ok(Begun { process, input, lines: BufReader::new(output).lines() })
    }

    /// From now on nobody begins in the lane.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until nobody is in the lane.
    pub(crate) async fn finished(&self) {
        let _ = self.places.acquire_many(self.places_max).await; // never closed
    }
}

/// A process that was started, and the ways to and from it.
struct Begun {
    process: Process,
    input: Sender,
    lines: Lines<BufReader<Receiver>>,
}

/// A process that is killed when nobody waits for it any more.
struct Process(Option<Child>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill(); // an error means that it has ended
            // By itself: one that hangs in the system is reaped whenever that lets it go.
            std::thread::spawn(move || child.wait());
        }
    }
}

impl Process {
    /// How a process ended that has said nothing.
    async fn ended(&mut self) -> Ending {
        let Some(child) = self.0.as_mut() else { return Ending::Failed("it is not there".into()) };
        let waiting = async {
            loop {
                match child.try_wait() {
                    Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                    Ok(Some(status)) => return Ok(status),
                    Err(error) => return Err(error),
                }
            }
        };
        match timeout(END_TIMEOUT, waiting).await {
            Ok(Ok(status)) if matches!(status.signal(), Some(SIGINT | SIGTERM)) => Ending::Failed("somebody ended it".into()),
            Ok(Ok(status)) => Ending::Died(died_of(status)),
            Ok(Err(error)) => Ending::Failed(format!("it cannot be waited for: {error}")),
            Err(_) => Ending::Died("silent".into()),
        }
    }
}

async fn told(lines: &mut Lines<BufReader<Receiver>>) -> Option<Told> {
    let line = lines.next_line().await.ok().flatten()?;
    serde_json::from_str(&line).ok()
}

fn died_of(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("status {}", code.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
