//! SQS, SES, an SMTP sink and proxies that misbehave, as a process of its own: for a world whose network the test is not in.
//!
//! ```text
//! replyfleet-fake --control SOCKET [--sqs ADDRESS --queue NAME...] [--ses ADDRESS] [--smtp ADDRESS] [--proxy NAME=LISTEN=TARGET...]
//! ```
//! What it does is `replyfleet_tests::fake`'s; its knobs are there, too. It ends with its standard input, so that it never
//! outlives its test.

#![allow(clippy::unwrap_used, reason = "it is a test's, and says so by panicking")]

use std::{io::Read, net::SocketAddr, path::PathBuf};

use clap::Parser;
use replyfleet_tests::fake::{Fake, Services};

/// Services that misbehave.
#[derive(Parser)]
#[command(name = "replyfleet-fake")]
struct Arguments {
    /// The unix socket of the control path.
    #[arg(long)]
    control: PathBuf,
    /// Where SQS listens.
    #[arg(long)]
    sqs: Option<SocketAddr>,
    /// A queue that is there from the start.
    #[arg(long)]
    queue: Vec<String>,
    /// Where SES listens.
    #[arg(long)]
    ses: Option<SocketAddr>,
    /// Where the SMTP sink listens.
    #[arg(long)]
    smtp: Option<SocketAddr>,
    /// A proxy: its name, where it listens, and what it stands before.
    #[arg(long, value_parser = proxy)]
    proxy: Vec<(String, SocketAddr, SocketAddr)>,
}

fn proxy(text: &str) -> Result<(String, SocketAddr, SocketAddr), String> {
    let mut parts = text.split('=');
    let mut next = || parts.next().ok_or_else(|| format!("{text}: not NAME=LISTEN=TARGET"));
    let name = next()?.to_owned();
    let mut address = || next()?.parse().map_err(|error| format!("{text}: {error}"));
    Ok((name, address()?, address()?))
}

fn main() {
    let Arguments { control, sqs, queue, ses, smtp, proxy } = Arguments::parse();
    let _fake = Fake::start(&control, Services { sqs, queues: queue, ses, smtp, proxies: proxy });
    let _ = std::io::stdin().lock().read_to_end(&mut Vec::new()); // an error is an end, too
}
