//! The queue between the MX and the workers: put, receive, extend, settle.
//!
//! A message is *visible* until it is received, then invisible for the visibility time-out, during which its receiver
//! may extend, and ends by being deleted, released or parked. A receiver that dies says nothing: its messages become
//! visible again. Delivery is at least once on both implementations; the worker's ledger makes it once.
//!
//! Two implementations hold one contract (`tests/contract/queue.rs`): [`spool`], a directory on one machine, and
//! [`sqs`], Amazon SQS.

pub mod spool;
pub mod sqs;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{clock::UnixMillis, envelope::Envelope};

/// What came of a queue call.
pub type Result<T> = std::result::Result<T, QueueError>;

/// Why a queue call failed; the variants differ in what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Network, throttling, a full disk, a time-out: try again later.
    #[error("the queue is not available: {0}")]
    Unavailable(String),
    /// The disk is full: nothing was accepted, and it may go better when something was received or removed.
    #[error("the queue is not available: {0}")]
    Full(String),
    /// Wrong URL, missing permission: trying again will not help until someone acts.
    #[error("the queue refuses: {0}")]
    Refused(String),
    /// The message does not fit; it must go through the store.
    #[error("the message has {bytes} bytes, the queue takes at most {max}")]
    TooBig {
        /// Size as the queue counts it.
        bytes: usize,
        /// The queue's limit.
        max: usize,
    },
    /// The receipt's time ran out and the message is somebody else's, or gone.
    #[error("the receipt is stale")]
    StaleReceipt,
}

/// The handle of one receipt of one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub(crate) String);

impl Receipt {
    /// A queue's own handle, for implementations elsewhere.
    pub fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// One receipt of one message.
#[derive(Clone)]
pub struct Delivery {
    /// What travels; decoded by the worker, which parks what it cannot read.
    pub wire: Bytes,
    /// With which it is extended and settled.
    pub receipt: Receipt,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// Whether an operator brought it back from the dead letters.
    pub is_replayed: bool,
}

impl std::fmt::Debug for Delivery {
    /// Not what travels: it is a mail.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Delivery({} bytes, {:?}, received {} times)", self.wire.len(), self.receipt, self.receive_count)
    }
}

/// How a message's stay with a receiver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done: remove it.
    Delete,
    /// Make it visible again after the delay (at most [`RELEASE_DELAY_MAX`]).
    Release(Duration),
    /// Move it to the dead letters, with a word from a closed vocabulary that says why.
    Park(&'static str),
}

/// The longest delay of a release: the longest visibility time-out of SQS is 12 hours *from receipt*, so stay below.
pub const RELEASE_DELAY_MAX: Duration = Duration::from_secs(11 * 3600);

/// How many messages one receive returns, and one batch call carries, at most (SQS's own limit).
pub const BATCH_MAX: usize = 10;

/// How a queue takes many messages best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutPace {
    /// So many messages make one [`Queue::put_all`].
    pub messages_max: usize,
    /// So many of these calls may be under way side by side.
    pub calls_max: usize,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that a receive would return.
    pub visible: u64,
    /// Messages that were released with a delay that still runs.
    pub delayed: u64,
    /// Messages with a receiver.
    pub in_flight: u64,
    /// When the oldest waiting message was put, where the queue knows.
    pub oldest: Option<UnixMillis>,
    /// The oldest waiting message of those that nobody has received yet.
    pub unreceived: Unreceived,
    /// Messages in the dead letters, where the queue knows.
    pub parked: Option<u64>,
}

/// The oldest message that nobody has received yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreceived {
    /// The queue does not tell.
    #[default]
    Unknown,
    /// There is none.
    Nobody,
    /// It was put then.
    Since(UnixMillis),
}

impl Unreceived {
    /// The same beside one that was put `then`.
    fn or_older(self, then: UnixMillis) -> Self {
        match self {
            Self::Since(oldest) if oldest <= then => self,
            _ => Self::Since(then),
        }
    }
}

