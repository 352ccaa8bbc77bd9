//! A worker with a spool, a store, a database and two Maildirs of its own, and a name server that may be shared.
//!
//! The address `get@DOMAIN` has two responses: links, which a sender who is proven a little may have, and files, for those
//! who are proven in full. Each goes to a Maildir of its own, so that one can see who got what. `files@DOMAIN` has only files.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    ground::Ground,
    keyed::Secret,
    settings::{ENV_SECRET_KEY, Settings},
};
use replyfleet_enqueuer::{Destination, Handover, enqueue, facts};
use replyfleet_tests::{
    dkim::{Signer, with_lf},
    dns::{Dns, Zone},
};
use replyfleet_worker::{
    Worker,
    ledger::Ledger,
    metrics::{Ended, Metrics},
    outcome::Outcome,
};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};

/// How long one mail may take, its waits for DNS and switches included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// A client that may send for nobody unless a zone says so.
pub(crate) const CLIENT: &str = "192.0.2.66";
/// A client that a zone may name.
pub(crate) const KNOWN_CLIENT: &str = "192.0.2.10";

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CATALOGUE: &str = r#"[
  {"email_addr": "get@DOMAIN", "body": "links", "send_method": "SES"},
  {"email_addr": "get@DOMAIN", "body": "files", "attachments": [["files", "a.bin", "a.bin"]], "send_method": "SMTP"},
  {"email_addr": "files@DOMAIN", "body": "files", "attachments": [["files", "a.bin", "a.bin"]], "send_method": "SMTP"}
]"#;
const SETTINGS: &str = r#"
authentication = { resolver = "DNS", timeout_s = 2 AUTHENTICATION }
queue = { url = "spool:DIR/spool" }
store = { url = "dir:DIR/store" }
catalogue = { bucket = "catalogue", key = "catalogue.json" }
worker = { cache_dir = "DIR/cache" }
database = { url = "sqlite:DIR/ledger.db" }
reply = { bounce_address = "bounces@DOMAIN" }
send.SES = { kind = "maildir", dir = "DIR/links" }
send.SMTP = { kind = "maildir", dir = "DIR/files" }
"#;

/// What differs between worlds.
pub(crate) struct Plan<'a> {
    /// Whose mail is answered.
    pub(crate) domain: &'a str,
    /// More of `[authentication]`, each with a comma before it.
    pub(crate) authentication: &'a str,
    /// More settings.
    pub(crate) more: &'a str,
    /// What is in the file.
    pub(crate) file: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { domain: "responder.test", authentication: "", more: "", file: "content" }
    }
}

/// A mail as Postfix hands it over.
pub(crate) struct Incoming {
    pub(crate) mail_from: String,
    pub(crate) rcpt_to: String,
    pub(crate) client: &'static str,
    pub(crate) helo: &'static str,
    pub(crate) mail: Vec<u8>,
    pub(crate) arrived: UnixMillis,
}

impl Incoming {
    /// From `from`, in header and envelope, to `get@responder.test`, with a Message-ID that no other mail has.
    pub(crate) fn of(from: &str) -> Self {
        static SENT: AtomicUsize = AtomicUsize::new(0);
        let number = SENT.fetch_add(1, Ordering::Relaxed);
        let mail =
            format!("From: Some One <{from}>\r\nTo: get@responder.test\r\nSubject: please\r\nMessage-ID: <{number}@client.test>\r\n\r\nplease\r\n");
        Self {
            mail_from: from.into(),
            rcpt_to: "get@responder.test".into(),
            client: CLIENT,
            helo: "client.test",
            mail: mail.into(),
            arrived: UnixMillis::now(),
        }
    }

    /// With a DKIM signature of this domain.
    pub(crate) fn signed(self, signer: &Signer, domain: &str) -> Self {
        Self { mail: signer.sign(&self.mail, domain), ..self }
    }

    /// With these fields on top, each with its line end.
    pub(crate) fn with_fields(self, fields: &str) -> Self {
        Self { mail: [fields.as_bytes(), &self.mail].concat(), ..self }
    }
}

/// A running worker with everything that is its own.
pub(crate) struct World {
    dir: tempfile::TempDir,
    settings: Settings,
    secret: Secret,
    ground: Ground,
    pub(crate) metrics: Arc<Metrics>,
    ended: broadcast::Receiver<Ended>,
    stop: watch::Sender<bool>,
    running: JoinHandle<bool>,
}

impl World {
    pub(crate) async fn start(dns: &Dns, plan: &Plan<'_>) -> Self {
        Self::prepare(dns, plan).start().await
    }

