//! The units: right for systemd, as closed as they are meant to be, and not more closed than what the programs really do.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use replyfleet::settings::Settings;
use replyfleet_tests::{
    installation::{Installation, aws},
    program, repository, skipped, wait_for,
    web::{Answer, serve},
};
use serde_json::json;

use crate::{
    mail_queue,
    packages::{Programs, tree_with_packages},
};

/// How long anything may take that should be quick.
const SOON: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    repository().join("ami/package/units")
}

/// The names of all units that the packages bring.
fn units() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a unit says of a key, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(unit)).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

fn seconds(unit: &str, key: &str) -> u64 {
    values(unit, key)[0].parse().unwrap()
}

#[test]
fn systemd_understands_every_unit_and_finds_each_service_closed() {
    let Some(tree) = tree_with_packages(Programs::Small) else { return };
    if !tree.run("command -v systemd-analyze").status.success() {
        skipped("systemd is missing");
        return;
    }
    tree.say("dpkg --no-triggers --install /tmp/debs/*.deb");
    let units = units();
    assert_eq!(units.len(), 10, "{units:?}");
    // It ends with 0 where it does not know a key: whatever it says is a failure.
    let listed: Vec<String> = units.iter().map(|unit| format!("/usr/lib/systemd/system/{unit}")).collect();
    assert_eq!(tree.say(&format!("systemd-analyze verify --man=no {}", listed.join(" "))), "");
    let pages = tree.say("dpkg -L replyfleet replyfleet-enqueuer replyfleet-worker");
    for page in units.iter().flat_map(|unit| values(unit, "Documentation")).flat_map(|pages| pages.split(' ').map(str::to_owned).collect::<Vec<_>>())
    {
        let (name, section) = page.strip_prefix("man:").and_then(|page| page.strip_suffix(')')?.split_once('(')).expect(&page);
        assert!(pages.contains(&format!("/man{section}/{name}.{section}.gz\n")), "{page}");
    }
    for unit in units.iter().filter(|unit| unit.ends_with(".service")) {
        // 20 is 2.0 of 10; more ends it with 1.
        let said = tree.say(&format!("systemd-analyze security --offline=true --no-pager --threshold=20 /usr/lib/systemd/system/{unit}"));
        let said = said.lines().last().unwrap();
        println!("{said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn systemd_waits_longer_than_a_service_takes_to_stop() {
    let settings = Settings::load(&repository().join("docs/replyfleet.toml")).unwrap();
    let worker = settings.worker.stop_timeout_s.duration().as_secs();
    // 7 s to give back and for the last metrics, 30 s for a lifecycle hook.
    assert!(seconds("replyfleet-worker.service", "TimeoutStopSec") > worker + 7 + 30);
    let enqueuer = settings.enqueuer.stop_timeout_s.duration().as_secs();
    assert!(seconds("replyfleet-enqueue.service", "TimeoutStopSec") > enqueuer);
}

#[test]
fn programs_that_live_on_are_watched_and_never_given_up() {
    for unit in ["replyfleet-enqueue.service", "replyfleet-worker.service", "replyfleet-mail-queue.service"] {
        for (key, value) in [("Type", "notify"), ("Restart", "always"), ("StartLimitIntervalSec", "0"), ("KillMode", "mixed"), ("LimitCORE", "0")] {
            assert_eq!(values(unit, key), [value], "{unit}: {key}");
        }
        assert!(seconds(unit, "WatchdogSec") >= 60, "{unit}");
        assert_eq!(values(unit, "User"), ["replyfleet"], "{unit}");
    }
}

/// The system calls of a set, or the call itself, by what systemd says of its sets.
fn calls_of(sets: &str, name: &str, calls: &mut BTreeSet<String>) {
    if !name.starts_with('@') {
        calls.insert(name.to_owned());
        return;
    }
    let block = sets.split("\n\n").find(|block| block.trim_start().lines().next() == Some(name)).unwrap_or_else(|| panic!("{name} is no set"));
    for line in block.trim_start().lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty()) {
        calls_of(sets, line, calls);
    }
}

/// What a unit's filter lets through (systemd.exec(5), SystemCallFilter=): the first line is a list of what may be.
fn allowed(unit: &str, sets: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    // What systemd always lets through.
    calls_of(sets, "@default", &mut allowed);
    for line in values(unit, "SystemCallFilter") {
        let (is_taken_away, names) = line.strip_prefix('~').map_or((false, line.as_str()), |names| (true, names));
        let mut calls = BTreeSet::new();
        names.split(' ').for_each(|name| calls_of(sets, name, &mut calls));
        if is_taken_away {
            allowed = &allowed - &calls;
        } else {
            allowed.append(&mut calls);
        }
    }
    allowed
}

/// A program that strace(1) watches; the program itself is our child.
struct Watched {
    child: Child,
    log: PathBuf,
}

fn watched(installation: &Installation, log: &str, arguments: &[&str]) -> Watched {
    let log = installation.path(log);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-o"]).arg(&log).args(arguments).arg("--config").arg(installation.path("replyfleet.toml"));
    Watched { child: command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), log }
}

