//! Which faults happen when: made from the seed alone.
//!
//! Every kind of fault comes once before any comes twice, in an order of the seed's, at times that are spread evenly over
//! the drill and shifted by chance.

use std::{fmt, time::Duration};

use replyfleet_tests::{
    faults::{Fault, Random, Rule},
    proxy::Mode,
};

use super::{
    Arguments, Database, Queue,
    far::Link,
    fleet::{WORKERS, worker},
    ground::VISIBILITY,
};

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// SIGKILL; whoever it was is started again.
    KillWorker(String),
    KillAllWorkers,
    /// The service, or every process of it that Postfix's pipe runs just now.
    KillEnqueuer,
    /// Postfix's own process that hands mail over.
    KillDelivery,
    /// All of Postfix; it is started again.
    KillPostfix,
    /// SIGTERM.
    StopWorker(String),
    /// SIGSTOP, and SIGCONT after a time that is longer than the visibility time-out.
    FreezeWorker(String),
    /// Without time to tidy up; started again after a time.
    CrashDatabase,
    /// Every connection of a link.
    Reset(Link),
    /// For a time.
    Network(Link, Mode),
    /// For a time.
    Sqs(Rule),
    /// For a time.
    Ses(Rule),
    /// The account, for a time.
    PauseSes,
    /// For a time.
    Smtp(Rule),
}

/// A fault at its time.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// From the drill's start.
    pub(crate) at: Duration,
    pub(crate) trouble: Trouble,
    /// How long it lasts, where it lasts.
    pub(crate) lasts: Duration,
}

/// All of them, in the order of their times.
pub(crate) struct Schedule {
    pub(crate) events: Vec<Event>,
}

/// For so many faults one more is scheduled: one whose call nobody makes in its time has no effect.
const SPARE_EVERY: usize = 5;

impl Schedule {
    /// Of which at least `wanted` faults should take effect.
    pub(crate) fn new(random: &mut Random, wanted: usize, span: Duration, arguments: &Arguments) -> Self {
        let count = wanted + wanted.div_ceil(SPARE_EVERY);
        let mut troubles = Vec::new();
        while troubles.len() < count {
            let mut kinds = kinds(random, arguments);
            while !kinds.is_empty() {
                let chosen = usize::try_from(random.below(kinds.len() as u64)).unwrap();
                troubles.push(kinds.swap_remove(chosen));
            }
        }
        troubles.truncate(count);
        // The first second is for the start; the last tenth is left for the last ones to take effect in.
        let step = span.mul_f64(0.9) / u32::try_from(count.max(1)).unwrap();
        let mut at = Duration::from_secs(1);
        let mut events = Vec::new();
        for trouble in troubles {
            let shift = Duration::from_millis(random.below(u64::try_from(step.as_millis()).unwrap().max(1)));
            let lasts = match trouble {
                // A frozen worker wakes up when another has its messages.
                Trouble::FreezeWorker(_) => VISIBILITY + Duration::from_millis(2_000 + random.below(2_000)),
                Trouble::CrashDatabase => Duration::from_millis(200 + random.below(2_000)),
                _ => Duration::from_millis(500 + random.below(3_000)),
            };
            events.push(Event { at: at + shift, trouble, lasts });
            at += step;
        }
        events.sort_by_key(|event| event.at);
        Self { events }
    }
}

/// One of each kind that this drill can have.
fn kinds(random: &mut Random, arguments: &Arguments) -> Vec<Trouble> {
    let mut some_worker = || worker(usize::try_from(random.below(WORKERS as u64)).unwrap());
    let mut kinds = vec![
        Trouble::KillWorker(some_worker()),
        Trouble::KillWorker(some_worker()),
        Trouble::KillAllWorkers,
        Trouble::KillEnqueuer,
        Trouble::KillDelivery,
        Trouble::KillPostfix,
        Trouble::StopWorker(some_worker()),
        Trouble::FreezeWorker(some_worker()),
    ];
    let mut links = vec![Link::WorkersToSes, Link::WorkersToSmtp];
    if arguments.queue == Queue::Sqs {
        links.extend([Link::EnqueuerToSqs, Link::WorkersToSqs]);
        kinds.extend(of_sqs(random));
    }
    if arguments.database != Database::Sqlite {
        links.push(Link::WorkersToDatabase);
        kinds.push(Trouble::CrashDatabase);
    }
    for link in links {
        kinds.push(Trouble::Reset(link));
        kinds.push(Trouble::Network(link, Mode { is_black_hole: true, ..Mode::default() }));
        kinds.push(Trouble::Network(link, bad_network(random)));
    }
    kinds.extend(of_next_hops(random));
    kinds
}

fn bad_network(random: &mut Random) -> Mode {
    let bytes = 200 + usize::try_from(random.below(3_000)).unwrap();
    match random.below(5) {
        0 => Mode { latency: Duration::from_millis(50 + random.below(500)), ..Mode::default() },
        1 => Mode { is_refusing: true, ..Mode::default() },
        2 => Mode { reset_after_sent: Some(bytes), ..Mode::default() },
        3 => Mode { reset_after_answered: Some(bytes), ..Mode::default() },
        _ => Mode { close_after_answered: Some(bytes), ..Mode::default() },
    }
}

fn answer(status: u16, code: &str) -> Fault {
    Fault::Answer { status, code: code.into() }
}

