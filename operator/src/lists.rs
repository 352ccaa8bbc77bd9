//! `replyfleet block`, `allow`, `suppress` and `forget`: the lists that all workers share, and what is kept of one sender.
//!
//! Entries are kept as keyed hashes, so nothing can list them again; a file of your own is the place for that. Read from
//! standard input (`-`), they leave no trace in the shell's history either.

use std::{io::BufRead, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use replyfleet::{clock::UnixMillis, settings::Settings};
use replyfleet_worker::{
    address::Address,
    ledger::{ListEntry, ListKind, ListReason},
};

use crate::ledger;

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Addresses, and domains, which cover their sub-domains; - reads them from standard input, one a line.
    #[arg(required = true, value_name = "ADDRESS|DOMAIN")]
    entries: Vec<String>,
    /// Takes them off the list.
    #[arg(long)]
    remove: bool,
    /// For how long, such as 90m, 12h or 30d; else until they are removed.
    #[arg(long, value_name = "TIME", value_parser = crate::table::duration, conflicts_with = "remove")]
    r#for: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct ForgetArguments {
    /// Addresses; - reads them from standard input, one a line.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
}

pub(crate) async fn run(kind: ListKind, arguments: &ListArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    // All are read before one is written: a list is changed as asked, or not at all.
    let parse = |text: &str| ListEntry::parse(text).with_context(|| format!("{text:?}"));
    let entries = read(&arguments.entries, parse)?;
    let ledger = ledger::join(settings).await?;
    let now = UnixMillis::now();
    let reason = if kind == ListKind::Suppress { ListReason::OptOut } else { ListReason::Operator };
    let mut changed = 0;
    for entry in &entries {
        if arguments.remove {
            changed += usize::from(ledger.list_remove(kind, entry).await?);
        } else {
            ledger.list_add(kind, entry, reason, arguments.r#for.map(|time| now + time), now).await?;
            changed += 1;
        }
    }
    let list = kind.word();
    match arguments.remove {
        true => println!("{changed} of {} entries were on the {list} list and are not any more", entries.len()),
        false => println!("{changed} entries are on the {list} list"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn forget(arguments: &ForgetArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let parse = |text: &str| Address::parse(text).with_context(|| format!("{text:?} is not an address local@domain"));
    let addresses = read(&arguments.addresses, parse)?;
    let ledger = ledger::join(settings).await?;
    let (mut requests, mut entries, mut blocked) = (0, 0, 0);
    for address in &addresses {
        let forgotten = ledger.forget(address, UnixMillis::now()).await?;
        requests += forgotten.requests;
        entries += forgotten.entries;
        blocked += usize::from(forgotten.is_blocked);
    }
    println!("{requests} requests belong to nobody any more, and {entries} list entries are removed");
    if blocked > 0 {
        println!("{blocked} of them stay on the block list; `replyfleet block --remove` takes them off");
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments, or the lines of standard input in place of `-`; an error names the line.
fn read<T>(arguments: &[String], parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let mut read = Vec::new();
    for argument in arguments {
        if argument != "-" {
            read.push(parse(argument)?);
            continue;
        }
        for (index, line) in std::io::stdin().lock().lines().enumerate() {
            let line = line.context("cannot read standard input")?;
            let text = line.trim();
            if !text.is_empty() && !text.starts_with('#') {
                read.push(parse(text).with_context(|| format!("standard input, line {}", index + 1))?);
            }
        }
    }
    Ok(read)
}
