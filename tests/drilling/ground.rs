//! The ground that a drill stands on: its folder, the settings and the catalogue, a name server, and a Postfix of its own.
//! Also what can be seen from here without asking a program of ours: what still lies in Postfix, queue and store.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use replyfleet_tests::{wait_for, world::SERVICES};
use serde_json::json;

use super::{
    Arguments, Database, Intake, Queue,
    far::{DEAD, Far, Link, REQUESTS},
    fleet::{WORKERS, worker},
    mails::ADDRESSES,
};

/// The user of enqueuer and workers.
const USER: &str = "nobody";
const GROUP: &str = "nogroup";
const POSTFIX_GROUP: &str = "postfix";
/// This MX's name, part of every request key.
pub(crate) const HOST: &str = "mx.responder.test";
/// The installation's secret.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A larger mail goes through the store.
const INLINE_BYTES_MAX: usize = 20_000;
/// `queue.visibility_s`.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(30);

/// The folder and what is in it.
pub(crate) struct Ground {
    folder: PathBuf,
    intake: Intake,
    queue: Queue,
    database: Database,
    environment: Vec<(&'static str, String)>,
}

/// What a drill needs of the machine.
pub(crate) fn check_machine() -> Result<(), String> {
    if fs::metadata("/proc/self").map_or(1, |process| process.uid()) != 0 {
        return Err("it needs root".into());
    }
    for name in ["unshare", "setpriv", "ip", "postfix", "dnsmasq", "mount"] {
        if !["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(name).exists()) {
            return Err(format!("{name} is not installed; tests/run installs it"));
        }
    }
    Ok(())
}

impl Ground {
    /// Makes the folder, and gives the network its addresses.
    pub(crate) fn prepare(arguments: &Arguments) -> Self {
        let folder = tempfile::Builder::new().prefix("replyfleet-drill-").tempdir().expect("temporary folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap(); // every user must get through
        let ground = Self { folder, intake: arguments.intake, queue: arguments.queue, database: arguments.database, environment: Vec::new() };
        let resolver = ground.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n");
        let programs = ground.give("bin", "root");
        let built = std::env::current_exe().expect("a program has a path");
        let script = r#"
            ip link set lo up
            for address in 192.0.2.25 192.0.2.26; do ip address add "$address/32" dev lo; done
            mount --bind "$1" /etc/resolv.conf
            mount --bind "$2" "$3""#;
        let done = Command::new("sh").args(["-euc", script, "sh"]).arg(resolver).arg(built.parent().unwrap()).arg(programs).status();
        assert!(done.expect("sh starts").success(), "the namespaces cannot be furnished");
        ground
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn intake(&self) -> Intake {
        self.intake
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write into the drill's folder");
        path
    }

    /// Makes a folder for a user.
    fn give(&self, name: &str, user: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("folder");
        give_to(&path, user);
        path
    }

    /// Writes settings and catalogue.
    pub(crate) fn configure(&mut self, far: &Far) {
        for folder in ["store", "store/claim-check", "state", "run", "cache"] {
            self.give(folder, USER);
        }
        let spool = self.give("spool", USER);
        let secret = self.write("secret", SECRET);
        give_to(&secret, USER);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let files = self.give("store/files", USER);
        fs::write(files.join("catalogue.json"), catalogue()).unwrap();

        let address = |link| far.proxy(link).map(|proxy| proxy.address());
        let url = |link: Link| format!("http://{}", address(link).expect("a link of this drill"));
        self.environment = vec![("AWS_ACCESS_KEY_ID", "test".into()), ("AWS_SECRET_ACCESS_KEY", "test".into())];
        self.environment.push(("AWS_ENDPOINT_URL_SESV2", url(Link::WorkersToSes)));
        let queue = match &far.sqs {
            Some(sqs) => {
                format!("url = \"{}\"\ndead_letter_url = \"{}\"", sqs.queue_url(REQUESTS), sqs.queue_url(DEAD))
            }
            None => format!("url = \"spool:{}\"", spool.display()),
        };
        let smtp = address(Link::WorkersToSmtp).unwrap();
        let database = far.database_url(false).unwrap_or_else(|| self.sqlite_url());
        for worker in 0..WORKERS {
            self.give(&format!("cache/{worker}"), USER);
            let settings = self.settings(&queue, &database, smtp, worker);
            self.write(&format!("worker{worker}.toml"), settings);
        }
        let settings = self.settings(&queue, &database, smtp, 0);
        self.write("enqueuer.toml", settings);
        if far.sqs.is_some() {
            self.environment.push(("AWS_ENDPOINT_URL_SQS", url(Link::WorkersToSqs)));
            self.write("enqueuer-sqs", url(Link::EnqueuerToSqs));
        }
    }

    fn settings(&self, queue: &str, database: &str, smtp: SocketAddr, worker: usize) -> String {
        let folder = self.folder.display();
        let lmtp = match self.intake {
            Intake::Lmtp => format!("lmtp = [\"unix:{}\"]", self.socket().display()),
            Intake::Pipe => String::new(),
        };
        // More than any drill: what is drilled here is not the allowance.
        let caps = ["per_domain", "per_network", "per_address"].map(|name| format!("{name} = {{ answers = 1000000, attachments = 1000000 }}\n"));
        format!(
            r#"
secret_key_file = "{folder}/secret"
authentication = {{ mode = "off", unproven = "full" }}
[queue]
{queue}
visibility_s = {visibility}
inline_bytes_max = {INLINE_BYTES_MAX}
[store]
url = "dir:{folder}/store"
[catalogue]
bucket = "files"
key = "catalogue.json"
[aws]
region = "us-east-1"
[enqueuer]
host = "{HOST}"
deadline_s = 10
{lmtp}
[worker]
cache_dir = "{folder}/cache/{worker}"
slots = 16
stop_timeout_s = 20
probe_s = 2
[database]
url = "{database}"
[allowance]
answers_per_sender = 1000
attachments_per_sender = 1000
{caps}
[reply]
from_name = "Responder"
bounce_address = "bounce@responder.test"
[send.SES]
kind = "ses"
timeout_s = 3
[send.SMTP]
kind = "smtp"
host = "{host}"
port = {port}
tls = "none"
timeout_s = 3
"#,
            visibility = VISIBILITY.as_secs(),
            caps = caps.concat(),
            host = smtp.ip(),
            port = smtp.port(),
        )
    }

    /// Where the enqueuer listens for LMTP.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/lmtp.sock")
    }

    fn sqlite_url(&self) -> String {
        format!("sqlite:{}/state/ledger.db", self.folder.display())
    }

    /// The ledger's URL, past the proxy.
    pub(crate) fn ledger_url(&self, far: &Far) -> String {
        if self.database == Database::Sqlite { self.sqlite_url() } else { far.database_url(true).expect("a server") }
    }

    /// One of our programs, as its user, its output in `NAME.log`. The enqueuer's group is Postfix's, who must reach its socket.
    pub(crate) fn program(&self, program: &str, name: &str, settings: &str) -> Command {
        let mut command = Command::new("setpriv");
        let group = if program == "replyfleet-enqueue" { POSTFIX_GROUP } else { GROUP };
        command.args([&format!("--reuid={USER}"), &format!("--regid={group}"), "--clear-groups", "--"]).arg(self.path("bin").join(program));
        command.arg(format!("--config={}", self.path(settings).display())).env_clear().envs(self.environment.iter().cloned());
        let log = self.log(name);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir("/");
        command
    }

    /// The environment of the enqueuer besides, whose way to SQS is its own.
    pub(crate) fn enqueuer_environment(&self) -> Vec<(&'static str, String)> {
        let sqs = fs::read_to_string(self.path("enqueuer-sqs")).ok().map(|url| ("AWS_ENDPOINT_URL_SQS", url));
        self.environment.iter().filter(|(name, _)| *name != "AWS_ENDPOINT_URL_SQS").cloned().chain(sqs).collect()
    }

    fn log(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).expect("log file")
    }