fn of_sqs(random: &mut Random) -> Vec<Trouble> {
    let mut some_chance = || 0.2 + random.below(60) as f64 / 100.0;
    let rules = [
        Rule::new("*", answer(400, "RequestThrottled")).chance(some_chance()),
        Rule::new("*", answer(500, "InternalError")).chance(some_chance()),
        Rule::new("*", answer(503, "ServiceUnavailable")).chance(some_chance()),
        Rule::new("Send*", Fault::ActThenCut).chance(some_chance()),
        Rule::new("ReceiveMessage", Fault::ActThenCut).chance(some_chance()),
        Rule::new("Delete*", Fault::ActThenCut).chance(some_chance()),
        Rule::new("Delete*", Fault::CutBefore).chance(some_chance()),
        Rule::new("ChangeMessageVisibility*", answer(500, "InternalError")),
        Rule::new("ReceiveMessage", Fault::Duplicate).chance(some_chance()),
        Rule::new("DeleteMessage", Fault::Replay { ms: 2_000 }).chance(some_chance()),
        Rule::new("ReceiveMessage", Fault::StaleReceipt).chance(some_chance()),
        Rule::new("DeleteMessage", Fault::SilentStaleDelete),
        Rule::new("DeleteMessageBatch", Fault::FailEntries { every: 2 }),
        Rule::new("SendMessageBatch", Fault::FailEntries { every: 3 }),
    ];
    rules.into_iter().map(Trouble::Sqs).collect()
}

fn of_next_hops(random: &mut Random) -> Vec<Trouble> {
    let stage = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"];
    let stage = stage[usize::try_from(random.below(stage.len() as u64)).unwrap()];
    let mut some_chance = || 0.2 + random.below(60) as f64 / 100.0;
    let ses = [
        Rule::new("SendEmail", answer(429, "TooManyRequestsException")).chance(some_chance()),
        Rule::new("SendEmail", answer(500, "InternalServiceError")).chance(some_chance()),
        Rule::new("SendEmail", answer(503, "ServiceUnavailable")).chance(some_chance()),
        Rule::new("SendEmail", answer(400, "AccountSuspendedException")),
        Rule::new("SendEmail", Fault::ActThenCut).chance(some_chance()),
        Rule::new("SendEmail", Fault::CutBefore).chance(some_chance()),
        Rule::new("SendEmail", Fault::ActThenHang).chance(some_chance()),
    ];
    let smtp = [
        Rule::new(stage, answer(421, "going away")).chance(some_chance()),
        Rule::new("RCPT", answer(451, "later")).chance(some_chance()),
        Rule::new("DOT", answer(452, "no room")).chance(some_chance()),
        Rule::new("DATA", Fault::CutAfter { bytes: 100 }).chance(some_chance()),
        Rule::new("DOT", Fault::ActThenCut).chance(some_chance()),
        Rule::new("DOT", Fault::ActThenHang).chance(some_chance()),
        Rule::new("RCPT", Fault::Delay { ms: 1_500 }).chance(some_chance()),
    ];
    ses.into_iter().map(Trouble::Ses).chain(smtp.into_iter().map(Trouble::Smtp)).chain([Trouble::PauseSes]).collect()
}

impl Trouble {
    /// Its kind, for the table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Trouble::KillWorker(_) | Trouble::KillAllWorkers => "worker killed",
            Trouble::KillEnqueuer => "enqueuer killed",
            Trouble::KillDelivery => "Postfix's delivery killed",
            Trouble::KillPostfix => "Postfix killed",
            Trouble::StopWorker(_) => "worker stopped",
            Trouble::FreezeWorker(_) => "worker frozen",
            Trouble::CrashDatabase => "database crashed",
            Trouble::Reset(_) | Trouble::Network(..) => "network",
            Trouble::Sqs(_) => "SQS",
            Trouble::Ses(_) | Trouble::PauseSes => "SES",
            Trouble::Smtp(_) => "SMTP",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = format!("{:.1} s", self.lasts.as_secs_f64());
        let rule = |rule: &Rule| format!("{}: {:?}, chance {:.2}, for {lasts}", rule.on, rule.fault, rule.chance);
        let text = match &self.trouble {
            Trouble::KillWorker(name) => format!("kill -9 {name}"),
            Trouble::KillAllWorkers => "kill -9 all workers".into(),
            Trouble::KillEnqueuer => "kill -9 enqueuer".into(),
            Trouble::KillDelivery => "kill -9 Postfix's delivery agents".into(),
            Trouble::KillPostfix => "kill -9 all of Postfix".into(),
            Trouble::StopWorker(name) => format!("SIGTERM to {name}"),
            Trouble::FreezeWorker(name) => format!("SIGSTOP to {name} for {lasts}"),
            Trouble::CrashDatabase => format!("the database crashes, away for {lasts}"),
            Trouble::Reset(link) => format!("{link}: all connections reset"),
            Trouble::Network(link, mode) => format!("{link}: {} for {lasts}", describe(mode)),
            Trouble::Sqs(what) => format!("SQS {}", rule(what)),
            Trouble::Ses(what) => format!("SES {}", rule(what)),
            Trouble::PauseSes => format!("SES pauses the account for {lasts}"),
            Trouble::Smtp(what) => format!("SMTP {}", rule(what)),
        };
        write!(formatter, "t = {:5.1} s  {text}", self.at.as_secs_f64())
    }
}

fn describe(mode: &Mode) -> String {
    match mode {
        Mode { is_black_hole: true, .. } => "black hole".into(),
        Mode { is_refusing: true, .. } => "refused".into(),
        Mode { reset_after_sent: Some(bytes), .. } => format!("reset after {bytes} bytes sent"),
        Mode { reset_after_answered: Some(bytes), .. } => format!("reset after {bytes} bytes answered"),
        Mode { close_after_answered: Some(bytes), .. } => format!("closed after {bytes} bytes answered"),
        Mode { latency, .. } => format!("{} ms late", latency.as_millis()),
    }
}