    pub(crate) fn prepare(dns: &Dns, plan: &Plan<'_>) -> Prepared {
        // In memory where there is such a folder: what a disk costs is not what is asked here.
        let memory = PathBuf::from("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("store/catalogue/catalogue.json", &CATALOGUE.replace("DOMAIN", plan.domain));
        write("store/files/a.bin", plan.file);
        let text = SETTINGS
            .replace("DNS", &dns.address().to_string())
            .replace("AUTHENTICATION", plan.authentication)
            .replace("DOMAIN", plan.domain)
            .replace("DIR", dir.path().to_str().unwrap());
        let secret = |name: &str| (name == ENV_SECRET_KEY).then(|| SECRET.to_owned());
        let settings = Settings::parse(&format!("{text}\n{}", plan.more), "settings", secret).unwrap();
        Prepared { dir, settings }
    }

    /// Takes a mail as the enqueuer does; returns its request's key.
    pub(crate) async fn take(&self, incoming: Incoming) -> String {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let handover = Handover {
            sender: incoming.mail_from,
            original_recipient: incoming.rcpt_to,
            client_address: incoming.client.into(),
            client_helo: incoming.helo.into(),
            client_protocol: "ESMTP".into(),
            queue_id: format!("4Q{:06}", TAKEN.fetch_add(1, Ordering::Relaxed)),
            ..Handover::default()
        };
        let destination = Destination {
            queue: self.ground.queue.as_ref(),
            store: self.ground.store.as_ref(),
            claim_check_bucket: &self.settings.store.claim_check_bucket,
            inline_bytes_max: self.settings.queue.inline_bytes_max.get(),
        };
        let facts = facts(&self.secret, "mx", &handover, incoming.arrived);
        let key = facts.request_key.clone();
        enqueue(&destination, facts, Bytes::from(with_lf(&incoming.mail))).await.unwrap();
        key
    }

    /// How the message with this key ends next. What others end as meanwhile is passed over.
    pub(crate) async fn end_of(&mut self, key: &str) -> Outcome {
        let waiting = async {
            loop {
                let ended = self.ended.recv().await.expect("no line is lost");
                if ended.request_key == key {
                    return ended.outcome;
                }
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("it ends in time")
    }

    /// How the next message ends, whichever it is.
    pub(crate) async fn next_end(&mut self) -> Outcome {
        tokio::time::timeout(DEADLINE, self.ended.recv()).await.expect("one ends in time").expect("no line is lost").outcome
    }

    /// Looks only at what ends from now on: of very many ends the first are lost.
    pub(crate) fn pass_over_the_ends_so_far(&mut self) {
        self.ended = self.metrics.watch();
    }

    /// Takes a mail, and says how it ended.
    pub(crate) async fn ask(&mut self, incoming: Incoming) -> Outcome {
        let key = self.take(incoming).await;
        self.end_of(&key).await
    }

    /// The replies that went out so far, whole: those with links, and those with files.
    pub(crate) fn replies(&self) -> (Vec<String>, Vec<String>) {
        let read = |folder: &str| {
            let files = std::fs::read_dir(self.dir.path().join(folder).join("new")).unwrap();
            files.map(|file| String::from_utf8(std::fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
        };
        (read("links"), read("files"))
    }

    /// How many replies went out so far: with links, with files.
    pub(crate) fn sent(&self) -> (usize, usize) {
        let (links, files) = self.replies();
        (links.len(), files.len())
    }

    /// The ledger, as the operator's commands have it.
    pub(crate) async fn ledger(&self) -> Ledger {
        ledger(&self.settings, false).await
    }

    /// Stops the worker: nothing is in hand, waiting, or parked.
    pub(crate) async fn ends_empty(self) {
        self.stop.send(true).unwrap();
        assert!(tokio::time::timeout(DEADLINE, self.running).await.expect("in time").expect("no panic"), "all was finished");
        let depth = self.ground.queue.depth().await.unwrap();
        assert_eq!((depth.visible, depth.delayed, depth.in_flight), (0, 0, 0));
        assert!(self.ground.queue.parked(1).await.unwrap().is_empty());
    }
}

async fn ledger(settings: &Settings, is_first: bool) -> Ledger {
    let (url, secret, allowance) = (settings.database_url().unwrap(), settings.secret().unwrap(), settings.allowance.clone());
    if is_first { Ledger::open(url, secret, allowance).await } else { Ledger::join(url, secret, allowance).await }.unwrap()
}

/// A world whose worker does not run yet.
pub(crate) struct Prepared {
    dir: tempfile::TempDir,
    settings: Settings,
}

impl Prepared {
    /// The ledger before any worker has it.
    pub(crate) async fn ledger(&self) -> Ledger {
        ledger(&self.settings, true).await
    }

    pub(crate) async fn start(self) -> World {
        let worker = Worker::open(&self.settings).await.unwrap();
        let ground = Ground::open(&self.settings, false).await.unwrap();
        let metrics = worker.metrics();
        let ended = metrics.watch();
        let (stop, stopped) = watch::channel(false);
        let secret = self.settings.secret().unwrap();
        World { dir: self.dir, settings: self.settings, secret, ground, metrics, ended, stop, running: tokio::spawn(worker.run(stopped)) }
    }
}

/// A domain that takes mail and says nothing else of itself.
pub(crate) fn bare(zone: &mut Zone, domain: &str) {
    zone.mx(domain, 10, &format!("mx.{domain}"));
}

/// A domain whose mail may come from [`KNOWN_CLIENT`] only, with `policy` as its DMARC record unless that is empty.
pub(crate) fn guarded(zone: &mut Zone, domain: &str, policy: &str) {
    bare(zone, domain);
    zone.txt(domain, format!("v=spf1 ip4:{KNOWN_CLIENT} -all"));
    if !policy.is_empty() {
        zone.txt(&format!("_dmarc.{domain}"), format!("v=DMARC1; {policy}"));
    }
}
