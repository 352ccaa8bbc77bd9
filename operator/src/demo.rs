//! `replyfleet demo`: the whole way of a mail on this machine, with no account and no root.
//!
//! A temporary folder holds a spool, a store with a sample catalogue, an SQLite ledger and Maildirs for the replies. A
//! listener on a loopback port takes mail as Postfix would and enqueues it by the enqueuer's own code; the worker is the
//! real one. Sample requests show who is answered and who is not. With `--once` it ends after them, with 0 only if each
//! went as expected; else it goes on until Ctrl-C, for mail of one's own.

mod listener;
mod sample;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use replyfleet::{
    settings::{LogFormat, LogLevel, LogSettings, Settings},
    telemetry,
};
use replyfleet_worker::{
    Worker,
    ledger::ReplyState,
    metrics::Ended,
    outcome::{Outcome, Row},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{broadcast, watch},
};

use self::{
    listener::Listener,
    sample::{SAMPLES, Sample},
};
use crate::table::{table, verdict};

/// How long the answer to one sample may take before it counts as not come.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Ends after the samples, with 0 only if each went as expected.
    #[arg(long)]
    once: bool,
    /// Shows the worker's log as well.
    #[arg(long)]
    log: bool,
}

pub(crate) async fn run(arguments: DemoArguments) -> anyhow::Result<ExitCode> {
    let level = if arguments.log { LogLevel::Debug } else { LogLevel::Error };
    telemetry::init(&LogSettings { level, format: LogFormat::Text });
    let folder = tempfile::Builder::new().prefix("replyfleet-demo-").tempdir().context("cannot make a temporary folder")?;
    let dir = folder.path();
    sample::furnish(dir)?;
    // Without the environment: what is exported for a real fleet must not become part of the demo.
    let file = dir.join("replyfleet.toml");
    let settings = Settings::parse(&std::fs::read_to_string(&file)?, &file.display().to_string(), |_| None)?;
    let worker = Worker::open(&settings).await.context("the worker cannot start")?;
    let metrics = worker.metrics();
    let mut ended = metrics.watch();
    let (stop_sender, stop) = watch::channel(false);
    let worker = tokio::spawn(worker.run(stop));
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.context("no loopback port is free")?;
    let port = socket.local_addr()?.port();
    let listener = tokio::spawn(Arc::new(Listener::open(&settings).await?).serve(socket));

    println!("replyfleet demo: a listener on 127.0.0.1:{port}, the worker, a spool, a store and a ledger in {}", dir.display());
    println!("{} sample mails go in by SMTP:\n", SAMPLES.len());
    let mut rows = table(&["a mail", "ends as", "why", "replies", "took"]);
    let mut is_expected = true;
    for sample in &SAMPLES {
        let key = sample::send(sample, port).await.with_context(|| format!("sample \"{}\"", sample.what))?;
        let end = wait_for(&mut ended, &key).await.with_context(|| format!("sample \"{}\": no outcome", sample.what))?;
        let row = end.outcome.row(1);
        let is_right = is_as_expected(sample, &row, &end);
        is_expected &= is_right;
        let why = if row.why.is_empty() { "-" } else { row.why };
        let replies = if end.replies.is_empty() { "-".into() } else { end.replies.iter().map(|state| state.word()).collect::<Vec<_>>().join(", ") };
        let took = format!("{} ms", end.processing_time.as_millis());
        rows.add_row([sample.what.into(), verdict(is_right, row.word), why.into(), replies.into(), took.into()]);
    }
    println!("{rows}\n");
    let replies = count_replies(dir)?;
    is_expected &= replies == sample::REPLIES_EXPECTED;
    if !arguments.once {
        println!("{replies} replies lie in {}, among them", dir.join("replies/new").display());
        for file in first_replies(dir)? {
            println!("  {file}");
        }
        println!();
    }
    if is_expected {
        println!("Every sample went as expected: {replies} replies.");
    } else {
        println!("NOT as expected: what is red above, or {replies} replies instead of {}.", sample::REPLIES_EXPECTED);
    }
    if !arguments.once {
        invite(port, dir);
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C")?,
            _ = terminate.recv() => {}
        }
        println!("\nstopping; {} and all in it is removed", dir.display());
    }
    listener.abort();
    stop_sender.send(true).context("the worker has ended by itself")?;
    let is_finished = worker.await.context("the worker panicked")?;
    Ok(if is_expected && is_finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_as_expected(sample: &Sample, row: &Row, end: &Ended) -> bool {
    let sent = end.replies.iter().filter(|&&state| state == ReplyState::Sent).count();
    (row.word, row.why, sent) == (sample.ends_as, sample.why, sample.replies)
}

async fn wait_for(ended: &mut broadcast::Receiver<Ended>, key: &str) -> anyhow::Result<Ended> {
    let find = async {
        loop {
            let end = ended.recv().await?;
            // A mail that waits for something has not ended yet.
            if end.request_key == key && !matches!(end.outcome, Outcome::Retry(_)) {
                return Ok(end);
            }
        }
    };
    tokio::time::timeout(SAMPLE_TIMEOUT, find).await.context("not within 30 s")?
}

fn count_replies(dir: &Path) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(dir.join("replies/new"))?.count())
}

/// The first two, to have something to open.
fn first_replies(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut files =
        std::fs::read_dir(dir.join("replies/new"))?.map(|entry| Ok(entry?.path().display().to_string())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    files.truncate(2);
    Ok(files)
}

fn invite(port: u16, dir: &Path) {
    println!(
        "\nSend one of your own (answered addresses: {}):\n\
         \x20 swaks --server 127.0.0.1:{port} --from you@example.org --to get@demo.example --header 'Subject: hello'\n\
         or by hand:\n\
         \x20 printf 'HELO me\\r\\nMAIL FROM:<you@example.org>\\r\\nRCPT TO:<get@demo.example>\\r\\nDATA\\r\\nFrom: you@example.org\\r\\n\\r\\nhello\\r\\n.\\r\\nQUIT\\r\\n' | nc 127.0.0.1 {port}\n\
         Look around: ls -R {}\n\
         Ctrl-C ends the demo and removes the folder.",
        sample::ADDRESSES,
        dir.display()
    );
}
