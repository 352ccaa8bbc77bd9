//! How the cost of a mail grows with the mails that are queued, the slots of a worker, and the workers on one database.
//!
//! Small requests, unsigned, get a text by SES; queues and next hops are those of [`load`], and all share this machine's cores.
//! Of a long queue only the first part is drained: what a mail costs while so many wait is the question. The spool at
//! a million is drained for as long as its listing is good, and longer, so that listing it is in the figure; it takes some
//! 4.3 GB of disk and goes when the program ends.
//!
//! ```text
//! replyfleet-bench-growth queued spool|sqs COUNT...
//! replyfleet-bench-growth slots spool|sqs COUNT...
//! replyfleet-bench-growth workers sqlite|mariadb|postgres COUNT...
//! replyfleet-bench-growth draw FILE                                   the picture of the lines in FILE, as SVG
//! ```
//! Each prints JSON lines: `name`, `at` (the count), `value`, `unit`. A CPU is that of one mail.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod chart;
mod load;
mod requests;
mod stage;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use replyfleet_tests::databases::{Kind as Database, Server};

use load::{Peers, Run, Source, fill_spool, idle_cpu_ms, median, play};
use requests::Kind;
use stage::{Setup, Stage};

const USAGE: &str = "usage: replyfleet-bench-growth queued|slots spool|sqs COUNT... | workers sqlite|mariadb|postgres COUNT... | draw FILE";
const RCPT_TO: &str = "ses@example.com";
/// What a run drains at most, but where the listing of the spool takes so long that it is rarely read.
const DRAINED_MAX: usize = 10_000;
const LONG_QUEUE: usize = 1_000_000;
const LONG_DRAINED: usize = 100_000;
/// Mails that come one by one where one at a time is queued.
const SINGLE: usize = 200;
/// Messages of a run with so many slots, or workers.
const MESSAGES_A_SLOT: usize = 500;
const MESSAGES_MIN: usize = 1_000;
const MESSAGES: usize = 8_000;
/// How long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(600);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["draw", file] => {
            print!("{}", chart::draw(&fs::read_to_string(file)?)?);
            Ok(())
        }
        [axis @ ("queued" | "slots"), source @ ("spool" | "sqs"), ref counts @ ..] => {
            let source = if source == "spool" { Source::Spool } else { Source::Sqs };
            Growth::new()?.along(axis, source, &numbers(counts)?)
        }
        ["workers", database @ ("sqlite" | "mariadb" | "postgres"), ref counts @ ..] => Growth::new()?.workers(database, &numbers(counts)?),
        _ => bail!(USAGE),
    }
}

fn numbers(words: &[&str]) -> anyhow::Result<Vec<usize>> {
    ensure!(!words.is_empty(), USAGE);
    words.iter().map(|word| word.parse().context(USAGE)).collect()
}

/// Where the runs play.
struct Growth {
    stage: Stage,
    peers: Peers,
    worker: PathBuf,
}

