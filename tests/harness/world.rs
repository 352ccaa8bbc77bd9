//! A world of one test's own: real daemons in network, mount and process namespaces that nobody else is in.
//!
//! ```text
//! client 198.51.100.7 --swaks--> 192.0.2.25:25 Postfix --pipe or LMTP--> replyfleet-enqueue --> spool, or SQS and S3
//! sink   192.0.2.26:25 <--MX by dnsmasq-- Postfix 127.0.0.1:2525 <--SMTP, or SES's relay-- replyfleet-worker
//! ```
//! The world hangs on one process, its first, which waits for the end of its standard input. The test holds that open:
//! however the test ends, the world's first process ends, and with it every other in there. A failed test shows its logs.
//! Needs root and the daemons; without them [`World::start`] skips the test.
//!
//! Parts: [`process`] starts programs in the world; `postfix` writes Postfix's configuration; `fleet` the settings, the
//! catalogue, the worker and what lies in queue and store; `mail` sends requests and reads replies; `talk` says SMTP word for
//! word; `host` has the Postfix of `ami/files` in the place of the one that `postfix` makes up.

mod fleet;
mod host;
mod mail;
mod postfix;
pub mod process;
mod talk;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub use fleet::{ATTACHMENTS, TWO_REPLIES, attachments};
pub use host::SENDER_INSTANCE;
pub use mail::{CLIENT, Mail, Reply, SENDER, date};
pub use postfix::{MX, SERVICES};
pub use process::Process;
pub use talk::Talk;

use crate::{NoWorld, ministack, program, skipped, wait_for};

/// How long anything may take that should be quick.
pub const SOON: Duration = Duration::from_secs(30);
/// Port of the emulator: free in the world's own network.
const MINISTACK_PORT: u16 = 4566;
/// Port of the sink that answers slowly.
const SLOW_SINK_PORT: u16 = 2526;
/// The user that Postfix's pipe and the worker run as.
const USER: &str = "nobody";
const GROUP: &str = "nogroup";

/// What the fleet of a world runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Spool folder, store folder, replies by SMTP.
    Embedded,
    /// SQS, S3, SES.
    Aws,
}

/// How Postfix hands mail to the enqueuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// pipe(8): one process a mail.
    Pipe,
    /// lmtp(8): a service. Mail to [`BY_PIPE`] goes by pipe(8) all the same.
    Lmtp,
}

/// The recipient whose mail goes by pipe(8) whatever the [`Intake`].
pub const BY_PIPE: &str = "pipe@responder.test";

/// What differs between the worlds of the scenarios.
pub struct Plan<'a> {
    /// What the fleet runs on.
    pub backing: Backing,
    /// How mail comes in.
    pub intake: Intake,
    /// A shell script that Postfix runs in the enqueuer's place; `$ENQUEUE` is the enqueuer, `$W` the world's folder.
    pub instead_of_enqueuer: Option<&'a str>,
    /// Seconds for which the relay that the worker sends to, then a sink itself, waits before it says that it has a mail.
    pub slow_sink_s: Option<u32>,
    /// `worker.slots`.
    pub slots: usize,
    /// `queue.visibility_s`.
    pub visibility_s: u32,
    /// `send.SMTP.timeout_s`.
    pub smtp_timeout_s: u32,
    /// What stands in `authentication`. The resolver is the world's own, as its machine has it.
    pub authentication: &'a str,
    /// More names that the world's name server knows, as options of dnsmasq.
    pub names: &'a [String],
    /// Lines of `postfix.env`, if Postfix is to be the one of `ami/files`. Intake is by LMTP then.
    pub files: Option<&'a str>,
}

impl Plan<'_> {
    /// The usual world on this backing.
    pub fn on(backing: Backing) -> Self {
        Self {
            backing,
            intake: Intake::Pipe,
            instead_of_enqueuer: None,
            slow_sink_s: None,
            slots: 8,
            visibility_s: 30,
            smtp_timeout_s: 20,
            authentication: "mode = \"off\", unproven = \"full\"",
            names: &[],
            files: None,
        }
    }
}

