//! Amazon S3 as the store. The version is the ETag; a conditional get is `If-None-Match`.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use bytes::Bytes;

use super::{Fetched, OBJECT_BYTES_MAX, ObjectName, Result, Store, StoreError, Version};
use crate::aws::{Aws, Fault, HttpStatus, fault};

/// How long one call may take: a mail of 40 MB goes up through 10 Mbit/s in that time, and it is still within the
/// enqueuer's own deadline.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(45);

/// The account's S3.
pub struct S3Store {
    client: Client,
}

impl S3Store {
    /// Nothing is asked of S3 yet. `path_style` puts the bucket into the path, as an emulator on an IP address needs.
    pub fn new(aws: &Aws, path_style: bool) -> Self {
        let mut limits = aws.config().timeout_config().map_or_else(Default::default, |limits| limits.to_builder());
        limits.set_operation_attempt_timeout(Some(ATTEMPT_TIMEOUT));
        let config = aws_sdk_s3::config::Builder::from(aws.config()).force_path_style(path_style).timeout_config(limits.build()).build();
        Self { client: Client::from_conf(config) }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn get(&self, object: &ObjectName, known: Option<&Version>) -> Result<Fetched> {
        let call = self.client.get_object().bucket(object.bucket()).key(object.key());
        let output = match call.set_if_none_match(known.map(|version| version.0.clone())).send().await {
            Err(SdkError::ServiceError(service)) if service.raw().status_code() == 304 => return Ok(Fetched::Unchanged),
            output => output.map_err(|error| store_error(object, &error))?,
        };
        let version = Version(output.e_tag().unwrap_or_default().to_owned());
        if output.content_length().is_some_and(|bytes| u64::try_from(bytes).is_ok_and(|bytes| bytes > OBJECT_BYTES_MAX)) {
            return Err(StoreError::TooBig(object.clone()));
        }
        // A body cut short is an error here: the SDK checks it against Content-Length.
        let content = output.body.collect().await.map_err(|error| StoreError::Unavailable(format!("{object}: {error}")))?;
        Ok(Fetched::Changed(content.into_bytes(), version))
    }

    async fn put(&self, object: &ObjectName, content: Bytes) -> Result<()> {
        let call = self.client.put_object().bucket(object.bucket()).key(object.key()).body(ByteStream::from(content));
        call.send().await.map(drop).map_err(|error| store_error(object, &error))
    }

    async fn delete(&self, object: &ObjectName) -> Result<()> {
        let deleted = self.client.delete_object().bucket(object.bucket()).key(object.key()).send().await;
        match deleted.map_err(|error| store_error(object, &error)) {
            Err(StoreError::Missing(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn expire(&self, _bucket: &str, _prefix: &str, _age_max: Duration) -> Result<u64> {
        Ok(0) // the bucket's lifecycle rule does it
    }

    async fn check(&self, bucket: &str) -> Result<()> {
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(()),
            // A HEAD answer has no body to say more.
            Err(SdkError::ServiceError(service)) if service.raw().status_code() == 404 => {
                Err(StoreError::Refused(format!("there is no bucket {bucket}")))
            }
            Err(SdkError::ServiceError(service)) if service.raw().status_code() == 403 => {
                Err(StoreError::Refused(format!("access to the bucket {bucket} is denied; it needs s3:ListBucket, s3:GetObject, s3:PutObject")))
            }
            Err(error) => Err(StoreError::Unavailable(fault(&error).1)),
        }
    }
}

fn store_error<E, R>(object: &ObjectName, error: &SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + HttpStatus + 'static,
{
    if let SdkError::ServiceError(service) = error
        && matches!(service.err().code(), Some("NoSuchKey" | "NotFound"))
    {
        return StoreError::Missing(object.clone());
    }
    match fault(error) {
        (Fault::Refused, text) => StoreError::Refused(format!("{object}: {text}")),
        (Fault::NotDone | Fault::Ambiguous, text) => StoreError::Unavailable(format!("{object}: {text}")),
    }
}
