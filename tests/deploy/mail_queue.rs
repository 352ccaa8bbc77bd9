//! `replyfleet mail-queue` beside a real Postfix, run as its unit runs it: another user than Postfix's, with the group `postdrop` and no way
//! to more rights. What it publishes, what it waits for, and that it says nothing of a mail.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use replyfleet_tests::{
    autoscaling::AutoScaling, cloudwatch::Endpoint, installation::said_to, metadata::Metadata, program, skipped, wait_for, world::SERVICES,
};

const SOON: Duration = Duration::from_secs(60);
const STATE: &str = "autoscaling/target-lifecycle-state";
/// Starts Postfix, and stops it when standard input ends.
const UNTIL_STDIN_ENDS: &str = r#"postfix -c "$1" start-fg </dev/null & read -r _; postfix -c "$1" stop; wait"#;
/// Whose name no log may show.
const REQUESTER: &str = "somebody@requester.test";

/// A machine with a Postfix that sends by a relay of the test's.
struct Machine {
    dir: tempfile::TempDir,
    postfix: Child,
    relay: SocketAddrV4,
    metadata: Metadata,
    group: AutoScaling,
    cloudwatch: Endpoint,
}

/// The service as systemd runs it.
struct Service {
    child: Child,
    log: PathBuf,
    notices: UnixDatagram,
    told: Vec<String>,
}

fn can_run() -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let missing = ["postfix", "smtp-sink", "setpriv"].into_iter().find(|name| !Command::new(name).arg("--help").output().is_ok_and(|_| true));
    match (is_root, missing) {
        (false, _) => skipped("Postfix needs root"),
        (_, Some(name)) => skipped(&format!("no {name}; tests/run installs it")),
        _ => return true,
    }
    false
}

/// An address of loopback on which nobody listens until the test does. It is this test's alone, and its port is none that the kernel
/// hands out (it begins at 32768): nothing has to hold it meanwhile.
fn nobodys_address() -> SocketAddrV4 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id() << 3) + COUNT.fetch_add(1, Ordering::Relaxed) % 8;
    // From 127.16.0.0 on: the ones below are other people's.
    SocketAddrV4::new(Ipv4Addr::from(0x7f10_0000 + number % 0xe0_0000), 2_526)
}

impl Machine {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["etc", "queue", "data"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        assert!(Command::new("chown").arg("postfix").arg(dir.path().join("data")).status().unwrap().success());
        let relay = nobodys_address();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = DIR/queue\ndata_directory = DIR/data\nmaillog_file_prefixes = DIR\nmaillog_file = DIR/mail.log\n\
             inet_interfaces = loopback-only\ninet_protocols = ipv4\nmyhostname = mx.test\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
             relayhost = [{}]:{}\nsmtp_tls_security_level = none\nminimal_backoff_time = 1h\nmaximal_backoff_time = 1h\n\
             queue_run_delay = 1h\nbounce_queue_lifetime = 1d\nmaximal_queue_lifetime = 1d\n",
            relay.ip(),
            relay.port()
        );
        fs::write(dir.path().join("etc/main.cf"), main.replace("DIR", dir.path().to_str().unwrap())).unwrap();
        fs::write(dir.path().join("etc/master.cf"), SERVICES).unwrap();
        let mut postfix = Command::new("sh");
        postfix.args(["-c", UNTIL_STDIN_ENDS, "sh"]).arg(dir.path().join("etc")).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let postfix = postfix.spawn().unwrap();
        let metadata = Metadata::start(&[("instance-id", "i-0123"), ("tags/instance/aws:autoscaling:groupName", "mxs")]);
        let machine = Self { dir, postfix, relay, metadata, group: AutoScaling::start(), cloudwatch: Endpoint::start() };
        wait_for("Postfix", SOON, || machine.path("queue/public/pickup").exists().then_some(()));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Hands Postfix a mail, which waits until somebody flushes the queue, whether the relay is there or not.
    fn send(&self) {
        let before = self.deferred();
        let mut sendmail = Command::new("sendmail");
        sendmail.arg("-C").arg(self.path("etc")).args(["-f", "bounces@responder.test", REQUESTER]);
        let (status, text) = said_to(&mut sendmail, "Subject: reply\n\ntext\n");
        assert_eq!(status, Some(0), "{text}");
        wait_for("the mail to wait", SOON, || (self.deferred() > before).then_some(()));
    }

