//! From Postfix to the queue, in as few steps as can be: a mail and its envelope become one [`Envelope`] on the queue.
//!
//! A mail too big for the queue goes to the store first. Nothing is read, judged or changed: the bytes travel as they
//! came. `Ok` from [`enqueue`] means that the queue has the mail durably; anything else means that Postfix keeps it.
//!
//! The order matters. The object is stored before the message is put: a crash between the two leaves an object that
//! nobody points to (it expires), never a message without its mail. A crash after the put and before Postfix hears of it
//! makes Postfix deliver again, with the same request key, which the worker's ledger answers once.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod handover;
pub mod intake;
pub mod lmtp;
pub mod pulse;
pub mod service;
mod startup;
mod supervisor;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{CLAIM_CHECK_PREFIX, ClaimCheck, Envelope, Facts, Mail, group, mail_key, request_key},
    keyed::Secret,
    queue::{Queue, QueueError},
    settings::EnqueuerSettings,
    store::{ObjectName, Store, StoreError},
};

/// What Postfix says of a mail beside its bytes; the names are those of pipe(8)'s macros.
#[derive(Clone, Default)]
pub struct Handover {
    /// `${sender}`; empty for the null sender.
    pub sender: String,
    /// `${original_recipient}`: RCPT TO before aliasing.
    pub original_recipient: String,
    /// `${client_address}`.
    pub client_address: String,
    /// `${client_hostname}`; Postfix says `unknown` where it could not verify one.
    pub client_hostname: String,
    /// `${client_helo}`.
    pub client_helo: String,
    /// `${client_protocol}`.
    pub client_protocol: String,
    /// `${queue_id}`.
    pub queue_id: String,
}

impl std::fmt::Debug for Handover {
    /// Says nothing of the requester.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handover({})", self.queue_id)
    }
}

/// What takes envelopes for the queue: the queue itself, or the [`intake`](intake::Intake) before it.
#[async_trait]
pub trait Put: Send + Sync {
    /// As [`Queue::put`].
    async fn put(&self, envelope: &Envelope) -> replyfleet::queue::Result<()>;
}

#[async_trait]
impl<Q: Queue + ?Sized> Put for Q {
    async fn put(&self, envelope: &Envelope) -> replyfleet::queue::Result<()> {
        Queue::put(self, envelope).await
    }
}

/// Where enqueued mail goes.
pub struct Destination<'a, Q: Put + ?Sized = dyn Queue> {
    /// The queue, or what stands before it.
    pub queue: &'a Q,
    /// The store for mail too big for the queue.
    pub store: &'a dyn Store,
    /// The bucket in it.
    pub claim_check_bucket: &'a str,
    /// A larger mail goes to the store.
    pub inline_bytes_max: usize,
}

/// Why a mail was not enqueued. Whatever it is, Postfix keeps the mail.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The queue did not take it.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The store did not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The settings name a bucket that cannot be.
    #[error("store.claim_check_bucket: {0}")]
    Bucket(String),
}

/// The envelope's facts for a mail that `host` took at `arrived`.
pub fn facts(secret: &Secret, host: &str, handover: &Handover, arrived: UnixMillis) -> Facts {
    Facts {
        request_key: request_key(secret, host, &handover.queue_id, &handover.original_recipient),
        mail_key: mail_key(secret, host, &handover.queue_id),
        group: group(secret, &handover.sender, &handover.client_address),
        mail_from: handover.sender.clone(),
        rcpt_to: handover.original_recipient.clone(),
        client_address: handover.client_address.clone(),
        client_name: match handover.client_hostname.as_str() {
            "unknown" => String::new(),
            name => name.to_owned(),
        },
        helo: handover.client_helo.clone(),
        protocol: handover.client_protocol.clone(),
        tls: String::new(), // pipe(8) has no macro for it
        queue_id: handover.queue_id.clone(),
        host: host.to_owned(),
        arrived,
    }
}

/// Whether Postfix gives out ids that it uses again. The request key is made from the id, and a person whose mail got a
/// used one would be taken for a duplicate, in silence. A short id is hexadecimal; a long one has a `z` (postconf(5),
/// enable_long_queue_ids).
pub fn is_short(queue_id: &str) -> bool {
    !queue_id.is_empty() && queue_id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

/// The name of this MX, part of the request key: as set, else the machine's. Two MXs may give out the same queue id.
///
/// # Errors
/// A sentence, if the system does not tell the name.
pub fn host_name(settings: &EnqueuerSettings) -> Result<String, String> {
    if let Some(host) = &settings.host {
        return Ok(host.clone());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| format!("enqueuer.host: not set, and no host name: {error}"))?;
    Ok(name.trim().to_owned())
}

/// Pauses between the tries of [`enqueue_patiently`]: a throttled call or a lost connection passes in seconds, while
/// Postfix's own next try is minutes away. A call that hangs has its own time-out, and all of it the process's deadline.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1_600)];

/// Puts a mail on the queue, with a few more tries if queue or store are not available. A try that had its effect
/// unseen makes a second message with the same request key.
///
/// # Errors
/// The last try's [`EnqueueError`].
pub async fn enqueue_patiently<Q: Put + ?Sized>(destination: &Destination<'_, Q>, facts: Facts, mail: Bytes) -> Result<(), EnqueueError> {
    for pause in RETRY_PAUSES {
        match enqueue(destination, facts.clone(), mail.clone()).await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            done => return done,
        }
    }
    enqueue(destination, facts, mail).await
}

