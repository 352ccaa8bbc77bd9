//! `replyfleet`: what people type. Each command is a module; this file only chooses.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command's result is its output")]

mod check;
mod demo;
mod explain;
mod manual;
mod queue;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use replyfleet::settings::Settings;

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
    /// Says for a saved mail which rules fire, and why.
    Explain(explain::ExplainArguments),
    /// Shows how full the queue is, and what is parked for which reason.
    Queue(queue::QueueArguments),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes this program's manual pages into a folder.
    Manual {
        /// The folder, which exists.
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
        Command::Explain(explain) => explain::run(&explain, &config).await,
        Command::Queue(queue) => queue::run(&queue, &Settings::load(&config)?).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Manual { dir } => manual::pages(&dir),
    }
}

#[expect(clippy::print_stderr, reason = "a command that cannot run says so on standard error")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("replyfleet: {error:#}");
    ExitCode::FAILURE
}
