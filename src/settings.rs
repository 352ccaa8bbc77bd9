//! The settings: one TOML file for all programs, and three secrets from the environment.
//!
//! Read once, in `main`, and passed down; nothing else reads a file of settings or an environment variable. An unknown
//! key, a value out of its range or a relative path is refused with file, line and key: a service that starts with half
//! its settings is worse than one that does not start. `docs/replyfleet.toml` documents every key and is parsed by a
//! test that fails if one is missing there.

mod allowance;
mod authentication;
mod dns;
mod enqueuer;
mod metrics;
mod postfix;
mod provider;
mod send;
mod signing;
mod status;
mod termination;
mod value;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use allowance::{AllowanceSettings, Cap, SheddingSettings};
pub use authentication::{AuthenticationMode, AuthenticationSettings, Trust};
pub use dns::{DmarcPolicy, DnsSettings, MtaStsMode};
pub use enqueuer::{EnqueuerSettings, LmtpAddress};
pub use metrics::{MetricsSettings, Namespace, Period};
pub use postfix::PostfixSettings;
pub use provider::{ProviderSettings, Rate, RateSettings};
pub use send::{RouteSettings, RouteTls, SendMethodName, SendSettings, SenderSettings, SesSettings, SmtpSettings, SmtpTls};
pub use signing::{Day, KeyMaterial, KeySource, SigningKeySettings, SigningSettings};
pub use status::{StatusListen, StatusSettings};
pub use termination::TerminationSettings;
pub use value::{Count, QueueUrl, Redacted, Seconds, StoreUrl};

use crate::keyed::{Secret, SecretError};

/// Where every program looks unless `--config` names another file.
pub const DEFAULT_PATH: &str = "/etc/replyfleet/replyfleet.toml";

/// Overrides `secret_key_file` with the key itself.
pub const ENV_SECRET_KEY: &str = "REPLYFLEET_SECRET_KEY";
/// Overrides `database.url`, which may hold a password.
pub const ENV_DATABASE_URL: &str = "REPLYFLEET_DATABASE_URL";
/// The password for `send.SMTP.user`; there is no key for it in the file.
pub const ENV_SMTP_PASSWORD: &str = "REPLYFLEET_SMTP_PASSWORD";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{key}: cannot read {path}")]
    File {
        /// The key that names the file, or "settings" for the file of settings itself.
        key: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid; the text names line, column, key and what was expected.
    #[error("{path}: {text}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, and where.
        text: String,
    },
    /// A value that is valid by itself cannot be used.
    #[error("{key}: {text}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with its value.
        text: String,
    },
    /// The secret key cannot be used.
    #[error("secret_key_file: {0}")]
    Secret(#[from] SecretError),
}

impl SettingsError {
    pub(crate) fn file(key: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { key, path: path.display().to_string(), source }
    }

    /// An error about the value of `key`.
    pub fn value(key: &str, text: &str) -> Self {
        Self::Value { key: key.to_owned(), text: text.to_owned() }
    }
}

/// All settings. The keys are documented in `docs/replyfleet.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file with the installation's secret; [`ENV_SECRET_KEY`] overrides it.
    pub secret_key_file: Option<PathBuf>,
    /// What each program logs.
    #[serde(default)]
    pub log: LogSettings,
    /// What is done to prove who sent a request.
    #[serde(default)]
    pub authentication: AuthenticationSettings,
    /// The queue.
    pub queue: QueueSettings,
    /// The store.
    pub store: StoreSettings,
    /// Where the catalogue lies in the store.
    pub catalogue: CatalogueSettings,
    /// The AWS account, where queue, store or sender use one.
    #[serde(default)]
    pub aws: AwsSettings,
    /// The enqueuer.
    #[serde(default)]
    pub enqueuer: EnqueuerSettings,
    /// The worker.
    pub worker: WorkerSettings,
    /// The ledger's database.
    #[serde(default)]
    pub database: DatabaseSettings,
    /// Who gets no answer.
    #[serde(default)]
    pub screen: ScreenSettings,
    /// How many answers a sender may have.
    #[serde(default)]
    pub allowance: AllowanceSettings,
    /// What is given up while the queue is long.
    #[serde(default)]
    pub shedding: SheddingSettings,
    /// What every reply has in common.
    pub reply: ReplySettings,
    /// How replies leave, by the catalogue's `send_method`.
    pub send: SendSettings,
    /// What signs them.
    #[serde(default)]
    pub signing: SigningSettings,
    /// What is known of mail providers: the file's entries, and the built-in ones that it does not name.
    #[serde(default)]
    pub providers: Vec<ProviderSettings>,
    /// How fast replies leave.
    #[serde(default)]
    pub rates: RateSettings,
    /// What `replyfleet dns` prints and checks.
    #[serde(default)]
    pub dns: DnsSettings,
    /// What `replyfleet postfix-maps` writes besides the catalogue's addresses.
    #[serde(default)]
    pub postfix: PostfixSettings,
    /// What happens when the machine's Auto Scaling group ends it.
    #[serde(default)]
    pub termination: TerminationSettings,
    /// Where the worker shows how it is.
    #[serde(default)]
    pub status: StatusSettings,
    /// What is measured, and where it goes.
    #[serde(default)]
    pub metrics: MetricsSettings,
    #[serde(skip)]
    secret_key: Option<Redacted>,
}