    fn deferred(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
        }
        files(&self.path("queue/deferred"))
    }

    /// The relay comes up, and listens. It is killed with the child.
    fn relay(&self) -> Relay {
        let sink = Command::new("smtp-sink").args(["-u", "nobody", &self.relay.to_string(), "16"]).spawn().unwrap();
        let relay = Relay(sink);
        // What is flushed before that is not tried again within the hour.
        wait_for("the relay", SOON, || TcpStream::connect(self.relay).ok());
        relay
    }

    /// Starts the service, and waits until it is ready.
    fn watch(&self, more: &[&str]) -> Service {
        self.watch_by(&[], more)
    }

    /// The same, by a program that runs it as the same process.
    fn watch_by(&self, runner: &[&str], more: &[&str]) -> Service {
        let settings = format!(
            r#"
            queue = {{ url = "spool:/nowhere/spool" }}
            store = {{ url = "dir:/nowhere/store" }}
            catalogue = {{ bucket = "catalogue", key = "catalogue.json" }}
            worker = {{ cache_dir = "/nowhere/cache" }}
            reply = {{ bounce_address = "bounces@responder.test" }}
            send.SES = {{ kind = "maildir", dir = "/nowhere/replies" }}
            aws = {{ region = "us-east-1", imds_endpoint_url = "{}" }}
            metrics = {{ cloudwatch = true, period_s = 1 }}"#,
            self.metadata.url
        );
        fs::write(self.path("replyfleet.toml"), settings).unwrap();
        // Another user need not reach the folder of the build.
        let copy = self.path("replyfleet");
        if !copy.exists() {
            fs::copy(program("replyfleet"), &copy).unwrap();
        }
        let socket = self.path("notify");
        let _ = fs::remove_file(&socket); // of the service before
        let notices = UnixDatagram::bind(&socket).unwrap();
        notices.set_nonblocking(true).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let log = self.path("service.log");
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--no-new-privs", "--reuid=nobody", "--regid=nogroup", "--groups=postdrop", "--inh-caps=-all", "--bounding-set=-all"]);
        command.args(runner).arg(copy).args(["mail-queue", "--hook", "mail-queue", "--config-directory"]).arg(self.path("etc")).args(more);
        command.arg("--config").arg(self.path("replyfleet.toml"));
        command.env("AWS_ENDPOINT_URL_AUTO_SCALING", &self.group.url).env("AWS_ENDPOINT_URL_CLOUDWATCH", self.cloudwatch.endpoint());
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "500000").env_remove("WATCHDOG_PID");
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let mut service = Service { child, log, notices, told: Vec::new() };
        service.wait_until_told("READY=1");
        service
    }

    fn last(&self, metric: &str) -> Option<f64> {
        self.cloudwatch.of(metric).last().map(|datum| datum.values[0].0)
    }

    fn has_completed(&self) -> bool {
        self.group.has_completed("i-0123", "mail-queue")
    }
}

struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.postfix.stdin.take()); // the shell stops Postfix now
        let _ = self.postfix.wait();
        if std::thread::panicking() {
            for log in ["mail.log", "service.log"] {
                eprintln!("---- {log}\n{}", fs::read_to_string(self.path(log)).unwrap_or_default());
            }
        }
    }
}

impl Service {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_until_logged(&self, words: &str) {
        wait_for(words, SOON, || self.log().contains(words).then_some(()));
    }

