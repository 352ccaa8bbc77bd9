//! `replyfleet queue replay` and `replyfleet queue drop`: what becomes of dead letters.
//!
//! A replay may be repeated, and may be cut off half-way: a message is in the queue or in the dead letters, or on SQS for a
//! moment in both, and the ledger knows which replies it had. A drop also removes the mail in the store that a message
//! points to; one that cannot be removed expires by itself.

use std::process::ExitCode;

use clap::Args;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Envelope, Mail},
    ground::Ground,
    queue::{Chosen, Unpark},
};

/// How many are dealt with at a time: each is in memory meanwhile.
const BITE: usize = 100;

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct UnparkArguments {
    /// Ids as `replyfleet queue parked` shows them.
    ids: Vec<String>,
    /// Those that were parked for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

impl UnparkArguments {
    fn chosen(&self) -> Chosen {
        match &self.reason {
            Some(reason) => Chosen::Reason(reason.clone()),
            None if self.all => Chosen::All,
            None => Chosen::Ids(self.ids.clone()),
        }
    }

    /// Whether some that were named are not there; says so.
    fn is_short_of(&self, count: usize) -> bool {
        let lacking = self.ids.len().saturating_sub(count);
        if lacking > 0 {
            println!("{lacking} of the ids are not parked; see: replyfleet queue parked");
        }
        lacking > 0
    }
}

pub(super) async fn replay(arguments: &UnparkArguments, ground: &Ground) -> anyhow::Result<ExitCode> {
    // A worker may park one again at once: not that one.
    let (mut count, until) = (0, UnixMillis::now());
    loop {
        let replayed = match ground.queue.unpark(&arguments.chosen(), Unpark::Replay, until, BITE).await {
            Err(error) => return Err(anyhow::Error::new(error).context(format!("{count} replayed, and then"))),
            Ok(replayed) => replayed.len(),
        };
        if replayed == 0 {
            break;
        }
        count += replayed;
    }
    println!("{count} replayed");
    Ok(if arguments.is_short_of(count) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) async fn remove(arguments: &UnparkArguments, ground: &Ground) -> anyhow::Result<ExitCode> {
    let (mut count, mut left, until) = (0, 0, UnixMillis::now());
    loop {
        let removed = match ground.queue.unpark(&arguments.chosen(), Unpark::Drop, until, BITE).await {
            Err(error) => return Err(anyhow::Error::new(error).context(format!("{count} dropped, and then"))),
            Ok(removed) => removed,
        };
        if removed.is_empty() {
            break;
        }
        count += removed.len();
        for wire in removed {
            if let Ok(Envelope { mail: Mail::Stored(claim), .. }) = Envelope::decode(&wire) {
                left += usize::from(ground.store.delete(&claim.object).await.is_err());
            }
        }
    }
    println!("{count} dropped");
    if left > 0 {
        println!("{left} of their mails are still in the store, and expire there");
    }
    Ok(if arguments.is_short_of(count) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
