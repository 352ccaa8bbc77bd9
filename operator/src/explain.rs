//! `replyfleet explain`: each rule's verdict on a saved mail, by the very rules that the worker asks; or how a Maildir, a
//! folder or an mbox would have gone, by reason. It reads and asks, and changes nothing: not the ledger either.

mod mails;
mod show;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, stream};
use replyfleet::{
    clock::UnixMillis,
    envelope::Facts,
    ground::look,
    keyed::sha256_hex,
    settings::{AuthenticationMode, Settings, Trust},
};
use replyfleet_worker::{
    address::Address,
    catalogue::{Catalogue, keeper},
    catalogue_object,
    judge::{End, Hearing, Judge, Judgement, PROOF, Step},
    ledger::{Application, Ledger, Progress, Verdict},
    outcome::Wait,
    reason::Reason,
    request::{self, Request},
    screen::Seen,
    send,
    switches::Switches,
};

use self::mails::Saved;
use crate::ledger;

/// How many mails of a folder are asked at a time: each may wait for DNS.
const AT_A_TIME: usize = 16;

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// A mail, a Maildir, a folder of mails, or an mbox; - for a mail on standard input.
    file: PathBuf,
    /// MAIL FROM; else the mail's Return-Path, else its From. Give an empty one for the null sender.
    #[arg(long)]
    sender: Option<String>,
    /// RCPT TO; else the first address of the catalogue.
    #[arg(long)]
    recipient: Option<String>,
    /// The address that the mail came from, for SPF.
    #[arg(long)]
    client_address: Option<IpAddr>,
    /// What the client said in HELO or EHLO, for SPF.
    #[arg(long, default_value = "")]
    helo: String,
    /// Asks neither DNS nor the database: the rules that need them are left out, and every sender counts as proven.
    #[arg(long)]
    offline: bool,
    /// Of many mails, says each one's end as well.
    #[arg(long)]
    each: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What every mail is asked by.
struct Bench {
    judge: Judge,
    catalogue: Catalogue,
    ledger: Option<Ledger>,
    switches: std::sync::Arc<Switches>,
    mail_bytes_max: usize,
}

/// How one mail went.
struct Explained {
    facts: Facts,
    bytes: usize,
    steps: Vec<Step>,
    judgement: Option<Judgement>,
    /// How many replies it would get.
    replies: usize,
}

impl Explained {
    /// The first rule that ended the way.
    fn end(&self) -> Option<End> {
        self.steps.iter().find_map(|step| step.end)
    }

    /// The word of its end: `answered`, a reason's, or what it would wait for.
    fn word(&self) -> &'static str {
        match self.end() {
            None => "answered",
            Some(End::Ignore(reason)) => reason.word(),
            Some(End::Later(Wait::Dns)) => "later (dns)",
            Some(End::Later(Wait::Switch)) => "later (held)",
            Some(End::Later(_)) => "later (ledger)",
        }
    }
}