impl Watched {
    /// Has it end as systemd would, and returns what it has called.
    fn end(mut self) -> String {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
        self.ended()
    }

    /// What it has called until it ended by itself.
    fn ended(&mut self) -> String {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let process = self.child.id().to_string();
        let is_last = |line: &str| line.strip_prefix(&process).is_some_and(|rest| rest.trim() == "+++ exited with 0 +++");
        wait_for("strace to write down the end", SOON, || fs::read_to_string(&self.log).ok().filter(|text| text.lines().any(is_last)))
    }
}

/// The lines of a log that are calls: name, and what stands behind it.
fn calls(log: &str) -> impl Iterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| {
        let (_, call) = line.split_once(' ')?;
        let (name, rest) = call.trim_start().split_once('(')?;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some((name, rest))
    })
}

#[track_caller]
fn unit_lets_through(unit: &str, sets: &str, log: &str) {
    let allowed = allowed(unit, sets);
    // The test may run as root, most services do not: for root alone SQLite gives its files to the database's owner.
    let is_roots = |name: &str| name == "fchown" && values(unit, "User") != ["root"];
    let forbidden: BTreeSet<&str> = calls(log).map(|(name, _)| name).filter(|name| !allowed.contains(*name) && !is_roots(name)).collect();
    assert!(forbidden.is_empty(), "{unit} forbids what its program does: {forbidden:?}");
    assert!(calls(log).count() > 100, "the log is a log");
    if values(unit, "MemoryDenyWriteExecute") == ["yes"] {
        let denied = |(name, rest): &(&str, &str)| match *name {
            "mmap" => rest.contains("PROT_WRITE|PROT_EXEC"),
            "mprotect" | "pkey_mprotect" => rest.contains("PROT_EXEC"),
            _ => false,
        };
        assert_eq!(calls(log).find(denied), None, "{unit}: memory that is written and run");
    }
    // Outside of the folders of processes /proc is to be had by ProcSubset=all only.
    let is_machines = |rest: &&str| {
        rest.contains("\"/proc/")
            && !rest.contains("\"/proc/self/")
            && !rest.split("\"/proc/").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    if values(unit, "ProcSubset") != ["all"] {
        let looked_at = calls(log).filter(|(name, _)| name.starts_with("open")).map(|(_, rest)| rest).find(is_machines);
        assert_eq!(looked_at, None, "{unit}");
    }
}

/// What systemd says of its sets of system calls; `None`, said, where it or strace(1) cannot be asked.
fn sets() -> Option<String> {
    let sets = Command::new("systemd-analyze").args(["--no-pager", "syscall-filter"]).output().ok().filter(|output| output.status.success());
    let Some(sets) = sets.map(|output| String::from_utf8(output.stdout).unwrap()) else {
        skipped("systemd is missing");
        return None;
    };
    if !Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        skipped("strace is missing, or may not trace here");
        return None;
    }
    Some(sets)
}

