//! The fleet in a world: its settings and catalogue, the worker, and what lies in its queue and store.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use replyfleet::envelope::{Envelope, Mail};
use serde_json::json;

use super::{Backing, GROUP, Intake, MINISTACK_PORT, Plan, Process, SLOW_SINK_PORT, SOON, USER, World, give_to};
use crate::{ministack::REGION, wait_for};

/// The address that has two replies, the second with [`ATTACHMENTS`].
pub const TWO_REPLIES: &str = "get@responder.test";
/// Key in the store, name in the reply, bytes.
pub const ATTACHMENTS: [(&str, &str, usize); 2] = [("bundles/app-1.2.apk", "app.apk", 200_000), ("bundles/notes.txt", "راهنما.txt", 777)];

impl World {
    pub(super) fn write_fleet(&self, plan: &Plan) {
        for folder in ["spool", "store", "cache", "state"] {
            self.folder(folder, USER);
        }
        self.write("secret", "0123456789abcdef0123456789abcdef");
        give_to(&self.path("secret"), USER);
        fs::set_permissions(self.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        self.write("replyfleet.toml", self.settings(plan));
        let method = if plan.backing == Backing::Aws { "SES" } else { "SMTP" };
        self.put_object("catalogue.json", catalogue(method).as_bytes());
        for (key, _, bytes) in ATTACHMENTS {
            self.put_object(key, &attachment(bytes));
        }
        if plan.backing == Backing::Embedded {
            fs::create_dir_all(self.path("store/claim-check")).unwrap();
            give_to(&self.path("store/claim-check"), USER);
        }
    }

    fn settings(&self, plan: &Plan) -> String {
        let w = self.path("");
        let w = w.display().to_string().trim_end_matches('/').to_owned();
        let (queue, store, aws, send) = match plan.backing {
            Backing::Embedded => {
                let port = if plan.slow_sink_s.is_some() { SLOW_SINK_PORT } else { 2525 };
                (
                    format!("url = \"spool:{w}/spool\""),
                    format!("url = \"dir:{w}/store\""),
                    String::new(),
                    format!(
                        "[send.SMTP]\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\ntimeout_s = {}\n",
                        plan.smtp_timeout_s
                    ),
                )
            }
            Backing::Aws => {
                let endpoint = format!("http://127.0.0.1:{MINISTACK_PORT}");
                (
                    format!("url = \"{endpoint}/000000000000/requests\"\ndead_letter_url = \"{endpoint}/000000000000/dead\""),
                    "url = \"s3:\"".into(),
                    format!("[aws]\nregion = \"{REGION}\"\nendpoint_url = \"{endpoint}\"\n"),
                    "[send.SES]\nkind = \"ses\"\n".into(),
                )
            }
        };
        format!(
            r#"
secret_key_file = "{w}/secret"
authentication = {{ {authentication} }}
[queue]
{queue}
visibility_s = {visibility}
[store]
{store}
[catalogue]
bucket = "files"
key = "catalogue.json"
[enqueuer]
host = "mx.responder.test"
deadline_s = 20
{lmtp}
[worker]
cache_dir = "{w}/cache"
slots = {slots}
stop_timeout_s = 30
[database]
url = "sqlite:{w}/state/ledger.db"
[allowance]
answers_per_sender = 1000
attachments_per_sender = 1000
[reply]
from_name = "Responder"
bounce_address = "bounce@responder.test"
{aws}
{send}
"#,
            lmtp = match plan.intake {
                Intake::Pipe => String::new(),
                Intake::Lmtp => format!("lmtp = [\"unix:{}\"]", self.socket().display()),
            },
            authentication = plan.authentication,
            visibility = plan.visibility_s,
            slots = plan.slots,
        )
    }

    /// Puts an object into the bucket of catalogue and attachments.
    pub fn put_object(&self, key: &str, content: &[u8]) {
        match self.backing {
            Backing::Embedded => {
                let path = self.path("store/files").join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Backing::Aws => drop(self.aws_with_input(&["put", "files", key], content)),
        }
    }

    /// Where the enqueuer's service listens.
    pub(super) fn socket(&self) -> PathBuf {
        if self.has_files { self.on_host("run/replyfleet/lmtp.sock") } else { self.path("run/lmtp.sock") }
    }

    /// Starts the enqueuer as a service, in the group of Postfix, which may write to its socket then.
    pub(super) fn start_service(&mut self, plan: &Plan) {
        let socket = self.socket();
        let folder = socket.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        give_to(folder, USER);
        let program = self.enqueuer(plan);
        let as_user = [&format!("--reuid={USER}"), "--regid=postfix", "--clear-groups", "--"].map(str::to_owned);
        let mut command = self.command("setpriv");
        command.args(as_user).arg(program).arg("--lmtp").arg("--config").arg(self.path("replyfleet.toml"));
        if plan.backing == Backing::Aws {
            command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        }
        self.start_daemon("service", &mut command);
        wait_for("the service's socket", SOON, || self.socket().exists().then_some(()));
    }

    /// Starts a worker; it is ready when this returns.
    ///
    /// # Panics
    /// If it ends at once.
    pub fn start_worker(&self) -> Process {
        let is_ready = || fs::read_to_string(self.path("worker.log")).unwrap_or_default().matches(r#""ready""#).count();
        let before = is_ready();
        let as_user = [&format!("--reuid={USER}"), &format!("--regid={GROUP}"), "--clear-groups", "--"].map(str::to_owned);
        let mut command = self.command("setpriv");
        command.args(as_user).arg(self.path("bin/replyfleet-worker")).arg("--config").arg(self.path("replyfleet.toml"));
        let worker = self.spawn("worker", &mut command);
        wait_for("the worker to be ready", SOON, || (is_ready() > before).then_some(()));
        worker
    }

    /// The envelopes that wait in the queue. On SQS they are received, and visible again at once.
    ///
    /// # Panics
    /// If one is not an envelope.
    pub fn queued(&self) -> Vec<Envelope> {
        let wires: Vec<Vec<u8>> = match self.backing {
            Backing::Embedded => files_below(&self.path("spool/new")).iter().map(|file| fs::read(file).unwrap()).collect(),
            Backing::Aws => {
                let hex: Vec<String> = serde_json::from_value(self.aws(&["receive"])).expect("a list");
                hex.iter().map(|wire| from_hex(wire)).collect()
            }
        };
        wires.into_iter().map(|wire| Envelope::decode(&Bytes::from(wire)).expect("an envelope")).collect()
    }

    /// The bytes of the only mail that waits in the queue inline.
    ///
    /// # Panics
    /// If there is not exactly one, or its mail lies in the store.
    pub fn queued_mail(&self) -> Bytes {
        let mut queued = self.queued();
        assert_eq!(queued.len(), 1, "mails in the queue");
        match queued.remove(0).mail {
            Mail::Inline(mail) => mail,
            Mail::Stored(claim) => panic!("a claim check for {} bytes", claim.bytes),
        }
    }

    /// How many messages the queue has, waiting or held, and how many are parked.
    pub fn depth(&self) -> (usize, usize) {
        match self.backing {
            Backing::Embedded => {
                let count = |folder: &str| files_below(&self.path(folder)).len();
                (count("spool/new") + count("spool/cur"), count("spool/parked"))
            }
            Backing::Aws => serde_json::from_value(self.aws(&["depth"])).expect("two numbers"),
        }
    }

    /// How many messages of the spool have a receiver.
    pub fn in_hand(&self) -> usize {
        files_below(&self.path("spool/cur")).len()
    }

    /// Takes the spool away from the enqueuer, or gives it back.
    pub fn set_spool_owner(&self, is_ours: bool) {
        for folder in ["spool", "spool/tmp", "spool/new"].map(|name| self.path(name)).iter().filter(|folder| folder.exists()) {
            give_to(folder, if is_ours { USER } else { "root" });
        }
    }

    /// The keys of the mails that were too big for the queue.
    pub fn claim_checks(&self) -> Vec<String> {
        match self.backing {
            Backing::Embedded => files_below(&self.path("store/claim-check")).iter().map(|file| file.display().to_string()).collect(),
            Backing::Aws => serde_json::from_value(self.aws(&["objects", "claim-check"])).expect("a list"),
        }
    }

    /// Waits until the queue is empty.
    ///
    /// # Panics
    /// If it does not come to that, or if a message was parked.
    pub fn wait_until_settled(&self) {
        wait_for("the queue to be empty", SOON + Duration::from_secs(30), || (self.depth().0 == 0).then_some(()));
        assert_eq!(self.depth().1, 0, "messages are parked");
    }
}

/// The catalogue, with this way to send.
fn catalogue(send_method: &str) -> String {
    let attachments: Vec<_> = ATTACHMENTS.iter().map(|(key, name, _)| json!(["files", key, name])).collect();
    json!([
        {
            "email_addr": TWO_REPLIES,
            "body": [["plain", "Links: https://example.com/\nپیوندها\n"], ["html", "<p>Links: <a href=\"https://example.com/\">here</a></p>"]],
            "attachments": null,
            "send_method": send_method,
        },
        { "email_addr": TWO_REPLIES, "body": "The programs are attached.\n", "attachments": attachments, "send_method": send_method },
    ])
    .to_string()
}

/// The content of an attachment of this length: all bytes, none compressible to a short pattern by accident.
fn attachment(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from((index * index / 7 + index) % 256).unwrap()).collect()
}

/// What the second reply must hold, by name.
pub fn attachments() -> HashMap<&'static str, Vec<u8>> {
    ATTACHMENTS.iter().map(|&(_, name, bytes)| (name, attachment(bytes))).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}
