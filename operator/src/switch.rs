//! `replyfleet switch`: what the operator turns off and on at run time. Workers look every few seconds.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use replyfleet::{clock::UnixMillis, settings::Settings};
use replyfleet_worker::switches::Setting;

use crate::{ledger, table::table};

#[derive(Args)]
pub(crate) struct SwitchArguments {
    /// all, attachments, address:get@example.com, provider:example.org (its domain, or that of its mail hosts), or shedding;
    /// without it, shows all that are set.
    name: Option<String>,
    /// on, off, or hold (all, address and provider: requests wait in the queue); for shedding: the seconds that mail may wait
    /// before attachments are given up, off, or auto (as the settings say).
    #[arg(requires = "name")]
    state: Option<String>,
}

pub(crate) async fn run(arguments: &SwitchArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ledger = ledger::join(settings).await?;
    match (&arguments.name, &arguments.state) {
        (Some(name), Some(state)) => {
            let setting = Setting::parse(name, state).with_context(|| format!("switch {name}"))?;
            ledger.set_switch(&setting, UnixMillis::now()).await?;
            println!("{} is {}; every worker follows within a minute, and `replyfleet status` shows which have", setting.name(), setting.value());
        }
        (Some(name), None) => bail!("switch {name} to what? on, off or hold"),
        (None, _) => {
            let mut rows = table(&["switch", "state"]);
            for setting in ledger.switches().await?.settings() {
                rows.add_row([setting.name(), setting.value()]);
            }
            println!("{rows}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
