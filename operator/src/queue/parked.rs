//! `replyfleet queue parked`: the dead letters, one line each.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use replyfleet::{
    clock::UnixMillis,
    queue::{Parked, Queue},
};
use serde_json::{Value, json};

use crate::table::{age, size, table};

#[derive(Args)]
pub(super) struct ParkedArguments {
    /// How many are listed at most.
    #[arg(long, default_value_t = 100)]
    most: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &ParkedArguments, queue: &dyn Queue) -> anyhow::Result<ExitCode> {
    let parked = queue.parked(arguments.most).await?;
    let now = UnixMillis::now();
    if arguments.json {
        println!("{}", json(&parked, now));
    } else if parked.is_empty() {
        println!("nothing is parked");
    } else {
        print(&parked, now);
        if parked.len() == arguments.most {
            println!("there may be more: --most N lists more");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As one JSON value.
pub(super) fn json(parked: &[Parked], now: UnixMillis) -> Value {
    let one = |message: &Parked| {
        json!({
            "id": message.id,
            "reason": message.reason,
            "age_s": message.parked.map(|at| now.since(at).as_secs()),
            "bytes": message.bytes,
            "receive_count": message.receive_count,
        })
    };
    parked.iter().map(one).collect()
}

/// As a table.
pub(super) fn print(parked: &[Parked], now: UnixMillis) {
    let mut rows = table(&["parked", "reason", "size", "received", "id"]);
    for message in parked {
        let when = message.parked.map_or(Duration::ZERO, |at| now.since(at)).as_secs();
        let received = format!("{} x", message.receive_count);
        rows.add_row([format!("{} ago", age(when)), message.reason.clone(), size(message.bytes), received, message.id.clone()]);
    }
    println!("{rows}");
}
