//! `replyfleet secrets`: fetches a machine's secrets from AWS Secrets Manager when it boots, into a folder in memory. Neither the
//! image nor the user-data holds one: they name them (`secrets.env`), and the machine's role may read those.
//!
//! No value is ever in an argument, a log or an error, and no file is readable by others, not even for a moment. Whatever the
//! service answers is tried again until the time is over: a machine that boots may have no network, no role and no permission yet.
//! What a secret holds is another matter: if it is not what is expected, that is an error at once. Nothing is written then; so the
//! programs that wait for it start with all secrets or not at all.

mod content;
mod folder;
mod manager;
mod names;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use replyfleet::settings::{AwsSettings, Redacted};
use tokio::time::Instant;

use self::{content::Fetched, folder::Folder, manager::Manager, names::Names};
use crate::metrics;

/// The pause after the first failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct SecretsArguments {
    /// The file that names the secrets, lines KEY=VALUE: SECRET_KEY_ARN, MX_SECRET_ARN, WORKER_SECRET_ARN, DATABASE_SECRET_ARN and, for the last,
    /// DATABASE_ENGINE (postgres or mysql), DATABASE_HOST, DATABASE_PORT, DATABASE_NAME and DATABASE_ROOTS (a PEM file: the only
    /// authorities to trust, and then the host's name is verified).
    #[arg(long, default_value = "/etc/replyfleet/secrets.env")]
    names: PathBuf,
    /// Where the secrets are put: secret.key, spamhaus.key, worker.env (for systemd's EnvironmentFile=) and dkim/.
    #[arg(long, default_value = "/run/replyfleet/secrets")]
    directory: PathBuf,
    /// The group that may read secret.key and the keys in dkim/; worker.env and spamhaus.key are for their owner only.
    #[arg(long, default_value = "replyfleet")]
    group: String,
    /// For how many seconds a failing call is tried again.
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
}

pub(crate) async fn run(arguments: &SecretsArguments, config: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&arguments.names).with_context(|| format!("cannot read {}", arguments.names.display()))?;
    let names = Names::parse(&text).with_context(|| arguments.names.display().to_string())?;
    let folder = Folder::new(&arguments.directory, &arguments.group)?;
    let manager = Manager::open(&account(config, &names)?).await?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout_s);
    let fetched = Fetched {
        secret_key: fetch(&manager, names.secret_key.as_deref(), deadline).await?,
        mx: fetch(&manager, names.mx.as_deref(), deadline).await?,
        worker: fetch(&manager, names.worker.as_deref(), deadline).await?,
        database: fetch(&manager, names.database.as_ref().map(|database| database.secret.as_str()), deadline).await?,
    };
    let files = content::files(&names, &fetched)?;
    let changed = folder.write(&files)?;
    println!("{} files in {}, {changed} of them new or changed", files.len(), arguments.directory.display());
    Ok(ExitCode::SUCCESS)
}

/// The account by the settings, if there are any; a secret's own name says its region where they do not.
fn account(config: &Path, names: &Names) -> anyhow::Result<AwsSettings> {
    let mut account = metrics::settings(config)?.map(|settings| settings.aws).unwrap_or_default();
    account.region = account.region.or_else(|| names.region());
    Ok(account)
}

/// A secret's text, once the service gives it; none if none is named.
#[expect(clippy::print_stderr, reason = "the unit's log says why the machine is not ready yet")]
async fn fetch(manager: &Manager, name: Option<&str>, deadline: Instant) -> anyhow::Result<Option<Redacted>> {
    let Some(name) = name else { return Ok(None) };
    let mut pause = PAUSE_MIN;
    loop {
        let error = match tokio::time::timeout_at(deadline, manager.fetch(name)).await {
            Ok(Ok(text)) => return Ok(Some(text)),
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".into(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        anyhow::ensure!(left > pause, "the secret {name} cannot be read: {error}; the machine's role needs secretsmanager:GetSecretValue for it");
        eprintln!("replyfleet: the secret {name} cannot be read yet: {error}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
