//! `replyfleet queue`: how full the queue is, and what is parked for which reason. Never what is in a message.
//!
//! Its sub-commands are for the dead letters: [`parked`] lists, [`unpark`] replays or drops.

mod parked;
mod unpark;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use replyfleet::{clock::UnixMillis, ground::look, queue::Queue, settings::Settings};
use serde_json::json;

use crate::table::age;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct QueueArguments {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// How many parked messages are listed at most.
    #[arg(long, default_value_t = 20)]
    parked: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum QueueCommand {
    /// Lists the parked messages: id, age, reason, size, never content.
    Parked(parked::ParkedArguments),
    /// Puts parked messages back into the queue. Whoever has an answer gets none again, however often this is done.
    Replay(unpark::UnparkArguments),
    /// Removes parked messages for good: their senders get no answer.
    Drop(unpark::UnparkArguments),
}

pub(crate) async fn run(arguments: &QueueArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ground = look(settings, false).await?;
    match &arguments.command {
        None => overview(arguments, ground.queue.as_ref()).await,
        Some(QueueCommand::Parked(arguments)) => parked::run(arguments, ground.queue.as_ref()).await,
        Some(QueueCommand::Replay(arguments)) => unpark::replay(arguments, &ground).await,
        Some(QueueCommand::Drop(arguments)) => unpark::remove(arguments, &ground).await,
    }
}

async fn overview(arguments: &QueueArguments, queue: &dyn Queue) -> anyhow::Result<ExitCode> {
    let depth = queue.depth().await?;
    let parked = queue.parked(arguments.parked).await?;
    let now = UnixMillis::now();
    let oldest_s = depth.oldest.map(|oldest| now.since(oldest).as_secs());
    if arguments.json {
        println!(
            "{}",
            json!({ "visible": depth.visible, "delayed": depth.delayed, "in_flight": depth.in_flight, "oldest_s": oldest_s, "parked": parked::json(&parked, now) })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("waiting    {}", depth.visible);
    println!("delayed    {}   (released, and not due yet)", depth.delayed);
    println!("in flight  {}   (with a worker)", depth.in_flight);
    match oldest_s {
        Some(seconds) => println!("oldest     {}", age(seconds)),
        None if depth == replyfleet::queue::Depth::default() => println!("oldest     none"),
        None => println!("oldest     known to CloudWatch only: ApproximateAgeOfOldestMessage"),
    }
    if parked.is_empty() {
        println!("parked     none");
    } else {
        parked::print(&parked, now);
    }
    Ok(ExitCode::SUCCESS)
}
