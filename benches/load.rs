//! A load: a queue that was filled beforehand, workers that drain it, and how fast they did and at what cost.
//!
//! Next hops and the SQS endpoint are the harness's own, which the contract suite checks. They run in this process: their
//! CPU is this process's, the workers' is that of its children. Nothing is pinned to a core; all share those that there are,
//! as a worker shares them with whatever else its machine does. A run that does not end as it should ends the program.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use nix::sys::resource::UsageWho;
use replyfleet::{clock::UnixMillis, keyed::hex};
use replyfleet_tests::{ses, smtp, sqs};

use crate::{
    requests::Kind,
    stage::{Setup, Stage, Worker, usage_ms},
};

const QUEUE: &str = "requests";
const DEAD_LETTERS: &str = "dead-letters";
/// How often the logs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The part of a run that its rate is taken from: a worker begins with cold caches, and ends with free slots.
const FROM: f64 = 0.1;
const TO: f64 = 0.9;
/// Ticks of /proc/PID/stat: USER_HZ is 100 on every Linux that we run on.
const MS_A_TICK: f64 = 10.0;
/// The part of the machine that something else may be busy with before that is said. The kernel's own threads are in it.
const ELSEWHERE_MAX: f64 = 0.1;
/// The programs of the database servers.
const DATABASES: [&str; 2] = ["mariadbd", "postgres"];

/// Where messages wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Spool,
    Sqs,
}

impl Source {
    /// The word for a figure's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Source::Spool => "spool",
            Source::Sqs => "sqs",
        }
    }
}

/// The harness's endpoints, on loopback.
pub(crate) struct Peers {
    pub(crate) ses: ses::Endpoint,
    pub(crate) smtp: smtp::Sink,
    pub(crate) sqs: sqs::Endpoint,
}

/// What a run was like.
pub(crate) struct Run {
    /// Messages that ended a second, all workers together.
    pub(crate) rate: f64,
    /// CPU of the workers for each message, their start taken off, in milliseconds.
    pub(crate) worker_cpu_ms: f64,
    /// CPU of this process for each message, in milliseconds.
    pub(crate) endpoints_cpu_ms: f64,
    /// CPU of the database servers for each message, in milliseconds.
    pub(crate) database_cpu_ms: f64,
    /// The median of how long a worker had a message in hand.
    pub(crate) handling_ms: f64,
}

impl Peers {
    pub(crate) fn start() -> Self {
        let sqs = sqs::Endpoint::start();
        for name in [QUEUE, DEAD_LETTERS] {
            sqs.create_queue(name);
        }
        Self { ses: ses::Endpoint::start(), smtp: smtp::Sink::start(), sqs }
    }

    /// A set-up with these peers and a queue.
    pub(crate) fn setup(&self, source: Source) -> Setup {
        let setup = Setup::new(self.ses.address(), self.smtp.address());
        match source {
            Source::Spool => setup,
            Source::Sqs => {
                let lines = format!("url = \"{}\"\ndead_letter_url = \"{}\"", self.sqs.queue_url(QUEUE), self.sqs.queue_url(DEAD_LETTERS));
                Setup { queue: Some(lines), sqs: Some(self.sqs.endpoint()), ..setup }
            }
        }
    }

    /// Puts one message, in its wire form, on the endpoint's queue.
    pub(crate) fn put(&self, wire: &[u8]) {
        self.sqs.put(QUEUE, &BASE64_STANDARD.encode(wire));
    }

    /// Removes what is on the endpoint's queue.
    pub(crate) fn purge(&self) {
        self.sqs.purge(QUEUE);
    }
}

/// Puts `count` requests into the spool at `folder`. They are not fsynced one by one: a million would take a quarter of an hour.
pub(crate) fn fill_spool(stage: &mut Stage, folder: &Path, (kind, rcpt_to): (Kind, &str), count: usize) -> anyhow::Result<()> {
    let waiting = folder.join("new");
    fs::create_dir_all(&waiting)?;
    for number in 0..count as u64 {
        let envelope = stage.requesters().request(kind, rcpt_to)?;
        let (due, group) = (UnixMillis::now().0, &envelope.facts.group[..8]);
        let name = format!("{due:013}-{due:013}_{}_{group}.0", hex(&number.to_be_bytes()));
        fs::write(waiting.join(name), envelope.encode())?;
    }
    Ok(())
}

/// The CPU of one worker that finds nothing to do, in milliseconds.
pub(crate) fn idle_cpu_ms(stage: &Stage, program: &Path, setup: &Setup) -> anyhow::Result<f64> {
    Ok(stage.start(program, setup, 0)?.finish("answered")?.cpu_ms)
}