pub(crate) async fn run(arguments: &ExplainArguments, config: &Path) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::load(config)?;
    if arguments.offline {
        // What DNS would say is taken for yes.
        settings.authentication.mode = AuthenticationMode::Off;
        settings.authentication.unproven = Trust::Full;
    }
    let mails = mails::open(&arguments.file)?;
    let available = send::available(&settings);
    let ground = look(&settings, false).await?;
    let catalogue = keeper::look(ground.store.as_ref(), &catalogue_object(&settings)?, &available).await?;
    let ledger = match arguments.offline {
        true => None,
        false => Some(ledger::join(&settings).await.context("give --offline to do without the database")?),
    };
    let switches = match &ledger {
        Some(ledger) => ledger.switches().await?,
        None => Switches::default(),
    };
    let bench = Bench {
        judge: Judge::open(&settings).map_err(anyhow::Error::msg)?,
        catalogue,
        ledger,
        switches: switches.into(),
        mail_bytes_max: settings.screen.mail_bytes_max.get(),
    };
    match mails {
        Saved::One(mail) => {
            let explained = bench.explain(arguments, &mail).await;
            show::one(&explained, arguments.json)
        }
        Saved::Many(mails) => {
            let mut all = stream::iter(mails)
                .map(|mail| {
                    let bench = &bench;
                    async move {
                        let (name, content) = mail?;
                        anyhow::Ok((name, bench.explain(arguments, &content).await.word()))
                    }
                })
                .buffered(AT_A_TIME);
            let mut ends = Vec::new();
            while let Some(end) = all.next().await {
                ends.push(end?);
            }
            show::many(&ends, arguments.each, arguments.json)
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Bench {
    async fn explain(&self, arguments: &ExplainArguments, mail: &[u8]) -> Explained {
        let now = UnixMillis::now();
        // As on the day on which it came: signatures run out, and a mail in a folder is old.
        let came = mails::arrival(mail).unwrap_or(now);
        let mut facts = Facts {
            mail_from: arguments.sender.clone().unwrap_or_default(),
            rcpt_to: arguments.recipient.clone().unwrap_or_else(|| self.first_address()),
            client_address: arguments.client_address.map(|address| address.to_string()).unwrap_or_default(),
            helo: arguments.helo.clone(),
            arrived: came,
            ..Facts::default()
        };
        let mut steps = Vec::new();
        let request = match request::read(mail, self.mail_bytes_max) {
            Ok(request) => request,
            Err(reason) => {
                steps.push(unreadable(reason));
                return Explained { facts, bytes: mail.len(), steps, judgement: None, replies: 0 };
            }
        };
        if arguments.sender.is_none() {
            facts.mail_from = sender(&request);
        }
        let seen = Seen { facts: &facts, request: &request, catalogue: &self.catalogue, policy: self.judge.policy(), now: came };
        let hearing = Hearing { seen, mail, switches: self.switches.clone(), is_shedding: false, is_first_look: false };
        let judgement = self
            .judge
            .ask(&hearing, self.ledger.as_ref(), &mut |step| {
                let is_assumed = arguments.offline && step.number == PROOF;
                steps.extend((!is_assumed).then_some(step));
                true
            })
            .await;
        let replies = self.rehearse(&facts, &request, mail, &judgement, now, &mut steps).await;
        Explained { bytes: mail.len(), judgement: Some(judgement), replies, steps, facts }
    }

    /// What the ledger would say, if it came to that; returns how many replies there would be.
    async fn rehearse(&self, facts: &Facts, request: &Request, mail: &[u8], judgement: &Judgement, now: UnixMillis, steps: &mut Vec<Step>) -> usize {
        let promises = judgement.promises(&self.catalogue.responses_for(&facts.rcpt_to));
        let (Some(ledger), Ok(from), None) = (&self.ledger, &request.from, steps.iter().find_map(|step| step.end)) else {
            return promises.iter().filter(|promise| promise.needs <= judgement.ceiling(&promises)).count();
        };
        // A saved mail has no queue id: its keys are of its own, so that no request in the ledger is taken for it.
        let key = sha256_hex(mail);
        let application = Application {
            request_key: &key,
            mail_key: &key,
            sender: from,
            client_address: &facts.client_address,
            responder: &Address::parse(&facts.rcpt_to).map(|address| address.without_tag()).unwrap_or_default(),
            identity: &judgement.identity(request, mail),
            trust: judgement.ceiling(&promises),
            responses: &promises,
            is_allowed: judgement.is_allowed,
            is_proven: judgement.is_proven,
            catalogue: self.catalogue.version(),
        };
        let step = |saw: String, end| Step { number: 25, looks_for: "allowance, caps, repeats (25-28)", saw: saw.into(), end };
        match ledger.rehearse(&application, now).await {
            Ok(Progress { verdict: Verdict::Answer, granted, replies }) => {
                steps.push(step(format!("granted {}", granted.word()), None));
                replies.len()
            }
            Ok(Progress { verdict: Verdict::Ignore(reason), .. }) => {
                steps.push(step(reason.word().to_owned(), Some(End::Ignore(reason))));
                0
            }
            Err(error) => {
                steps.push(step(error.to_string(), Some(End::Later(Wait::Ledger))));
                0
            }
        }
    }

    fn first_address(&self) -> String {
        self.catalogue.responses().first().map(|response| response.address.clone()).unwrap_or_default()
    }
}

/// Rule 19's limits, which end the way before any other rule is asked.
fn unreadable(reason: Reason) -> Step {
    let saw = "a limit is broken, or there is no header; no other rule is asked then";
    Step { number: 19, looks_for: "a mail that can be read", saw: saw.into(), end: Some(End::Ignore(reason)) }
}

/// What MAIL FROM most likely was: Postfix and most others leave it in Return-Path.
fn sender(request: &Request) -> String {
    let return_path = request.values("return-path").next().map(|value| value.trim_matches(['<', '>', ' ']).to_owned());
    return_path.or_else(|| request.from.as_ref().ok().map(|from| from.as_str().to_owned())).unwrap_or_default()
}