    /// Starts the name server.
    pub(crate) fn start_names(&self) -> Child {
        let dns = ["--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces"];
        let names = ["--user=root", "--host-record=mail.example.org,192.0.2.26", "--mx-host=example.org,mail.example.org,10", "--local=/#/"];
        let log = self.log("dnsmasq");
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args(dns).args(names).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        dnsmasq.spawn().expect("dnsmasq starts")
    }

    /// Postfix, to be started in the foreground.
    pub(crate) fn postfix(&self) -> Command {
        let (etc, log) = (self.configure_postfix(), self.log("postfix"));
        let mut postfix = Command::new("postfix");
        postfix.arg("-c").arg(etc).arg("start-fg").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        postfix
    }

    fn configure_postfix(&self) -> PathBuf {
        let folder = self.give("postfix", "root");
        let (etc, queue) = (self.give("postfix/etc", "root"), self.give("postfix/queue", "root"));
        let data = self.give("postfix/data", "postfix");
        let environment: String = self.enqueuer_environment().iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let transport = match self.intake {
            Intake::Pipe => "enqueue:".to_owned(),
            Intake::Lmtp => format!("lmtp:unix:{}", self.socket().display()),
        };
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file_prefixes = {folder}
maillog_file = {folder}/mail.log
export_environment = MAIL_CONFIG LANG{environment}
inet_interfaces = 192.0.2.25, 127.0.0.1
inet_protocols = ipv4
myhostname = {HOST}
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
virtual_mailbox_domains = responder.test
virtual_transport = {transport}
enqueue_destination_recipient_limit = 1
lmtp_destination_recipient_limit = 1
lmtp_send_xforward_command = yes
lmtp_line_length_limit = 0
lmtp_lhlo_timeout = 5s
smtpd_discard_ehlo_keywords = dsn, silent-discard
enable_long_queue_ids = yes
message_size_limit = 41943040
mailbox_size_limit = 0
virtual_mailbox_limit = 0
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
bounce_queue_lifetime = 1h
maximal_queue_lifetime = 1h
",
            queue = queue.display(),
            data = data.display(),
            folder = folder.display(),
        );
        fs::write(etc.join("main.cf"), main).unwrap();
        let master = format!(
            "192.0.2.25:25 inet n - n - - smtpd
{SERVICES}
lmtp unix - - n - - lmtp
enqueue unix - n n - 20 pipe
  flags=q user={USER} null_sender=
  argv={program} --config={config}
  --sender=${{sender}} --original-recipient=${{original_recipient}} --client-address=${{client_address}}
  --client-hostname=${{client_hostname}} --client-helo=${{client_helo}} --client-protocol=${{client_protocol}}
  --queue-id=${{queue_id}}
",
            program = self.path("bin/replyfleet-enqueue").display(),
            config = self.path("enqueuer.toml").display(),
        );
        fs::write(etc.join("master.cf"), master).unwrap();
        etc
    }

