//! `replyfleet-worker`: drains the queue and answers, until SIGTERM or SIGINT.
//!
//! Ends with 0 after it finished what it had in hand, with 1 if it could not start or not finish in time.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use replyfleet::{
    settings::Settings,
    telemetry::{self, chain},
};
use replyfleet_worker::Worker;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Drains the queue and answers.
///
/// On SIGTERM or SIGINT it receives no more, finishes what it has in hand, and ends; a second signal ends it at once.
#[derive(Parser)]
#[command(name = "replyfleet-worker", version)]
struct Arguments {
    /// The file of settings.
    #[arg(long, default_value = replyfleet::settings::DEFAULT_PATH)]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    replyfleet_worker::crypto::install();
    telemetry::quiet_panics();
    let settings = match Settings::load(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => return fail(&error),
    };
    telemetry::init(&settings.log);
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    let worker = match Worker::open(&settings).await {
        Ok(worker) => worker,
        Err(error) => return fail(&error),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let is_finished = worker.run(stop).await;
    tracing::info!(is_finished, "stopped");
    // Not by returning: the runtime would wait for a disk that hangs, and the stop has had its time.
    std::process::exit(i32::from(!is_finished))
}

#[expect(clippy::print_stderr, reason = "a program that cannot start says so on standard error, log or no log")]
fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("replyfleet-worker: {}", chain(error));
    ExitCode::FAILURE
}

/// Turns true at the first signal; the second ends the process.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        for is_second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_second {
                std::process::exit(1);
            }
            tracing::info!("stopping: what is in hand is finished; a second signal ends at once");
            let _ = sender.send(true); // an error means that nothing runs any more
        }
    });
    Ok(receiver)
}