#[test]
fn units_let_a_machine_fetch_its_secrets() {
    let Some(sets) = sets() else { return };
    let endpoint = serve(|request| {
        let text = if String::from_utf8_lossy(&request.body).contains("worker") {
            json!({"smtp_password": "password", "dkim": {"a.pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}).to_string()
        } else {
            "0123456789abcdef0123456789abcdef".into()
        };
        Answer::new(200, json!({"ARN": "arn", "Name": "name", "SecretString": text}).to_string())
    });
    let installation = Installation::new();
    installation.change("reply = {", |line| format!("{line}\naws = {}", aws(&endpoint)));
    installation.write("secrets.env", "SECRET_KEY_ARN=key\nWORKER_SECRET_ARN=worker\n");
    let group = String::from_utf8(Command::new("id").arg("-gn").output().unwrap().stdout).unwrap();
    let (program, directory, names) = (program("replyfleet"), installation.path("secrets"), installation.path("secrets.env"));
    let program = [program.to_str().unwrap(), "secrets", "--group", group.trim(), "--timeout-s", "60"];
    let folders = ["--directory", directory.to_str().unwrap(), "--names", names.to_str().unwrap()];
    let log = watched(&installation, "secrets.strace", &[&program[..], &folders[..]].concat()).ended();
    assert!(directory.join("dkim/a.pem").exists() && directory.join("worker.env").exists());
    unit_lets_through("replyfleet-secrets.service", &sets, &log);
}

#[test]
fn units_let_a_machine_watch_and_empty_its_mail_queue() {
    let Some(sets) = sets() else { return };
    let Some(log) = mail_queue::traced() else { return };
    // What setpriv(1), which is systemd's here, has done before is not in it.
    assert!(calls(&log).next().is_some_and(|(name, rest)| name == "execve" && rest.contains("mail-queue")), "{log}");
    assert!(log.contains("postqueue") && log.contains("/proc/meminfo"), "its programs, and its figures");
    unit_lets_through("replyfleet-mail-queue.service", &sets, &log);
}

#[test]
fn units_let_the_programs_do_what_they_do() {
    let Some(sets) = sets() else { return };
    let installation = Installation::new();
    let socket = installation.path("lmtp.sock");
    let lmtp = format!("enqueuer = {{ lmtp = [\"unix:{}\"] }}\nmetrics = {{ host = true }}", socket.display());
    installation.change("reply = {", |line| format!("{line}\n{lmtp}"));

    let worker = watched(&installation, "worker.strace", &[program("replyfleet-worker").to_str().unwrap()]);
    let enqueuer = watched(&installation, "enqueuer.strace", &[program("replyfleet-enqueue").to_str().unwrap(), "--lmtp"]);
    wait_for("the enqueuer's socket", SOON, || socket.exists().then_some(()));
    installation.take("someone@example.org", "4XyZ1234567zz");
    let replies = installation.path("replies/new");
    wait_for("the reply", SOON, || fs::read_dir(&replies).ok()?.next().map(drop));
    let enqueuer = enqueuer.end();
    assert!(enqueuer.contains("accept4("), "the mail came by the service");
    unit_lets_through("replyfleet-enqueue.service", &sets, &enqueuer);
    unit_lets_through("replyfleet-worker.service", &sets, &worker.end());

    // A suspect's process, as a worker starts it.
    let nice = ["nice", "-n", "19", program("replyfleet-worker").to_str().unwrap(), "--alone"].map(str::to_owned);
    let mut alone = watched(&installation, "alone.strace", &nice.iter().map(String::as_str).collect::<Vec<_>>());
    let message = b"no envelope";
    let mut input = alone.child.stdin.take().unwrap();
    input.write_all(&[&2_u32.to_be_bytes()[..], &(message.len() as u64).to_be_bytes(), message].concat()).unwrap();
    let alone = alone.ended();
    assert!(alone.contains("setpriority("), "it is of low priority");
    drop(input);
    unit_lets_through("replyfleet-worker.service", &sets, &alone);
}

#[test]
fn a_filter_is_read_as_systemd_reads_it() {
    let sets = "@default\n    # Always\n    exit\n\n@a\n    # Some\n    @b\n    read\n\n@b\n    # More\n    nice\n    setpriority\n";
    let mut calls = BTreeSet::new();
    calls_of(sets, "@a", &mut calls);
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), ["nice", "read", "setpriority"]);
    assert!(Path::new(&folder()).join("replyfleet-worker.service").exists());
}
