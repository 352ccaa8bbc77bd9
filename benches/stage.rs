//! Where a worker plays: its folder, settings, catalogue and keys; spools filled beforehand; and the worker process itself,
//! from its start to its end, with what it cost. A worker that does not start, or does what nobody asked for, ends the
//! program with the end of its log.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::{
    fs::{self, File},
    io::{Read, Seek},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use replyfleet::{keyed::Secret, queue::spool::SpoolQueue};
use replyfleet_tests::dns::Dns;
use tempfile::TempDir;

use crate::requests::{DOMAIN, Requesters};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// What is attached: programs come in this size.
pub(crate) const FILE_BYTES: usize = 13 << 20;
/// Messages that a worker has in hand.
pub(crate) const SLOTS: usize = 32;
/// What the log says of each message that ended.
const ENDED: &str = "\"message ended\"";
/// Why it gives back what it received when it was to stop.
const GIVEN_BACK: &str = "\"why\":\"stopping\"";
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

/// What a worker is set up with, beside what all have.
#[derive(Clone)]
pub(crate) struct Setup {
    /// The lines of `[queue]`; its own spool if there are none.
    pub(crate) queue: Option<String>,
    /// `database.url`; a file of SQLite in the folder if there is none.
    pub(crate) database: Option<String>,
    /// SES.
    pub(crate) http: SocketAddr,
    pub(crate) smtp: SocketAddr,
    /// What SQS is called, if it is not at `http`.
    pub(crate) sqs: Option<String>,
    pub(crate) slots: usize,
    /// Whether senders are proven.
    pub(crate) has_authentication: bool,
}

impl Setup {
    /// A spool, SQLite, and these peers.
    pub(crate) fn new(http: SocketAddr, smtp: SocketAddr) -> Self {
        Self { queue: None, database: None, http, smtp, sqs: None, slots: SLOTS, has_authentication: true }
    }
}

/// What one worker process cost.
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu_ms: f64,
    /// The most memory that it ever had (VmHWM), in MB of 1,000,000 bytes.
    pub(crate) peak_mb: f64,
    /// How many messages it ended.
    pub(crate) ended: usize,
    /// How long it had each of them in hand.
    pub(crate) handling_ms: Vec<f64>,
}

/// A worker process. One that is dropped is killed.
pub(crate) struct Worker {
    process: Child,
    log: PathBuf,
    cpu_before: f64,
    /// Of its log, up to where it was looked at, and what was found.
    reader: File,
    ended: usize,
}

