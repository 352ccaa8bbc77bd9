//! A Maildir as sender: each reply becomes a file in `new/`, written whole and fsynced first.
//!
//! A file is named after its reply, so a reply that is sent twice is there once.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use replyfleet::durable;
use tokio::task::spawn_blocking;

use super::{Accepted, SendError, Sender};
use crate::compose::Reply;

/// A Maildir.
pub struct MaildirSender {
    dir: PathBuf,
}

impl MaildirSender {
    /// Opens the Maildir at `dir`, creating it where it is missing.
    ///
    /// # Errors
    /// A sentence that names the folder.
    pub fn open(dir: &Path) -> Result<Self, String> {
        for sub in ["tmp", "new", "cur"] {
            let path = dir.join(sub);
            durable::create_dir(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }
}

#[async_trait]
impl Sender for MaildirSender {
    async fn send(&self, reply: &Reply) -> Result<Accepted, SendError> {
        let (temporary, target) = (self.dir.join("tmp").join(&reply.id), self.dir.join("new").join(&reply.id));
        let message = reply.to_vec();
        let write = move || {
            let _ = std::fs::remove_file(&temporary); // of a worker that died while it wrote this reply
            durable::write_file(&temporary, &target, &message)
        };
        let written = spawn_blocking(write).await.map_err(|_| SendError::Uncertain("the Maildir's task ended".into()))?;
        written.map(|()| Accepted).map_err(|error| SendError::NotSent(error.kind().to_string()))
    }

    async fn check(&self) -> Result<(), String> {
        let probe = self.dir.join("tmp").join(format!("check-{}", std::process::id()));
        let result = std::fs::write(&probe, b"").map_err(|error| format!("cannot write to {}: {error}", self.dir.display()));
        let _ = std::fs::remove_file(&probe); // a probe that stays is only an empty file
        result
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }
}
