//! Makes the schedule's faults happen, each at its time, and ends those that last.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use replyfleet_tests::{faults::Rule, proxy::Mode, ses::Account};

use super::{
    Intake,
    far::Far,
    fleet::{ENQUEUER, Fleet, WORKERS, kill, kill_postfix, processes, worker},
    ground::Ground,
    schedule::{Event, Schedule, Trouble},
    verdict,
};

/// How long something that is not there just now is waited for: a process that starts again, a delivery.
const PATIENCE: Duration = Duration::from_secs(3);

/// What trouble is made with.
struct Maker {
    start: Instant,
    far: Arc<Far>,
    fleet: Arc<Fleet>,
    intake: Intake,
}

/// One thread for each fault, in the order of the schedule; they end when the faults are over, and tell whether theirs took
/// effect: somebody was there to be killed, a call was hit.
pub(crate) fn begin(schedule: &Schedule, start: Instant, far: &Arc<Far>, fleet: &Arc<Fleet>, ground: &Ground) -> Vec<JoinHandle<bool>> {
    let maker = Arc::new(Maker { start, far: Arc::clone(far), fleet: Arc::clone(fleet), intake: ground.intake() });
    let threads = schedule.events.iter().cloned().map(|event| {
        let maker = Arc::clone(&maker);
        std::thread::spawn(move || {
            pause(event.at.saturating_sub(maker.start.elapsed()));
            maker.make(&event)
        })
    });
    threads.collect()
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Tries until it works or nobody waits any longer.
fn patiently(mut act: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !act() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

impl Maker {
    fn make(&self, event: &Event) -> bool {
        println!("{event}");
        let is_done = match &event.trouble {
            Trouble::KillWorker(name) => patiently(|| self.fleet.signal(name, "KILL")),
            Trouble::KillAllWorkers => (0..WORKERS).filter(|&index| self.fleet.signal(&worker(index), "KILL")).count() > 0,
            Trouble::KillEnqueuer => match self.intake {
                Intake::Lmtp => patiently(|| self.fleet.signal(ENQUEUER, "KILL")),
                // The name as the system has it, cut.
                Intake::Pipe => patiently(|| kill_all("replyfleet-enqu")),
            },
            Trouble::KillDelivery => patiently(|| kill_all(if self.intake == Intake::Lmtp { "lmtp" } else { "pipe" })),
            Trouble::KillPostfix => patiently(kill_postfix),
            Trouble::StopWorker(name) => patiently(|| self.fleet.signal(name, "TERM")),
            Trouble::FreezeWorker(name) => {
                let is_frozen = patiently(|| self.fleet.signal(name, "STOP"));
                pause(event.lasts);
                self.fleet.signal(name, "CONT");
                is_frozen
            }
            Trouble::CrashDatabase => {
                self.far.crash_database(|| pause(event.lasts));
                true
            }
            Trouble::Reset(link) => self.far.proxy(*link).map(|proxy| proxy.reset_all()).is_some(),
            Trouble::Network(link, mode) => {
                let Some(proxy) = self.far.proxy(*link) else { return false };
                proxy.set(mode.clone());
                if mode.is_refusing {
                    proxy.reset_all(); // connections that are kept would not notice
                }
                pause(event.lasts);
                proxy.set(Mode::default());
                true
            }
            Trouble::Sqs(rule) => self.far.sqs.as_ref().is_some_and(|sqs| for_a_time(sqs.faults(), rule, event.lasts)),
            Trouble::Ses(rule) => for_a_time(self.far.ses.faults(), rule, event.lasts),
            Trouble::PauseSes => {
                self.far.ses.set_account(Account { is_sending_enabled: false, ..Account::default() });
                pause(event.lasts);
                self.far.ses.set_account(Account::default());
                true
            }
            Trouble::Smtp(rule) => for_a_time(self.far.sink.faults(), rule, event.lasts),
        };
        if !is_done {
            println!("{} nobody was there for it: {event}", verdict::time(self.start));
        }
        is_done
    }
}

fn for_a_time(faults: &replyfleet_tests::faults::Faults, rule: &Rule, time: Duration) -> bool {
    let id = faults.add(rule.clone());
    pause(time);
    faults.remove(id) > 0
}

fn kill_all(name: &str) -> bool {
    processes(name).iter().filter(|process| kill("KILL", process)).count() > 0
}
