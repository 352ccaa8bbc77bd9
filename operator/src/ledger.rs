//! The ledger as the operator's commands use it: with the schema that it has. Only a worker brings that up to date.

use replyfleet::settings::Settings;
use replyfleet_worker::ledger::Ledger;

/// The ledger that the settings name.
pub(crate) async fn join(settings: &Settings) -> anyhow::Result<Ledger> {
    Ok(Ledger::join(settings.database_url()?, settings.secret()?, settings.allowance.clone()).await?)
}
