//! `replyfleet explain FILE.eml`: each rule's verdict on a saved mail, by the very rules that the worker asks.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use replyfleet::{clock::UnixMillis, envelope::Facts, ground::look, settings::Settings};
use replyfleet_worker::{
    catalogue::keeper,
    catalogue_object,
    reason::Reason,
    request::{self, Request},
    screen::{Policy, RULES, Seen, TOO_OLD},
    send,
};

use crate::table::{table, verdict};

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The mail, as a file; - for standard input.
    file: PathBuf,
    /// MAIL FROM; else the mail's Return-Path, else its From. Give an empty one for the null sender.
    #[arg(long)]
    sender: Option<String>,
    /// RCPT TO; else the first address of the catalogue.
    #[arg(long)]
    recipient: Option<String>,
}

pub(crate) async fn run(arguments: &ExplainArguments, config: &Path) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(config)?;
    let mail = read(&arguments.file)?;
    let available = send::available(&settings);
    let ground = look(&settings, false).await?;
    let catalogue = keeper::look(ground.store.as_ref(), &catalogue_object(&settings)?, &available).await?;
    let policy = Policy::new(&settings).map_err(anyhow::Error::msg)?;

    let request = match request::read(&mail, settings.screen.mail_bytes_max.get()) {
        Ok(request) => request,
        Err(reason) => {
            println!("ignored: {} (rule 19: a limit, or no header; no other rule is asked then)", reason.word());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let recipient = arguments.recipient.clone().or_else(|| catalogue.responses().first().map(|response| response.address.clone()));
    let facts = Facts {
        mail_from: arguments.sender.clone().unwrap_or_else(|| sender(&request)),
        rcpt_to: recipient.unwrap_or_default(),
        arrived: UnixMillis::now(),
        ..Facts::default()
    };
    let seen = Seen { facts: &facts, request: &request, catalogue: &catalogue, policy: &policy, now: UnixMillis::now() };

    println!("MAIL FROM:<{}>  RCPT TO:<{}>  {} bytes", facts.mail_from, facts.rcpt_to, request.bytes);
    let mut rows = table(&["rule", "looks for", "verdict", "saw"]);
    let mut first: Option<Reason> = None;
    for rule in RULES.iter().chain([&TOO_OLD]) {
        let finding = (rule.check)(&seen);
        first = first.or(finding.reason);
        let cell = finding.reason.map_or_else(|| verdict(true, "passes"), |reason| verdict(false, reason.word()));
        rows.add_row([rule.number.to_string().into(), rule.looks_for.into(), cell, finding.saw.into_owned().into()]);
    }
    for (number, looks_for) in [("10", "another recipient of the mail that is answered"), ("25", "a sender over the allowance")] {
        rows.add_row([number, looks_for, "not asked", "the ledger decides when the mail comes"]);
    }
    println!("{rows}");
    match first {
        Some(reason) => println!("ignored: {}", reason.word()),
        None => println!(
            "answered with {} replies, if the sender has answers left (rule 25) and no other recipient of the mail was answered (rule 10)",
            catalogue.responses_for(&facts.rcpt_to).len()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut mail = Vec::new();
        std::io::stdin().read_to_end(&mut mail).context("cannot read standard input")?;
        return Ok(mail);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What MAIL FROM most likely was: Postfix and most others leave it in Return-Path.
fn sender(request: &Request) -> String {
    let return_path = request.values("return-path").next().map(|value| value.trim_matches(['<', '>']).to_owned());
    return_path.or_else(|| request.from.as_ref().ok().map(|from| from.as_str().to_owned())).unwrap_or_default()
}
