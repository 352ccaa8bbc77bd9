//! What Postfix reaches into the enqueuer's service, beside what it reaches into a sink that stores nothing; and what a mail
//! costs the service beside the pipe.
//!
//! A real Postfix in namespaces of its own takes mails of 4 KB from smtp-source on loopback and delivers them over the
//! same kind of socket to `smtp-sink` (the ceiling), to the service with a spool, and to the service with an SQS endpoint on
//! loopback; `discard` stands beside. They take turns, so that a busy moment of the machine touches all of them. A rate is
//! mails by the time from smtp-source's start to the last delivery. The service's CPU is of its process, from
//! /proc/PID/stat; the pipe's of whole processes, from getrusage(2). Postfix's queue and the spool are on one ext4 with a journal, in a file on the disk. JSON lines as the others.
//!
//! ```text
//! replyfleet-bench-intake [ROUNDS [MAILS]]      needs root, Postfix and util-linux
//! ```
//! `REPLYFLEET_ENQUEUE` names another enqueuer than the one beside.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod cost;
mod mx;
mod queues;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use cost::{Costs, cost_of, median};
use mx::{Mx, SINK};
use queues::{Endpoint, Service};

const ROUNDS: usize = 5;
const MAILS: usize = 5_000;
const MAIL_BYTES: usize = 4 << 10;
/// Of the file system that Postfix's queue and the spool share.
const DISK_BYTES: u64 = 4 << 30;
/// Runs of the pipe in each round.
const PIPES: usize = 30;
/// The first argument of the second process, which has namespaces of its own.
const WITHIN: &str = "within-namespaces";
/// The goal: the service's CPU is at most this part of the pipe's.
const CPU_PART: f64 = 20.0;
/// The goal: the rate is at least this part of the sink's.
const RATE_PART: f64 = 0.95;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = "usage: replyfleet-bench-intake [ROUNDS [MAILS]]";
    match arguments[..] {
        [WITHIN, folder, rounds, mails] => measure(Path::new(folder), rounds.parse()?, mails.parse()?).map(|()| ExitCode::SUCCESS),
        [] => prepare(ROUNDS, MAILS),
        [rounds] => prepare(rounds.parse().context(usage)?, MAILS),
        [rounds, mails] => prepare(rounds.parse().context(usage)?, mails.parse().context(usage)?),
        _ => anyhow::bail!(usage),
    }
}

