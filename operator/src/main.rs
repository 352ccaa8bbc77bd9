//! `replyfleet`: what people type. Each command is a module; this file only chooses.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command's result is its output")]

mod answer;
mod check;
mod cloudwatch;
mod demo;
mod dns;
mod explain;
mod ledger;
mod lists;
mod mail_queue;
mod manual;
mod metrics;
mod postfix_maps;
mod queue;
mod secrets;
mod simulate;
mod status;
mod switch;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use replyfleet::settings::Settings;
use replyfleet_worker::ledger::ListKind;

/// Operates a replyfleet: an e-mail responder that answers all who really asked, soon, and once.
#[derive(Parser)]
#[command(name = "replyfleet", version, max_term_width = 100)]
struct Arguments {
    /// The file of settings.
    #[arg(long, global = true, default_value = replyfleet::settings::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the whole way of a mail on this machine, with no account and no root.
    Demo(demo::DemoArguments),
    /// Tries the settings and everything that they name; ends with 1 if something is wrong.
    Check,
    /// Prints what has to be in DNS, ready for a zone file, or checks whether it is there.
    Dns(dns::DnsArguments),
    /// Says for saved mail which rules fire, and why.
    Explain(explain::ExplainArguments),
    /// Sends somebody what a request to an address would get, by the settings' senders, without a request.
    Send(answer::SendArguments),
    /// Writes what a request to an address would get into a folder, a file for each reply.
    Preview(answer::PreviewArguments),
    /// Shows what the fleet does: queue, workers, switches, and how requests ended; or one worker, or the last hours.
    Status(status::StatusArguments),
    /// Shows or sets what is switched off: everything, attachments, an address, a provider.
    Switch(switch::SwitchArguments),
    /// Puts senders on the block list, or takes them off.
    Block(lists::ListArguments),
    /// Puts senders on the allow list, which lifts allowance and caps, or takes them off.
    Allow(lists::ListArguments),
    /// Puts people who want no mail from us on the suppression list, or takes them off.
    Suppress(lists::ListArguments),
    /// Forgets what is kept of a sender: its allowance begins anew.
    Forget(lists::ForgetArguments),
    /// Shows how full the queue is, and what is parked for which reason.
    Queue(queue::QueueArguments),
    /// Writes the maps of Postfix: which domains and addresses are ours, from the catalogue and the settings.
    PostfixMaps(postfix_maps::PostfixMapsArguments),
    /// Hands the fleet's figures from CloudWatch to other programs.
    Metrics(metrics::MetricsArguments),
    /// Simulates a surge under the deployed scaling policy, and shows what becomes of mail, waits and machines.
    Simulate(Box<simulate::SimulateArguments>),
    /// Fetches this machine's secrets from AWS Secrets Manager into a folder in memory; for a unit that runs before the others.
    Secrets(secrets::SecretsArguments),
    /// Watches the mail queue of this machine's Postfix: publishes it, and has the machine's end wait until it is empty.
    MailQueue(mail_queue::MailQueueArguments),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages of this program and of the two services into a folder.
    Manual {
        /// The folder, which exists.
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    replyfleet_worker::crypto::install();
    replyfleet::telemetry::quiet_panics();
    match run(arguments).await {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config;
    match arguments.command {
        Command::Demo(demo) => demo::run(demo).await,
        Command::Check => check::run(&config).await,
        Command::Dns(dns) => dns::run(&dns, &Settings::load(&config)?).await,
        Command::Explain(explain) => explain::run(&explain, &config).await,
        Command::Send(send) => answer::send(&send, &Settings::load(&config)?).await,
        Command::Preview(preview) => answer::preview(&preview, &Settings::load(&config)?).await,
        Command::Status(status) => status::run(&status, &config).await,
        Command::Switch(switch) => switch::run(&switch, &Settings::load(&config)?).await,
        Command::Block(list) => lists::run(ListKind::Block, &list, &Settings::load(&config)?).await,
        Command::Allow(list) => lists::run(ListKind::Allow, &list, &Settings::load(&config)?).await,
        Command::Suppress(list) => lists::run(ListKind::Suppress, &list, &Settings::load(&config)?).await,
        Command::Forget(forget) => lists::forget(&forget, &Settings::load(&config)?).await,
        Command::Queue(queue) => queue::run(&queue, &Settings::load(&config)?).await,
        Command::PostfixMaps(maps) => postfix_maps::run(&maps, &Settings::load(&config)?).await,
        Command::Metrics(metrics) => metrics::run(&metrics, &config).await,
        Command::Simulate(simulate) => simulate::run(&simulate),
        Command::Secrets(secrets) => secrets::run(&secrets, &config).await,
        Command::MailQueue(mail_queue) => mail_queue::run(&mail_queue, &Settings::load(&config)?).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Manual { dir } => manual::pages(&dir),
    }
}

#[expect(clippy::print_stderr, reason = "a command that cannot run says so on standard error")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("replyfleet: {error:#}");
    ExitCode::FAILURE
}
