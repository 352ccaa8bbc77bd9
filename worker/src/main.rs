//! `replyfleet-worker`: drains the queue and answers, until SIGTERM or SIGINT, or until its Auto Scaling group ends the machine.
//!
//! It waits for what is away when it starts, and ends with 0 if it is told to stop meanwhile. It ends with 0 after it finished
//! or gave back what it had in hand, with 1 if it could not start for a reason that does not pass, or was still sending when
//! its time was over.

#![forbid(unsafe_code)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use replyfleet::{
    settings::Settings,
    telemetry::{self, chain},
};
use replyfleet_worker::{
    Stage, Worker,
    arguments::Arguments,
    lifecycle::Lifecycle,
    pulse::Pulse,
    startup,
    status::{Status, errors::Errors, server},
    supervisor,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The longest that reading the settings and finding the AWS account takes.
const START_MAX: Duration = Duration::from_secs(120);
/// The longest that completing the lifecycle hook takes.
const HOOK_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    replyfleet_worker::crypto::install();
    telemetry::quiet_panics();
    let settings = match Settings::load(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => return fail(&error),
    };
    let errors = Errors::default();
    telemetry::init_beside(&settings.log, errors.layer());
    if arguments.alone {
        return answer_alone(&settings).await;
    }
    let (stop, is_stopping) = watch::channel(false);
    let pulse = Arc::new(Pulse::new(START_MAX));
    let status = Arc::new(Status::new(Arc::clone(&pulse), is_stopping.clone(), errors));
    server::begin(settings.status.listen, &status).await;
    if let Err(error) = stop_at_signal(stop.clone()) {
        return fail(&error);
    }
    let (drained, is_drained) = watch::channel(false);
    let lifecycle = match Lifecycle::open(&settings.termination, &settings.aws).await {
        Ok(lifecycle) => lifecycle.map(|lifecycle| tokio::spawn(lifecycle.run(stop, is_drained))),
        Err(error) => return fail(&error),
    };
    let watchdog = tokio::spawn(supervisor::keep_telling(Arc::clone(&pulse)));
    let opened = startup::open(&settings, is_stopping.clone(), &pulse, &status).await;
    watchdog.abort();
    let is_finished = match opened {
        Ok(Some(worker)) => {
            let worker = worker.isolate(&settings, &arguments.config);
            tokio::spawn(supervisor::keep_telling(worker.pulse()));
            status.opened(worker.watched());
            tokio::spawn(status.keep_looking());
            tokio::spawn(startup::tell_when_receiving(worker.stage(), worker.pulse()));
            tokio::spawn(tell_when_drained(worker.stage(), drained.clone()));
            tell_when_stopping(is_stopping.clone());
            worker.run(is_stopping).await
        }
        Ok(None) => true,
        Err(error) => return fail(&error),
    };
    tracing::info!(is_finished, "stopped");
    drained.send_replace(true);
    if let Some(lifecycle) = lifecycle {
        let _ = tokio::time::timeout(HOOK_MAX, lifecycle).await; // the group goes on by itself when the hook's time is over
    }
    // Not by returning: the runtime would wait for a disk that hangs, and the stop has had its time.
    std::process::exit(i32::from(!is_finished))
}

/// Obeys no signal: the worker that started this does.
async fn answer_alone(settings: &Settings) -> ExitCode {
    let worker = match Worker::open(settings).await {
        Ok(worker) => worker,
        Err(error) => return fail(&error),
    };
    let told = worker.answer_alone().await;
    // Not by returning: the runtime would wait for the thread that reads standard input.
    std::process::exit(i32::from(told.is_err()))
}

#[expect(clippy::print_stderr, reason = "a program that cannot start says so on standard error, log or no log")]
fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("replyfleet-worker: {}", chain(error));
    ExitCode::FAILURE
}

/// Tells systemd when the worker begins to stop.
fn tell_when_stopping(mut is_stopping: watch::Receiver<bool>) {
    tokio::spawn(async move {
        if is_stopping.wait_for(|stop| *stop).await.is_ok() {
            supervisor::stopping();
        }
    });
}

/// Turns `drained` true as soon as nothing is in hand: the lifecycle hook does not wait for the last metrics.
async fn tell_when_drained(mut stage: watch::Receiver<Stage>, drained: watch::Sender<bool>) {
    if stage.wait_for(|stage| *stage == Stage::Drained).await.is_ok() {
        drained.send_replace(true);
    }
}

/// Turns `stop` true at the first signal; the second ends the process.
fn stop_at_signal(stop: watch::Sender<bool>) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
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
            stop.send_replace(true);
        }
        // Else the channel would close, which is to say that nobody wants us any more.
        std::future::pending::<()>().await;
    });
    Ok(())
}