    /// Waits for Postfix, and for the workers' first schema.
    pub(crate) fn wait_until_listening(&self) {
        wait_for("Postfix to listen", SOON, || std::net::TcpStream::connect("192.0.2.25:25").ok());
        if self.intake == Intake::Lmtp {
            wait_for("the enqueuer's socket", SOON, || std::os::unix::net::UnixStream::connect(self.socket()).ok());
        }
    }

    /// How many mails Postfix holds. While it starts again it may be asked in vain.
    pub(crate) fn mails_in_postfix(&self) -> usize {
        let look = || {
            let list = Command::new("postqueue").arg("-c").arg(self.path("postfix/etc")).arg("-j").output().expect("postqueue runs");
            list.status.success().then(|| String::from_utf8_lossy(&list.stdout).lines().count())
        };
        wait_for("postqueue to tell what Postfix holds", SOON, look)
    }

    /// Postfix's log, of which a kill may have left any bytes.
    pub(crate) fn postfix_log(&self) -> String {
        let log = fs::read(self.path("postfix/mail.log")).expect("Postfix writes a log");
        assert!(!log.is_empty(), "Postfix wrote nothing into its log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What the workers say.
    pub(crate) fn workers_logs(&self) -> Vec<String> {
        let log = |index| fs::read(self.path(&format!("{}.log", worker(index)))).expect("each worker has a log");
        (0..WORKERS).map(|index| String::from_utf8_lossy(&log(index)).into_owned()).collect()
    }

    /// How many messages the queue has, waiting or held.
    pub(crate) fn messages(&self, far: &Far) -> usize {
        match &far.sqs {
            Some(sqs) => {
                let depth = sqs.depth(REQUESTS);
                depth.visible + depth.in_flight + depth.delayed
            }
            None => files_below(&self.path("spool/new")).len() + files_below(&self.path("spool/cur")).len(),
        }
    }

    /// The request keys of the claim-checked mails that lie in the store.
    pub(crate) fn claim_checks(&self) -> Vec<String> {
        let files = files_below(&self.path("store/claim-check"));
        files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    /// Whether it is the spool's.
    pub(crate) fn queue(&self) -> Queue {
        self.queue
    }

    /// Takes the folder away.
    pub(crate) fn remove(self) {
        let script = r#"umount "$1/bin" && rm -rf "$1""#;
        let _ = Command::new("sh").args(["-c", script, "sh"]).arg(&self.folder).status(); // what stays is in the temporary folder
    }
}

/// Two addresses with two replies each: one by SES, one by SMTP.
fn catalogue() -> String {
    let reply =
        |address: &str, method: &str| json!({"email_addr": address, "body": format!("By {method}.\n"), "attachments": null, "send_method": method});
    let replies: Vec<_> = ADDRESSES.iter().flat_map(|address| [reply(address, "SES"), reply(address, "SMTP")]).collect();
    json!(replies).to_string()
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn give_to(path: &Path, user: &str) {
    let passwd = fs::read_to_string("/etc/passwd").expect("passwd");
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user)).expect("the user is there");
    let id = |field: usize| line.split(':').nth(field).and_then(|field| field.parse().ok());
    chown(path, id(2), id(3)).expect("chown");
}
