//! `replyfleet mail-queue`: a service beside Postfix, on an MX and on a worker's machine that sends through a local Postfix.
//!
//! * It publishes how much of the machine's memory and disk is used and how much mail waits, if the settings publish metrics.
//! * When the Auto Scaling group ends the machine, it has Postfix send what waits, holds the lifecycle hook until nothing waits any
//!   more, and completes it. What would still wait then would go with the disk.
//!
//! A queue that cannot be read counts as one with mail in it. Nothing of a mail is ever logged: only how many there are, and how old.

mod drain;
mod postqueue;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use replyfleet::{
    settings::{Settings, TerminationSettings},
    telemetry,
};
use replyfleet_worker::{
    lifecycle::Lifecycle,
    metrics::{
        gauges::MailQueue,
        machine::{MachineMetrics, Seen},
    },
    pulse::Pulse,
    supervisor,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use self::{
    drain::{Drain, Step},
    postqueue::Instance,
};

/// How often the queues are looked at, and how often while the machine is to end.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY_AT_THE_END: Duration = Duration::from_secs(2);
/// How often Postfix is told again to try everything, while the machine is to end.
const FLUSH_EVERY: Duration = Duration::from_secs(300);
/// How often the log is told that a queue cannot be read, and what is still waited for.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// So much longer than its `worker.stop_timeout_s` a worker may put mail into the queue, counted from when this process hears of the
/// end. The worker's own end: 25 s for a long poll that it began, 7 s to give back. And it may hear of it later: it asks every 5 s,
/// and a call may take 4 s. That is 41 s; the rest is for a machine that is busy.
const STOP_GRACE: Duration = Duration::from_secs(60);
/// The longest that completing the lifecycle hook takes.
const HOOK_MAX: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct MailQueueArguments {
    /// The lifecycle hook of the machine's Auto Scaling group to complete once no mail waits; without it, nobody is asked whether the
    /// machine is to end.
    #[arg(long)]
    hook: Option<String>,
    /// A folder of Postfix's configuration, once for each instance on this machine.
    #[arg(long, default_values_os_t = [PathBuf::from("/etc/postfix")])]
    config_directory: Vec<PathBuf>,
    /// For how many seconds the machine's end waits at most; then what still waits is lost with its disk. The hook's own limit is 48 h,
    /// or a hundred times its time-out.
    #[arg(long, default_value_t = 14_400, value_parser = clap::value_parser!(u64).range(1..=172_800))]
    longest_s: u64,
    /// For how many seconds in a row nothing must have waited. By default longer than a worker takes to end: what it finishes last is in
    /// the queue last.
    #[arg(long)]
    quiet_s: Option<u64>,
}

pub(crate) async fn run(arguments: &MailQueueArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    telemetry::init(&settings.log);
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ((end, mut is_ending), (drained, is_drained)) = (watch::channel(false), watch::channel(false));
    let termination = TerminationSettings { hook: arguments.hook.clone(), group: settings.termination.group.clone() };
    let lifecycle = Lifecycle::open(&termination, &settings.aws).await.context("--hook")?;
    let lifecycle = lifecycle.map(|lifecycle| tokio::spawn(lifecycle.run(end.clone(), is_drained)));
    let (see, seen) = watch::channel::<Seen>(None);
    let disk = arguments.config_directory.first().cloned().unwrap_or_else(|| "/".into());
    let _metrics = MachineMetrics::start(settings, disk, seen);
    let pulse = Arc::new(Pulse::new(postqueue::LOOK_MAX * 2));
    tokio::spawn(supervisor::keep_telling(Arc::clone(&pulse)));
    let mut queues = Queues { instances: arguments.config_directory.iter().map(|dir| Instance::new(dir)).collect(), told_at: None, see };
    let mut drain: Option<Drain> = None;
    supervisor::ready_as("watching the mail queue");
    loop {
        // Each instance may take that long, to look and to flush.
        pulse.beat(postqueue::LOOK_MAX * u32::try_from(2 * queues.instances.len()).unwrap_or(u32::MAX) + LOOK_EVERY);
        let found = queues.look().await;
        if *is_ending.borrow() && !*drained.borrow() {
            let quiet = arguments.quiet_s.map_or_else(|| settings.worker.stop_timeout_s.duration() + STOP_GRACE, Duration::from_secs);
            let drain = drain.get_or_insert_with(|| Drain::new(Instant::now(), quiet, Duration::from_secs(arguments.longest_s)));
            if at_the_end(drain, found, &mut queues).await {
                drained.send_replace(true);
            }
        }
        let pause = if drain.is_some() && !*drained.borrow() { LOOK_EVERY_AT_THE_END } else { LOOK_EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ended(&mut is_ending), if drain.is_none() => {}
            _ = signals.0.recv() => break,
            _ = signals.1.recv() => break,
        }
    }
    supervisor::stopping();
    // Whoever ends us before the queues are empty has the hook wait, or the group end the machine, as it is set up. Once they are, the
    // hook is completed.
    if let (true, Some(lifecycle)) = (*drained.borrow(), lifecycle) {
        let _ = tokio::time::timeout(HOOK_MAX, lifecycle).await; // the group goes on by itself when the hook's time is over
    }
    // Not by returning: the runtime would wait for a postqueue that hangs.
    std::process::exit(0)
}

/// Until the group ends the machine; for ever, if nobody asks it.
async fn ended(is_ending: &mut watch::Receiver<bool>) {
    if is_ending.wait_for(|is_ending| *is_ending).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One look at the end of the machine; returns whether it may end now.
async fn at_the_end(drain: &mut Drain, found: Option<MailQueue>, queues: &mut Queues) -> bool {
    let now = Instant::now();
    if drain.is_flush_due(now, FLUSH_EVERY) {
        queues.flush().await;
    }
    let left = found.map(|found| found.depth);
    match drain.look(now, left) {
        Step::Wait => {
            if drain.is_telling_due(now, TELL_EVERY) {
                tracing::info!(left, "this machine waits for its mail queue to be empty");
                supervisor::status("waiting for the mail queue to be empty");
            }
            false
        }
        Step::Empty => {
            tracing::info!("the mail queue is empty; this machine may end");
            true
        }
        Step::GiveUp => {
            tracing::error!(left, "the mail queue is not empty in time; what is left goes with this machine");
            true
        }
    }
}

/// All instances of Postfix.
struct Queues {
    instances: Vec<Instance>,
    /// When the log was told that one cannot be read.
    told_at: Option<Instant>,
    /// Where what was seen is published.
    see: watch::Sender<Seen>,
}

impl Queues {
    /// All mail that waits; none if one of the queues cannot be read.
    async fn look(&mut self) -> Option<MailQueue> {
        let mut all = MailQueue::default();
        for instance in &self.instances {
            match instance.look().await {
                Ok(found) => {
                    all.depth += found.depth;
                    all.oldest_age = all.oldest_age.max(found.oldest_age);
                }
                Err(error) => {
                    if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                        self.told_at = Some(Instant::now());
                        tracing::warn!(error, config_directory = %instance.directory().display(), "a mail queue cannot be read");
                    }
                    self.see.send_replace(None);
                    return None;
                }
            }
        }
        self.see.send_replace(Some((Instant::now(), all)));
        Some(all)
    }

    /// Has Postfix try everything now, whatever it waits for.
    async fn flush(&self) {
        for instance in &self.instances {
            if let Err(error) = instance.flush().await {
                tracing::warn!(error, config_directory = %instance.directory().display(), "a mail queue cannot be flushed");
            }
        }
    }
}
