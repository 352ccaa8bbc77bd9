//! `replyfleet switch`: what the operator turns off and on at run time. Workers look every few seconds.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use replyfleet::{clock::UnixMillis, ground::look, settings::Settings};
use replyfleet_worker::{catalogue::keeper, catalogue_object, send, switches::Setting};

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

/// A switch for an address that nobody can write to is a typing error, most likely; but the catalogue may be on its way.
async fn warn_of_unknown(address: &str, settings: &Settings) {
    let look = async {
        let (ground, object) = (look(settings, false).await.ok()?, catalogue_object(settings).ok()?);
        keeper::look(ground.store.as_ref(), &object, &send::available(settings)).await.ok()
    };
    if let Some(catalogue) = look.await
        && catalogue.responses_for(address).is_empty()
    {
        println!("NOTE: the catalogue has no {address}; its addresses: {}", catalogue.addresses().collect::<Vec<_>>().join(", "));
    }
}

pub(crate) async fn run(arguments: &SwitchArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ledger = ledger::join(settings).await?;
    match (&arguments.name, &arguments.state) {
        (Some(name), Some(state)) => {
            let setting = Setting::parse(name, state).with_context(|| format!("switch {name}"))?;
            ledger.set_switch(&setting, UnixMillis::now()).await?;
            if let Setting::Address(address, _) = &setting {
                warn_of_unknown(address, settings).await;
            }
            println!("{} is {}; every worker follows within a minute, and `replyfleet status` shows which have", setting.name(), setting.value());
        }
        (Some(name), None) => bail!("switch {name} to what? `replyfleet switch --help` lists what each can be set to"),
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
