//! The fleet's processes: workers, Postfix, and the enqueuer where it is a service. What dies is started again, as systemd would.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Intake, ground::Ground};

/// How many workers there are.
pub(crate) const WORKERS: usize = 3;
/// From a process's end to its next start (systemd's RestartSec is 0.1 s by default).
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How often it is looked whether one has died.
const LOOK_EVERY: Duration = Duration::from_millis(50);

struct Slot {
    name: String,
    command: Command,
    child: Option<Child>,
    ended: Instant,
}

/// The running processes.
pub(crate) struct Fleet {
    slots: Arc<Mutex<Vec<Slot>>>,
    is_stopping: Arc<AtomicBool>,
    restarts: Arc<AtomicUsize>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Fleet {
    pub(crate) fn start(ground: &Ground) -> Self {
        let mut slots: Vec<Slot> = (0..WORKERS)
            .map(|index| {
                let name = worker(index);
                let command = ground.program("replyfleet-worker", &name, &format!("worker{index}.toml"));
                Slot { name, command, child: None, ended: Instant::now() - RESTART_AFTER }
            })
            .collect();
        if ground.intake() == Intake::Lmtp {
            let mut command = ground.program("replyfleet-enqueue", ENQUEUER, "enqueuer.toml");
            command.arg("--lmtp").envs(ground.enqueuer_environment());
            slots.push(Slot { name: ENQUEUER.into(), command, child: None, ended: Instant::now() - RESTART_AFTER });
        }
        slots.push(Slot { name: POSTFIX.into(), command: ground.postfix(), child: None, ended: Instant::now() - RESTART_AFTER });
        let (slots, is_stopping, restarts) = (Arc::new(Mutex::new(slots)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (kept, stopping, count) = (Arc::clone(&slots), Arc::clone(&is_stopping), Arc::clone(&restarts));
        let keeper = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                kept.lock().unwrap().iter_mut().for_each(|slot| keep(slot, &count));
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self { slots, is_stopping, restarts, keeper: Mutex::new(Some(keeper)) }
    }

    /// Sends a signal to a process, if it runs just now; returns whether it does.
    pub(crate) fn signal(&self, name: &str, signal: &str) -> bool {
        let slots = self.slots.lock().unwrap();
        let child = slots.iter().find(|slot| slot.name == name).and_then(|slot| slot.child.as_ref());
        child.is_some_and(|child| kill(signal, &child.id().to_string()))
    }

    /// Kills all but Postfix, which is asked what it still has, and returns how often one had to be started again before. In good order it would take a long poll;
    /// and whoever has nothing in hand has nothing to put in order.
    pub(crate) fn stop(&self) -> usize {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.lock().unwrap().take() {
            keeper.join().expect("the keeper is well");
        }
        let mut slots = self.slots.lock().unwrap();
        for child in slots.iter_mut().filter(|slot| slot.name != POSTFIX).filter_map(|slot| slot.child.as_mut()) {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
        self.restarts.load(Ordering::Relaxed)
    }
}

/// The enqueuer's name here.
pub(crate) const ENQUEUER: &str = "enqueuer";
/// Postfix's.
const POSTFIX: &str = "postfix";
/// Postfix's processes, which its end by force leaves behind.
const POSTFIX_PROGRAMS: [&str; 16] = [
    "master",
    "smtpd",
    "cleanup",
    "qmgr",
    "pickup",
    "lmtp",
    "pipe",
    "trivial-rewrite",
    "anvil",
    "postlogd",
    "bounce",
    "error",
    "scache",
    "showq",
    "proxymap",
    "smtp",
];

/// Kills every process of Postfix, the first of them first.
pub(crate) fn kill_postfix() -> bool {
    let killed = POSTFIX_PROGRAMS.iter().flat_map(|name| processes(name)).filter(|process| kill("KILL", process)).count();
    killed > 0
}

/// A worker's name here.
pub(crate) fn worker(index: usize) -> String {
    format!("worker{index}")
}

fn keep(slot: &mut Slot, restarts: &AtomicUsize) {
    if let Some(child) = &mut slot.child {
        if child.try_wait().expect("wait").is_none() {
            return;
        }
        restarts.fetch_add(1, Ordering::Relaxed);
        (slot.child, slot.ended) = (None, Instant::now());
    }
    if slot.ended.elapsed() >= RESTART_AFTER {
        slot.child = Some(slot.command.spawn().expect("it starts"));
    }
}

/// Sends a signal to a process by its number.
pub(crate) fn kill(signal: &str, process: &str) -> bool {
    let status = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, process]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The processes of the drill whose program has this name (its first 15 bytes).
pub(crate) fn processes(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_it = |process: &String| std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|comm| comm.trim() == name);
    let numbers = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.filter(is_it).collect()
}
