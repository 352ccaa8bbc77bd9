//! Completions and manual pages, made from the same definitions as `--help`.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use clap::CommandFactory;

use crate::Arguments;

/// Prints the completion script for `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    clap_complete::generate(shell, &mut Arguments::command(), "replyfleet", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// Writes `replyfleet.1` and a page for each sub-command into `dir`.
pub(crate) fn pages(dir: &Path) -> anyhow::Result<ExitCode> {
    clap_mangen::generate_to(Arguments::command(), dir).with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    println!("manual pages written into {}", dir.display());
    Ok(ExitCode::SUCCESS)
}
