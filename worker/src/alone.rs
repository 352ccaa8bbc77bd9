//! One message in a process of its own: `replyfleet-worker --alone`, started by a worker for a message that was in hand when
//! another died ([`crate::quarantine`]). It opens what a worker opens, answers that one message, says how it ended, and ends.
//!
//! Standard input: how often the message was received (4 bytes, big-endian), its length (8 bytes), and the message as it travels.
//! Standard output: the line [`READY`] once all is open, and then one line of JSON, [`Told`]. The message is not asked for before
//! `READY`, so an end before that is not the message's fault. Standard error is the log, the worker's own.
//!
//! The worker keeps the message's lease, settles it, and holds standard input open: at its end the worker is gone, and this
//! process goes as well, as a part of that worker would have. A thread of its own watches for that: whatever loops here keeps
//! it from nothing. Before it says how the message ended, it takes back claims whose answers were lost, as far as the database
//! lets it: nobody would do so after it. SIGTERM and SIGINT, which reach all processes of a service, are the
//! worker's to obey: it waits for this one.

use std::{
    io::{self, ErrorKind, Read, Write, stdin, stdout},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use replyfleet::{envelope::Envelope, queue::Receipt};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::{
    drain::Respond,
    lease::Leases,
    ledger::{ANSWER_TIMEOUT, Ledger, ReplyState},
    metrics::{Metrics, figures::Sends},
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
    /// What this process counted; lost if it dies first.
    sends: Sends,
}

impl Told {
    fn new(outcome: Outcome, account: Account, sends: Sends) -> Self {
        let Account { replies, proof, granted, without_files, tries, sent_alone: _ } = account;
        Self { outcome, replies, proof: proof.into_owned(), granted: granted.into_owned(), without_files, tries, sends }
    }

    /// The outcome, and what is told of it besides.
    pub(crate) fn into_parts(self) -> (Outcome, Account) {
        let Self { outcome, replies, proof, granted, without_files, tries, sends } = self;
        (outcome, Account { replies, proof: proof.into(), granted: granted.into(), without_files, tries, sent_alone: sends })
    }
}

/// What goes before the message.
pub(crate) fn head(receive_count: u32, wire: &[u8]) -> [u8; 12] {
    let mut head = [0; 12];
    head[..4].copy_from_slice(&receive_count.to_be_bytes());
    head[4..].copy_from_slice(&(wire.len() as u64).to_be_bytes());
    head
}

/// Answers the message on standard input. `metrics` is where `responder` counts.
///
/// # Errors
/// The system's, if standard input or output fail or the message is longer than any can be: the worker is gone then, or not ours.
pub(crate) async fn answer(responder: &dyn Respond, ledger: &Ledger, metrics: &Metrics) -> io::Result<()> {
    // Heard and not obeyed.
    let _signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    say(READY)?;
    let asked = listen(stdin(), || std::process::exit(1));
    let Asked { receive_count, wire } = asked.await.map_err(|_| ErrorKind::BrokenPipe)??;

    let mut account = Account::default();
    // The worker's lease holds; if it should not, the ledger keeps the two apart.
    let hold = Arc::new(Leases::new(HOLD)).hold(&Receipt::of_text("alone"));
    let respond = async {
        let envelope = Envelope::decode(&wire).ok();
        responder.respond(receive_count, envelope.as_ref(), &hold, &mut account).await
    };
    let outcome = AssertUnwindSafe(respond).catch_unwind().await.unwrap_or(Outcome::Parked(Park::Panicked));
    let _ = timeout(ANSWER_TIMEOUT, ledger.no_claims_lost()).await; // what is not taken back by then counts as a doubtful try
    say(&serde_json::to_string(&Told::new(outcome, account, Sends::of(&metrics.figures())))?)
}

/// What stands on standard input.
struct Asked {
    receive_count: u32,
    wire: Bytes,
}

/// Reads what stands on `input` in a thread of its own, and calls `at_end` when that ends: the worker says no more, and its silence
/// ends only with it.
fn listen(mut input: impl Read + Send + 'static, at_end: impl FnOnce() + Send + 'static) -> oneshot::Receiver<io::Result<Asked>> {
    let (asked, is_asked) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = asked.send(read(&mut input)); // an error means that nobody wants it any more
        let _ = io::copy(&mut input, &mut io::sink()); // an error is an end
        at_end();
    });
    is_asked
}

fn read(input: &mut impl Read) -> io::Result<Asked> {
    let (mut receive_count, mut length) = ([0; 4], [0; 8]);
    input.read_exact(&mut receive_count)?;
    input.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > WIRE_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut wire = vec![0; usize::try_from(length).unwrap_or_default()];
    input.read_exact(&mut wire)?;
    Ok(Asked { receive_count: u32::from_be_bytes(receive_count), wire: Bytes::from(wire) })
}

/// A line is less than a pipe holds: nothing waits here.
fn say(line: &str) -> io::Result<()> {
    let mut output = stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use replyfleet::clock::UnixMillis;

    use crate::{metrics::Story, outcome::Wait, reason::Reason, send::SendError};

    #[test]
    fn the_end_of_the_worker_is_noticed_whatever_loops_here() {
        let (input, mut worker) = io::pipe().expect("a pipe");
        let (gone, is_gone) = std::sync::mpsc::channel();
        let asked = listen(input, move || gone.send(()).expect("somebody waits"));
        worker.write_all(&head(3, b"message")).expect("written");
        worker.write_all(b"message").expect("written");
        // No runtime runs here: nothing but a thread of its own can notice anything.
        let asked = asked.blocking_recv().expect("asked").expect("read");
        assert_eq!((asked.receive_count, &asked.wire[..]), (3, &b"message"[..]));
        is_gone.try_recv().expect_err("the worker lives");
        drop(worker);
        is_gone.recv_timeout(Duration::from_secs(20)).expect("it is noticed");
    }

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
            let line = serde_json::to_string(&Told::new(outcome.clone(), account(), Sends::default())).expect("serialises");
            assert!(!line.contains('\n'), "{line}");
            let (told, kept) = serde_json::from_str::<Told>(&line).expect("reads").into_parts();
            assert_eq!((told, kept.replies, kept.proof, kept.tries), (outcome, account().replies, account().proof, Some(3)));
        }
    }

    #[test]
    fn what_was_sent_here_is_added_to_what_the_worker_has_sent() {
        let count = |metrics: &Metrics| {
            metrics.tried("key", 0, "SES", None, Duration::from_millis(40));
            metrics.tried("key", 1, "SMTP", Some(&SendError::Throttled("421".into())), Duration::from_millis(70));
            metrics.sent_away(Duration::from_secs(3));
        };
        let here = Metrics::default();
        count(&here);
        let line = serde_json::to_string(&Told::new(Outcome::Answered, Account::default(), Sends::of(&here.figures()))).expect("serialises");
        let (outcome, account) = serde_json::from_str::<Told>(&line).expect("reads").into_parts();
        let worker = Metrics::default();
        count(&worker);
        let story = Story {
            facts: None,
            asked: None,
            receive_count: 2,
            is_replayed: false,
            account: &account,
            handling_time: Duration::ZERO,
            now: UnixMillis(0),
        };
        worker.ended(&outcome, &outcome.row(2), &story);
        let figures = worker.figures();
        assert_eq!((figures.responses_sent["SES"], figures.throttled["SMTP"]), (2, 2));
        assert_eq!((figures.send_time.count(), figures.send_time.sum(), figures.send_wait.sum()), (4, 220, 6_000));
    }
}
