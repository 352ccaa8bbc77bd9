//! `replyfleet send` and `replyfleet preview`: the replies that a request to an address would get, sent to somebody or
//! written into a folder. They are made as the worker makes them: language, provider, files, signatures.
//!
//! Nobody asked, so nothing is screened or counted; but who wants no mail from us gets none by `send` either, and what is
//! switched off stays off.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use replyfleet::{
    clock::{Clock, SystemClock},
    ground::{Ground, look},
    keyed::sha256_hex,
    settings::Settings,
};
use replyfleet_worker::{
    address::Address,
    catalogue::{Catalogue, Response, keeper},
    catalogue_object,
    compose::{Recipient, Reply},
    composer::{Composer, Hindrance},
    judge::Judge,
    language,
    request::{self, Request},
    send::{self, SendError, Senders},
    switches::{State, Switches},
};

use crate::ledger;

#[derive(Args)]
pub(crate) struct SendArguments {
    #[command(flatten)]
    what: What,
    /// Who gets it.
    #[arg(long)]
    to: String,
}

#[derive(Args)]
pub(crate) struct PreviewArguments {
    #[command(flatten)]
    what: What,
    /// Who would get it: his provider decides how files are called and how large they may be.
    #[arg(long, default_value = "someone@example.org")]
    to: String,
    /// The folder, which is made if there is none. No file in it is written over.
    #[arg(long, default_value = "replyfleet-preview")]
    dir: PathBuf,
}

#[derive(Args)]
struct What {
    /// An address of the catalogue, with a +tag if you like.
    address: String,
    /// A saved mail that is answered: its subject, ids and language count. Else a mail that says nothing.
    #[arg(long)]
    request: Option<PathBuf>,
}

/// Everything that answers are made with.
struct Desk {
    composer: Composer,
    catalogue: Catalogue,
    judge: Judge,
    to: Address,
    request: Request,
    request_key: String,
    asked: String,
    /// Of its own: the worker's belongs to the worker's user.
    _cache_dir: tempfile::TempDir,
}

impl Desk {
    async fn open(what: &What, to: &str, settings: &Settings, ground: &Ground) -> anyhow::Result<Self> {
        let to = Address::parse(to).with_context(|| format!("--to: {to:?} is not an address local@domain"))?;
        let object = catalogue_object(settings)?;
        let catalogue = keeper::look(ground.store.as_ref(), &object, &send::available(settings)).await?;
        if catalogue.responses_for(&what.address).is_empty() {
            let mut addresses: Vec<&str> = catalogue.addresses().collect();
            addresses.sort_unstable();
            bail!("{:?} is not in the catalogue; these are: {}", what.address, addresses.join(", "));
        }
        let mail = match &what.request {
            Some(file) => std::fs::read(file).with_context(|| format!("--request: cannot read {}", file.display()))?,
            None => format!("From: {}\r\n\r\n", to.for_transport()).into_bytes(),
        };
        let bytes_max = settings.screen.mail_bytes_max.get();
        let request = request::read(&mail, bytes_max).map_err(|reason| anyhow!("--request: cannot be read: {}", reason.word()))?;
        let cache_dir = tempfile::tempdir().context("a folder for attachments")?;
        let composer = Composer::open(settings, Arc::clone(&ground.store), cache_dir.path()).map_err(|text| anyhow!(text))?;
        let judge = Judge::open(settings).map_err(|text| anyhow!(text))?;
        // As unique as a request's own, and not its own: it was not answered by this.
        let request_key = sha256_hex(format!("{:?} {} {}", SystemTime::now(), std::process::id(), what.address).as_bytes());
        Ok(Self { composer, catalogue, judge, to, request, request_key, asked: what.address.clone(), _cache_dir: cache_dir })
    }

    fn responses(&self) -> Vec<&Response> {
        self.catalogue.responses_for(&self.asked)
    }