    fn wait_until_told(&mut self, line: &str) {
        wait_for(line, SOON, || {
            let mut buffer = [0; 4_096];
            while let Ok(length) = self.notices.recv(&mut buffer) {
                self.told.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.told.iter().any(|told| told == line).then_some(())
        });
    }

    /// SIGTERM, and how it ends.
    fn stop(mut self) -> (ExitStatus, String) {
        let sent = Command::new("sh").args(["-c", r#"kill -s TERM "$1""#, "sh", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        (wait_for("its end", SOON, || self.child.try_wait().unwrap()), self.log())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What strace(1) sees the service and its programs do, from its start to the end of the machine: it looks, flushes, publishes, and
/// completes the hook. `None`, said, where it cannot run.
pub(crate) fn traced() -> Option<String> {
    if !can_run() {
        return None;
    }
    let machine = Machine::start();
    machine.send();
    let relay = machine.relay();
    let log = machine.path("strace");
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap(); // the service is another user
    let service = machine.watch_by(&["strace", "-D", "-f", "-q", "-o", log.to_str().unwrap()], &["--quiet-s", "0"]);
    wait_for("the metrics", SOON, || machine.last("mail_queue_depth"));
    machine.metadata.set(STATE, "Terminated");
    wait_for("the hook's completion", SOON, || machine.has_completed().then_some(()));
    assert_eq!(machine.deferred(), 0, "it flushes");
    let process = service.child.id().to_string();
    let (status, said) = service.stop();
    assert!(status.success(), "{status}: {said}");
    drop(relay);
    let is_last = |line: &str| line.strip_prefix(&process).is_some_and(|rest| rest.trim() == "+++ exited with 0 +++");
    Some(wait_for("strace to write down the end", SOON, || fs::read_to_string(&log).ok().filter(|text| text.lines().any(is_last))))
}

#[test]
fn the_end_of_a_machine_waits_until_its_postfix_has_sent_everything() {
    if !can_run() {
        return;
    }
    let machine = Machine::start();
    machine.send();
    machine.send();
    let mut service = machine.watch(&["--quiet-s", "1"]);
    wait_for("the metrics", SOON, || (machine.last("mail_queue_depth") == Some(2.0)).then_some(()));
    assert!(machine.last("mail_queue_age").is_some_and(|age| (0.0..600.0).contains(&age)));
    wait_for("the machine's own", SOON, || machine.last("DiskSpaceUtilization").filter(|share| (0.0..=100.0).contains(share)));
    let memory = machine.cloudwatch.of("MemoryUtilization");
    assert_eq!((memory[0].namespace.as_str(), memory[0].dimensions["AutoScalingGroupName"].as_str()), ("System/Linux", "mxs"));
    service.wait_until_told("WATCHDOG=1");
    assert!(!machine.has_completed());

    // Nothing but a flush has Postfix try again within the hour.
    let relay = machine.relay();
    machine.metadata.set(STATE, "Terminated");
    wait_for("the hook's completion", SOON, || machine.has_completed().then_some(()));
    assert_eq!(machine.deferred(), 0, "everything was sent before");
    service.wait_until_logged("the lifecycle hook is completed");
    let (status, log) = service.stop();
    assert!(status.success(), "{status}");
    assert!(log.contains("the mail queue is empty") && !log.contains("requester") && !log.contains("responder"), "{log}");
    drop(relay);
}

#[test]
fn what_cannot_be_sent_holds_a_machine_for_no_longer_than_it_may() {
    if !can_run() {
        return;
    }
    let machine = Machine::start();
    machine.send();
    machine.metadata.set(STATE, "Terminated");
    let service = machine.watch(&["--quiet-s", "1", "--longest-s", "4"]);
    service.wait_until_logged("this machine waits for its mail queue");
    assert!(!machine.has_completed());
    wait_for("the hook's completion", SOON, || machine.has_completed().then_some(()));
    assert_eq!(machine.deferred(), 1);
    let (status, log) = service.stop();
    let said = log.lines().find(|line| line.contains("not empty in time")).expect(&log);
    assert!(status.success() && said.contains("ERROR") && said.contains("\"left\":1"), "{said}");
}

#[test]
fn a_queue_that_cannot_be_read_is_not_empty() {
    if !can_run() {
        return;
    }
    let mut machine = Machine::start();
    drop(machine.postfix.stdin.take());
    machine.postfix.wait().unwrap();
    machine.metadata.set(STATE, "Terminated");
    let service = machine.watch(&["--quiet-s", "0", "--longest-s", "4"]);
    service.wait_until_logged("a mail queue cannot be read");
    assert!(!machine.has_completed());
    wait_for("the hook's completion", SOON, || machine.has_completed().then_some(()));
    let (_, log) = service.stop();
    assert!(log.contains("not empty in time") && machine.last("mail_queue_depth").is_none(), "{log}");
}