/// Has `workers` workers end `count` messages with this outcome. More may wait, and what is in hand then is finished.
pub(crate) fn play(
    stage: &Stage,
    program: &Path,
    (setup, workers): (&Setup, usize),
    (count, outcome): (usize, &str),
    limit: Duration,
) -> anyhow::Result<Run> {
    let idle_cpu_ms = idle_cpu_ms_of(stage, program, setup)?;
    let (cpu, own_cpu, database_cpu) = (usage_ms(UsageWho::RUSAGE_CHILDREN)?, usage_ms(UsageWho::RUSAGE_SELF)?, databases_cpu_ms()?);
    let mut running = (0..workers).map(|number| stage.start(program, setup, number)).collect::<anyhow::Result<Vec<Worker>>>()?;
    let (start, machine_cpu) = (Instant::now(), machine_cpu_ms()?);
    let rate = watch(&mut running, count, limit)?;
    let own_cpu = usage_ms(UsageWho::RUSAGE_SELF)? - own_cpu;
    let (time_ms, machine_cpu) = (start.elapsed().as_secs_f64() * 1e3, machine_cpu_ms()? - machine_cpu);
    let (mut ended, mut handling_ms) = (0, Vec::new());
    for worker in running {
        let cost = worker.finish(outcome)?;
        ended += cost.ended;
        handling_ms.extend(cost.handling_ms);
    }
    ensure!(ended >= count, "{ended} of {count} messages were {outcome}");
    let (cpu, database_cpu) = (usage_ms(UsageWho::RUSAGE_CHILDREN)? - cpu, databases_cpu_ms()? - database_cpu);
    let cores = std::thread::available_parallelism()?.get() as f64;
    let elsewhere = (machine_cpu - cpu - own_cpu - database_cpu) / (time_ms * cores);
    if elsewhere > ELSEWHERE_MAX {
        eprintln!("{:.0} % of the machine was busy with something else: this run says little", elsewhere * 100.0);
    }
    let of_one = |cpu_ms: f64| cpu_ms / ended as f64;
    Ok(Run {
        rate,
        worker_cpu_ms: of_one(cpu - idle_cpu_ms * workers as f64),
        endpoints_cpu_ms: of_one(own_cpu),
        database_cpu_ms: of_one(database_cpu),
        handling_ms: median(&mut handling_ms),
    })
}

/// What a start costs, on an empty spool whatever the queue is.
fn idle_cpu_ms_of(stage: &Stage, program: &Path, setup: &Setup) -> anyhow::Result<f64> {
    let empty = stage.path("empty");
    let setup = Setup { queue: Some(format!("url = \"spool:{}\"", empty.display())), sqs: None, ..setup.clone() };
    idle_cpu_ms(stage, program, &setup)
}

/// Watches until so many messages have ended; returns how many did a second in the middle part.
fn watch(workers: &mut [Worker], count: usize, limit: Duration) -> anyhow::Result<f64> {
    let start = Instant::now();
    let at = |part: f64| (count as f64 * part) as usize;
    let mut first = None;
    let mut last = None;
    loop {
        let mut ended = 0;
        for worker in &mut *workers {
            ended += worker.ended()?;
        }
        let now = (start.elapsed().as_secs_f64(), ended);
        if ended >= at(FROM) {
            first = first.or(Some(now));
        }
        if ended >= at(TO) {
            last = last.or(Some(now));
        }
        if ended >= count {
            let ((from, few), (to, many)) = first.zip(last).context("a run has a middle")?;
            return Ok((many - few) as f64 / (to - from));
        }
        if start.elapsed() > limit {
            bail!("{ended} of {count} messages ended within {limit:?}");
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// What all cores were busy with since the machine started.
fn machine_cpu_ms() -> anyhow::Result<f64> {
    const IDLE: [usize; 2] = [3, 4];
    /// What comes behind is in the first fields already, guests' time.
    const FIELDS: usize = 8;
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("/proc/stat")?.split_whitespace().skip(1).take(FIELDS).enumerate();
    let busy = fields.filter(|(number, _)| !IDLE.contains(number)).filter_map(|(_, field)| field.parse::<f64>().ok());
    Ok(busy.sum::<f64>() * MS_A_TICK)
}

/// User and system time of all database servers of this machine, with what their processes have left behind.
fn databases_cpu_ms() -> anyhow::Result<f64> {
    let mut ticks = 0.0;
    for entry in fs::read_dir("/proc")? {
        // One that ends meanwhile leaves its time to its parent.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((name, fields)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else { continue };
        if DATABASES.contains(&name) {
            ticks += fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
        }
    }
    Ok(ticks * MS_A_TICK)
}

/// The median; of none, "not a number".
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