/// A parked message as the operator may see it: never its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The queue's own handle, for replay.
    pub id: String,
    /// Why it was parked.
    pub reason: String,
    /// When, where the queue knows.
    pub parked: Option<UnixMillis>,
    /// Bytes of the message as it travels.
    pub bytes: u64,
    /// How often it was received before.
    pub receive_count: u32,
}

/// Which parked messages are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Every one.
    All,
    /// Those that were parked for this reason.
    Reason(String),
    /// These.
    Ids(Vec<String>),
}

impl Chosen {
    /// Whether this one is meant, of those that were parked at `until` or before.
    pub fn includes(&self, parked: &Parked, until: UnixMillis) -> bool {
        let is_meant = match self {
            Chosen::All => true,
            Chosen::Reason(reason) => *reason == parked.reason,
            Chosen::Ids(ids) => ids.contains(&parked.id),
        };
        is_meant && parked.parked.is_none_or(|at| at <= until)
    }
}

/// What is done with parked messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpark {
    /// They go back to the queue as if they had just been put, with a mark: their receives are counted anew. A crash half-way may put
    /// one twice, with one request key, and loses none.
    Replay,
    /// They are removed.
    Drop,
}

/// For how long messages are kept, and what else whoever runs the queue has set. `None` is not known, or without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// After that, a message that waits is gone.
    pub retention: Option<Duration>,
    /// After that, a parked message is gone.
    pub parked_retention: Option<Duration>,
    /// After so many receives the queue itself parks a message.
    pub receives_max: Option<u32>,
    /// The largest message, as the queue counts it.
    pub message_bytes_max: Option<usize>,
}

/// The seam. Implementations are shared by all tasks of a process.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts a message. `Ok` means that it is durable: it survives a crash of this process and of the queue's host.
    async fn put(&self, envelope: &Envelope) -> Result<()>;

    /// Puts several messages at once, which costs less than one by one; the results are in the order of the envelopes, and
    /// each `Ok` means what it means for [`Queue::put`]. A message that fails does not keep the others from being put.
    async fn put_all(&self, envelopes: &[Envelope]) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            results.push(self.put(envelope).await);
        }
        results
    }

    /// How many messages to give to [`Queue::put_all`], and how often at a time.
    fn put_pace(&self) -> PutPace {
        PutPace { messages_max: 1, calls_max: 1 }
    }

    /// Receives up to `max` (at most [`BATCH_MAX`]) messages, waiting up to `wait` for the first.
    ///
    /// A call that was started must be awaited to its end: one that is dropped may have received messages, which would
    /// then be invisible for a whole visibility time-out.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>>;

    /// Starts the visibility time-out of each message anew; the results are in the order of the receipts.
    async fn extend(&self, receipts: &[Receipt]) -> Vec<Result<()>>;

    /// Ends the receiver's hold on each message; the results are in the order of the settlements.
    async fn settle(&self, settlements: &[(Delivery, Settlement)]) -> Vec<Result<()>>;

    /// How full it is; on SQS an approximation.
    async fn depth(&self) -> Result<Depth>;

    /// Up to `max` parked messages, oldest first where the queue has an order.
    async fn parked(&self, max: usize) -> Result<Vec<Parked>>;

    /// Takes up to `max` of the chosen messages out of the dead letters, and returns what travelled in them; none means
    /// that no more of them are there. Only those that were parked at `until` or before, by the queue's clock, or without
    /// a known time: what a worker parks again meanwhile stays. Where somebody else does so at the same time, each message
    /// is one's or the other's, or on SQS both replay it. After an error the messages that were taken before it are
    /// returned, if there are any, and the next call meets it again.
    async fn unpark(&self, chosen: &Chosen, what: Unpark, until: UnixMillis, max: usize) -> Result<Vec<Bytes>>;

    /// What is set for the queue and for its dead letters.
    async fn limits(&self) -> Result<Limits>;

    /// For how long a received message stays invisible unless extended.
    fn visibility(&self) -> Duration;
}
