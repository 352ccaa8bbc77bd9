//! A worker's program with everything that it needs in a folder of the test's own: it can be started, told to stop and killed as
//! often as the test likes. Replies go to the Maildir `replies`, unless the settings say otherwise.

use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Envelope, Facts, Mail, mail_key, request_key},
    keyed::Secret,
    queue::{Queue, spool::SpoolQueue},
    settings::ENV_SECRET_KEY,
};
use replyfleet_tests::{program, wait_for};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CATALOGUE: &str = r#"[{"email_addr": "get@responder.test", "body": "links", "send_method": "SES"}]"#;
const SETTINGS: &str = r#"
authentication = { mode = "off", unproven = "full" }
queue = { url = "spool:DIR/spool", visibility_s = 5 }
store = { url = "dir:DIR/store" }
catalogue = { bucket = "catalogue", key = "catalogue.json" }
worker = { cache_dir = "DIR/cache", slots = 4, stop_timeout_s = 20, probe_s = 1 }
allowance = { answers_per_sender = 1000, attachments_per_sender = 1000 }
reply = { bounce_address = "bounces@responder.test" }
"#;

/// The folder.
pub(crate) struct Bed {
    dir: tempfile::TempDir,
}

/// A started worker, killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
    notices: UnixDatagram,
    told: Vec<String>,
}

impl Bed {
    /// With `more` settings, in which `DIR` is the folder. They say what the database is, and how replies leave.
    pub(crate) fn new(more: &str) -> Self {
        let bed = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bed.path("store/catalogue")).unwrap();
        fs::write(bed.path("store/catalogue/catalogue.json"), CATALOGUE).unwrap();
        bed.set(more);
        bed
    }

    /// Changes the settings to these.
    pub(crate) fn set(&self, more: &str) {
        let text = format!("{SETTINGS}{more}\n").replace("DIR", self.dir.path().to_str().unwrap());
        fs::write(self.path("replyfleet.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a worker.
    pub(crate) fn start(&self) -> Worker {
        let number = fs::read_dir(self.dir.path()).unwrap().count();
        let (log, socket) = (self.path(&format!("{number}.log")), self.path(&format!("{number}.notify")));
        let notices = UnixDatagram::bind(&socket).unwrap();
        notices.set_nonblocking(true).unwrap();
        let file = File::create(&log).unwrap();
        let mut command = Command::new(program("replyfleet-worker"));
        command.arg("--config").arg(self.path("replyfleet.toml")).env(ENV_SECRET_KEY, SECRET).env("NOTIFY_SOCKET", &socket);
        command.env("WATCHDOG_USEC", "500000").env_remove("WATCHDOG_PID");
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Worker { child, log, notices, told: Vec::new() }
    }

    /// Starts a worker and waits until it is ready.
    pub(crate) fn start_ready(&self) -> Worker {
        let mut worker = self.start();
        worker.wait_until_told("READY=1");
        worker
    }

    /// Puts a request of this number into the queue.
    pub(crate) async fn put(&self, number: usize) {
        let (secret, queue_id) = (Secret::from_text(SECRET).unwrap(), format!("q{number}"));
        let sender = format!("a{number}@example.org");
        let facts = Facts {
            request_key: request_key(&secret, "mx", &queue_id, "get@responder.test"),
            mail_key: mail_key(&secret, "mx", &queue_id),
            mail_from: sender.clone(),
            rcpt_to: "get@responder.test".into(),
            queue_id,
            host: "mx".into(),
            arrived: UnixMillis::now(),
            ..Facts::default()
        };
        let mail = Mail::Inline(Bytes::from(format!("From: {sender}\nMessage-ID: <{number}@client.test>\n\nplease\n")));
        let spool = SpoolQueue::open(&self.path("spool"), Duration::from_secs(5)).unwrap();
        spool.put(&Envelope { facts, mail }).await.unwrap();
    }

    /// To whom replies went, sorted; the folder is a Maildir.
    pub(crate) fn answered(&self, maildir: &str) -> Vec<String> {
        let files = fs::read_dir(self.path(maildir).join("new")).into_iter().flatten().flatten();
        let to = |text: String| text.lines().find_map(|line| line.strip_prefix("To: ").map(str::to_owned)).expect("a reply has a To");
        let mut all: Vec<String> = files.map(|file| to(String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned())).collect();
        all.sort_unstable();
        all
    }

    /// How often each message that waits was received.
    pub(crate) fn receives(&self) -> Vec<u32> {
        let names = fs::read_dir(self.path("spool/new")).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.rsplit_once('.')?.1.parse().ok()).collect()
    }

    /// Messages that wait, those in hand, and those parked.
    pub(crate) fn depth(&self) -> (usize, usize, usize) {
        let count = |folder: &str| fs::read_dir(self.path(folder)).into_iter().flatten().count();
        (count("spool/new"), count("spool/cur"), count("spool/parked"))
    }

    pub(crate) fn wait_until_empty(&self) {
        wait_for("the queue to be empty", PATIENCE, || (self.depth() == (0, 0, 0)).then_some(()));
    }
}

impl Worker {
    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// How many lines of the log have all of these words.
    pub(crate) fn logged(&self, words: &[&str]) -> usize {
        self.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits until the log has a line with these words, which cannot come once the worker has ended.
    pub(crate) fn wait_until_logged(&mut self, words: &[&str]) {
        wait_for(&format!("{words:?} in the log"), PATIENCE, || {
            let ended = self.ended();
            let is_logged = self.logged(words) > 0;
            assert!(is_logged || ended.is_none(), "{words:?}: the worker has ended: {ended:?}");
            is_logged.then_some(())
        });
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// All that systemd was told so far, a line each.
    pub(crate) fn told(&mut self) -> &[String] {
        let mut buffer = [0; 4_096];
        while let Ok(length) = self.notices.recv(&mut buffer) {
            self.told.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        &self.told
    }

    /// Waits until systemd was told this line, which nobody tells once the worker has ended.
    pub(crate) fn wait_until_told(&mut self, line: &str) {
        wait_for(line, PATIENCE, || {
            let ended = self.ended();
            let is_told = self.told().iter().any(|told| told == line);
            assert!(is_told || ended.is_none(), "{line}: the worker has ended: {ended:?}");
            is_told.then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the worker's end", limit, || self.child.try_wait().unwrap())
    }

    /// SIGTERM; it ends in time and with 0.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait(PATIENCE);
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the worker's log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