impl Growth {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { stage: Stage::new()?, peers: Peers::start(), worker: stage::program("replyfleet-worker")? })
    }

    fn along(&mut self, axis: &str, source: Source, counts: &[usize]) -> anyhow::Result<()> {
        for &count in counts {
            let run = match axis {
                "queued" if count == 1 => self.one_by_one(source)?,
                "queued" => self.queued(source, count)?,
                _ => {
                    let messages = (count * MESSAGES_A_SLOT).clamp(MESSAGES_MIN, MESSAGES);
                    self.fill(source, messages)?;
                    let setup = Setup { slots: count, ..self.setup(source) };
                    play(&self.stage, &self.worker, (&setup, 1), (messages, "answered"), RUN_LIMIT)?
                }
            };
            print(&format!("{axis}_{}", source.word()), count, &run);
        }
        Ok(())
    }

    fn queued(&mut self, source: Source, count: usize) -> anyhow::Result<Run> {
        self.fill(source, count)?;
        let drained = if source == Source::Spool && count >= LONG_QUEUE { LONG_DRAINED } else { DRAINED_MAX };
        play(&self.stage, &self.worker, (&self.setup(source), 1), (drained.min(count), "answered"), RUN_LIMIT)
    }

    /// A worker to which each mail comes after the last was answered.
    fn one_by_one(&mut self, source: Source) -> anyhow::Result<Run> {
        self.fill(source, 0)?;
        let setup = self.setup(source);
        let idle_cpu_ms = idle_cpu_ms(&self.stage, &self.worker, &setup)?;
        let mut worker = self.stage.start(&self.worker, &setup, 0)?;
        let spool = self.stage.path("spool");
        fs::create_dir_all(spool.join("one"))?;
        for number in 0..SINGLE {
            let next = spool.join("one");
            fill_spool(&mut self.stage, &next, (Kind::Small, RCPT_TO), 1)?;
            let entry = fs::read_dir(next.join("new"))?.next().context("one file")??;
            match source {
                Source::Spool => fs::rename(entry.path(), spool.join("new").join(entry.file_name()))?,
                Source::Sqs => {
                    self.peers.put(&fs::read(entry.path())?);
                    fs::remove_file(entry.path())?;
                }
            }
            let start = Instant::now();
            while worker.ended()? <= number {
                ensure!(start.elapsed() < RUN_LIMIT, "a single mail was not answered");
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        let mut cost = worker.finish("answered")?;
        let (handling_ms, worker_cpu_ms) = (median(&mut cost.handling_ms), (cost.cpu_ms - idle_cpu_ms) / SINGLE as f64);
        Ok(Run { rate: f64::NAN, worker_cpu_ms, endpoints_cpu_ms: f64::NAN, database_cpu_ms: 0.0, handling_ms })
    }

    fn workers(&mut self, database: &str, counts: &[usize]) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = match database {
            "mariadb" => Some(Server::start(Database::MariaDb, true)),
            "postgres" => Some(Server::start(Database::Postgres, true)),
            _ => None,
        };
        let server = server.transpose().map_err(|why| anyhow::anyhow!("{}", why.0))?;
        for &count in counts {
            self.fill(Source::Spool, MESSAGES)?;
            let url = server.as_ref().map(|server| runtime.block_on(server.new_database()));
            let setup = Setup { database: url, ..self.setup(Source::Spool) };
            let run = play(&self.stage, &self.worker, (&setup, count), (MESSAGES, "answered"), RUN_LIMIT)?;
            print(&format!("workers_{database}"), count, &run);
        }
        Ok(())
    }

    fn setup(&self, source: Source) -> Setup {
        Setup { has_authentication: false, ..self.peers.setup(source) }
    }

    /// Leaves so many messages on the queue, and all that was written on the disk.
    fn fill(&mut self, source: Source, count: usize) -> anyhow::Result<()> {
        self.stage.reset(None)?;
        self.peers.purge();
        match source {
            Source::Spool => {
                let spool = self.stage.path("spool");
                fill_spool(&mut self.stage, &spool, (Kind::Small, RCPT_TO), count)?;
            }
            Source::Sqs => {
                for _ in 0..count {
                    self.peers.put(&self.stage.requesters().request(Kind::Small, RCPT_TO)?.encode());
                }
            }
        }
        nix::unistd::sync();
        Ok(())
    }
}

fn print(name: &str, at: usize, run: &Run) {
    let figures = [
        ("rate", run.rate, "mails/s"),
        ("cpu", run.worker_cpu_ms, "ms"),
        ("database_cpu", run.database_cpu_ms, "ms"),
        ("endpoints_cpu", run.endpoints_cpu_ms, "ms"),
        ("handling", run.handling_ms, "ms"),
    ];
    for (what, value, unit) in figures.into_iter().filter(|(_, value, _)| value.is_finite()) {
        println!(r#"{{"name":"{name}_{what}","at":{at},"value":{value:.4},"unit":"{unit}"}}"#);
    }
}
