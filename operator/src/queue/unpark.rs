//! `replyfleet queue replay` and `replyfleet queue drop`: what becomes of dead letters.
//!
//! A replay may be repeated, and may be cut off half-way: a message is in the queue or in the dead letters, or on SQS for a
//! moment in both, and the ledger knows which replies it had. A drop also removes the mail in the store that a message
//! points to; one that cannot be removed expires by itself.

use std::process::ExitCode;

use clap::Args;
use replyfleet::{
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
    let mut count = 0;
    // Not until none is left: a worker may park one again at once.
    let most = ground.queue.parked(usize::MAX).await?.len();
    while count < most {
        let replayed = ground.queue.unpark(&arguments.chosen(), Unpark::Replay, BITE.min(most - count)).await?.len();
        if replayed == 0 {
            break;
        }
        count += replayed;
    }
    println!("{count} replayed");
    Ok(if arguments.is_short_of(count) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) async fn remove(arguments: &UnparkArguments, ground: &Ground) -> anyhow::Result<ExitCode> {
    let (mut count, mut left) = (0, 0);
    loop {
        let removed = ground.queue.unpark(&arguments.chosen(), Unpark::Drop, BITE).await?;
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