/// What is logged, to standard error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// From which level on.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For reading at a terminal.
    Text,
}

/// The queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// `spool:DIR` or the URL of an SQS queue.
    pub url: QueueUrl,
    /// The URL of the SQS dead-letter queue; a spool has its own.
    pub dead_letter_url: Option<String>,
    /// How long a received message stays invisible unless its worker extends it.
    #[serde(default = "default_visibility")]
    pub visibility_s: Seconds<2, 43_200>,
    /// A larger mail goes through the store.
    #[serde(default = "default_inline_bytes_max")]
    pub inline_bytes_max: Count<0, 780_000>,
    /// The largest message that the SQS queue takes (its attribute `MaximumMessageSize`).
    #[serde(default = "default_message_bytes_max")]
    pub message_bytes_max: Count<1_024, 1_048_576>,
}

fn default_visibility() -> Seconds<2, 43_200> {
    Seconds::new(120)
}
/// In base64 and with its envelope still under the 262,144 bytes that older queues take.
fn default_inline_bytes_max() -> Count<0, 780_000> {
    Count::new(190_000)
}
fn default_message_bytes_max() -> Count<1_024, 1_048_576> {
    Count::new(262_144)
}

/// The store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// `dir:DIR` or `s3:`.
    pub url: StoreUrl,
    /// The bucket for mails too big for the queue.
    #[serde(default = "default_claim_check_bucket")]
    pub claim_check_bucket: String,
}

fn default_claim_check_bucket() -> String {
    "claim-check".into()
}

/// Where the catalogue lies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueSettings {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// How often it and the attachments are looked at for a new version.
    #[serde(default = "default_refresh")]
    pub refresh_s: Seconds<1, 86_400>,
}

fn default_refresh() -> Seconds<1, 86_400> {
    Seconds::new(60)
}

/// The AWS account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsSettings {
    /// The region; else `AWS_REGION` or the instance's own.
    pub region: Option<String>,
    /// Another endpoint for all services (an emulator, a VPC endpoint).
    pub endpoint_url: Option<String>,
    /// A PEM file with the only certificate authorities to trust for AWS; else the system's.
    pub trusted_roots_file: Option<PathBuf>,
    /// Another place of the instance's metadata service (IMDSv2), for tests; the credentials' own is not changed by it.
    pub imds_endpoint_url: Option<String>,
}

/// The worker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// How many messages are worked on at a time.
    #[serde(default = "default_slots")]
    pub slots: Count<1, 1_000>,
    /// Where the last good catalogue and the attachments are kept.
    pub cache_dir: PathBuf,
    /// How long messages in hand may take after SIGTERM.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout_s: Seconds<1, 3_600>,
    /// How often something that is away is asked whether it is back.
    #[serde(default = "default_probe")]
    pub probe_s: Seconds<1, 3_600>,
    /// A message that was received more often is parked.
    #[serde(default = "default_receives_max")]
    pub receives_max: Count<1, 1_000>,
    /// How long a message that may have killed a worker may take in a process of its own.
    #[serde(default = "default_quarantine_timeout")]
    pub quarantine_timeout_s: Seconds<1, 3_600>,
}

fn default_slots() -> Count<1, 1_000> {
    Count::new(200)
}
fn default_stop_timeout() -> Seconds<1, 3_600> {
    Seconds::new(60)
}
fn default_probe() -> Seconds<1, 3_600> {
    Seconds::new(60)
}
fn default_quarantine_timeout() -> Seconds<1, 3_600> {
    Seconds::new(120)
}
fn default_receives_max() -> Count<1, 1_000> {
    // With delays of up to an hour, a message that only waits reaches the default age_max_s first.
    Count::new(150)
}

