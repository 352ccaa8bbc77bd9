//! Opens what the settings name: the queue, the store, and the AWS account that either may be in.
//!
//! Nothing is asked of a distant service here; a queue that is away shows at the first use, a wrong path shows now.

use std::sync::Arc;

use crate::{
    aws::Aws,
    queue::{self, Queue},
    settings::{QueueUrl, Settings, SettingsError, StoreUrl},
    store::{self, Store},
};

/// What a program's `main` needs open before it can work with the queue and the store.
#[derive(Clone)]
pub struct Ground {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The AWS account, if queue or store or sender is there.
    pub aws: Option<Arc<Aws>>,
}

/// Opens queue and store for a look: what is not there is an error, and is not made. An operator who looks as root must
/// not leave folders behind that the worker cannot use.
///
/// # Errors
/// [`GroundError`], with the settings' key.
pub async fn look(settings: &Settings, needs_aws: bool) -> Result<Ground, GroundError> {
    if let QueueUrl::Spool(dir) = &settings.queue.url
        && !dir.join("new").is_dir()
    {
        return Err(queue::QueueError::Refused(format!("there is no spool in {} yet; the first mail or the worker makes it", dir.display())).into());
    }
    store_is_there(settings)?;
    Ground::open(settings, needs_aws).await
}

/// Opens the store alone for a look, where there may be no queue yet.
///
/// # Errors
/// [`GroundError`], with the settings' key.
pub async fn look_at_store(settings: &Settings) -> Result<Arc<dyn Store>, GroundError> {
    store_is_there(settings)?;
    let aws = if settings.store.url == StoreUrl::S3 { Some(Arc::new(Aws::load(&settings.aws).await?)) } else { None };
    open_store(settings, aws.as_ref())
}

fn store_is_there(settings: &Settings) -> Result<(), GroundError> {
    match &settings.store.url {
        StoreUrl::Dir(dir) if !dir.is_dir() => {
            Err(store::StoreError::Refused(format!("there is no folder {}; the catalogue belongs below it", dir.display())).into())
        }
        _ => Ok(()),
    }
}

fn open_store(settings: &Settings, aws: Option<&Arc<Aws>>) -> Result<Arc<dyn Store>, GroundError> {
    Ok(match (&settings.store.url, aws) {
        (StoreUrl::S3, Some(aws)) => Arc::new(store::s3::S3Store::new(aws, settings.aws.endpoint_url.is_some())),
        (StoreUrl::Dir(dir), _) => Arc::new(store::dir::DirStore::open(dir)?),
        (StoreUrl::S3, None) => unreachable!("S3 loads the account"),
    })
}

/// Why the queue or the store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GroundError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("queue.url: {0}")]
    Queue(#[from] queue::QueueError),
    #[error("store.url: {0}")]
    Store(#[from] store::StoreError),
}

impl Ground {
    /// Opens queue and store as the settings name them. `needs_aws` says that something else will use the account.
    ///
    /// # Errors
    /// [`GroundError`], with the settings' key.
    pub async fn open(settings: &Settings, needs_aws: bool) -> Result<Self, GroundError> {
        let is_aws = needs_aws || matches!(settings.queue.url, QueueUrl::Sqs(_)) || settings.store.url == StoreUrl::S3;
        let aws = if is_aws { Some(Arc::new(Aws::load(&settings.aws).await?)) } else { None };
        let visibility = settings.queue.visibility_s.duration();
        let queue: Arc<dyn Queue> = match (&settings.queue.url, &aws) {
            (QueueUrl::Sqs(url), Some(aws)) => {
                let dead_letter_url = settings.queue.dead_letter_url.as_deref().unwrap_or_default();
                Arc::new(queue::sqs::SqsQueue::new(aws, url, dead_letter_url, visibility, settings.queue.message_bytes_max.get()))
            }
            (QueueUrl::Spool(dir), _) => Arc::new(queue::spool::SpoolQueue::open(dir, visibility)?),
            (QueueUrl::Sqs(_), None) => unreachable!("an SQS queue loads the account"),
        };
        let store = open_store(settings, aws.as_ref())?;
        Ok(Self { queue, store, aws })
    }
}
