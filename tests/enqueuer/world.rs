//! One enqueuer's surroundings: settings, a secret, a queue and a store in a folder of their own; and its runs.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use replyfleet::envelope::{Envelope, Mail};
use replyfleet_tests as harness;

use crate::sqs::Sqs;

/// Longer than any deadline that the settings here have; a process that is still there then hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);
/// Where a test wants claim checks: a larger mail becomes one.
pub(crate) const INLINE_BYTES_MAX: usize = 1000;
/// The largest mail that is taken.
pub(crate) const MAIL_BYTES_MAX: usize = 100_000;

/// The surroundings.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// `queue.url` of a spool.
    pub(crate) spool: PathBuf,
    /// `store.url`.
    pub(crate) store: PathBuf,
    /// The file of settings.
    pub(crate) config: PathBuf,
    /// The file with the secret.
    pub(crate) secret: PathBuf,
}

impl World {
    /// With a spool as its queue.
    pub(crate) fn on_spool() -> Self {
        Self::new(|spool| format!("url = \"spool:{}\"\ninline_bytes_max = 190_000", spool.display()))
    }

    /// With a spool as its queue, that takes no mail above [`INLINE_BYTES_MAX`] without the store.
    pub(crate) fn on_spool_with_claim_checks() -> Self {
        Self::new(|spool| format!("url = \"spool:{}\"\ninline_bytes_max = {INLINE_BYTES_MAX}", spool.display()))
    }

    /// With the folders that the first mail makes, as on a machine that has been running.
    pub(crate) fn furnished(self) -> Self {
        for folder in
            [self.spool.join("tmp"), self.spool.join("new"), self.spool.join("cur"), self.spool.join("parked"), self.store.join("claims/mail")]
        {
            fs::create_dir_all(folder).unwrap();
        }
        self
    }

    /// With the SQS queue of a server of the test.
    pub(crate) fn on_sqs(sqs: &Sqs) -> Self {
        Self::on_sqs_at(&sqs.url())
    }

    /// With an SQS queue at `url`, whoever answers there.
    pub(crate) fn on_sqs_at(url: &str) -> Self {
        Self::new(|_| format!("url = \"{url}/000000000000/requests\"\ndead_letter_url = \"{url}/000000000000/dead-letters\""))
    }

    fn new(queue: impl Fn(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (spool, store, config, secret) = (at("spool"), at("store"), at("replyfleet.toml"), at("secret.key"));
        fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let queue = queue(&spool);
        // The SDK goes to the account's endpoint, whatever the host in the queue's URL is.
        let endpoint = queue.split('"').nth(1).filter(|url| url.starts_with("http")).and_then(|url| url.split_once("/0000"));
        let endpoint = endpoint.map(|(endpoint, _)| format!("endpoint_url = \"{endpoint}\"")).unwrap_or_default();
        let text = format!(
            r#"secret_key_file = "{secret}"
authentication = {{ mode = "off", unproven = "full" }}
[queue]
{queue}
[store]
url = "dir:{store}"
claim_check_bucket = "claims"
[catalogue]
bucket = "config"
key = "catalogue.json"
[aws]
region = "eu-central-1"
{endpoint}
[enqueuer]
deadline_s = 10
mail_bytes_max = {MAIL_BYTES_MAX}
host = "mx1"
[worker]
cache_dir = "{cache}"
[database]
url = "sqlite:{ledger}"
[reply]
bounce_address = "bounce@example.com"
[send]
"#,
            secret = secret.display(),
            store = store.display(),
            cache = at("cache").display(),
            ledger = at("ledger.sqlite").display(),
        );
        fs::write(&config, text).unwrap();
        Self { folder, spool, store, config, secret }
    }

    /// A path in this world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces `from` by `to` in the settings.
    pub(crate) fn change_settings(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "the settings have {from:?}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
    }

    /// A run with one second until the enqueuer's deadline.
    pub(crate) fn with_short_deadline(self) -> Self {
        self.change_settings("deadline_s = 10", "deadline_s = 1");
        self
    }

    /// A run with the arguments that pipe(8) gives for an ordinary mail.
    pub(crate) fn run(&self) -> Run {
        let config = [OsString::from("--config="), self.config.clone().into()].concat_os();
        let ordinary = [
            "--sender=someone@example.org",
            "--original-recipient=get@example.com",
            "--client-address=192.0.2.7",
            "--client-hostname=mail.example.org",
            "--client-helo=mail.example.org",
            "--client-protocol=ESMTP",
            "--queue-id=4XyZ",
        ];
        let arguments = [config].into_iter().chain(ordinary.map(OsString::from)).collect();
        Run { wrapper: Vec::new(), arguments, is_under_postfix: true, stdin: Input::Mail(Vec::new()) }
    }

    /// The envelopes in `new/` with their mails; a stored mail is fetched and verified.
    ///
    /// # Panics
    /// If anything in `new/` is not a whole envelope, or a claim check points to no whole mail.
    pub(crate) fn spooled(&self) -> Vec<(Envelope, Bytes)> {
        read_envelopes(&self.spool.join("new")).into_iter().map(|envelope| self.with_mail(envelope)).collect()
    }

    /// How many messages are in `new/`.
    pub(crate) fn spooled_count(&self) -> usize {
        fs::read_dir(self.spool.join("new")).map_or(0, |entries| entries.count())
    }

    /// An envelope with its mail, from the store if it lies there.
    pub(crate) fn with_mail(&self, envelope: Envelope) -> (Envelope, Bytes) {
        let mail = match &envelope.mail {
            Mail::Inline(mail) => mail.clone(),
            Mail::Stored(claim) => {
                let path = self.store.join(claim.object.bucket()).join(claim.object.key());
                let mail = fs::read(&path).expect("a claim check points to a mail that is there");
                claim.verify(&mail).expect("the stored mail is whole");
                Bytes::from(mail)
            }
        };
        (envelope, mail)
    }
}

/// The envelopes in a folder; one that is not there holds none.
pub(crate) fn read_envelopes(folder: &Path) -> Vec<Envelope> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |path: PathBuf| Envelope::decode(&Bytes::from(fs::read(&path).unwrap())).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

/// What comes on standard input.
enum Input {
    Mail(Vec<u8>),
    /// Some bytes, and no end.
    NeverEnds,
}

/// A run of the enqueuer.
pub(crate) struct Run {
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    is_under_postfix: bool,
    stdin: Input,
}

impl Run {
    /// Runs it by another program: its words come before the enqueuer's own.
    pub(crate) fn by<W: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = W>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// One more argument; one of the same name is replaced.
    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        let argument = argument.into();
        let name = |argument: &OsString| argument.to_string_lossy().split_once('=').map(|(name, _)| name.to_owned());
        let is_same = |other: &OsString| name(&argument).is_some() && name(other) == name(&argument);
        self.arguments.retain(|other| !is_same(other));
        self.arguments.push(argument);
        self
    }

