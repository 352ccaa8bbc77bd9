//! Accepts connections, at most so many at a time, and does for a session what it cannot do alone: puts its mails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use replyfleet::{clock::UnixMillis, keyed::Secret, store::Store};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    listen::{Connection, Listener},
    memory::Memory,
    session::Session,
};
use crate::{Destination, EnqueueError, Handover, enqueue_patiently, facts, intake::Intake, pulse::Questions};

/// After an error of accept (no more files, no memory) for a moment nobody is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For telling one connection too many that it is.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// What all sessions share.
pub struct Shared {
    /// The gatherer before the queue.
    pub intake: Intake,
    /// The store for mails too big for the queue.
    pub store: Arc<dyn Store>,
    /// The bucket in it.
    pub claim_check_bucket: String,
    /// A larger mail goes to the store.
    pub inline_bytes_max: usize,
    /// The installation's secret.
    pub secret: Secret,
    /// The MX's name.
    pub host: String,
    /// The largest mail that is taken.
    pub mail_bytes_max: usize,
    /// Within this time a mail is taken or not.
    pub deadline: Duration,
    /// What mails that are being received may hold.
    pub memory: Memory,
    /// Mails that were taken, one for each recipient.
    pub taken: AtomicU64,
}

impl Shared {
    /// Puts a mail on the queue for each recipient; the replies are in the order of the recipients. A recipient who is named
    /// twice has one envelope and two replies.
    pub(super) async fn put_for_each(self: &Arc<Self>, envelope: Handover, recipients: Vec<String>, mail: Bytes) -> Vec<String> {
        let arrived = UnixMillis::now();
        let facts_for = |recipient: String| facts(&self.secret, &self.host, &Handover { original_recipient: recipient, ..envelope.clone() }, arrived);
        let mut keys = Vec::with_capacity(recipients.len());
        let mut puts = JoinSet::new();
        let mut replies: Vec<(String, String)> = Vec::new();
        // Postfix gives one at a time, as it is set: that needs no task of its own.
        let is_alone = recipients.len() == 1;
        for recipient in recipients {
            let facts = facts_for(recipient);
            let key = facts.request_key.clone();
            if !keys.contains(&key) {
                let (shared, mail, key) = (Arc::clone(self), mail.clone(), key.clone());
                let put = async move { (key, shared.put(facts, mail).await) };
                if is_alone {
                    replies.push(put.await);
                } else {
                    puts.spawn(put);
                }
            }
            keys.push(key);
        }
        drop(mail);
        while let Some(done) = puts.join_next().await {
            replies.extend(done.ok());
        }
        // A task that panicked has no reply of its own.
        let reply = |key: &String| replies.iter().find(|(of, _)| of == key).map_or("451 4.3.0 not finished", |(_, reply)| reply.as_str()).to_owned();
        keys.iter().map(reply).collect()
    }

    async fn put(&self, facts: replyfleet::envelope::Facts, mail: Bytes) -> String {
        let destination = Destination {
            queue: &self.intake,
            store: self.store.as_ref(),
            claim_check_bucket: &self.claim_check_bucket,
            inline_bytes_max: self.inline_bytes_max,
        };
        match tokio::time::timeout(self.deadline, enqueue_patiently(&destination, facts, mail)).await {
            Ok(Ok(())) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                "250 2.0.0 queued".into()
            }
            Ok(Err(error)) => refusal(&error),
            Err(_) => "451 4.3.0 deadline passed".into(),
        }
    }
}

/// The reply to a mail that was not taken.
fn refusal(error: &EnqueueError) -> String {
    let code = if error.is_full() { "452 4.3.1" } else { "451 4.3.0" };
    format!("{code} {}", error.public())
}

/// Accepts at one place until the service stops, and then waits for its sessions.
///
/// `connections` is the places that are left for connections, shared by all listeners.
pub(crate) async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    mut questions: Questions,
) {
    let mut sessions = JoinSet::new();
    let mut stopping = stop.clone();
    let stopped = async move { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(answer) = questions.recv() => drop(answer.send(())),
            _ = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok(connection) => match Arc::clone(&connections).try_acquire_owned() {
                    Ok(place) => {
                        let (shared, stop) = (Arc::clone(&shared), stop.clone());
                        sessions.spawn(async move {
                            match connection {
                                Connection::Unix(stream) => Session::new(stream, shared, stop).run().await,
                                Connection::Tcp(stream) => Session::new(stream, shared, stop).run().await,
                            }
                            drop(place);
                        });
                    }
                    Err(_) => drop(sessions.spawn(async move {
                        match connection {
                            Connection::Unix(stream) => send_away(stream).await,
                            Connection::Tcp(stream) => send_away(stream).await,
                        }
                    })),
                },
                Err(error) => {
                    tracing::error!(error = %error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Closed: who comes now waits in systemd's socket, or is refused, and Postfix tries again.
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn send_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let farewell = stream.write_all(b"421 4.3.2 too many connections: enqueuer.connections_max\r\n");
    let _ = tokio::time::timeout(FAREWELL_MAX, farewell).await;
}
