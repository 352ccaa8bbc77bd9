//! Worker programs on a spool, a store and a ledger of a test's own, as a service manager keeps them: one that dies is started
//! again. Their replies go to a sink in this process that counts copies and can hold its answers back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{ClaimCheck, Envelope, Facts, Mail, mail_key, request_key},
    ground::Ground,
    queue::Settlement,
    settings::Settings,
    store::ObjectName,
};
use replyfleet_tests::program;
use replyfleet_worker::ledger::Ledger;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const RECIPIENT: &str = "get@example.com";
const CATALOGUE: &str = r#"[{"email_addr": "get@example.com", "body": "links", "send_method": "SMTP"}]"#;
const SETTINGS: &str = r#"
secret_key_file = "DIR/secret.key"
authentication = { mode = "off", unproven = "full" }
queue = { url = "spool:DIR/spool", visibility_s = 2 }
store = { url = "dir:DIR/store" }
catalogue = { bucket = "catalogue", key = "catalogue.json" }
worker = { cache_dir = "DIR/cache", slots = SLOTS, quarantine_timeout_s = TIMEOUT }
database = { url = "sqlite:DIR/ledger.db" }
allowance = { answers_per_sender = 1000, attachments_per_sender = 1000 }
reply = { bounce_address = "bounces@example.com" }
send.SMTP = { kind = "smtp", host = "127.0.0.1", port = PORT, tls = "none", sign = false, timeout_s = 5 }
"#;

pub(crate) struct Surroundings {
    dir: tempfile::TempDir,
    settings: Settings,
    pub(crate) ground: Ground,
    pub(crate) sink: Sink,
}

impl Surroundings {
    /// A worker has so many slots, and so many seconds for a message alone.
    pub(crate) async fn new(slots: usize, quarantine_timeout_s: u32) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let sink = Sink::start();
        let root = dir.path().to_str().expect("UTF-8");
        let text = SETTINGS.replace("DIR", root).replace("SLOTS", &slots.to_string()).replace("PORT", &sink.port.to_string());
        let text = text.replace("TIMEOUT", &quarantine_timeout_s.to_string());
        fs::write(dir.path().join("replyfleet.toml"), &text).unwrap();
        fs::write(dir.path().join("secret.key"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(dir.path().join("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let settings = Settings::parse(&text, "test", |_| None).expect("valid");
        let ground = Ground::open(&settings, false).await.expect("opened");
        let catalogue = ObjectName::new("catalogue", "catalogue.json").expect("valid");
        ground.store.put(&catalogue, Bytes::from_static(CATALOGUE.as_bytes())).await.expect("put");
        Self { dir, settings, ground, sink }
    }

    /// With workers that wait for the sink for as long as any test lasts.
    pub(crate) fn with_patient_sends(self) -> Self {
        let config = self.path("replyfleet.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("timeout_s = 5 }"), "the settings have changed");
        fs::write(&config, text.replace("timeout_s = 5 }", "timeout_s = 600 }")).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        let (url, secret) = (self.settings.database_url().expect("set"), self.settings.secret().expect("set"));
        Ledger::open(url, secret, self.settings.allowance.clone()).await.expect("opened")
    }

    pub(crate) fn key(&self, queue_id: &str) -> String {
        request_key(&self.settings.secret().expect("set"), "mx", queue_id, RECIPIENT)
    }

    /// A request of `a<queue_id>@client.test`.
    pub(crate) async fn put(&self, queue_id: &str) {
        let mail = format!("From: a{queue_id}@client.test\nMessage-ID: <{queue_id}@client.test>\n\nplease\n");
        self.put_mail(queue_id, Mail::Inline(Bytes::from(mail))).await;
    }

    async fn put_mail(&self, queue_id: &str, mail: Mail) {
        let secret = self.settings.secret().expect("set");
        let facts = Facts {
            request_key: self.key(queue_id),
            mail_key: mail_key(&secret, "mx", queue_id),
            mail_from: format!("a{queue_id}@client.test"),
            rcpt_to: RECIPIENT.into(),
            queue_id: queue_id.into(),
            host: "mx".into(),
            arrived: UnixMillis::now(),
            ..Facts::default()
        };
        self.ground.queue.put(&Envelope { facts, mail }).await.expect("put");
    }

    /// A request whose mail lies in the store, and where.
    pub(crate) async fn put_stored(&self, queue_id: &str) -> PathBuf {
        let object = ObjectName::new("claim-check", &format!("mail/{queue_id}")).expect("valid");
        let mail = format!("From: a{queue_id}@client.test\n\nplease\n");
        self.ground.store.put(&object, Bytes::from(mail.clone())).await.expect("put");
        self.put_mail(queue_id, Mail::Stored(ClaimCheck::new(object, mail.as_bytes()))).await;
        self.path("store/claim-check/mail").join(queue_id)
    }

    /// Has every waiting message received once and given back, as one that a worker had in hand when it died.
    pub(crate) async fn receive_and_give_back(&self, count: usize) {
        let mut in_hand = Vec::new();
        while in_hand.len() < count {
            in_hand.extend(self.ground.queue.receive(10, Duration::from_secs(1)).await.expect("received"));
        }
        let back: Vec<_> = in_hand.into_iter().map(|delivery| (delivery, Settlement::Release(Duration::ZERO))).collect();
        for result in self.ground.queue.settle(&back).await {
            result.expect("given back");
        }
    }

    /// Messages that wait or are in hand.
    pub(crate) async fn left(&self) -> u64 {
        let depth = self.ground.queue.depth().await.expect("asked");
        depth.visible + depth.delayed + depth.in_flight
    }

    /// Why messages are parked, and how often they were received.
    pub(crate) async fn parked(&self) -> Vec<(String, u32)> {
        self.ground.queue.parked(100).await.expect("asked").into_iter().map(|parked| (parked.reason, parked.receive_count)).collect()
    }

    /// How often the replies to these requests came: a number for each.
    pub(crate) fn copies(&self, queue_ids: impl Iterator<Item = String>) -> Vec<usize> {
        let copies = self.sink.copies();
        queue_ids.map(|id| copies.get(&format!("a{id}@client.test")).copied().unwrap_or_default()).collect()
    }

    /// Starts a worker, by `wrapper` if that is a program with its own arguments before the worker's.
    pub(crate) fn start(&self, wrapper: &[String]) -> Kept {
        let log = File::options().create(true).append(true).open(self.path("worker.log")).expect("log file");
        let line: Vec<String> = wrapper
            .iter()
            .cloned()
            .chain([program("replyfleet-worker").display().to_string(), "--config".into(), self.path("replyfleet.toml").display().to_string()])
            .collect();
        let mut kept = Kept { line, log, child: None, deaths: Vec::new() };
        kept.tend();
        kept
    }
}

impl Drop for Surroundings {
    #[expect(clippy::print_stderr, reason = "a failed test shows what its workers said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- worker.log\n{}", fs::read_to_string(self.path("worker.log")).unwrap_or_default());
        }
    }
}

/// A worker that is started again when it has died, as often as somebody looks.
pub(crate) struct Kept {
    line: Vec<String>,
    log: File,
    child: Option<Child>,
    pub(crate) deaths: Vec<ExitStatus>,
}

impl Kept {
    /// Looks whether it runs, and starts it if not.
    pub(crate) fn tend(&mut self) {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait().expect("it can be waited for") else { return };
            self.deaths.push(status);
        }
        let mut command = Command::new(&self.line[0]);
        command.args(&self.line[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log.try_clone().unwrap());
        self.child = Some(command.spawn().expect("it starts"));
    }