fn prepare(rounds: usize, mails: usize) -> anyhow::Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/sbin/smtp-sink").exists() {
        eprintln!("no figures of the intake: needs root, and Postfix with its smtp-source and smtp-sink");
        return Ok(ExitCode::SUCCESS);
    }
    // Postfix's users must get through to their queue.
    let folder = tempfile::Builder::new().prefix("replyfleet-bench-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe()?)
        .args([WITHIN.as_ref(), folder.path().as_os_str()])
        .args([rounds.to_string(), mails.to_string()])
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rates, and CPU a mail in milliseconds, of each round.
#[derive(Default)]
struct Figures {
    sink: Vec<f64>,
    discard: Vec<f64>,
    spool: Vec<f64>,
    sqs: Vec<f64>,
    spool_cpu: Vec<f64>,
    sqs_cpu: Vec<f64>,
    spool_pipe: Costs,
    sqs_pipe: Costs,
}

/// Makes a file system on the disk as an MX has it, ext4 with a journal, and mounts it in our own namespace. The machine's may
/// be another: without a journal, ext4 looks for each new file through all the inodes that were deleted within the minute.
fn journalled(folder: &Path) -> anyhow::Result<PathBuf> {
    let (image, mounted) = (folder.join("disk"), folder.join("mx"));
    std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
    std::fs::create_dir(&mounted)?;
    ensure!(Command::new("mkfs.ext4").args(["-q", "-F", "-O", "has_journal"]).arg(&image).status()?.success(), "mkfs.ext4");
    ensure!(Command::new("mount").args(["-o", "loop"]).args([&image, &mounted]).status()?.success(), "mount -o loop");
    std::fs::set_permissions(&mounted, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(mounted)
}

fn measure(folder: &Path, rounds: usize, mails: usize) -> anyhow::Result<()> {
    let folder = &journalled(folder)?;
    ensure!(Command::new("ip").args(["link", "set", "lo", "up"]).status()?.success(), "ip link set lo up");
    let program = match std::env::var_os("REPLYFLEET_ENQUEUE") {
        Some(program) => PathBuf::from(program),
        None => std::env::current_exe()?.with_file_name("replyfleet-enqueue"),
    };
    let endpoint = Endpoint::start()?;
    let spool = Service::start(folder, "spool", &program, &format!("url = \"spool:{}/spool\"", folder.display()), "")?;
    let sqs_queue = format!("url = \"{0}/0/requests\"\ndead_letter_url = \"{0}/0/dead\"", endpoint.url());
    let aws = format!("region = \"eu-central-1\"\nendpoint_url = \"{}\"", endpoint.url());
    let sqs = Service::start(folder, "sqs", &program, &sqs_queue, &aws)?;
    let mx = Mx::start(folder, &[("spool", spool.socket()), ("sqs", sqs.socket())])?;

    let mut figures = Figures::default();
    // The first round is to warm up.
    for round in 0..=rounds {
        let mails = if round == 0 { mails / 5 } else { mails };
        let before = spool.spooled()?;
        let sink = mx.rate(SINK, mails)?;
        let (spool_rate, spool_cpu) = spool.cost_of(mails, || mx.rate("spool", mails))?;
        let (sqs_rate, sqs_cpu) = sqs.cost_of(mails, || mx.rate("sqs", mails))?;
        let discard = mx.rate("discard", mails)?;
        let taken = spool.spooled()? - before;
        ensure!(taken == mails, "the spool has {taken} mails of {mails}");
        let taken = endpoint.empty();
        ensure!(taken == mails, "the endpoint has {taken} mails of {mails}");
        let pipes = |service: &Service, costs: &mut Costs| -> anyhow::Result<()> {
            for _ in 0..PIPES {
                costs.push(cost_of(&mut service.pipe(), &[b'x'; MAIL_BYTES])?);
            }
            Ok(())
        };
        let (mut spool_pipe, mut sqs_pipe) = <(Costs, Costs)>::default();
        pipes(&spool, &mut spool_pipe)?;
        pipes(&sqs, &mut sqs_pipe)?;
        endpoint.empty();
        if round > 0 {
            figures.sink.push(sink);
            figures.discard.push(discard);
            figures.spool.push(spool_rate);
            figures.sqs.push(sqs_rate);
            figures.spool_cpu.push(spool_cpu);
            figures.sqs_cpu.push(sqs_cpu);
            figures.spool_pipe.append(spool_pipe);
            figures.sqs_pipe.append(sqs_pipe);
        }
    }
    let sink = median(&mut figures.sink);
    print("discard_rate/smtp_sink", median(&mut figures.discard), "mails/s", sink);
    for (name, rate, cpu, pipe) in [
        ("spool", median(&mut figures.spool), median(&mut figures.spool_cpu), figures.spool_pipe.cpu_ms()),
        ("sqs", median(&mut figures.sqs), median(&mut figures.sqs_cpu), figures.sqs_pipe.cpu_ms()),
    ] {
        print(&format!("service_{name}_rate/smtp_sink"), rate, "mails/s", sink);
        print(&format!("service_{name}_rate/goal"), rate, "mails/s", sink * RATE_PART);
        print(&format!("service_{name}_cpu/pipe"), cpu, "ms", pipe);
        print(&format!("service_{name}_cpu/goal"), cpu, "ms", pipe / CPU_PART);
    }
    Ok(())
}

fn print(name: &str, value: f64, unit: &str, floor: f64) {
    println!(r#"{{"name":"{name}","value":{value:.4},"unit":"{unit}","floor":{floor:.4},"ratio":{:.3}}}"#, value / floor);
}

/// A program that runs beside, ended with us.
struct Beside(std::process::Child);

impl Beside {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what comes soon, or says in vain for what.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let start = std::time::Instant::now();
    while !is_so() {
        ensure!(start.elapsed().as_secs() < 120, "waited in vain for {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    Ok(())
}
