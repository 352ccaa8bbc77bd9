//! How many mails a second a whole worker ends, from a full queue to next hops that cost little, on all cores of this machine.
//!
//! The worker is the program as it is packaged, its ledger SQLite on a disk. The endpoints run beside it and share its cores
//! ([`load`]): their CPU is told beside the worker's, and each rate beside what the floors under it would allow by themselves:
//! a signature, a write to a socket, a POST to the endpoint, on all cores; and a durable write, one after the other.
//! Cases and floors take turns; the figures are medians of the rounds, as JSON lines.
//!
//! ```text
//! replyfleet-bench-throughput [ROUNDS [CASE]]      only the cases whose name begins so, as text_ses_spool
//! ```
//! With `REPLYFLEET_OTHER_WORKER=FILE`, a worker of another build takes turns with this one: what a change is worth.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod bare;
mod load;
mod requests;
mod stage;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};

use bare::Signing;
use load::{Peers, Run, Source, fill_spool, median, play};
use requests::Kind;
use stage::{Setup, Stage};

const ROUNDS: usize = 3;
/// Messages of one run: several seconds of work.
const MESSAGES: usize = 8_000;
/// `worker.slots` as it is by default.
const SLOTS: usize = 200;
/// How long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// How often each floor is done in a round.
const FLOORS: usize = 200;
/// What of a text reply's mail is posted and written for the floors, in bytes.
const REPLY_BYTES: usize = 3 << 10;
/// Bytes that a durable write of the floor has: a page of SQLite.
const PAGE_BYTES: usize = 4 << 10;
/// Mails a second.
const GOAL: f64 = 1_500.0;

/// What is measured.
struct Case {
    name: &'static str,
    kind: Kind,
    rcpt_to: &'static str,
    outcome: &'static str,
}

const CASES: [Case; 3] = [
    Case { name: "text_ses", kind: Kind::Signed, rcpt_to: "ses@example.com", outcome: "answered" },
    Case { name: "text_smtp", kind: Kind::Signed, rcpt_to: "smtp@example.com", outcome: "answered" },
    Case { name: "refused", kind: Kind::Automatic, rcpt_to: "ses@example.com", outcome: "ignored" },
];

/// The figures of a case, in each round.
#[derive(Default)]
struct Taken {
    rate: Vec<f64>,
    other_rate: Vec<f64>,
    worker_cpu: Vec<f64>,
    other_cpu: Vec<f64>,
    endpoints_cpu: Vec<f64>,
    handling: Vec<f64>,
}

