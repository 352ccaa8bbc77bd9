//! What a reply costs the worker, everything included: queue, parse, screen, authenticate, ledger, compose, sign, send.
//!
//! Each run starts a real worker process on a spool that was filled before, with peers on loopback, and waits until every
//! reply has arrived. Its cost is the CPU (user and system) of the process, less that of one that finds nothing to do. All
//! mail is signed with RSA-2048 by its sender's domain, and the ledger is SQLite on a disk. Cases and floors take turns, so
//! that a busy moment of the machine touches all of them; the figures are medians of the rounds, as JSON lines.
//!
//! ```text
//! replyfleet-bench-reply [ROUNDS [CASE]]      only the cases whose name begins so, as reply_text; no memory then
//! ```
//! With `REPLYFLEET_OTHER_WORKER=FILE`, a worker of another build takes turns with this one: what a change is worth.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod bare;
mod peers;
mod requests;
mod stage;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use bare::Signing;
use peers::{Arrived, Peers};
use stage::{FILE_BYTES, SLOTS, Setup, Stage, Worker};

const ROUNDS: usize = 5;
/// Requests of one run: enough that the worker's start, and what its caches lack then, is a small part.
const TEXT_REQUESTS: usize = 2_000;
const FILE_REQUESTS: usize = 60;
/// Requests of the run that looks at memory: two rounds of the slots.
const SLOW_REQUESTS: usize = 2 * SLOTS;
/// How long all replies of one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// How long the slow peers wait for a full house.
const FULL_HOUSE_LIMIT: Duration = Duration::from_secs(20);
/// How often each floor is done in a round.
const TEXT_FLOORS: usize = 200;
const FILE_FLOORS: usize = 20;
/// Milliseconds of CPU.
const TEXT_GOAL: f64 = 0.8;
const TWO_REPLIES_GOAL: f64 = 20.0;
/// Megabytes.
const MEMORY_GOAL: f64 = 200.0;

/// What is measured: requests that all get the same replies.
struct Case {
    name: &'static str,
    rcpt_to: &'static str,
    requests: usize,
    /// Replies to one request.
    by_ses: usize,
    by_smtp: usize,
    goal: f64,
}

const CASES: [Case; 4] = [
    Case { name: "reply_text_ses", rcpt_to: "ses@example.com", requests: TEXT_REQUESTS, by_ses: 1, by_smtp: 0, goal: TEXT_GOAL },
    Case { name: "reply_text_smtp", rcpt_to: "smtp@example.com", requests: TEXT_REQUESTS, by_ses: 0, by_smtp: 1, goal: TEXT_GOAL },
    Case { name: "reply_ses_and_file", rcpt_to: "ses-both@example.com", requests: FILE_REQUESTS, by_ses: 1, by_smtp: 1, goal: TWO_REPLIES_GOAL },
    Case { name: "reply_smtp_and_file", rcpt_to: "smtp-both@example.com", requests: FILE_REQUESTS, by_ses: 0, by_smtp: 2, goal: TWO_REPLIES_GOAL },
];

/// A figure in each round.
type Figures = Vec<f64>;

