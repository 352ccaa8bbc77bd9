//! Completions and manual pages, made from the same definitions as `--help`. What cannot be written is named, and ends the command.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::Arguments;

/// Prints the completion script for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    clap_complete::generate(shell, &mut Arguments::command(), "replyfleet", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// Writes into `dir`: `replyfleet.1` and a page for each sub-command; for the two services, which people do not type,
/// `replyfleet-enqueue.8` and `replyfleet-worker.8`.
pub(crate) fn pages(dir: &Path) -> anyhow::Result<ExitCode> {
    let write = || -> std::io::Result<()> {
        clap_mangen::generate_to(Arguments::command(), dir)?;
        for service in [replyfleet_enqueuer::arguments::documented(), replyfleet_worker::arguments::Arguments::command()] {
            Man::new(service).section("8").generate_to(dir)?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    println!("manual pages written into {}", dir.display());
    Ok(ExitCode::SUCCESS)
}