/// A running world.
pub struct World {
    dir: tempfile::TempDir,
    anchor: Child,
    /// The world's first process, as the machine numbers it.
    first: u32,
    backing: Backing,
    intake: Intake,
    has_files: bool,
    daemons: Vec<Process>,
}

impl World {
    /// Starts a world, or says that the test is skipped.
    ///
    /// # Panics
    /// If one of its daemons does not start.
    pub fn start(plan: &Plan) -> Option<Self> {
        if let Err(why) = check_machine(plan.backing) {
            skipped(&why.0);
            return None;
        }
        let mut world = Self::empty(plan);
        world.enter();
        world.start_names_and_sinks(plan);
        if !world.has_files {
            world.start_postfix(plan);
        }
        if plan.backing == Backing::Aws {
            world.start_aws();
        }
        world.write_fleet(plan);
        if world.has_files {
            world.start_files(plan);
        }
        if plan.intake == Intake::Lmtp {
            world.start_service(plan);
        }
        world.wait_until_listening();
        Some(world)
    }

    /// Namespaces with one process that waits.
    fn empty(plan: &Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("replyfleet-world-").tempdir().expect("temporary folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap(); // Postfix's users must get through
        let mut anchor = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let first = wait_for("the world's first process", SOON, || {
            assert!(anchor.try_wait().unwrap().is_none(), "unshare ended");
            process::only_child(anchor.id(), "cat")
        });
        Self { dir, anchor, first, backing: plan.backing, intake: plan.intake, has_files: plan.files.is_some(), daemons: Vec::new() }
    }

    /// Gives the world its addresses and its name server, and lets every user run the programs, wherever they lie.
    fn enter(&self) {
        if self.has_files {
            self.lay_files();
        }
        let resolver = self.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n");
        let programs = self.folder("bin", "root");
        let script = r#"
            ip link set lo up
            for address in 192.0.2.25 192.0.2.26 198.51.100.7 203.0.113.9 203.0.113.10 203.0.113.11 203.0.113.12; do ip address add "$address/32" dev lo; done
            mount --bind "$1" /etc/resolv.conf
            mount --bind "$2" "$3""#;
        let built = program("replyfleet-enqueue");
        let built = built.parent().unwrap();
        self.run(self.command("sh").args(["-euc", script, "sh"]).arg(resolver).arg(built).arg(programs));
    }

    fn start_names_and_sinks(&mut self, plan: &Plan) {
        let dns = [
            "--conf-file=/dev/null",
            "--no-daemon",
            "--no-resolv",
            "--no-hosts",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--user=root",
            "--host-record=mail.example.org,192.0.2.26",
            "--host-record=client.example.org,198.51.100.7",
            "--mx-host=example.org,mail.example.org,10",
            "--mx-host=example.com,mail.example.org,10",
            "--mx-host=penguin.example.com,mail.example.org,10",
            "--mx-host=responder.test,mx.responder.test,10",
            "--host-record=mx.responder.test,192.0.2.25",
            // No other name exists.
            "--local=/#/",
        ];
        self.start_daemon("dnsmasq", self.command("dnsmasq").args(dns).args(plan.names));
        self.folder("sink", USER);
        let into = format!("{}/", self.path("sink").display());
        let sink = |name: &str| ["-u", USER, "-h", "mail.example.org", "-d", &format!("{into}{name}.")].map(str::to_owned);
        self.start_daemon("sink", self.command("smtp-sink").args(sink("mx")).args(["192.0.2.26:25", "64"]));
        if let Some(delay) = plan.slow_sink_s {
            let listen = format!("127.0.0.1:{SLOW_SINK_PORT}");
            self.start_daemon("slow-sink", self.command("smtp-sink").args(sink("slow")).args(["-W", &format!(".:{delay}"), &listen, "64"]));
        }
    }

    fn start_aws(&mut self) {
        let home = self.folder("aws", "root");
        let mut ministack = self.command(ministack::venv().join("bin/python3"));
        ministack.arg(crate::repository().join("tests/harness/world/ses_relay.py")).envs(ministack::environment(&home, MINISTACK_PORT));
        self.start_daemon("ministack", &mut ministack);
        self.wait_for_port("127.0.0.1", MINISTACK_PORT);
        self.aws(&["setup"]);
    }

    /// Asks the emulator, by `aws.py`; every argument is one of its words.
    fn aws(&self, words: &[&str]) -> serde_json::Value {
        self.aws_with_input(words, b"")
    }

    fn aws_with_input(&self, words: &[&str], input: &[u8]) -> serde_json::Value {
        let script = crate::repository().join("tests/harness/world/aws.py");
        let mut command = self.command(ministack::venv().join("bin/python3"));
        command.arg(script).arg(format!("http://127.0.0.1:{MINISTACK_PORT}")).args(words);
        serde_json::from_slice(&self.run_with_input(&mut command, input)).expect("aws.py prints JSON")
    }

    fn wait_until_listening(&self) {
        for (address, port) in [("192.0.2.25", 25), ("127.0.0.1", 2525), ("192.0.2.26", 25), ("127.0.0.1", 53)] {
            self.wait_for_port(address, port);
        }
    }

    /// Waits until someone listens there, as the world's own table of sockets shows.
    fn wait_for_port(&self, address: &str, port: u16) {
        let octets: std::net::Ipv4Addr = address.parse().unwrap();
        let socket = format!("{:08X}:{port:04X} 00000000:0000 0A", u32::from_ne_bytes(octets.octets()));
        let table = format!("/proc/{}/net/tcp", self.first);
        wait_for(&format!("{address}:{port}"), SOON, || fs::read_to_string(&table).unwrap().contains(&socket).then_some(()));
    }

    /// The world's folder, or a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that everyone may read.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write into the world");
        path
    }

