//! `replyfleet status`: what the fleet does, from its queue and its database: how full the queue is, which workers live and
//! whether they follow the switches, what is switched, how requests ended of late. Numbers and words, never a requester.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use replyfleet::{clock::UnixMillis, ground::look, queue::Depth, settings::Settings};
use replyfleet_worker::{
    ledger::{Census, ListKind, WorkerRow},
    switches::Switches,
};
use serde_json::json;

use crate::{
    ledger,
    table::{age, table, verdict},
};

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that is shown.
struct Status {
    now: UnixMillis,
    depth: Depth,
    switches: Switches,
    workers: Vec<WorkerRow>,
    census: Census,
    lists: Vec<(ListKind, u64)>,
}

pub(crate) async fn run(arguments: &StatusArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let (ground, ledger) = (look(settings, false).await?, ledger::join(settings).await?);
    let now = UnixMillis::now();
    let status = Status {
        now,
        depth: ground.queue.depth().await?,
        switches: ledger.switches().await?,
        workers: ledger.workers(now).await?,
        census: ledger.census(now).await?,
        lists: ledger.list_counts(now).await?,
    };
    if arguments.json {
        status.print_json()
    } else {
        status.print()
    }
    Ok(ExitCode::SUCCESS)
}

impl Status {
    fn print(&self) {
        let oldest = self.depth.oldest.map(|oldest| format!(", oldest {}", age(self.now.since(oldest).as_secs()))).unwrap_or_default();
        println!("queue     {} waiting, {} delayed, {} in flight{oldest}", self.depth.visible, self.depth.delayed, self.depth.in_flight);
        let switched: Vec<_> = self.switches.settings().map(|setting| format!("{} {}", setting.name(), setting.value())).collect();
        println!("switches  {}", if switched.is_empty() { "all on".to_owned() } else { switched.join(", ") });
        let lists: Vec<_> = self.lists.iter().map(|(kind, count)| format!("{} {count}", kind.word())).collect();
        println!("lists     {}", lists.join(", "));
        let follow = self.workers.iter().filter(|worker| self.follows(worker)).count();
        let shedding = self.workers.iter().filter(|worker| worker.is_shedding).count();
        println!("workers   {}, {follow} follow the switches, {shedding} give up attachments\n", self.workers.len());
        if !self.workers.is_empty() {
            let mut rows = table(&["worker", "runs for", "seen", "catalogue", "switches", "attachments"]);
            for worker in &self.workers {
                rows.add_row([
                    worker.id.get(..8).unwrap_or(&worker.id).into(),
                    age(self.now.since(worker.started).as_secs()).into(),
                    format!("{} ago", age(self.now.since(worker.seen).as_secs())).into(),
                    worker.catalogue.as_str().into(),
                    verdict(self.follows(worker), if self.follows(worker) { "follows" } else { "not yet" }),
                    verdict(!worker.is_shedding, if worker.is_shedding { "given up" } else { "as switched" }),
                ]);
            }
            println!("{rows}\n");
        }
        let mut rows = table(&["requests in the ledger", "last hour", "last day"]);
        tally(&mut rows, &self.census.hour.requests, &self.census.day.requests);
        println!("{rows}\n");
        let mut rows = table(&["their replies", "last hour", "last day"]);
        tally(&mut rows, &self.census.hour.replies, &self.census.day.replies);
        println!("{rows}");
    }

    fn print_json(&self) {
        let workers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                json!({
                    "id": worker.id,
                    "age_s": self.now.since(worker.started).as_secs(),
                    "seen_s": self.now.since(worker.seen).as_secs(),
                    "catalogue": worker.catalogue,
                    "follows": self.follows(worker),
                    "is_shedding": worker.is_shedding,
                })
            })
            .collect();
        let switches: BTreeMap<_, _> = self.switches.settings().map(|setting| (setting.name(), setting.value())).collect();
        let lists: BTreeMap<_, _> = self.lists.iter().map(|(kind, count)| (kind.word(), count)).collect();
        let of = |tally: &replyfleet_worker::ledger::Tally| json!({ "requests": tally.requests, "replies": tally.replies });
        let queue = json!({
            "visible": self.depth.visible,
            "delayed": self.depth.delayed,
            "in_flight": self.depth.in_flight,
            "oldest_s": self.depth.oldest.map(|oldest| self.now.since(oldest).as_secs()),
        });
        let census = json!({ "hour": of(&self.census.hour), "day": of(&self.census.day) });
        println!("{}", json!({ "queue": queue, "switches": switches, "lists": lists, "workers": workers, "census": census }));
    }

    fn follows(&self, worker: &WorkerRow) -> bool {
        worker.switches == self.switches.version
    }
}

fn tally(rows: &mut comfy_table::Table, hour: &BTreeMap<&'static str, u64>, day: &BTreeMap<&'static str, u64>) {
    for (word, of_day) in day {
        rows.add_row([(*word).to_owned(), hour.get(word).copied().unwrap_or_default().to_string(), of_day.to_string()]);
    }
}