impl Stage {
    /// In a folder beside the programs: there fsync meets a disk, which under /tmp it may not.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(program("")?)?;
        let requesters = Requesters::new(Secret::from_text(SECRET)?)?;
        let dns = requesters.dns()?;
        let stage = Self { folder, requesters, _dns: dns };
        stage.make_key()?;
        stage.make_store()?;
        Ok(stage)
    }

    /// A file or folder of this stage.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
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

    fn settings(&self, setup: &Setup, cache: &str) -> String {
        let (place, dns) = (self.folder.path().display(), self._dns.address());
        let Setup { smtp, slots, .. } = setup;
        let queue = setup.queue.clone().unwrap_or_else(|| format!("url = \"spool:{place}/spool\""));
        let database = setup.database.clone().unwrap_or_else(|| format!("sqlite:{place}/ledger.sqlite"));
        let authentication = match setup.has_authentication {
            true => format!("mode = \"on\"\nresolver = \"{dns}\""),
            false => "mode = \"off\"\nunproven = \"full\"".to_owned(),
        };
        format!(
            r#"[queue]
{queue}
[store]
url = "dir:{place}/store"
[catalogue]
bucket = "catalogue"
key = "catalogue.json"
[aws]
region = "eu-central-1"
[worker]
cache_dir = "{place}/{cache}"
slots = {slots}
[database]
url = "{database}"
[authentication]
{authentication}
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
connections_max = {slots}
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

    /// The same, on another queue.
    pub(crate) fn requesters(&mut self) -> &mut Requesters {
        &mut self.requesters
    }

    /// Leaves an empty ledger, and in the spool that workers take from the messages of the spool `name`, or none.
    pub(crate) fn reset(&self, name: Option<&str>) -> anyhow::Result<()> {
        for end in ["", "-wal", "-shm"] {
            let file = self.path(&format!("ledger.sqlite{end}"));
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        let spool = self.path("spool");
        if spool.exists() {
            fs::remove_dir_all(&spool)?;
        }
        let waiting = spool.join("new");
        fs::create_dir_all(&waiting)?;
        for entry in name.map(|name| fs::read_dir(self.path(name).join("new"))).transpose()?.into_iter().flatten() {
            let entry = entry?;
            fs::hard_link(entry.path(), waiting.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Starts the worker `program`, the `number`th on this stage, and waits until it is ready.
    pub(crate) fn start(&self, program: &Path, setup: &Setup, number: usize) -> anyhow::Result<Worker> {
        let config = self.path(&format!("worker{number}.toml"));
        fs::write(&config, self.settings(setup, &format!("cache{number}")))?;
        Worker::start(program, &config, setup, self.path(&format!("worker{number}.log")))
    }
}

impl Worker {
    fn start(program: &Path, settings: &Path, setup: &Setup, log: PathBuf) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--config").arg(settings).env_clear();
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("REPLYFLEET_SECRET_KEY", SECRET)]);
        // The SDK's own names: the settings know one endpoint for all services.
        command.env("AWS_ENDPOINT_URL", format!("http://{}", setup.http)).envs(setup.sqs.as_ref().map(|url| ("AWS_ENDPOINT_URL_SQS", url)));
        let cpu_before = usage_ms(UsageWho::RUSAGE_CHILDREN)?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        let worker = Self { process, reader: File::open(&log)?, log, cpu_before, ended: 0 };
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

    /// How many messages have ended so far, by its log.
    pub(crate) fn ended(&mut self) -> anyhow::Result<usize> {
        let mut more = Vec::new();
        self.reader.read_to_end(&mut more)?;
        // A line that is not whole yet is read again.
        let whole = more.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.reader.seek_relative(whole as i64 - more.len() as i64)?;
        self.ended += String::from_utf8_lossy(&more[..whole]).matches(ENDED).count();
        Ok(self.ended)
    }

    /// Asks it to stop, and waits for its end. Fails unless it answered so many messages and nothing else.
    pub(crate) fn stop(self, answered: usize) -> anyhow::Result<Cost> {
        let cost = self.finish("answered")?;
        ensure!(cost.ended == answered, "{} of {answered} were answered", cost.ended);
        Ok(cost)
    }

    /// Asks it to stop, and waits for its end. Fails unless all messages that ended had this outcome; those that it gave back when
    /// it stopped do not count.
    pub(crate) fn finish(mut self, outcome: &str) -> anyhow::Result<Cost> {
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
        let wanted = format!("\"outcome\":\"{outcome}\"");
        let ended = log.lines().filter(|line| line.contains(ENDED) && !line.contains(GIVEN_BACK));
        let (good, bad): (Vec<&str>, Vec<&str>) = ended.partition(|line| line.contains(&wanted));
        ensure!(bad.is_empty(), "{} messages were not {outcome}, as: {}", bad.len(), bad[0]);
        let handling_ms = good.iter().filter_map(|line| number(line, "handling_time_ms")).collect();
        Ok(Cost { cpu_ms, peak_mb, ended: good.len(), handling_ms })
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

/// A field of a line of the log that is a number.
fn number(line: &str, field: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{field}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// User and system time, in milliseconds.
pub(crate) fn usage_ms(who: UsageWho) -> anyhow::Result<f64> {
    let usage = getrusage(who)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

/// Waits until `look` says yes.
fn wait_until(what: &str, limit: Duration, mut look: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !look()? {
        ensure!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
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
