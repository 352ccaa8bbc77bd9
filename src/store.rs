//! The store: the catalogue, the attachments, and mails too big for the queue. Objects have a bucket and a key.
//!
//! Two implementations hold one contract (`tests/contract/store.rs`): [`dir`], a folder with a sub-folder for each
//! bucket, and [`s3`], Amazon S3.

pub mod dir;
pub mod s3;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

/// What came of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store call failed; the variants differ in what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Network, throttling, a full disk, a time-out: try again later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The disk is full: nothing was stored.
    #[error("the store is not available: {0}")]
    Full(String),
    /// No such bucket, missing permission: trying again will not help until someone acts.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// It is larger than [`OBJECT_BYTES_MAX`].
    #[error("the object {0} is larger than {OBJECT_BYTES_MAX} bytes")]
    TooBig(ObjectName),
    /// There is no such object.
    #[error("no object {0} in the store")]
    Missing(ObjectName),
}

/// Bucket and key of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName {
    bucket: String,
    key: String,
}

impl ObjectName {
    /// The object `key` in `bucket`.
    ///
    /// # Errors
    /// A sentence that says what is wrong: both must be relative paths of named parts, so that no name leads out of the
    /// folder that serves as a store.
    pub fn new(bucket: &str, key: &str) -> std::result::Result<Self, String> {
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']);
        if !is_part(bucket) || bucket.contains('/') {
            return Err(format!("{bucket:?} is not a bucket name"));
        }
        if !key.split('/').all(is_part) {
            return Err(format!("{key:?} is not an object key: it must be names joined by '/', none of them empty, '.' or '..'"));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            bucket: String,
            key: String,
        }
        let Fields { bucket, key } = Fields::deserialize(deserializer)?;
        Self::new(&bucket, &key).map_err(serde::de::Error::custom)
    }
}

/// A version of an object's content, comparable only for equality. Not a checksum: S3's ETag is one only sometimes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// The largest object that is read into memory.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// The answer to a conditional get.
#[derive(Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The object has the version that the caller knows.
    Unchanged,
    /// The object's content and its version.
    Changed(Bytes, Version),
}

impl std::fmt::Debug for Fetched {
    /// Not the content: it may be a mail.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fetched::Unchanged => f.write_str("Unchanged"),
            Fetched::Changed(content, version) => write!(f, "Changed({} bytes, {version:?})", content.len()),
        }
    }
}

/// The seam.
#[async_trait]
pub trait Store: Send + Sync {
    /// The object's content, unless its version is still `known`.
    async fn get(&self, object: &ObjectName, known: Option<&Version>) -> Result<Fetched>;

    /// Writes an object whole, in place of the one that may be there. `Ok` means that it is durable.
    async fn put(&self, object: &ObjectName, content: Bytes) -> Result<()>;

    /// Removes an object; one that is not there counts as removed.
    async fn delete(&self, object: &ObjectName) -> Result<()>;

    /// Removes the objects of a bucket below the folder `prefix` that are older than `age_max`; returns how many. On S3
    /// the bucket's lifecycle rule does it.
    async fn expire(&self, bucket: &str, prefix: &str, age_max: Duration) -> Result<u64>;

    /// Whether the bucket answers.
    async fn check(&self, bucket: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_name_leads_out_of_the_store() {
        for (bucket, key) in [("..", "x"), ("a/b", "x"), ("", "x"), ("a", ""), ("a", "/x"), ("a", "x/../y"), ("a", "x//y"), ("a", "x\0")] {
            ObjectName::new(bucket, key).expect_err(&format!("{bucket:?} {key:?}"));
            let json = serde_json::json!({ "bucket": bucket, "key": key }).to_string();
            serde_json::from_str::<ObjectName>(&json).expect_err("nor one that arrives on the queue");
        }
        assert_eq!(ObjectName::new("a", "x/y.apk").expect("valid").to_string(), "a/x/y.apk");
    }
}
