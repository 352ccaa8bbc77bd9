//! The service's life: settings, sockets, readiness, signs of life to systemd, and its end by a signal.
//!
//! On SIGTERM or SIGINT it accepts no more, tells idle connections to go, finishes the transactions, and ends with 0; with 1
//! if they take longer than `enqueuer.stop_timeout_s`, or at a second signal. However it ends, Postfix has the mails that it
//! was not told of. It cannot start without settings and sockets: it says why and ends with 1. For secret, queue folder and
//! store it waits (`startup`).

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use replyfleet::{
    settings::Settings,
    telemetry::{self, chain},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
};

use crate::{
    host_name,
    intake::Intake,
    lmtp::{
        listen,
        memory::Memory,
        server::{self, Shared},
    },
    pulse::{Pulse, pulse},
    startup,
    supervisor::{Notice, tell},
};

/// How often systemd is told how it goes, where it does not say how often it wants to hear.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// How long the end waits for systemd to be told of it.
const TOLD_MAX: Duration = Duration::from_millis(500);

/// Runs the service with the settings of this file, until a signal.
pub fn run(config: &Path) -> ExitCode {
    telemetry::quiet_panics();
    // One thread: what a mail costs is the disk's and the kernel's; the disk has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    let ended = runtime.block_on(serve(config));
    let code = match ended {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(why) => return fail(&why),
    };
    // Not by returning: the runtime would wait for a disk that hangs, and the stop has had its time.
    std::process::exit(code)
}

#[expect(clippy::print_stderr, reason = "a program that cannot start says so on standard error, log or no log")]
fn fail(why: &str) -> ExitCode {
    eprintln!("replyfleet-enqueue: {why}");
    ExitCode::FAILURE
}

/// Whether all was finished at the end.
async fn serve(config: &Path) -> Result<bool, String> {
    let settings = Settings::load(config).map_err(|error| chain(&error))?;
    telemetry::init(&settings.log);
    let mut stop = stop_signal().map_err(|error| format!("no signals: {error}"))?;
    let enqueuer = &settings.enqueuer;
    let Some((secret, ground)) = startup::open(&settings, &mut stop).await.map_err(|error| chain(&error))? else { return Ok(true) };
    let listeners = listen::open(&enqueuer.lmtp).await?;

    let (mail_bytes_max, deadline) = (enqueuer.mail_bytes_max.get(), enqueuer.deadline_s.duration());
    let shared = Arc::new(Shared {
        intake: Intake::start(ground.queue, Duration::from_millis(enqueuer.linger_ms.get() as u64)),
        store: ground.store,
        claim_check_bucket: settings.store.claim_check_bucket.clone(),
        inline_bytes_max: settings.queue.inline_bytes_max.get(),
        secret,
        host: host_name(enqueuer)?,
        mail_bytes_max,
        deadline,
        memory: Memory::new(enqueuer.memory_bytes_max.get(), mail_bytes_max, deadline),
        taken: AtomicU64::new(0),
    });
    let connections = Arc::new(Semaphore::new(enqueuer.connections_max.get()));
    let mut servers = JoinSet::new();
    let mut pulses = vec![shared.intake.pulse()];
    for listener in listeners {
        let (pulse, questions) = pulse();
        pulses.push(pulse);
        servers.spawn(server::accept(listener, Arc::clone(&shared), Arc::clone(&connections), stop.clone(), questions));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), sockets = servers.len(), "ready");
    tell(Notice::Ready);
    let watch = tokio::spawn(signs_of_life(Arc::clone(&shared), pulses, connections, enqueuer.connections_max.get()));

    // An error means that nobody can signal any more.
    let _ = stop.wait_for(|is_stopping| *is_stopping).await;
    watch.abort();
    let (place, told) = oneshot::channel();
    tell(Notice::Stopping(place));
    let finish = async { while servers.join_next().await.is_some() {} };
    let is_finished = tokio::time::timeout(enqueuer.stop_timeout_s.duration(), finish).await.is_ok();
    let _ = tokio::time::timeout(TOLD_MAX, told).await; // both errors mean that systemd has it, or never will
    tracing::info!(is_finished, taken = shared.taken.load(Ordering::Relaxed), "stopped");
    Ok(is_finished)
}

/// Tells systemd that accepting and gathering move, and how much there is to do. If they do not, nothing is told, and
/// systemd's watchdog starts the service anew (sd_watchdog_enabled(3)).
async fn signs_of_life(shared: Arc<Shared>, pulses: Vec<Pulse>, connections: Arc<Semaphore>, connections_max: usize) {
    let every = sd_notify::watchdog_enabled().map_or(STATUS_EVERY, |limit| limit / 3);
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let mut is_alive = true;
        for pulse in &pulses {
            is_alive &= pulse.is_beating(every).await;
        }
        if is_alive {
            let (open, taken) = (connections_max - connections.available_permits(), shared.taken.load(Ordering::Relaxed));
            tell(Notice::Moves(format!("{open} connections, {taken} mails taken")));
        } else {
            tracing::error!("the service does not move");
        }
    }
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
            tracing::info!("stopping: transactions are finished; a second signal ends at once");
            let _ = sender.send(true); // an error means that nothing runs any more
        }
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}
