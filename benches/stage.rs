//! Where a worker plays: its folder, settings, catalogue and keys; spools filled beforehand; and the worker process itself,
//! from its start to its end, with what it cost.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use nix::{
    sys::{
        resource::UsageWho,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use replyfleet::{keyed::Secret, queue::spool::SpoolQueue};
use replyfleet_tests::dns::Dns;
use tempfile::TempDir;

use crate::{
    bare::usage_ms,
    peers::{Peers, wait_until},
    requests::{DOMAIN, Requesters},
};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// What is attached: programs come in this size.
pub(crate) const FILE_BYTES: usize = 13 << 20;
/// Messages that a worker has in hand.
pub(crate) const SLOTS: usize = 32;
/// How long a worker may take to start and to stop.
const SOON: Duration = Duration::from_secs(60);

/// An address that gets a text by SES, one that gets it by SMTP, two that get a text by either and a file by SMTP, and one
/// that gets only the file.
const ADDRESSES: [(&str, &[(&str, bool)]); 5] = [
    ("ses@example.com", &[("SES", false)]),
    ("smtp@example.com", &[("SMTP", false)]),
    ("ses-both@example.com", &[("SES", false), ("SMTP", true)]),
    ("smtp-both@example.com", &[("SMTP", false), ("SMTP", true)]),
    ("file@example.com", &[("SMTP", true)]),
];

/// The folder, with what all runs share. It goes with its drop.
pub(crate) struct Stage {
    folder: TempDir,
    requesters: Requesters,
    _dns: Dns,
}

/// What one worker process cost.
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu_ms: f64,
    /// The most memory that it ever had (VmHWM), in MB of 1,000,000 bytes.
    pub(crate) peak_mb: f64,
}

/// A worker process. One that is dropped is killed.
pub(crate) struct Worker {
    process: Child,
    log: PathBuf,
    cpu_before: f64,
}

impl Stage {
    /// In a folder beside the programs: there fsync meets a disk, which under /tmp it may not.
    pub(crate) fn new(peers: &Peers) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(program("")?)?;
        let requesters = Requesters::new(Secret::from_text(SECRET)?)?;
        let dns = requesters.dns()?;
        let stage = Self { folder, requesters, _dns: dns };
        stage.make_key()?;
        stage.make_store()?;
        fs::write(stage.path("replyfleet.toml"), stage.settings(peers))?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_key(&self) -> anyhow::Result<()> {
        let key = self.path("key.pem");
        let output = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output()?;
        ensure!(output.status.success(), "openssl genrsa: {}", String::from_utf8_lossy(&output.stderr));
        Ok(fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?)
    }

    fn make_store(&self) -> anyhow::Result<()> {
        let (catalogue, files) = (self.path("store/catalogue"), self.path("store/files"));
        fs::create_dir_all(&catalogue)?;
        fs::create_dir_all(&files)?;
        let mut entries = Vec::new();
        for (address, replies) in ADDRESSES {
            for (method, has_file) in replies {
                let attachments = if *has_file { r#"[["files", "program.bin", "program.zip"]]"# } else { "null" };
                entries.push(format!(r#"{{"email_addr": "{address}", "body": "{BODY}", "attachments": {attachments}, "send_method": "{method}"}}"#));
            }
        }
        fs::write(catalogue.join("catalogue.json"), format!("[{}]", entries.join(",\n")))?;
        let mut file = vec![0; FILE_BYTES];
        aws_lc_rs::rand::fill(&mut file)?;
        Ok(fs::write(files.join("program.bin"), file)?)
    }

    fn settings(&self, peers: &Peers) -> String {
        let (place, dns) = (self.folder.path().display(), self._dns.address());
        let (smtp, http) = (peers.smtp(), peers.http());
        format!(
            r#"[queue]
url = "spool:{place}/spool"
[store]
url = "dir:{place}/store"
[catalogue]
bucket = "catalogue"
key = "catalogue.json"
[aws]
region = "eu-central-1"
endpoint_url = "http://{http}"
[worker]
cache_dir = "{place}/cache"
slots = {SLOTS}
[database]
url = "sqlite:{place}/ledger.sqlite"
[authentication]
mode = "on"
resolver = "{dns}"
[allowance]
exempt_domains = ["{DOMAIN}"]
[reply]
bounce_address = "bounces@example.com"
[send.SES]
kind = "ses"
rate = "1000000/s"
[send.SMTP]
kind = "smtp"
host = "{}"
port = {}
tls = "none"
connections_max = {SLOTS}
[[signing.keys]]
domain = "example.com"
selector = "s1"
key = "file:{place}/key.pem"
"#,
            smtp.ip(),
            smtp.port()
        )
    }

    /// Fills a spool with requests for `rcpt_to`, to be played as often as is wished.
    pub(crate) async fn fill(&mut self, name: &str, rcpt_to: &str, count: usize) -> anyhow::Result<()> {
        let queue = SpoolQueue::open(&self.path(name), Duration::from_secs(120))?;
        self.requesters.fill(&queue, rcpt_to, count).await
    }

    /// Starts the worker `program` on a copy of the spool `name`, or on an empty one, with an empty ledger; waits until it is ready.
    pub(crate) fn start(&self, program: &Path, name: Option<&str>) -> anyhow::Result<Worker> {
        let spool = self.path("spool");
        if spool.exists() {
            fs::remove_dir_all(&spool)?;
        }
        for end in ["", "-wal", "-shm"] {
            let file = self.path(&format!("ledger.sqlite{end}"));
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        let waiting = spool.join("new");
        fs::create_dir_all(&waiting)?;
        for entry in name.map(|name| fs::read_dir(self.path(name).join("new"))).transpose()?.into_iter().flatten() {
            let entry = entry?;
            fs::copy(entry.path(), waiting.join(entry.file_name()))?;
        }
        Worker::start(program, &self.path("replyfleet.toml"), self.path("worker.log"))
    }
}

impl Worker {
    fn start(program: &Path, settings: &Path, log: PathBuf) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--config").arg(settings).env_clear();
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("REPLYFLEET_SECRET_KEY", SECRET)]);
        let cpu_before = usage_ms(UsageWho::RUSAGE_CHILDREN)?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        let worker = Self { process, log, cpu_before };
        wait_until("a ready worker", SOON, || Ok(fs::read_to_string(&worker.log)?.contains("\"ready\""))).with_context(|| worker.said())?;
        Ok(worker)
    }

    /// The most memory that it ever had, in MB.
    pub(crate) fn peak_mb(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1_024.0 / 1e6)
    }

