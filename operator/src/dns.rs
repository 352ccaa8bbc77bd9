//! `replyfleet dns`: what has to be in DNS for the addresses that we serve, ready for a zone file; with `--check`, whether
//! it is there.
//!
//! [`plan`] says what, [`zone`] writes it down, [`compare`] holds an answer against it. Domains come from the catalogue and
//! the bounce address, the rest from `[dns]` and `[signing]`. What the settings leave open is said, never silently left
//! out. Nothing is made or changed, here or in DNS.

mod compare;
mod plan;
mod zone;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use futures_util::future::join_all;
use replyfleet::{clock::UnixMillis, ground::look_at_store, settings::Settings, telemetry::chain};
use replyfleet_worker::{catalogue::keeper, catalogue_object, composer::domains_to_sign, published::Published, send, sign::Signer};
use serde_json::{Value, json};

use self::{
    compare::{Finding, State},
    plan::{Entry, Expected, Plan},
};
use crate::table::{table, verdict};

#[derive(Args)]
pub(crate) struct DnsArguments {
    /// Asks DNS and says of each record whether it is there; ends with 1 unless all are.
    #[arg(long)]
    check: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: &DnsArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let signer = Signer::open(settings).map_err(|error| anyhow!(error))?;
    let store = look_at_store(settings).await?;
    let catalogue = keeper::look(store.as_ref(), &catalogue_object(settings)?, &send::available(settings)).await;
    let catalogue = catalogue.map_err(|error| anyhow!(chain(&error)))?;
    let plan = Plan::new(settings, catalogue.domains(), &domains_to_sign(settings, &catalogue), &signer, UnixMillis::now())
        .map_err(|error| anyhow!(error))?;
    if !arguments.check {
        if arguments.json {
            println!("{}", json!({ "records": plan.entries.iter().map(record).collect::<Vec<_>>(), "not_set": not_set(&plan) }));
        } else {
            print!("{}", zone::text(&plan));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let published = Published::open(&settings.authentication).map_err(|error| anyhow!(error))?;
    let findings = join_all(plan.entries.iter().map(|entry| find(&published, entry))).await;
    let is_good = findings.iter().all(Finding::is_good);
    if arguments.json {
        let records: Vec<_> = plan.entries.iter().zip(&findings).map(|(entry, finding)| checked(entry, finding)).collect();
        println!("{}", json!({ "is_good": is_good, "records": records, "not_set": not_set(&plan) }));
    } else {
        print_findings(&plan, &findings);
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks for what is there, and judges it.
async fn find(published: &Published, entry: &Entry) -> Finding {
    let answer = match entry.expected {
        Expected::Mx(_) => published.mx(&entry.name).await,
        _ => published.txt(&entry.name).await,
    };
    compare::compare(entry, answer.ok())
}

fn print_findings(plan: &Plan, findings: &[Finding]) {
    let mut rows = table(&["for", "name", "type", "state", ""]);
    for (entry, finding) in plan.entries.iter().zip(findings) {
        rows.add_row([
            entry.purpose().into(),
            entry.name.as_str().into(),
            entry.expected.kind().into(),
            verdict(finding.is_good(), finding.state.word()),
            finding.why.as_str().into(),
        ]);
    }
    println!("{rows}");
    // In full below the table, to be compared by eye.
    for (entry, finding) in plan.entries.iter().zip(findings).filter(|(_, finding)| matches!(finding.state, State::Missing | State::Differs)) {
        println!("\n{} {}", entry.name, entry.expected.kind());
        finding.found.iter().for_each(|found| println!("  there is  {found}"));
        entry.expected.values().iter().for_each(|value| println!("  should be {value}"));
    }
    for (number, gap) in plan.gaps.iter().enumerate() {
        let before = if number == 0 { "\n" } else { "" };
        println!("{before}not checked: {} of {}: {}", gap.what, gap.domain, gap.why);
    }
}

fn record(entry: &Entry) -> Value {
    json!({
        "domain": entry.domain,
        "for": entry.purpose(),
        "name": entry.name,
        "type": entry.expected.kind(),
        "values": entry.expected.values(),
        "notes": entry.notes,
    })
}

fn checked(entry: &Entry, finding: &Finding) -> Value {
    let mut record = record(entry);
    record["state"] = finding.state.word().into();
    record["why"] = finding.why.as_str().into();
    record["found"] = json!(finding.found);
    record
}

fn not_set(plan: &Plan) -> Vec<Value> {
    plan.gaps.iter().map(|gap| json!({ "domain": gap.domain, "for": gap.what, "why": gap.why })).collect()
}
