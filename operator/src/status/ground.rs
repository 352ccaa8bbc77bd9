//! The fleet as its queue and its database know it: how full the queue is, which workers live and whether they follow the
//! switches, what is switched, how requests ended of late.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use replyfleet::{
    clock::UnixMillis,
    ground::{Ground, look},
    queue::Depth,
    settings::Settings,
};
use replyfleet_worker::{
    ledger::{Census, Ledger, ListKind, WorkerRow},
    switches::Switches,
};
use serde_json::{Value, json};

use super::Page;
use crate::{
    ledger,
    table::{age, table_for, verdict},
};

/// Queue and database, opened.
pub(super) struct GroundSource {
    ground: Ground,
    ledger: Ledger,
}

/// Everything that is shown.
pub(super) struct Status {
    now: UnixMillis,
    depth: Depth,
    switches: Switches,
    workers: Vec<WorkerRow>,
    census: Census,
    lists: Vec<(ListKind, u64)>,
}

impl GroundSource {
    /// # Errors
    /// Queue or database cannot be opened.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self { ground: look(settings, false).await?, ledger: ledger::join(settings).await? })
    }

    /// # Errors
    /// One of them does not answer.
    pub(super) async fn look(&self) -> anyhow::Result<Status> {
        let (now, ledger) = (UnixMillis::now(), &self.ledger);
        Ok(Status {
            now,
            depth: self.ground.queue.depth().await?,
            switches: ledger.switches().await?,
            workers: ledger.workers(now).await?,
            census: ledger.census(now).await?,
            lists: ledger.list_counts(now).await?,
        })
    }
}

impl Page for Status {
    fn text(&self, width: Option<u16>) -> String {
        let mut text = String::new();
        // A string takes everything.
        let _ = self.write(&mut text, width);
        text
    }

    fn json(&self) -> Value {
        self.to_json()
    }
}

impl Status {
    fn write(&self, text: &mut String, width: Option<u16>) -> fmt::Result {
        let oldest = self.depth.oldest.map(|oldest| format!(", oldest {}", age(self.now.since(oldest).as_secs()))).unwrap_or_default();
        writeln!(text, "queue     {} waiting, {} delayed, {} in flight{oldest}", self.depth.visible, self.depth.delayed, self.depth.in_flight)?;
        let switched: Vec<_> = self.switches.settings().map(|setting| format!("{} {}", setting.name(), setting.value())).collect();
        writeln!(text, "switches  {}", if switched.is_empty() { "all on".to_owned() } else { switched.join(", ") })?;
        let lists: Vec<_> = self.lists.iter().map(|(kind, count)| format!("{} {count}", kind.word())).collect();
        writeln!(text, "lists     {}", lists.join(", "))?;
        let follow = self.workers.iter().filter(|worker| self.follows(worker)).count();
        let shedding = self.workers.iter().filter(|worker| worker.is_shedding).count();
        writeln!(text, "workers   {}, {follow} follow the switches, {shedding} give up attachments\n", self.workers.len())?;
        if !self.workers.is_empty() {
            let mut rows = table_for(width, &["worker", "runs for", "seen", "catalogue", "switches", "attachments"]);
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
            writeln!(text, "{rows}\n")?;
        }
        let mut rows = table_for(width, &["requests in the ledger", "last hour", "last day"]);
        tally(&mut rows, &self.census.hour.requests, &self.census.day.requests);
        writeln!(text, "{rows}\n")?;
        let mut rows = table_for(width, &["their replies", "last hour", "last day"]);
        tally(&mut rows, &self.census.hour.replies, &self.census.day.replies);
        writeln!(text, "{rows}")?;
        Ok(())
    }

    fn to_json(&self) -> Value {
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
        json!({ "queue": queue, "switches": switches, "lists": lists, "workers": workers, "census": census })
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
