//! `replyfleet postfix-maps`: writes which domains and addresses are ours, as `hash:` maps for Postfix, so that a recipient
//! whom nobody answers is refused at SMTP time.
//!
//! [`text`] says what stands in the maps, [`place`] puts them where Postfix reads them. The catalogue comes from the store, as
//! the worker's does. If it cannot be had, or is refused (an empty one is), or the settings contradict it, the maps stay as
//! they are: the command says why and ends with 1. Postfix sees a new map by itself; nothing is reloaded.

mod place;
mod text;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{anyhow, bail};
use clap::Args;
use replyfleet::{ground::look_at_store, settings::Settings, telemetry::chain};
use replyfleet_worker::{catalogue::keeper, catalogue_object, send};

use self::{place::Place, text::Maps};

/// How long the store may take to give the catalogue.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct PostfixMapsArguments {
    /// The folder of the maps: domains, addresses, aliases. It exists; main.cf names them as hash:FOLDER/domains and so on.
    #[arg(long, default_value = "/etc/postfix/replyfleet")]
    directory: PathBuf,
    /// The folder of Postfix's main.cf, if it is not Postfix's default one.
    #[arg(long)]
    config_directory: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "a hint is for people, and not the result")]
pub(crate) async fn run(arguments: &PostfixMapsArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let place = Place::open(&arguments.directory, arguments.config_directory.as_deref())?;
    let store = look_at_store(settings).await?;
    let (object, available) = (catalogue_object(settings)?, send::available(settings));
    let Ok(looked) = tokio::time::timeout(STORE_TIMEOUT, keeper::look(store.as_ref(), &object, &available)).await else {
        bail!("the store gave no catalogue within {} s; the maps stay as they are", STORE_TIMEOUT.as_secs());
    };
    let catalogue = looked.map_err(|error| anyhow!("{}; the maps stay as they are", chain(&error)))?;
    let maps = Maps::new(catalogue.addresses(), settings).map_err(|error| anyhow!("{error}; the maps stay as they are"))?;
    // Addresses before domains: at no moment is a domain ours whose addresses are not, which would be a final "no such user" for
    // an address that has an answer. A power cut between two of them leaves the later ones as they were, whole, and the next run
    // goes on there.
    let mut written = Vec::new();
    for (name, text) in [("aliases", &maps.aliases), ("addresses", &maps.addresses), ("domains", &maps.domains)] {
        if place.put(name, text)? {
            written.push(name);
        }
    }
    if settings.postfix.postmaster.is_none() {
        eprintln!("replyfleet: nobody gets the mail to postmaster@ our domains (RFC 5321, 4.5.1): set postfix.postmaster");
    }
    let what = if written.is_empty() { "nothing changed".to_owned() } else { format!("wrote {}", written.join(", ")) };
    println!("{what}: {}", maps.summary());
    Ok(ExitCode::SUCCESS)
}