/// The cost of the floors in each round: milliseconds.
#[derive(Default)]
struct Floors {
    sign: Vec<f64>,
    post: Vec<f64>,
    write: Vec<f64>,
    durable: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |rounds| rounds.parse()).context("usage: replyfleet-bench-throughput [ROUNDS [CASE]]")?;
    let wanted = arguments.next().unwrap_or_default();
    let cases = CASES.iter().flat_map(|case| [Source::Spool, Source::Sqs].map(|source| (case, source, format!("{}_{}", case.name, source.word()))));
    let cases: Vec<(&Case, Source, String)> = cases.filter(|(_, _, name)| name.starts_with(&wanted)).collect();
    let (peers, mut stage) = (Peers::start(), Stage::new()?);
    for case in CASES.iter().filter(|case| cases.iter().any(|(one, _, _)| one.name == case.name)) {
        let folder = stage.path(case.name);
        fill_spool(&mut stage, &folder, (case.kind, case.rcpt_to), MESSAGES)?;
    }
    let (worker, other) = (stage::program("replyfleet-worker")?, std::env::var_os("REPLYFLEET_OTHER_WORKER").map(PathBuf::from));
    let (signing, silent) = (Signing::new()?, bare::silent_peer()?);

    let mut floors = Floors::default();
    let mut taken: Vec<Taken> = cases.iter().map(|_| Taken::default()).collect();
    for _ in 0..rounds {
        floors.sign.push(signing.cpu_ms(FLOORS)?);
        floors.post.push(bare::post_cpu_ms(peers.ses.address(), &post(), FLOORS)?);
        floors.write.push(bare::write_cpu_ms(silent, REPLY_BYTES, FLOORS)?);
        floors.durable.push(durable_ms(&stage.path("floor"))?);
        for ((case, source, name), taken) in cases.iter().zip(&mut taken) {
            let run = run(&stage, &peers, &worker, case, *source).with_context(|| name.clone())?;
            taken.rate.push(run.rate);
            taken.worker_cpu.push(run.worker_cpu_ms);
            taken.endpoints_cpu.push(run.endpoints_cpu_ms);
            taken.handling.push(run.handling_ms);
            if let Some(other) = &other {
                let run = self::run(&stage, &peers, other, case, *source).with_context(|| name.clone())?;
                taken.other_rate.push(run.rate);
                taken.other_cpu.push(run.worker_cpu_ms);
            }
        }
    }

    let cores = std::thread::available_parallelism()?.get() as f64;
    let a_second = |costs: &mut [f64]| cores * 1e3 / median(costs);
    let floors = [
        ("rsa_sign", a_second(&mut floors.sign), "text_smtp"),
        ("socket_write", a_second(&mut floors.write), "text_smtp"),
        ("http_post", a_second(&mut floors.post), "text_ses"),
        ("durable_write", 1e3 / median(&mut floors.durable), "text"),
    ];
    for ((case, _, name), taken) in cases.iter().zip(&mut taken) {
        let (rate, cpu) = (median(&mut taken.rate), median(&mut taken.worker_cpu));
        if case.outcome == "answered" {
            print(&format!("{name}_rate/goal"), rate, GOAL, "mails/s");
        }
        // What two cores would do if nothing but the worker's own work were done on them.
        print(&format!("{name}_rate/worker_alone"), rate, cores * 1e3 / cpu, "mails/s");
        if other.is_some() {
            print(&format!("{name}_rate/other_build"), rate, median(&mut taken.other_rate), "mails/s");
            print(&format!("{name}_cpu/other_build"), cpu, median(&mut taken.other_cpu), "ms");
        }
        for (floor, value, _) in floors.iter().filter(|(_, _, start)| case.name.starts_with(start)) {
            print(&format!("{name}_rate/{floor}"), rate, *value, "mails/s");
        }
        print(&format!("{name}_cpu/endpoints"), cpu, median(&mut taken.endpoints_cpu), "ms");
        print(&format!("{name}_handling/cpu"), median(&mut taken.handling), cpu, "ms");
    }
    Ok(())
}

fn run(stage: &Stage, peers: &Peers, worker: &Path, case: &Case, source: Source) -> anyhow::Result<Run> {
    match source {
        Source::Spool => stage.reset(Some(case.name))?,
        Source::Sqs => {
            stage.reset(None)?;
            peers.purge();
            for entry in fs::read_dir(stage.path(case.name).join("new"))? {
                peers.put(&fs::read(entry?.path())?);
            }
        }
    }
    let setup = Setup { slots: SLOTS, ..peers.setup(source) };
    play(stage, worker, (&setup, 1), (MESSAGES, case.outcome), RUN_LIMIT)
}

/// A request to SES with a text reply, as bytes on the wire, without a signature that nobody checks.
fn post() -> Vec<u8> {
    let mail = BASE64_STANDARD.encode([b'x'; REPLY_BYTES]);
    let body = format!(r#"{{"Content":{{"Raw":{{"Data":"{mail}"}}}},"Destination":{{"ToAddresses":["someone@example.org"]}}}}"#);
    let head = "POST /v2/email/outbound-emails HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One durable write after the other into a file that is there already: milliseconds for each.
fn durable_ms(path: &Path) -> anyhow::Result<f64> {
    let page = [b'x'; PAGE_BYTES];
    File::create(path)?.write_all_at(&page.repeat(FLOORS), 0)?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.sync_all()?;
    let start = Instant::now();
    for number in 0..FLOORS {
        file.write_all_at(&page, (number * PAGE_BYTES) as u64)?;
        file.sync_data()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / FLOORS as f64)
}

fn print(name: &str, value: f64, floor: f64, unit: &str) {
    println!(r#"{{"name":"{name}","value":{value:.4},"unit":"{unit}","floor":{floor:.4},"ratio":{:.3}}}"#, value / floor);
}
