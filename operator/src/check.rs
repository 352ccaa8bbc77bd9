//! `replyfleet check`: tries the settings and everything that they name. One line each; ends with 1 if one is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use replyfleet::{
    clock::{Clock, SystemClock},
    ground::{Ground, look},
    keyed::sha256_hex,
    settings::{AuthenticationMode, Settings},
    store::{Fetched, ObjectName},
    telemetry::chain,
};
use replyfleet_worker::{
    attachments::AttachmentError,
    catalogue::{Catalogue, keeper},
    catalogue_object,
    composer::domains_to_sign,
    judge::Judge,
    ledger::{Ledger, exempt_domains},
    metrics, retention, send,
    sign::Signer,
};

/// How long one part may take to answer.
const PART_TIMEOUT: Duration = Duration::from_secs(30);

/// Lines so far, and whether all of them are good.
struct Report {
    is_good: bool,
}

impl Report {
    fn line(&mut self, part: &str, result: Result<String, String>) {
        let (mark, text) = match result {
            Ok(text) => ("ok   ", text),
            Err(text) => {
                self.is_good = false;
                ("WRONG", text)
            }
        };
        println!("{mark}  {part:<12} {text}");
    }

    async fn ask<T>(&mut self, part: &str, good: impl FnOnce(T) -> String, answer: impl Future<Output = Result<T, String>>) {
        let answered = tokio::time::timeout(PART_TIMEOUT, answer).await;
        let result = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", PART_TIMEOUT.as_secs())));
        self.line(part, result.map(good));
    }

