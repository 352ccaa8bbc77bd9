//! An installation for one test: settings, a catalogue with one response, which has an attachment, and a folder for all.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{ministack::REGION, program, sqs, wait_for};

/// The catalogue that it begins with.
pub const CATALOGUE: &str = r#"[
  {"email_addr": "get@example.com", "body": "links", "attachments": [["files", "a.bin", "a.bin"]], "send_method": "SES"}
]"#;

/// A small installation in a temporary folder.
pub struct Installation {
    folder: tempfile::TempDir,
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}

impl Installation {
    /// With senders that are not asked for proof.
    pub fn new() -> Self {
        Self::with_authentication(r#"mode = "off", unproven = "full""#)
    }

    /// With these settings of `[authentication]`.
    pub fn with_authentication(authentication: &str) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let settings = r#"
            secret_key_file = "DIR/secret.key"
            authentication = { AUTHENTICATION }
            queue = { url = "spool:DIR/spool" }
            store = { url = "dir:DIR/store" }
            catalogue = { bucket = "catalogue", key = "catalogue.json" }
            worker = { cache_dir = "DIR/cache" }
            database = { url = "sqlite:DIR/ledger.db" }
            reply = { bounce_address = "bounces@example.com" }
            send.SES = { kind = "maildir", dir = "DIR/replies" }
        "#;
        this.write("replyfleet.toml", &settings.replace("DIR", this.folder.path().to_str().unwrap()).replace("AUTHENTICATION", authentication));
        this.write("secret.key", "0123456789abcdef0123456789abcdef\n");
        fs::set_permissions(this.path("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
        this.write("store/catalogue/catalogue.json", CATALOGUE);
        this.write("store/files/a.bin", "content");
        this
    }

    /// With everything that the worker's first start makes.
    pub fn after_a_start() -> Self {
        Self::new().started_once()
    }

    /// Starts a worker, sees it work, and ends it.
    pub fn started_once(self) -> Self {
        let this = self;
        let mut worker = this.worker();
        wait_for("the worker to start", Duration::from_secs(20), || this.path("spool/new").is_dir().then_some(()));
        this.write("spool/new/1790000000000-1790000000000_x.0", "no envelope: it is parked");
        wait_for("it to work", Duration::from_secs(20), || fs::read_dir(this.path("spool/parked")).ok()?.next().map(drop));
        worker.kill().unwrap();
        worker.wait().unwrap();
        this
    }

    /// Starts a worker; what it says is lost.
    pub fn worker(&self) -> Child {
        Command::new(program("replyfleet-worker")).arg("--config").arg(self.path("replyfleet.toml")).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The folder, or a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with the folders that it needs.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes another line of the settings in the place of the one that holds this text.
    ///
    /// # Panics
    /// If it is not exactly one.
    pub fn change(&self, holds: &str, with: impl Fn(&str) -> String) {
        let settings = fs::read_to_string(self.path("replyfleet.toml")).unwrap();
        assert_eq!(settings.matches(holds).count(), 1, "{holds}");
        let lines = settings.lines().map(|line| if line.contains(holds) { with(line) } else { line.to_owned() });
        self.write("replyfleet.toml", &lines.collect::<Vec<_>>().join("\n"));
    }

    /// Has its queue on SQS instead of in the spool.
    pub fn queue_on_sqs(&self, sqs: &sqs::Endpoint, url: &str, dead: &str, visibility_s: u32) {
        let aws = aws(&sqs.endpoint());
        let queue = format!("queue = {{ url = \"{url}\", dead_letter_url = \"{dead}\", visibility_s = {visibility_s} }}\naws = {aws}");
        self.change("url = \"spool:", |_| queue.clone());
    }

    /// What a command of `replyfleet` ends with and says, both streams.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run_with_input(arguments, "")
    }

    /// With something on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> (Option<i32>, String) {
        said_to(Command::new(program("replyfleet")).args(arguments).arg("--config").arg(self.path("replyfleet.toml")), input)
    }

    /// What a command prints with `--json`; it must end well.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (status, said) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(status, Some(0), "{said}");
        serde_json::from_str(&said).expect(&said)
    }

    /// Hands a mail over as Postfix does.
    pub fn take(&self, from: &str, queue_id: &str) {
        let envelope = [
            format!("--sender={from}"),
            "--original-recipient=get@example.com".into(),
            "--client-address=192.0.2.1".into(),
            "--client-hostname=unknown".into(),
            "--client-helo=client.example.org".into(),
            "--client-protocol=ESMTP".into(),
            format!("--queue-id={queue_id}"),
        ];
        let mut command = Command::new(program("replyfleet-enqueue"));
        let (status, said) = said_to(
            command.arg("--config").arg(self.path("replyfleet.toml")).args(envelope),
            &format!("From: {from}\nMessage-ID: <{queue_id}@client.example.org>\n\nplease\n"),
        );
        assert_eq!(status, Some(0), "{said}");
    }
}

/// The settings of `aws` for services at this URL.
pub fn aws(endpoint: &str) -> String {
    format!("{{ region = \"{REGION}\", endpoint_url = \"{endpoint}\" }}")
}

/// What a command ends with and says, both streams.
pub fn said(command: &mut Command) -> (Option<i32>, String) {
    said_to(command, "")
}

/// What a command says, both streams, after it had this on standard input.
pub fn said_to(command: &mut Command, input: &str) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that ends before it has read all is asked about by what it said.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}