    /// Makes a folder for a user.
    fn folder(&self, name: &str, user: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("folder in the world");
        give_to(&path, user);
        path
    }

    /// The emulator or another daemon by its name.
    ///
    /// # Panics
    /// If the world has none of that name.
    pub fn daemon(&self, name: &str) -> &Process {
        self.daemons.iter().find(|daemon| daemon.name() == name).unwrap_or_else(|| panic!("no {name} here"))
    }

    fn show_logs(&self) {
        for folder in [self.path(""), self.path("postfix"), self.on_host("run/mail")] {
            let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            for log in files.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
                eprintln!("---- {}\n{}", log.display(), String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let died: Vec<String> = self.daemons.iter_mut().filter_map(|daemon| (!daemon.is_running()).then(|| daemon.name().to_owned())).collect();
        if std::thread::panicking() || !died.is_empty() {
            self.show_logs();
        }
        self.daemons.clear();
        drop(self.anchor.stdin.take()); // the first process ends now, and the kernel ends all others
        let _ = self.anchor.wait();
        assert!(died.is_empty() || std::thread::panicking(), "{died:?} died during the test");
    }
}

/// What a world needs of the machine.
fn check_machine(backing: Backing) -> Result<(), NoWorld> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        return Err(NoWorld("a world of daemons needs root".into()));
    }
    for name in ["unshare", "nsenter", "setpriv", "timeout", "ip", "postfix", "smtp-sink", "dnsmasq", "swaks", "python3"] {
        if !["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(name).exists()) {
            return Err(NoWorld(format!("{name} is not installed; tests/run installs it")));
        }
    }
    if backing == Backing::Aws {
        ministack::program()?;
    }
    Ok(())
}

fn give_to(path: &Path, user: &str) {
    let passwd = fs::read_to_string("/etc/passwd").expect("passwd");
    let fields: Vec<&str> =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == user).expect("the user is there");
    let id = |field: &str| field.parse().expect("a number");
    chown(path, Some(id(fields[2])), Some(id(fields[3]))).expect("chown");
}