    /// Asks it to stop, and waits for its end. Fails unless it answered so many messages and nothing else.
    pub(crate) fn stop(mut self, answered: usize) -> anyhow::Result<Cost> {
        let peak_mb = self.peak_mb()?;
        kill(Pid::from_raw(self.process.id().try_into()?), Signal::SIGTERM)?;
        let mut status = None;
        wait_until("the worker's end", SOON, || {
            status = self.process.try_wait()?;
            Ok(status.is_some())
        })?;
        ensure!(status.is_some_and(|status| status.success()), "the worker ended with {status:?}: {}", self.said());
        let cpu_ms = usage_ms(UsageWho::RUSAGE_CHILDREN)? - self.cpu_before;
        let log = fs::read_to_string(&self.log)?;
        let ended = log.lines().filter(|line| line.contains("\"message ended\""));
        let (good, bad): (Vec<&str>, Vec<&str>) = ended.partition(|line| line.contains("\"outcome\":\"answered\""));
        ensure!(good.len() == answered && bad.is_empty(), "{} of {answered} were answered: {}", good.len(), self.said());
        Ok(Cost { cpu_ms, peak_mb })
    }

    /// The end of its log.
    fn said(&self) -> String {
        const LINES: usize = 5;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended was waited for.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// A program that lies beside this one, or that folder.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let path = this.parent().context("a program lies in a folder")?.join(name);
    ensure!(path.exists(), "{} is not built; run: benches/run", path.display());
    Ok(path)
}

/// Some 2 KB in two scripts, as JSON has them.
const BODY: &str = concat!(
    "سلام! نرم‌افزارهایی که خواسته‌اید اینجا هستند.\\n\\nHere is what you asked for. Take the first that works for you:\\n\\n",
    "* https://download.example.com/android/latest.apk\\n* https://download.example.com/windows/latest.exe\\n",
    "* https://mirror-one.example.net/a/very/long/path/that/is/longer/than/most/lines/of/a/mail/should/be/android/latest.apk\\n",
    "* https://mirror-two.example.net/a/very/long/path/that/is/longer/than/most/lines/of/a/mail/should/be/windows/latest.exe\\n\\n",
    "If none of them opens, write to this address again tomorrow: there will be others. Nothing of your mail is kept here, and ",
    "nobody reads it. What we send is the same for everybody who asks. Look at the signature before you run anything, please.\\n\\n",
    "اگر هیچ‌کدام باز نشد، فردا دوباره به همین نشانی بنویسید. ما چیزی از نامهٔ شما نگه نمی‌داریم و کسی آن را نمی‌خواند.\\n",
    "پیش از اجرای هر برنامه امضای آن را بررسی کنید. با احترام، گروه پاسخ‌گویی.\\n\\n",
    "Frequently asked: does it cost anything? No. Does it work on old telephones? On Android 8 and later. Where is the source? ",
    "At https://source.example.com, with the instructions to build it. How do I know that this mail is from you? By its DKIM ",
    "signature, which your provider checks for you; most of them show it.\\n"
);