/// The ledger's database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// `sqlite:FILE`, `mysql://...` or `postgres://...`; [`ENV_DATABASE_URL`] overrides it.
    pub url: Option<Redacted>,
    /// How long it is remembered which replies a request had. A message that comes again later is answered anew.
    pub retention_s: Seconds<86_400, 31_536_000>,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        // Longer than a message can live in an SQS queue and its dead letters, 14 days each.
        Self { url: None, retention_s: Seconds::new(40 * 86_400) }
    }
}

/// Who gets no answer, beyond the rules that always hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScreenSettings {
    /// Addresses and domains (with their sub-domains) that get no answer.
    pub block: Vec<String>,
    /// Domains of mail farms that get no answer.
    pub mail_farms: Vec<String>,
    /// Whether a mail from `postmaster@` may be answered.
    pub answer_postmaster: bool,
    /// Header fields in which our own MX's filter says `yes` for spam or a virus. The topmost of each counts.
    pub filter_headers: Vec<String>,
    /// The largest mail that is read.
    pub mail_bytes_max: Count<1_024, 67_108_864>,
    /// An older request is not answered any more.
    pub age_max_s: Seconds<60, 1_209_600>,
}

impl Default for ScreenSettings {
    fn default() -> Self {
        Self {
            block: Vec::new(),
            mail_farms: Vec::new(),
            answer_postmaster: false,
            filter_headers: Vec::new(),
            mail_bytes_max: Count::new(10 << 20),
            age_max_s: Seconds::new(4 * 86_400),
        }
    }
}

/// What every reply has in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplySettings {
    /// The name beside the From address.
    #[serde(default)]
    pub from_name: String,
    /// The Subject where the catalogue names none. Nothing of the request is in it.
    #[serde(default = "default_subject")]
    pub subject: String,
    /// Where bounces go: `LOCAL@DOMAIN`, sent as `LOCAL+TOKEN@DOMAIN` with a token for each reply.
    pub bounce_address: String,
    /// Whether MAIL FROM is empty instead (RFC 3834 §3.3); no bounce comes back then. SES has its own MAIL FROM.
    #[serde(default)]
    pub null_sender: bool,
}

fn default_subject() -> String {
    "Your request".into()
}

