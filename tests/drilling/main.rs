//! The drill: real mail through a real Postfix to real workers, while everything around them fails on a schedule that a seed
//! makes; then a judgement from outside whether anything was lost or anybody was answered too often.
//!
//! ```text
//! injector --SMTP--> Postfix --pipe or LMTP--> replyfleet-enqueue --proxy--> SQS endpoint, or the spool
//!                                                                                  |proxy
//!      SES endpoint, SMTP sink <--proxies-- 3 x replyfleet-worker <----------------+ --proxy--> database
//! ```
//! It runs in namespaces of its own, which it makes first; however it ends, every process that it started ends with it.
//! It prints the seed, every fault as it happens, and a table at the end; a row that fails makes it end with 1 and keep its
//! folder. It ends with 77 on a machine where it cannot run. The same seed makes the same mails and the same schedule.
//!
//! Parts: [`ground`] configures; [`far`] is what the fleet talks to; [`fleet`] starts its processes again when they die;
//! [`mails`] and [`injector`] send; [`schedule`] and [`trouble`] are the faults; [`oracle`] judges; [`verdict`] says it.

#![allow(missing_docs, clippy::unwrap_used, reason = "a drill that cannot go on says so by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a person at a terminal")]

mod far;
mod fleet;
mod ground;
mod injector;
mod mails;
mod oracle;
mod schedule;
mod trouble;
mod verdict;

use std::{
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, ValueEnum};
use replyfleet_tests::faults::Random;

use self::{far::Far, fleet::Fleet, ground::Ground, schedule::Schedule};

/// Exit status where the machine lacks what is needed. Not 2, with which clap ends on arguments that it does not know.
const CANNOT_RUN: u8 = 77;
/// Mails a second from the injector.
const RATE: u64 = 40;
/// The least time over which mails and faults are spread.
const SPAN_MIN: Duration = Duration::from_secs(20);
/// How often the drill looks whether the queue has drained.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A mail that is in the store so long after the last message has gone stays there, until a worker removes what is old.
const ORPHAN_AFTER: Duration = Duration::from_secs(15);

/// Sends mail through a fleet that is hit by faults, and judges what came of it.
#[derive(Clone, Debug, Parser)]
#[command(name = "replyfleet-drill")]
pub(crate) struct Arguments {
    /// Mails that Postfix must have accepted.
    #[arg(long, default_value_t = 2_000)]
    mails: usize,
    /// Makes mails and schedule; else chosen by the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Faults that must take effect (a few more are scheduled); 0: every reply must come exactly once.
    #[arg(long, default_value_t = 30)]
    faults: usize,
    /// The ledger's database.
    #[arg(long, value_enum, default_value_t = Database::Postgresql)]
    database: Database,
    /// How Postfix hands mail over.
    #[arg(long, value_enum, default_value_t = Intake::Lmtp)]
    intake: Intake,
    /// The queue.
    #[arg(long, value_enum, default_value_t = Queue::Sqs)]
    queue: Queue,
    /// How long the queue may take to drain once all faults are over, in seconds.
    #[arg(long, default_value_t = 300)]
    drain_s: u64,
    /// Keeps the folder with settings and logs even if all is well.
    #[arg(long)]
    keep: bool,
    /// Only prints the schedule.
    #[arg(long)]
    dry_run: bool,
    /// Already in namespaces of its own, with this seed.
    #[arg(long, hide = true)]
    inside: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Database {
    Sqlite,
    Mariadb,
    Postgresql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Intake {
    Lmtp,
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Queue {
    Sqs,
    Spool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.inside.or(arguments.seed).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.subsec_nanos().into()
    });
    if arguments.inside.is_none() && !arguments.dry_run {
        println!("seed {seed}");
        return enter(seed);
    }
    let span = Duration::from_secs(arguments.mails as u64 / RATE).max(SPAN_MIN);
    let schedule = Schedule::new(&mut Random::new(seed), arguments.faults, span, &arguments);
    if arguments.dry_run {
        schedule.events.iter().for_each(|event| println!("{event}"));
        return ExitCode::SUCCESS;
    }
    run(&arguments, seed, span, schedule)
}

/// Starts this program again in namespaces that nobody else is in.
fn enter(seed: u64) -> ExitCode {
    if let Err(why) = ground::check_machine() {
        eprintln!("the drill cannot run here: {why}");
        return ExitCode::from(CANNOT_RUN);
    }
    let program = std::env::current_exe().expect("a program has a path");
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .args(["--inside", &seed.to_string()])
        .status()
        .expect("unshare starts");
    // By a signal: whoever ended it knows.
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn run(arguments: &Arguments, seed: u64, span: Duration, schedule: Schedule) -> ExitCode {
    // It mounts, and it kills by name: never among the processes of others.
    assert_eq!(std::process::id(), 1, "the drill is not in namespaces of its own");
    let mut ground = Ground::prepare(arguments);
    let far = Far::start(arguments, seed);
    ground.configure(&far);
    let mut names = ground.start_names();
    let fleet = Fleet::start(&ground);
    ground.wait_until_listening();

    let start = Instant::now();
    let mails = mails::make(&mut Random::new(seed ^ 0x6d61_696c), arguments.mails);
    println!("{} mails over {} s, {} faults", mails.len(), span.as_secs(), schedule.events.len());
    let (far, fleet) = (Arc::new(far), Arc::new(fleet));
    let trouble = trouble::begin(&schedule, start, &far, &fleet, &ground);
    let injected = injector::inject(mails, span, start);
    let effects: Vec<bool> = trouble.into_iter().map(|thread| thread.join().expect("the faults themselves went well")).collect();
    far.calm();
    println!("{} all faults are over, {} mails are in; draining", verdict::time(start), injected.accepted.len());

    let is_drained = drain(&ground, &far, Duration::from_secs(arguments.drain_s), start);
    let restarts = fleet.stop();
    let findings = oracle::judge(&ground, &far, &injected, arguments.faults == 0);
    let course = verdict::Course { schedule: &schedule, effects, is_drained, restarts, took: start.elapsed() };
    let table = verdict::Table::new(arguments, &findings, &far, &course);
    table.print(seed);
    let is_good = table.is_good();
    let _ = names.kill().and_then(|()| names.wait()); // with our end it ends anyway
    if is_good && !arguments.keep {
        ground.remove();
    } else {
        println!("logs and settings: {}", ground.folder().display());
    }
    ExitCode::from(u8::from(!is_good))
}

/// Waits until nothing is under way any more; returns whether it came to that.
fn drain(ground: &Ground, far: &Far, limit: Duration, start: Instant) -> bool {
    let (deadline, mut last, mut empty_since) = (Instant::now() + limit, Instant::now(), None);
    loop {
        let left = (ground.mails_in_postfix(), ground.messages(far), ground.claim_checks().len());
        if left == (0, 0, 0) {
            return true;
        }
        // A worker that is killed between a message's end and its mail's leaves the mail: the judge counts them.
        let is_empty = (left.0, left.1) == (0, 0);
        empty_since = if is_empty { empty_since.or(Some(Instant::now())) } else { None };
        if empty_since.is_some_and(|since: Instant| since.elapsed() > ORPHAN_AFTER) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        if last.elapsed() > Duration::from_secs(10) {
            last = Instant::now();
            // Back-off is for outages of hours; here it would only be waited for.
            far.sqs.iter().for_each(|sqs| sqs.hurry(far::REQUESTS, ground::VISIBILITY));
            println!("{} left: {} in Postfix, {} in the queue, {} claim checks", verdict::time(start), left.0, left.1, left.2);
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}
