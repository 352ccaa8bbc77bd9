//! One message in a process of its own: `replyfleet-worker --alone`, started by a worker for a message that was in hand when
//! another died ([`crate::quarantine`]). It opens what a worker opens, answers that one message, says how it ended, and ends.
//!
//! Standard input: how often the message was received (4 bytes, big-endian), its length (8 bytes), and the message as it travels.
//! Standard output: the line [`READY`] once all is open, and then one line of JSON, [`Told`]. The message is not asked for before
//! `READY`, so an end before that is not the message's fault. Standard error is the log, the worker's own.
//!
//! The worker keeps the message's lease, settles it, and holds standard input open: at its end the worker is gone, and this
//! process goes as well, as a part of that worker would have. SIGTERM and SIGINT, which reach all processes of a service, are the
//! worker's to obey: it waits for this one.

use std::{
    io::{ErrorKind, Write, stdin, stdout},
    os::fd::AsFd,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use replyfleet::{envelope::Envelope, queue::Receipt};
use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
};

use crate::{
    drain::Respond,
    lease::Leases,
    ledger::ReplyState,
    outcome::{Outcome, Park},
    respond::Account,
};

/// What is said when all is open.
pub(crate) const READY: &str = "ready";
/// The largest message that is taken: more than any queue carries.
const WIRE_BYTES_MAX: u64 = 64 << 20;
/// Longer than the worker lets this process live.
const HOLD: Duration = Duration::from_secs(86_400);

/// How the message ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    replies: Vec<ReplyState>,
    proof: String,
    granted: String,
    without_files: usize,
    tries: Option<u32>,
}

impl Told {
    fn new(outcome: Outcome, account: Account) -> Self {
        let Account { replies, proof, granted, without_files, tries } = account;
        Self { outcome, replies, proof: proof.into_owned(), granted: granted.into_owned(), without_files, tries }
    }

    /// The outcome, and what is told of it besides.
    pub(crate) fn into_parts(self) -> (Outcome, Account) {
        let Self { outcome, replies, proof, granted, without_files, tries } = self;
        (outcome, Account { replies, proof: proof.into(), granted: granted.into(), without_files, tries })
    }
}

/// What goes before the message.
pub(crate) fn head(receive_count: u32, wire: &[u8]) -> [u8; 12] {
    let mut head = [0; 12];
    head[..4].copy_from_slice(&receive_count.to_be_bytes());
    head[4..].copy_from_slice(&(wire.len() as u64).to_be_bytes());
    head
}

/// Answers the message on standard input.
///
/// # Errors
/// The system's, if standard input or output fail or the message is longer than any can be: the worker is gone then, or not ours.
pub(crate) async fn answer(responder: &dyn Respond) -> std::io::Result<()> {
    // Heard and not obeyed.
    let _signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut input = Receiver::from_owned_fd(stdin().as_fd().try_clone_to_owned()?)?;
    say(READY)?;
    let receive_count = input.read_u32().await?;
    let length = input.read_u64().await?;
    if length > WIRE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut wire = vec![0; usize::try_from(length).unwrap_or_default()];
    input.read_exact(&mut wire).await?;

    let mut account = Account::default();
    let wire = Bytes::from(wire);
    let envelope = Envelope::decode(&wire).ok();
    // The worker's lease holds; if it should not, the ledger keeps the two apart.
    let hold = Arc::new(Leases::new(HOLD)).hold(&Receipt::of_text("alone"));
    let respond = AssertUnwindSafe(responder.respond(receive_count, envelope.as_ref(), &hold, &mut account)).catch_unwind();
    let outcome = tokio::select! {
        outcome = respond => outcome.unwrap_or(Outcome::Parked(Park::Panicked)),
        () = worker_is_gone(&mut input) => return Err(ErrorKind::BrokenPipe.into()),
    };
    say(&serde_json::to_string(&Told::new(outcome, account))?)
}

/// The worker says no more, and its silence ends only with it.
async fn worker_is_gone(input: &mut Receiver) {
    while matches!(input.read(&mut [0; 64]).await, Ok(1..)) {}
}

/// A line is less than a pipe holds: nothing waits here.
fn say(line: &str) -> std::io::Result<()> {
    let mut output = stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{outcome::Wait, reason::Reason};

    #[test]
    fn what_is_told_is_understood() {
        for outcome in [
            Outcome::Answered,
            Outcome::Ignored(Reason::MailingList),
            Outcome::Retry(Wait::Pace(Duration::from_millis(1_500))),
            Outcome::Parked(Park::MailDiffers),
        ] {
            let account =
                || Account { replies: vec![ReplyState::Sent, ReplyState::TooBig], proof: "dkim".into(), tries: Some(3), ..Account::default() };
            let line = serde_json::to_string(&Told::new(outcome.clone(), account())).expect("serialises");
            assert!(!line.contains('\n'), "{line}");
            let (told, kept) = serde_json::from_str::<Told>(&line).expect("reads").into_parts();
            assert_eq!((told, kept.replies, kept.proof, kept.tries), (outcome, account().replies, account().proof, Some(3)));
        }
    }
}