    /// The reply that `response` makes, or why there is none.
    async fn reply(&self, index: usize, response: &Response, senders: &Senders, switches: &Switches) -> Result<Reply, String> {
        let hosts = self.judge.mail_hosts(&self.to).await.ok_or("DNS does not say now by which hosts the recipient's domain takes mail")?;
        let domain = self.to.ascii_domain();
        let has_files = !response.attachments.is_empty();
        match switches.of_answer(&self.asked, &domain, Some(&hosts)) {
            State::On if switches.has_attachments || !has_files => {}
            _ => return Err("is switched off: see `replyfleet switch`".into()),
        }
        let translation = language::choose(response, &self.asked, &self.request);
        let provider = self.composer.providers().of(&domain, &hosts);
        let bytes_max = senders.get(&response.send_method).and_then(|sender| sender.message_bytes_max(&self.to));
        let body = match self.composer.body((response, translation), provider, bytes_max, response.send_method).await {
            Ok(body) => body,
            Err(Hindrance::Store) => return Err("an attachment cannot be had: see `replyfleet check`".into()),
            Err(Hindrance::TooBig) if self.responses().iter().any(|other| other.attachments.is_empty()) => {
                return Err("is too big for the recipient's provider or our next hop; only the replies without attachments leave".into());
            }
            Err(Hindrance::TooBig) => self.composer.text(response, translation),
        };
        let recipient = Recipient { to: &self.to, asked: &self.asked, request: &self.request, request_key: &self.request_key };
        Ok(self.composer.compose(&recipient, index, (response, translation), body, response.send_method, SystemClock.now()))
    }
}

pub(crate) async fn send(arguments: &SendArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ground = look(settings, send::needs_aws(settings)).await?;
    let desk = Desk::open(&arguments.what, &arguments.to, settings, &ground).await?;
    let senders = send::open(settings, ground.aws.as_deref()).map_err(|text| anyhow!(text))?;
    let ledger = ledger::join(settings).await?;
    let listed = ledger.listed(&[&desk.to], SystemClock.now()).await?;
    if listed.is_suppressed {
        bail!("--to: who that is wants no mail from us; `replyfleet suppress --remove` takes somebody off that list");
    }
    let switches = ledger.switches().await?;
    let with_smtputf8 = send::with_smtputf8(settings);
    let mut is_all_sent = true;
    for (index, response) in desk.responses().into_iter().enumerate() {
        let method = response.send_method;
        let result = match (senders.get(&method), desk.reply(index, response, &senders, &switches).await) {
            (_, Err(text)) => Err(text),
            (None, Ok(_)) => Err("has no sender".into()),
            (Some(_), Ok(reply)) if !reply.rcpt_to.is_ascii() && !with_smtputf8.contains(&method) => {
                Err("cannot leave by SES: the recipient's local part is not ASCII".into())
            }
            (Some(sender), Ok(reply)) => {
                let start = Instant::now();
                let accepted =
                    |reply: &Reply| format!("accepted, {} bytes in {} ms, Message-ID {}", reply.len(), start.elapsed().as_millis(), reply.id);
                match sender.send(&reply).await {
                    Ok(_) => Ok(accepted(&reply)),
                    // Only now the sender knows how large a mail may be: once more, as the worker's next try does.
                    Err(SendError::TooBig(_)) => match desk.reply(index, response, &senders, &switches).await {
                        Ok(reply) => sender.send(&reply).await.map(|_| accepted(&reply)).map_err(|error| error.to_string()),
                        Err(text) => Err(text),
                    },
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        is_all_sent &= result.is_ok();
        let (Ok(text) | Err(text)) = result;
        println!("reply {} by {}: {text}", index + 1, method.word());
    }
    Ok(if is_all_sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) async fn preview(arguments: &PreviewArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ground = look(settings, send::needs_aws(settings)).await?;
    let desk = Desk::open(&arguments.what, &arguments.to, settings, &ground).await?;
    let senders = send::open(settings, ground.aws.as_deref()).map_err(|text| anyhow!(text))?;
    let switches = Switches::default();
    std::fs::create_dir_all(&arguments.dir).with_context(|| format!("--dir: cannot make {}", arguments.dir.display()))?;
    let mut files = (0..desk.responses().len()).map(|index| file(&arguments.dir, index));
    if let Some(there) = files.find(|file| file.exists()) {
        bail!("--dir: {} is there already; name another folder", there.display());
    }
    let mut is_whole = true;
    for (index, response) in desk.responses().into_iter().enumerate() {
        match desk.reply(index, response, &senders, &switches).await {
            Ok(reply) => println!("{}", write(&arguments.dir, index, &reply)?),
            Err(text) => {
                is_whole = false;
                println!("reply {}: {text}", index + 1);
            }
        }
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a reply goes.
fn file(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("{}.eml", index + 1))
}

/// Writes a reply, and says where.
fn write(dir: &Path, index: usize, reply: &Reply) -> anyhow::Result<String> {
    let path = file(dir, index);
    let written = File::create_new(&path).and_then(|mut file| file.write_all(&reply.to_vec()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{}: {} bytes, MAIL FROM {:?}", path.display(), reply.len(), reply.mail_from))
}
