//! `replyfleet queue`: how full the queue is, and what is parked for which reason. Never what is in a message.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use replyfleet::{clock::UnixMillis, ground::look, settings::Settings};
use serde_json::json;

use crate::table::{age, size, table};

#[derive(Args)]
pub(crate) struct QueueArguments {
    /// How many parked messages are listed at most.
    #[arg(long, default_value_t = 20)]
    parked: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: &QueueArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ground = look(settings, false).await?;
    let depth = ground.queue.depth().await?;
    let parked = ground.queue.parked(arguments.parked).await?;
    let now = UnixMillis::now();
    let oldest_s = depth.oldest.map(|oldest| now.since(oldest).as_secs());
    if arguments.json {
        let listed: Vec<_> = parked
            .iter()
            .map(|message| json!({ "id": message.id, "reason": message.reason, "age_s": message.parked.map(|at| now.since(at).as_secs()), "bytes": message.bytes, "receive_count": message.receive_count }))
            .collect();
        println!(
            "{}",
            json!({ "visible": depth.visible, "delayed": depth.delayed, "in_flight": depth.in_flight, "oldest_s": oldest_s, "parked": listed })
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
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["parked", "reason", "size", "received"]);
    for message in &parked {
        let when = message.parked.map_or(Duration::ZERO, |at| now.since(at)).as_secs();
        rows.add_row([format!("{} ago", age(when)), message.reason.clone(), size(message.bytes), format!("{} x", message.receive_count)]);
    }
    println!("{rows}");
    Ok(ExitCode::SUCCESS)
}