impl EnqueueError {
    /// Whether another try in a moment may go better.
    fn is_transient(&self) -> bool {
        let is_away = matches!(self, EnqueueError::Queue(QueueError::Unavailable(_)) | EnqueueError::Store(StoreError::Unavailable(_)));
        is_away || self.is_full()
    }

    /// Whether a disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, EnqueueError::Queue(QueueError::Full(_)) | EnqueueError::Store(StoreError::Full(_)))
    }

    /// What goes wrong, without the service's own message, which stands in brackets and can name accounts: Postfix shows
    /// our words to the sender if the mail expires. `replyfleet check` says all of it.
    pub fn public(&self) -> String {
        let text = self.to_string();
        text.split(" (").next().unwrap_or_default().replace(|c: char| c.is_control(), " ")
    }
}

/// Puts a mail on the queue.
///
/// # Errors
/// [`EnqueueError`]; the mail may or may not be on the queue then, and is to be delivered again.
pub async fn enqueue<Q: Put + ?Sized>(destination: &Destination<'_, Q>, facts: Facts, mail: Bytes) -> Result<(), EnqueueError> {
    if mail.len() <= destination.inline_bytes_max {
        let envelope = Envelope { facts, mail: Mail::Inline(mail) };
        match destination.queue.put(&envelope).await {
            // A queue that takes less than the settings say: the claim check serves as well.
            Err(QueueError::TooBig { .. }) => {
                let Envelope { facts, mail: Mail::Inline(mail) } = envelope else { unreachable!("made inline above") };
                put_with_claim_check(destination, facts, mail).await
            }
            other => Ok(other?),
        }
    } else {
        put_with_claim_check(destination, facts, mail).await
    }
}

async fn put_with_claim_check<Q: Put + ?Sized>(destination: &Destination<'_, Q>, facts: Facts, mail: Bytes) -> Result<(), EnqueueError> {
    // One object for each delivery: the recipient of a mail who is answered first must not take it from the others.
    let object =
        ObjectName::new(destination.claim_check_bucket, &format!("{CLAIM_CHECK_PREFIX}/{}", facts.request_key)).map_err(EnqueueError::Bucket)?;
    let claim = ClaimCheck::new(object.clone(), &mail);
    destination.store.put(&object, mail).await?;
    destination.queue.put(&Envelope { facts, mail: Mail::Stored(claim) }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use replyfleet::{queue::spool::SpoolQueue, store::Fetched, store::dir::DirStore};

    use super::*;

    fn handover() -> Handover {
        Handover {
            sender: "someone@example.org".into(),
            original_recipient: "get@example.com".into(),
            client_hostname: "unknown".into(),
            queue_id: "4XyZ".into(),
            ..Handover::default()
        }
    }

    async fn enqueue_and_receive(mail: &'static [u8]) -> (Envelope, DirStore, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let queue = SpoolQueue::open(&dir.path().join("spool"), Duration::from_secs(60)).expect("spool");
        let store = DirStore::open(&dir.path().join("store")).expect("store");
        let secret = Secret::from_text("0123456789abcdef0123456789abcdef").expect("long enough");
        let destination = Destination { queue: &queue, store: &store, claim_check_bucket: "claims", inline_bytes_max: 100 };
        let facts = facts(&secret, "mx1", &handover(), UnixMillis(1));
        enqueue(&destination, facts, Bytes::from_static(mail)).await.expect("enqueued");
        let deliveries = queue.receive(10, Duration::ZERO).await.expect("received");
        assert_eq!(deliveries.len(), 1);
        (Envelope::decode(&deliveries[0].wire).expect("decodes"), store, dir)
    }

    #[tokio::test]
    async fn a_small_mail_travels_with_its_envelope() {
        let (envelope, _store, _dir) = enqueue_and_receive(b"\xff\0\r\n.\r\n").await;
        assert_eq!(envelope.mail, Mail::Inline(Bytes::from_static(b"\xff\0\r\n.\r\n")));
        assert_eq!(envelope.facts.client_name, "", "'unknown' is Postfix's word for none");
    }

    #[tokio::test]
    async fn a_big_mail_travels_as_a_claim_check() {
        let (envelope, store, _dir) = enqueue_and_receive(&[0xfe; 101]).await;
        let Mail::Stored(claim) = envelope.mail else { panic!("stored") };
        let Fetched::Changed(mail, _) = store.get(&claim.object, None).await.expect("object") else { panic!("changed") };
        claim.verify(&mail).expect("the bytes are the same");
        assert!(!claim.object.key().contains("someone"), "no name speaks of the requester");
    }
}