impl Settings {
    /// Reads the file and the environment's secrets.
    ///
    /// # Errors
    /// [`SettingsError`] with file, line, key and what was expected.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::file("settings", path, source))?;
        Self::parse(&text, &path.display().to_string(), |name| std::env::var(name).ok())
    }

    /// Reads settings from `text`, which lies in the file `path`; `env` gives an environment variable's value.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub fn parse(text: &str, path: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let invalid = |text: String| SettingsError::Invalid { path: path.to_owned(), text };
        let mut settings: Settings = toml::from_str(text).map_err(|error| invalid(located(text, &error)))?;
        if let Some(url) = env(ENV_DATABASE_URL) {
            settings.database.url = Some(Redacted::new(url));
        }
        settings.secret_key = env(ENV_SECRET_KEY).map(Redacted::new);
        for key in &mut settings.signing.keys {
            key.material = Some(key.key.resolve(&env));
        }
        let named: Vec<String> = settings.providers.iter().map(|provider| provider.name.clone()).collect();
        settings.providers.extend(provider::built_in().into_iter().filter(|provider| !named.contains(&provider.name)));
        for sender in [&mut settings.send.ses, &mut settings.send.smtp].into_iter().flatten() {
            if let SenderSettings::Smtp(smtp) = sender {
                smtp.password = env(ENV_SMTP_PASSWORD).map(Redacted::new);
            }
        }
        settings.check().map_err(|(key, text_of_key)| invalid(format!("{}{key}: {text_of_key}", value::line_of(text, &key))))?;
        Ok(settings)
    }

    /// The installation's secret.
    ///
    /// # Errors
    /// [`SettingsError::Secret`] if it cannot be read, is too short, or is readable by everyone.
    pub fn secret(&self) -> Result<Secret, SettingsError> {
        match (&self.secret_key, &self.secret_key_file) {
            (Some(text), _) => Ok(Secret::from_text(text.expose())?),
            (None, Some(path)) => Ok(Secret::from_file(path)?),
            (None, None) => Err(SettingsError::value("secret_key_file", &format!("not set, and neither is the environment's {ENV_SECRET_KEY}"))),
        }
    }

    /// The database's URL, which only the worker and the operator need.
    ///
    /// # Errors
    /// [`SettingsError::Value`] if it is nowhere.
    pub fn database_url(&self) -> Result<&str, SettingsError> {
        let url = self.database.url.as_ref().map(Redacted::expose);
        url.ok_or_else(|| SettingsError::value("database.url", &format!("not set, and neither is the environment's {ENV_DATABASE_URL}")))
    }

    /// Whether metrics are published to CloudWatch.
    pub fn publishes_metrics(&self) -> bool {
        self.metrics.cloudwatch.unwrap_or(matches!(self.queue.url, QueueUrl::Sqs(_)))
    }

    /// What no single value can show: the key, and what is wrong.
    fn check(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, text: &str| Err((key.to_owned(), text.to_owned()));
        self.enqueuer.check()?;
        let is_sqs = matches!(self.queue.url, QueueUrl::Sqs(_));
        if is_sqs && self.queue.dead_letter_url.is_none() {
            return fault("queue.dead_letter_url", "missing; an SQS queue needs a queue for its dead letters");
        }
        if !is_sqs && self.queue.dead_letter_url.is_some() {
            return fault("queue.dead_letter_url", "a spool keeps its dead letters in its own folder parked/; remove this key");
        }
        if self.store.claim_check_bucket == self.catalogue.bucket {
            return fault(
                "store.claim_check_bucket",
                "is the catalogue's bucket; what is old among the claim checks is removed, so give them one of their own",
            );
        }
        for provider in &self.providers {
            if let Some((key, text)) = provider.fault() {
                return fault(&format!("providers.{key}"), &text);
            }
            if self.providers.iter().filter(|other| other.name == provider.name).count() > 1 {
                return fault("providers.name", &format!("two entries are called {:?}", provider.name));
            }
        }
        if let Some(domain) = self.rates.domains.keys().find(|domain| domain.to_ascii_lowercase() != **domain || !domain.is_ascii()) {
            return fault("rates.domains", &format!("{domain:?} never matches: domains are compared in lower case and as A-labels"));
        }
        for (key, path) in self.paths() {
            if !path.is_absolute() {
                let text = format!("{} must be an absolute path: Postfix runs the enqueuer in its own folder", path.display());
                return fault(&key, &text);
            }
        }
        for (method, sender) in self.send.each() {
            if let SenderSettings::Smtp(smtp) = sender
                && let Some((key, text)) = smtp.fault()
            {
                return fault(&format!("send.{method}.{key}"), &text);
            }
        }
        if let Some((key, text)) = self.send.fault() {
            return fault(&key, &text);
        }
        let bounce = self.reply.bounce_address.split_once('@');
        if !bounce.is_some_and(|(local, domain)| !local.is_empty() && !local.contains('+') && domain.contains('.')) {
            return fault("reply.bounce_address", "must be an address LOCAL@DOMAIN without '+'");
        }
        Ok(())
    }

    fn paths(&self) -> Vec<(String, &Path)> {
        let mut paths = vec![("worker.cache_dir".to_owned(), self.worker.cache_dir.as_path())];
        paths.extend(self.secret_key_file.as_deref().map(|path| ("secret_key_file".to_owned(), path)));
        paths.extend(self.aws.trusted_roots_file.as_deref().map(|path| ("aws.trusted_roots_file".to_owned(), path)));
        if let QueueUrl::Spool(dir) = &self.queue.url {
            paths.push(("queue.url".to_owned(), dir));
        }
        paths.extend(self.enqueuer.sockets().map(|path| ("enqueuer.lmtp".to_owned(), path)));
        if let StoreUrl::Dir(dir) = &self.store.url {
            paths.push(("store.url".to_owned(), dir));
        }
        let database = self.database.url.as_ref().and_then(|url| url.expose().strip_prefix("sqlite:"));
        paths.extend(database.map(|file| ("database.url".to_owned(), Path::new(file))));
        for (method, sender) in self.send.each() {
            match sender {
                SenderSettings::Maildir { dir, .. } => paths.push((format!("send.{method}.dir"), dir)),
                SenderSettings::Smtp(smtp) => {
                    let roots = smtp
                        .routes
                        .iter()
                        .map(|route| ("routes", &route.trusted_roots_file))
                        .chain([("trusted_roots_file", &smtp.trusted_roots_file)]);
                    paths.extend(roots.filter_map(|(key, path)| Some((format!("send.{method}.{key}"), path.as_deref()?))));
                }
                SenderSettings::Ses(_) => {}
            }
        }
        paths
    }
}

/// The reader's own words, behind the place. Not its excerpt of the file: a line of settings may hold a password.
fn located(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return error.message().to_owned() };
    let key = value::key_before(text, span.start).map(|key| format!("{key}: ")).unwrap_or_default();
    format!("{}{key}{}", value::place(text, span.start), error.message())
}

#[cfg(test)]
mod tests;
