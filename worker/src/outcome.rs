//! How a message ends: the one table from outcome to what happens on the queue, the log level and the words.
//!
//! Each message ends in exactly one outcome, and only here is it decided whether it leaves the queue.

use std::time::Duration;

use replyfleet::queue::Settlement;
use serde::{Deserialize, Serialize};
use tracing::Level;

use crate::{ledger::ReplyState, reason::Reason};

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every reply is terminal, and at least one was sent.
    Answered,
    /// Every reply is terminal, and none was sent.
    Unanswered,
    /// It came again after it had ended.
    Duplicate,
    /// It gets no answer.
    Ignored(Reason),
    /// Something was away; it comes again.
    Retry(Wait),
    /// A person must look at it.
    Parked(Park),
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// The database.
    Ledger,
    /// The store.
    Store,
    /// A name server that answers.
    Dns,
    /// The operator, who holds such requests.
    Switch,
    /// A next hop that will take a reply.
    Sender,
    /// Its turn, as long as that may take: replies leave at a rate.
    Pace(Duration),
    /// Another worker's claim on a reply to run out.
    Claim,
    /// The same, as long as that claim holds.
    Held(Duration),
    /// What is known to be away to come back, put back for so long.
    Breaker(Duration),
    /// A worker whose hold on the message is sure: this one's could not be extended.
    Lease,
    /// A process of its own: it was in hand when a worker died, and may be to blame.
    Quarantine,
    /// This worker is stopping and has not begun with it.
    Stopping,
}

/// Why a message is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Park {
    /// It is not an envelope that this version reads.
    UnreadableEnvelope,
    /// Its claim-check object has gone.
    MailMissing,
    /// Its claim-check object is not what was stored.
    MailDiffers,
    /// It came too often without an end.
    ReceivedTooOften,
    /// Working on it panicked.
    Panicked,
    /// The processes that worked on it alone have died.
    KillsWorker,
}

/// What an outcome means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What happens on the queue.
    pub settlement: Settlement,
    /// How loud the log line is.
    pub level: Level,
    /// The outcome's word.
    pub word: &'static str,
    /// The word for why, or the empty text.
    pub why: &'static str,
}

/// The shortest delay of a message that waits.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(5);
/// The longest. With doubling, a message reaches `screen.age_max_s` after some hundred receives.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(3600);

impl Outcome {
    /// The outcome of a request whose replies stand as given.
    pub fn of_replies(replies: &[ReplyState], was_settled: bool) -> Self {
        if replies.iter().any(|state| !state.is_terminal()) {
            let is_held = replies.contains(&ReplyState::Claimed) && !replies.contains(&ReplyState::Pending);
            return Outcome::Retry(if is_held { Wait::Claim } else { Wait::Sender });
        }
        match replies.contains(&ReplyState::Sent) {
            _ if was_settled => Outcome::Duplicate,
            true => Outcome::Answered,
            false => Outcome::Unanswered,
        }
    }

    /// The table. `receive_count` is how often the message was received, this time included.
    pub fn row(&self, receive_count: u32) -> Row {
        let row = |settlement, level, word, why| Row { settlement, level, word, why };
        match self {
            Outcome::Answered => row(Settlement::Delete, Level::INFO, "answered", ""),
            Outcome::Unanswered => row(Settlement::Delete, Level::WARN, "unanswered", ""),
            Outcome::Duplicate => row(Settlement::Delete, Level::INFO, "duplicate", ""),
            Outcome::Ignored(reason) => row(Settlement::Delete, Level::INFO, "ignored", reason.word()),
            Outcome::Retry(wait @ Wait::Stopping) => row(Settlement::Release(Duration::ZERO), Level::INFO, "retry", wait.word()),
            // Nothing is wrong, and it is told exactly when to come.
            Outcome::Retry(wait @ (Wait::Pace(away) | Wait::Breaker(away))) => row(Settlement::Release(*away), Level::INFO, "retry", wait.word()),
            // A claim mostly ends long before its time; only a dead worker's lasts as long.
            Outcome::Retry(wait @ Wait::Held(away)) => {
                row(Settlement::Release((*away).min(retry_delay(receive_count))), Level::INFO, "retry", wait.word())
            }
            Outcome::Retry(wait) => row(Settlement::Release(retry_delay(receive_count)), Level::WARN, "retry", wait.word()),
            Outcome::Parked(park) => row(Settlement::Park(park.word()), Level::ERROR, "parked", park.word()),
        }
    }
}

/// 5 s, 10 s, 20 s, ... up to an hour.
fn retry_delay(receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(16);
    (RETRY_DELAY_MIN * 2_u32.pow(doublings)).min(RETRY_DELAY_MAX)
}

impl Wait {
    /// The word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Wait::Ledger => "ledger",
            Wait::Store => "store",
            Wait::Dns => "dns",
            Wait::Switch => "switch",
            Wait::Sender => "sender",
            Wait::Pace(_) => "pace",
            Wait::Claim | Wait::Held(_) => "claim",
            Wait::Breaker(_) => "breaker",
            Wait::Lease => "lease",
            Wait::Quarantine => "quarantine",
            Wait::Stopping => "stopping",
        }
    }
}

impl Park {
    /// The word for logs, metrics and the dead letter.
    pub fn word(self) -> &'static str {
        match self {
            Park::UnreadableEnvelope => "unreadable_envelope",
            Park::MailMissing => "mail_missing",
            Park::MailDiffers => "mail_differs",
            Park::ReceivedTooOften => "received_too_often",
            Park::Panicked => "panicked",
            Park::KillsWorker => "kills_worker",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_leaves_the_queue_only_when_every_reply_is_terminal() {
        use ReplyState::{Claimed, Expired, Pending, Refused, Sent, Uncertain};
        for (replies, want) in [
            (vec![Sent, Sent], Outcome::Answered),
            (vec![Sent, Refused], Outcome::Answered),
            (vec![Uncertain, Expired], Outcome::Unanswered),
            (vec![], Outcome::Unanswered),
            (vec![Sent, Pending], Outcome::Retry(Wait::Sender)),
            (vec![Claimed, Pending], Outcome::Retry(Wait::Sender)),
            (vec![Sent, Claimed], Outcome::Retry(Wait::Claim)),
        ] {
            let outcome = Outcome::of_replies(&replies, false);
            assert_eq!(outcome, want, "{replies:?}");
            let is_done = replies.iter().all(|state| state.is_terminal());
            assert_eq!(outcome.row(1).settlement == Settlement::Delete, is_done, "{replies:?}");
        }
        assert_eq!(Outcome::of_replies(&[Sent], true), Outcome::Duplicate);
    }

    #[test]
    fn whoever_waits_for_a_claim_comes_soon_and_no_later_than_it_ends() {
        let delay = |receives| Outcome::Retry(Wait::Held(Duration::from_secs(90))).row(receives).settlement;
        for (receives, seconds) in [(1, 5), (2, 10), (5, 80), (6, 90), (50, 90)] {
            assert_eq!(delay(receives), Settlement::Release(Duration::from_secs(seconds)), "{receives}");
        }
    }

    #[test]
    fn waiting_grows_from_seconds_to_an_hour() {
        for (receives, seconds) in [(1, 5), (2, 10), (5, 80), (10, 2560), (11, 3600), (60, 3600), (u32::MAX, 3600)] {
            assert_eq!(retry_delay(receives), Duration::from_secs(seconds), "{receives}");
        }
    }
}
