//! The arguments of `replyfleet-worker`: as the program reads them, and as its manual page tells them. A wrong one ends the
//! program with 2 and clap's own text.

use std::path::PathBuf;

use clap::Parser;

/// Drains the queue and answers.
///
/// On SIGTERM or SIGINT it receives no more, finishes what it has in hand within worker.stop_timeout_s, gives back what is not
/// finished by then, and ends within 7 s more: 5 s to give back, 2 s for the last metrics. A long poll of SQS that is under way is
/// awaited, 25 s at most. A reply that is just being sent is not given back, nor is a message that is worked on in a process of its
/// own: what is not finished in those 5 s either comes again when its lease ends, and the status is 1. A second signal ends it at
/// once. If something is away when it starts, it waits for that.
#[derive(Parser)]
#[command(name = "replyfleet-worker", version)]
pub struct Arguments {
    /// The file of settings.
    #[arg(long, default_value = replyfleet::settings::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Answers the one message on standard input; a worker starts this for a message that may have killed another.
    #[arg(long, hide = true)]
    pub alone: bool,
}
