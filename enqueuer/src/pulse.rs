//! Whether a loop moves: another asks, and the loop answers when it comes round. One that hangs, or has ended, does not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// The loop's end: questions, each with the place for its answer.
pub type Questions = mpsc::Receiver<oneshot::Sender<()>>;

/// The end of whoever asks.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// Both ends, for one loop.
pub fn pulse() -> (Pulse, Questions) {
    let (sender, questions) = mpsc::channel(1);
    (Pulse(sender), questions)
}

impl Pulse {
    /// Whether the loop answers within `limit`.
    pub async fn is_beating(&self, limit: Duration) -> bool {
        let ask = async {
            let (answer, answered) = oneshot::channel();
            self.0.send(answer).await.is_ok() && answered.await.is_ok()
        };
        tokio::time::timeout(limit, ask).await.unwrap_or(false)
    }
}
