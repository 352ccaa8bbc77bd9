//! What the AWS adapters share: one HTTP client, the region, the endpoint, the credentials.
//!
//! The HTTP client trusts the roots of one PEM file. Loading a whole system store costs the one-process-per-mail
//! enqueuer more than all the rest of its work (see `benches/record.md`), so the settings may name a file with the few
//! roots that sign AWS's endpoints.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use crate::{
    settings::{AwsSettings, SettingsError},
    telemetry::chain,
};

/// The AWS account as the adapters see it. Made once by each `main`; the configuration loads at the first use.
pub struct Aws {
    config: SdkConfig,
}

/// Debian's bundle of all roots: one file, where the folder beside it has a hundred and fifty.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Aws {
    /// Loads region and credentials: from the environment where they are set there, else by the SDK's default chain
    /// (profile, web identity, container, IMDSv2).
    ///
    /// # Errors
    /// [`SettingsError`] if the file of trusted roots cannot be used.
    pub async fn load(settings: &AwsSettings) -> Result<Self, SettingsError> {
        // One crypto provider for everything in the process, chosen before anything asks for a default.
        let pem_file = settings.trusted_roots_file.as_deref();
        let tls = match pem_file {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| SettingsError::file("aws.trusted_roots_file", path, source))?;
                TrustStore::empty().with_pem_certificate(pem)
            }
            None => match std::fs::read(SYSTEM_ROOTS) {
                Ok(pem) => TrustStore::empty().with_pem_certificate(pem),
                Err(_) => TrustStore::default(),
            },
        };
        let context = TlsContext::builder()
            .with_trust_store(tls)
            .build()
            .map_err(|error| SettingsError::value("aws.trusted_roots_file", &format!("not a PEM file of certificates: {error}")))?;
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https();

        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            // Our own callers retry, by their own deadlines and by whether a repeat is harmless.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(ATTEMPT_TIMEOUT).build());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
            loader = loader.credentials_provider(EnvironmentVariableCredentialsProvider::new());
        }
        Ok(Self { config: loader.load().await })
    }

    /// What the SDK's clients are made from.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }
}

/// How long one HTTP attempt may take, unless a call says otherwise.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is to blame for a failed AWS call, which decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call surely had no effect, and will not until someone changes a setting or a permission.
    Refused,
    /// The call surely had no effect: throttled, or nothing was sent. Try again.
    NotDone,
    /// The call may have had its effect: time-out, lost connection, 5xx after the body was sent.
    Ambiguous,
}

/// Service error codes that only a person can cure.
const REFUSALS: [&str; 16] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidAddress",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "KmsAccessDenied",
    "NoSuchBucket",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "UnsupportedOperation",
];

/// Sorts a failed call by whether it had its effect, and says in one line what happened. The line holds the service's
/// code and message and never the request.
pub fn fault<E, R>(error: &SdkError<E, R>) -> (Fault, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + HttpStatus + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => (Fault::Refused, chain(error)),
        SdkError::DispatchFailure(failure) if failure.is_user() => (Fault::Refused, chain(error)),
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_none_or(is_before_request) => (Fault::NotDone, chain(error)),
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("no code");
            let text = format!("{code} ({})", service.err().message().unwrap_or("no message"));
            match service.raw().status_code() {
                _ if REFUSALS.contains(&code) => (Fault::Refused, text),
                500 | 502 | 504 => (Fault::Ambiguous, text),
                _ => (Fault::NotDone, text),
            }
        }
        _ => (Fault::Ambiguous, chain(error)),
    }
}

/// Whether it failed before any byte of the request left: there was no connection (name, route, TCP, TLS), or hyper was
/// not even reached (no credentials). Anything that hyper says of a connection that stood is not that.
fn is_before_request(error: &ConnectorError) -> bool {
    let mut has_hyper = false;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        has_hyper |= cause.is::<hyper::Error>() || cause.is::<hyper_util::client::legacy::Error>();
        source = cause.source();
    }
    !has_hyper && error.is_other()
}

/// What [`fault`] needs of a raw response.
pub trait HttpStatus {
    /// The HTTP status code.
    fn status_code(&self) -> u16;
}

impl HttpStatus for HttpResponse {
    fn status_code(&self) -> u16 {
        self.status().as_u16()
    }
}