    /// These arguments and no others.
    pub(crate) fn only_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(OsString::from).collect();
        self
    }

    /// Without the argument `--NAME=`.
    pub(crate) fn without_argument(mut self, name: &str) -> Self {
        self.arguments.retain(|argument| !argument.to_string_lossy().starts_with(&format!("--{name}=")));
        self
    }

    /// Not as pipe(8) runs it: as a person does.
    pub(crate) fn by_a_person(mut self) -> Self {
        self.is_under_postfix = false;
        self
    }

    /// The mail.
    pub(crate) fn mail(mut self, mail: &[u8]) -> Self {
        self.stdin = Input::Mail(mail.to_owned());
        self
    }

    /// A mail whose end does not come.
    pub(crate) fn mail_that_never_ends(mut self) -> Self {
        self.stdin = Input::NeverEnds;
        self
    }

    /// Starts it, with its output and input as pipes.
    pub(crate) fn start(&self) -> Child {
        let program = harness::program("replyfleet-enqueue").into_os_string();
        let mut words = self.wrapper.iter().chain([&program]).chain(&self.arguments);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env_clear().envs([("LANG", "C"), ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")]);
        command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        if self.is_under_postfix {
            command.env("MAIL_CONFIG", "/etc/postfix");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If the end does not come in time.
    pub(crate) fn end(self) -> Ending {
        let start = Instant::now();
        let mut child = self.start();
        let mut stdin = child.stdin.take().unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::scope(|scope| {
            let feed = scope.spawn(move || {
                let bytes = match &self.stdin {
                    Input::Mail(mail) => mail.as_slice(),
                    Input::NeverEnds => b"Subject: please\n\n",
                };
                let _ = stdin.write_all(bytes); // the enqueuer may end before it has read the mail
                matches!(self.stdin, Input::NeverEnds).then_some(stdin)
            });
            let read_all = |from: &mut dyn Read| {
                let mut text = Vec::new();
                from.read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            };
            let stdout = scope.spawn(move || read_all(&mut stdout));
            let stderr = scope.spawn(move || read_all(&mut stderr));
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if start.elapsed() > HANGS_AFTER {
                    child.kill().unwrap();
                    panic!("the enqueuer hangs");
                }
                std::thread::park_timeout(Duration::from_millis(1));
            };
            drop(feed.join().unwrap());
            Ending {
                status: status.code(),
                signal: status.signal(),
                stdout: stdout.join().unwrap(),
                stderr: stderr.join().unwrap(),
                took: start.elapsed(),
            }
        })
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The exit status.
    pub(crate) status: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// What it wrote on standard output.
    pub(crate) stdout: String,
    /// What it wrote on standard error.
    pub(crate) stderr: String,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Ending {
    /// Postfix forgets the mail.
    pub(crate) fn assert_delivered(&self) {
        assert!(self.status == Some(0) && self.stdout.starts_with("4.3.0 "), "{self:?}");
    }

    /// Postfix keeps the mail, and its log says `why`.
    pub(crate) fn assert_deferred(&self, why: &str) {
        assert!(self.status == Some(75) && self.stdout.starts_with("4.3.0 "), "{self:?}");
        assert!(self.stdout.lines().all(|line| line.starts_with("4.3.0 ")), "one line each: {self:?}");
        assert!(self.stdout.contains(why), "the reason {why:?} is missing: {self:?}");
    }

    /// Whatever happened, Postfix does not bounce: 0, 75 or a signal.
    pub(crate) fn assert_never_bounced(&self, what: &str) {
        assert!(self.signal.is_some() || matches!(self.status, Some(0 | 75)), "{what}: {self:?}");
    }
}

/// Joining words that need not be UTF-8.
trait ConcatOs {
    fn concat_os(self) -> OsString;
}

impl<const N: usize> ConcatOs for [OsString; N] {
    fn concat_os(self) -> OsString {
        self.into_iter().fold(OsString::new(), |mut all, part| {
            all.push(part);
            all
        })
    }
}

/// A mail of `bytes` bytes that are not UTF-8 and have every line end there is.
pub(crate) fn wild_mail(bytes: usize) -> Vec<u8> {
    let head = b"From: someone@example.org\nSubject: \xe9t\xe9\n\nbare\rcr, crlf\r\n, nul \0, ff \xff\n.\nFrom here\n".iter().copied();
    head.chain((0..=255).cycle()).take(bytes).collect()
}