    /// The signals of which it died.
    pub(crate) fn signals(&self) -> Vec<Option<i32>> {
        self.deaths.iter().map(ExitStatusExt::signal).collect()
    }

    /// Sends a signal to the worker and to all processes that it has started, as a service manager does.
    pub(crate) fn signal_all(&self, signal: &str) {
        let worker = self.child.as_ref().expect("it runs").id();
        for process in [worker].into_iter().chain(children(worker)) {
            assert!(Command::new("kill").args(["-s", signal, &process.to_string()]).status().expect("kill runs").success(), "{process} runs");
        }
    }

    /// The processes that the worker has started.
    pub(crate) fn children(&self) -> Vec<u32> {
        children(self.child.as_ref().expect("it runs").id())
    }

    /// Its end, if it has come.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("it can be waited for")?;
        self.child = None;
        Some(status)
    }

    /// `kill -9` of the worker alone, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if self.line[0] == "strace" {
            // A tracer that is killed lets its worker go on: that one first.
            for worker in children(child.id()) {
                let _ = Command::new("kill").args(["-KILL", &worker.to_string()]).stderr(Stdio::null()).status();
            }
        }
        let _ = child.kill();
        self.deaths.push(child.wait().expect("it ends"));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whichever of its threads started them.
fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let texts = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    texts.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A next hop by SMTP that counts.
pub(crate) struct Sink {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    is_held: bool,
    held: usize,
    copies: BTreeMap<String, usize>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (port, shared) = (listener.local_addr().unwrap().port(), Arc::<Shared>::default());
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                std::thread::spawn(move || shared.serve(&stream)); // a worker that dies ends its dialogues
            }
        });
        Self { port, shared }
    }

    /// From now on it takes mail and does not say so; or again it does.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.state.lock().unwrap().is_held = is_held;
        self.shared.opened.notify_all();
    }

    /// Replies that were taken without a word.
    pub(crate) fn held(&self) -> usize {
        self.shared.state.lock().unwrap().held
    }

    fn copies(&self) -> BTreeMap<String, usize> {
        self.shared.state.lock().unwrap().copies.clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        stream.write_all(b"220 sink.test\r\n")?;
        let mut recipient = String::new();
        while let Some(line) = lines.next().transpose()? {
            let answer: &[u8] = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => b"250-sink.test\r\n250 8BITMIME\r\n",
                "RCPT" => {
                    recipient = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    b"250 ok\r\n"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n")?;
                    while lines.next().transpose()?.is_some_and(|line| line != ".") {}
                    self.take(&recipient);
                    b"250 ok\r\n"
                }
                "QUIT" => return stream.write_all(b"221 bye\r\n"),
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer)?;
        }
        Ok(())
    }

    fn take(&self, recipient: &str) {
        let mut state = self.state.lock().unwrap();
        *state.copies.entry(recipient.to_owned()).or_default() += 1;
        state.held += 1;
        let mut state = self.opened.wait_while(state, |state| state.is_held).unwrap();
        state.held -= 1;
    }
}