    fn code(&self) -> ExitCode {
        if self.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

pub(crate) async fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let mut report = Report { is_good: true };
    let settings = match Settings::load(config) {
        Ok(settings) => settings,
        Err(error) => {
            report.line("settings", Err(chain(&error)));
            return Ok(report.code());
        }
    };
    report.line("settings", Ok(config.display().to_string()));
    let judge = Judge::open(&settings);
    report.line("policy", judge.as_ref().map(|_| senders_proven(&settings)).map_err(Clone::clone));
    if let Ok(judge) = &judge {
        let domain = judge.policy().bounce().ascii_domain();
        report.ask("name server", str::to_owned, judge.check(&domain)).await;
    }
    let secret = settings.secret();
    report.line("secret", secret.as_ref().map(|_| "readable, and only for those who may".into()).map_err(|error| chain(error)));

    let ground = match look(&settings, send::needs_aws(&settings)).await {
        Ok(ground) => ground,
        Err(error) => {
            report.line("queue, store", Err(chain(&error)));
            return Ok(report.code());
        }
    };
    let words = |depth: replyfleet::queue::Depth| format!("{} waiting, {} in flight", depth.visible, depth.in_flight);
    report.ask("queue", words, async { ground.queue.depth().await.map_err(|error| error.to_string()) }).await;
    let parked = |parked: Vec<_>| format!("{}{} parked", parked.len(), if parked.len() == 10 { " or more" } else { "" });
    report.ask("dead letters", parked, async { ground.queue.parked(10).await.map_err(|error| error.to_string()) }).await;
    let limits = async {
        let limits = ground.queue.limits().await.map_err(|error| error.to_string())?;
        let faults = retention::faults(&settings, &limits);
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    };
    report.ask("retention", |()| "nothing is forgotten before it can come again, or lost before it is answered".into(), limits).await;
    let bucket = settings.store.claim_check_bucket.clone();
    let claim_check = async { check_bucket(&settings, &ground, &bucket).await };
    report.ask("claim check", |()| format!("bucket {bucket}"), claim_check).await;

    let available = send::available(&settings);
    let catalogue = async {
        let object = catalogue_object(&settings).map_err(|error| error.to_string())?;
        keeper::look(ground.store.as_ref(), &object, &available).await.map_err(|error| error.to_string())
    };
    let looked = tokio::time::timeout(PART_TIMEOUT, catalogue).await.unwrap_or_else(|_| Err("no answer".into()));
    let summary = |catalogue: &Catalogue| {
        format!("version {}, {} responses for {} addresses", catalogue.version(), catalogue.responses().len(), catalogue.addresses().count())
    };
    report.line("catalogue", looked.as_ref().map(summary).map_err(Clone::clone));
    report.line("signing", Signer::open(&settings).and_then(|signer| keys(&settings, &signer, looked.as_ref().ok())));
    if let Ok(catalogue) = &looked {
        let files = catalogue.responses().iter().flat_map(|response| &response.attachments);
        // Each is fetched once, whatever is wanted of it.
        let mut pins: BTreeMap<&ObjectName, BTreeSet<&str>> = BTreeMap::new();
        files.for_each(|file| pins.entry(&file.object).or_default().extend(file.sha256.as_deref()));
        for (object, pins) in pins {
            report.ask("attachment", |()| object.to_string(), check_attachment(&ground, object, &pins)).await;
        }
    }

    let database = async {
        exempt_domains(&settings.allowance).map_err(|error| error.to_string())?;
        let url = settings.database_url().map_err(|error| error.to_string())?;
        Ledger::look(url).await.map_err(|error| format!("{error} (if there is none yet: the worker's first start makes it)"))
    };
    let schema = |pending| {
        if pending == 0 {
            "answers, with this version's schema".into()
        } else {
            format!("answers; the worker will bring its schema {pending} steps up")
        }
    };
    report.ask("database", schema, database).await;
    match send::open(&settings, ground.aws.as_deref()) {
        Err(error) => report.line("senders", Err(error)),
        Ok(senders) if senders.is_empty() => report.line("senders", Err("none: set [send.SES] or [send.SMTP]".into())),
        Ok(senders) => {
            for (method, sender) in senders {
                report.ask(&format!("send.{}", method.word()), |()| "answers".into(), sender.check()).await;
            }
        }
    }
    report.ask("metrics", |text: String| text, metrics::check(&settings)).await;
    Ok(report.code())
}

/// On a folder the bucket is made by the first mail that needs it; on S3 someone must have made it.
async fn check_bucket(settings: &Settings, ground: &Ground, bucket: &str) -> Result<(), String> {
    match settings.store.url {
        replyfleet::settings::StoreUrl::Dir(_) => Ok(()),
        replyfleet::settings::StoreUrl::S3 => ground.store.check(bucket).await.map_err(|error| error.to_string()),
    }
}

/// Whether an attachment is there, and the content is the one that every mention in the catalogue wants.
async fn check_attachment(ground: &Ground, object: &ObjectName, pins: &BTreeSet<&str>) -> Result<(), String> {
    let content = match ground.store.get(object, None).await.map_err(|error| error.to_string())? {
        Fetched::Changed(content, _) => content,
        Fetched::Unchanged => return Err(format!("{object}: the store gives no content; try again")),
    };
    let found = sha256_hex(&content);
    match pins.iter().find(|wanted| **wanted != found) {
        Some(wanted) => Err(format!("{object}: {}", AttachmentError::Differs { wanted: (*wanted).to_owned(), found })),
        None => Ok(()),
    }
}

/// What `[[signing.keys]]` comes to: for which of the catalogue's domains of From there is a key today, and for which not.
///
/// # Errors
/// Keys are set, but for a domain whose sender is set to sign there is none today.
fn keys(settings: &Settings, signer: &Signer, catalogue: Option<&Catalogue>) -> Result<String, String> {
    let now = SystemClock.now();
    let count = signer.published().count();
    let domains: BTreeSet<&str> = catalogue.into_iter().flat_map(Catalogue::domains).collect();
    let (signed, unsigned): (Vec<&str>, Vec<&str>) = domains.into_iter().partition(|domain| signer.signs_for(domain, now));
    let to_sign = catalogue.map(|catalogue| domains_to_sign(settings, catalogue)).unwrap_or_default();
    let lacking: Vec<&str> = unsigned.iter().copied().filter(|domain| to_sign.contains(domain)).collect();
    if count > 0 && !lacking.is_empty() {
        let domains = lacking.join(", ");
        return Err(format!("no key signs today for {domains}; add one to signing.keys, or set the sender's sign to false if another signs"));
    }
    let listed = |what: &str, domains: Vec<&str>| if domains.is_empty() { String::new() } else { format!("; {what}: {}", domains.join(", ")) };
    Ok(format!("{count} keys{}{}", listed("signed today", signed), listed("not signed", unsigned)))
}

/// What `[authentication]` comes to.
fn senders_proven(settings: &Settings) -> String {
    let proof = &settings.authentication;
    match proof.mode {
        AuthenticationMode::On => {
            format!("proven senders get full answers, SPF alone {}, the unproven {}", proof.spf_only.word(), proof.unproven.word())
        }
        AuthenticationMode::Off => format!("senders are not authenticated: everybody gets {}", proof.unproven.word()),
    }
}