/// The cost of a case and of the floors under it, in each round, in milliseconds.
#[derive(Default)]
struct Taken {
    cpu: Figures,
    other_cpu: Figures,
    post: Figures,
    write: Figures,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |rounds| rounds.parse()).context("usage: replyfleet-bench-reply [ROUNDS [CASE]]")?;
    let wanted = arguments.next().unwrap_or_default();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.name.starts_with(&wanted)).collect();
    let peers = Peers::start()?;
    let silent = bare::silent_peer()?;
    let mut stage = Stage::new()?;
    for case in &cases {
        stage.fill(case.name, case.rcpt_to, case.requests).await?;
    }
    stage.fill("slow", "file@example.com", SLOW_REQUESTS).await?;
    let signing = Signing::new()?;
    let (worker, other) = (stage::program("replyfleet-worker")?, std::env::var_os("REPLYFLEET_OTHER_WORKER").map(PathBuf::from));

    let (mut signature, mut idle_mb) = (Figures::new(), Figures::new());
    let (mut in_flight_mb, mut peak_mb) = (Figures::new(), Figures::new());
    let mut taken: [Taken; CASES.len()] = Default::default();
    // The first round fills the worker's cache of files, and does not count.
    for round in 0..=rounds {
        let idle = begin(&stage, &peers, &worker, None)?.stop(0)?;
        let sign_ms = signing.cpu_ms(TEXT_FLOORS)?;
        if round > 0 {
            idle_mb.push(idle.peak_mb);
            signature.push(sign_ms);
        }
        for (case, taken) in cases.iter().zip(&mut taken) {
            let (cpu_ms, arrived) = run(&stage, &peers, &worker, case)?;
            let of_one = |cpu_ms: f64| (cpu_ms - idle.cpu_ms) / case.requests as f64;
            let other_cpu_ms = other.as_ref().map(|other| run(&stage, &peers, other, case)).transpose()?.map(|(cpu_ms, _)| of_one(cpu_ms));
            let floors = if case.requests == FILE_REQUESTS { FILE_FLOORS } else { TEXT_FLOORS };
            let post = if case.by_ses > 0 { bare::post_cpu_ms(peers.http(), &arrived.ses_request, floors)? } else { 0.0 };
            let write = if case.by_smtp > 0 { bare::write_cpu_ms(silent, arrived.smtp_bytes, floors)? } else { 0.0 };
            if round > 0 {
                taken.cpu.push(of_one(cpu_ms));
                taken.other_cpu.extend(other_cpu_ms);
                taken.post.push(post);
                taken.write.push(write);
            }
        }
        if !wanted.is_empty() {
            continue;
        }
        let (in_flight, peak) = slow_peers(&stage, &peers, &worker)?;
        if round > 0 {
            in_flight_mb.push(in_flight);
            peak_mb.push(peak);
        }
    }

    let sign_ms = median(&mut signature);
    for (case, taken) in cases.iter().zip(&mut taken) {
        let (cpu, post, write) = (median(&mut taken.cpu), median(&mut taken.post), median(&mut taken.write));
        let print = |floor_name: &str, floor| print(&format!("{}_cpu/{floor_name}", case.name), cpu, floor, "ms");
        print("goal", case.goal);
        if other.is_some() {
            print("other_build", median(&mut taken.other_cpu));
        }
        if case.by_ses > 0 {
            print("http_post", post);
        }
        if case.by_smtp > 0 {
            print("rsa_sign", sign_ms);
            print("socket_write", write);
            print("all_floors", post + write + sign_ms * case.by_smtp as f64);
        }
    }
    if in_flight_mb.is_empty() {
        return Ok(());
    }
    let (idle_mb, in_flight_mb, peak_mb) = (median(&mut idle_mb), median(&mut in_flight_mb), median(&mut peak_mb));
    print("reply_memory_in_flight/goal", in_flight_mb, MEMORY_GOAL, "MB");
    print("reply_memory_peak/goal", peak_mb, MEMORY_GOAL, "MB");
    print("reply_memory_peak/idle_worker_and_file", peak_mb, idle_mb + FILE_BYTES as f64 / 1e6, "MB");
    Ok(())
}

/// Starts the worker `program` on the messages of the spool `name`, or on none, with an empty ledger.
fn begin(stage: &Stage, peers: &Peers, program: &Path, name: Option<&str>) -> anyhow::Result<Worker> {
    stage.reset(name)?;
    stage.start(program, &Setup::new(peers.http(), peers.smtp()), 0)
}

/// One run of a case: the CPU of its worker in milliseconds, and what arrived.
fn run(stage: &Stage, peers: &Peers, worker: &Path, case: &Case) -> anyhow::Result<(f64, Arrived)> {
    peers.reset(false);
    let worker = begin(stage, peers, worker, Some(case.name))?;
    let (by_ses, by_smtp) = (case.requests * case.by_ses, case.requests * case.by_smtp);
    let arrived = peers.wait_for(RUN_LIMIT, |arrived| arrived.ses >= by_ses && arrived.smtp >= by_smtp).context(case.name)?;
    let cost = worker.stop(case.requests).context(case.name)?;
    Ok((cost.cpu_ms, arrived))
}

/// Files to peers that hold still until all slots are under way, and are slow then. Returns the worker's peak memory when they
/// all held still, and at its end, in MB.
fn slow_peers(stage: &Stage, peers: &Peers, worker: &Path) -> anyhow::Result<(f64, f64)> {
    peers.reset(true);
    let worker = begin(stage, peers, worker, Some("slow"))?;
    let held = peers.wait_for_held(SLOTS, FULL_HOUSE_LIMIT);
    if held < SLOTS {
        eprintln!("no more than {held} of {SLOTS} replies were in flight to slow peers");
    }
    let in_flight_mb = worker.peak_mb()?;
    peers.go_on();
    peers.wait_for(RUN_LIMIT, |arrived| arrived.smtp >= SLOW_REQUESTS).context("slow peers")?;
    Ok((in_flight_mb, worker.stop(SLOW_REQUESTS).context("slow peers")?.peak_mb))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64, floor: f64, unit: &str) {
    println!(r#"{{"name":"{name}","value":{value:.4},"unit":"{unit}","floor":{floor:.4},"ratio":{:.3}}}"#, value / floor);
}
