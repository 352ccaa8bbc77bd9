//! The image from nothing to the first answered mail: built, looked at, booted in QEMU as an EC2 instance, and sent mail.
//!
//! A long test: `tests/run --long` (or `REPLYFLEET_LONG=1`) runs it, needs a mirror of Debian, and takes 15 minutes on two cores, most
//! of them under emulation. `tests/deploy/record.md` has what it said last. With `REPLYFLEET_LONG_KEEP=FOLDER` what it made stays there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet_tests::{program, repository};
use serde_json::Value;

use super::{checked, has, run};

/// What systemd says of a unit's exposure, at most: 0 is the best, 10 is no protection at all.
const EXPOSURE_MAX: f64 = 2.0;
/// Programs that only the long test needs.
const PROGRAMS: [&str; 10] =
    ["sshd", "mmdebstrap", "qemu-system-x86_64", "mke2fs", "sfdisk", "mformat", "grub-mkimage", "dnsmasq", "smtp-sink", "cargo"];

fn here() -> PathBuf {
    repository().join("tests/deploy/image")
}

/// A long step: its output goes to the test's.
fn step(name: &str, seconds: u32, program: &Path, arguments: &[&str]) -> String {
    let began = Instant::now();
    let mut command = Command::new("timeout");
    command.arg(seconds.to_string()).arg(program).args(arguments).stdin(Stdio::null());
    let said = checked(&mut command);
    println!("{name}: {} s", began.elapsed().as_secs());
    said
}

#[test]
fn the_image_is_built_boots_and_answers_mail() {
    if std::env::var_os("REPLYFLEET_LONG").is_none_or(|value| value != "1") || !has(&PROGRAMS) {
        return;
    }
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let folder = std::env::var_os("REPLYFLEET_LONG_KEEP").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let ami = |name: &str| repository().join("ami").join(name);

    // The programs that the other tests run, too.
    program("replyfleet-worker");
    step("packages", 600, &ami("packages"), &["--profile", "dev", "--no-build", "--output", &at("debs")]);
    step("image", 1500, &ami("build"), &[&at("image"), "--debs", &at("debs"), "--keep-tree"]);
    let tree = folder.join("image/tree");
    look_at(&tree);

    // The same tree makes the same disk; and to provision it again changes nothing.
    let epoch = manifest(&folder.join("image"))["source_date_epoch"].to_string();
    let again = format!("SOURCE_DATE_EPOCH={epoch}");
    step("the disk again", 600, Path::new("env"), &[&again, &ami("build").display().to_string(), &at("again"), "--tree", &at("image/tree")]);
    let digest = |name: &str| manifest(&folder.join(name))["disk"]["sha256"].clone();
    assert_eq!(digest("image"), digest("again"), "two disks of one tree differ");
    fs::remove_dir_all(folder.join("again")).unwrap();
    let before = inventory(&tree);
    step("provision again", 300, &ami("provision"), &[&at("image/tree"), "--debs", &at("debs"), "--seal"]);
    let changed: Vec<String> = difference(&before, &inventory(&tree));
    assert!(changed.is_empty(), "a second provision changed:\n{}", changed.join("\n"));

    let user_data = folder.join("user-data");
    fs::write(&user_data, user_data_with_self_test()).unwrap();
    agrees_with_its_programs(&tree, &user_data);

    let seen = folder.join("seen");
    let _ = fs::remove_dir_all(&seen);
    fs::create_dir_all(&seen).unwrap();
    let unshare = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "python3"];
    let mut boot = Command::new("timeout");
    boot.args(["2400", "unshare"]).args(unshare).arg(here().join("boot.py")).arg(folder.join("image/disk.raw")).arg(&seen);
    let report = checked(boot.stdin(fs::File::open(&user_data).unwrap()));
    fs::write(folder.join("report.json"), &report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    println!("booted in {} s, all in {} s", report["seconds_to_start"], report["seconds"]);
    is_as_it_should_be(&report, &manifest(&folder.join("image")));
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

fn user_data_with_self_test() -> String {
    let self_test = fs::read(here().join("self_test.py")).unwrap();
    fs::read_to_string(here().join("user-data.yaml"))
        .unwrap()
        .replace("content: SELF_TEST", &format!("content: {}", BASE64_STANDARD.encode(self_test)))
}

/// Each file of a tree: kind, mode, owner, size, and what it links to or a digest of what it holds. Not its times.
fn inventory(tree: &Path) -> BTreeMap<String, String> {
    let said = run(
        r#"cd "$1"; find . -xdev ! -type f -printf '%p\t%y %m %U:%G %l\n'; find . -xdev -type f -printf '%p\t%m %U:%G %s\n'
           find . -xdev -type f -exec sha256sum {} + | sed -E 's/^([^ ]+)  (.*)$/\2 (content)\t\1/'"#,
        &[tree],
    );
    said.lines().filter_map(|line| line.split_once('\t')).map(|(path, rest)| (path.to_owned(), rest.to_owned())).collect()
}

fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed.map(|name| format!("{name}: {:?} -> {:?}", before.get(name), after.get(name))).collect()
}

/// What the tree of a sealed image holds, and what it must not.
fn look_at(tree: &Path) {
    let text = |name: &str| fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(text("etc/machine-id"), "");
    assert_eq!(fs::read_link(tree.join("etc/resolv.conf")).unwrap(), Path::new("../run/systemd/resolve/stub-resolv.conf"));
    assert_eq!(text("etc/hostname"), "replyfleet\n");
    let sources = text("etc/apt/sources.list");
    assert!(sources.lines().all(|line| line.starts_with("deb http://deb.debian.org/")), "a builder's mirror: {sources}");
    for gone in
        ["etc/replyfleet/secret.key", "etc/ssl/private/ssl-cert-snakeoil.key", "var/lib/dbus/machine-id", "usr/sbin/policy-rc.d", "var/log/journal"]
    {
        assert!(!tree.join(gone).exists(), "{gone} is there");
    }
    // Nobody can log in, and nothing but programs and public certificates is a key.
    let shadow = text("etc/shadow");
    let open: Vec<&str> = shadow.lines().filter(|line| !matches!(line.split(':').nth(1).unwrap().chars().next(), Some('*' | '!'))).collect();
    assert!(open.is_empty(), "{open:?}");
    let keys =
        run(r#"grep -rlE --binary-files=without-match -e '-----BEGIN ([A-Z]+ )*PRIVATE KEY' "$1/etc" "$1/var" "$1/root" "$1/home" || true"#, &[tree]);
    assert_eq!(keys, "", "private keys in the image");
    let left = run(r#"cd "$1"; find var/log tmp var/tmp var/cache/apt var/lib/apt/lists root -type f ! -name '.bashrc' ! -name '.profile'"#, &[tree]);
    assert_eq!(left, "", "left behind");
    let writable = run(r#"find "$1" -xdev ! -type l ! -type c -perm -o+w ! -perm -1000"#, &[tree]);
    assert_eq!(writable, "", "all the world may write");
    // Ours is root's, but for what the package gives the user.
    for file in ["etc/postfix/main.cf", "etc/postfix-out/main.cf", "etc/replyfleet/firewall.nft", "usr/lib/replyfleet/postfix-configure"] {
        let about = fs::metadata(tree.join(file)).unwrap();
        let mode = if file.starts_with("usr/lib") { 0o755 } else { 0o644 };
        assert_eq!((about.uid(), about.gid(), about.permissions().mode() & 0o7777), (0, 0, mode), "{file}");
    }
}

/// The image's own programs take the configuration that they find.
fn agrees_with_its_programs(tree: &Path, user_data: &Path) {
    fs::copy(user_data, tree.join("tmp/user-data")).unwrap();
    let said = run(
        r#"unshare --mount --pid --fork --kill-child sh -euc '
            mount -t proc proc "$1/proc"
            mount -t tmpfs tmpfs "$1/run"
            exec chroot "$1" sh -euc "
                chronyd -p -f /etc/chrony/chrony.conf
                cloud-init schema --config-file /tmp/user-data 2>&1
                rsyslogd -N1
                cp /usr/share/replyfleet/examples/elk/rsyslog.conf /etc/replyfleet/
                rsyslogd -N1
                rm /etc/replyfleet/rsyslog.conf
                nft -c -f /etc/replyfleet/firewall.nft
                logrotate -d /etc/logrotate.conf
                fail2ban-client -t
                systemctl list-unit-files --state=enabled --no-legend --no-pager
            "' sh "$1" 2>&1"#,
        &[tree],
    );
    fs::remove_file(tree.join("tmp/user-data")).unwrap();
    // No image has it unless it is asked for: this machine's own reads it.
    let sshd = run(
        r#"unshare --mount sh -euc '
            mount -t tmpfs tmpfs /run
            mkdir /run/sshd
            ssh-keygen -q -t ed25519 -N "" -f /run/key
            "$(command -v sshd)" -T -h /run/key -f "$1"' sh "$1""#,
        &[&super::files().join("etc/ssh/sshd_config.d/replyfleet.conf")],
    );
    for setting in ["passwordauthentication no", "permitrootlogin no", "authenticationmethods publickey", "permitopen 127.0.0.1:9125"] {
        assert!(sshd.contains(setting), "{setting} is not in:\n{sshd}");
    }
    assert!(said.contains("sourcedir /etc/chrony/sources.d") && said.contains("cmdport 0"), "{said}");
    assert!(said.contains("Valid cloud-config"), "{said}");
    let is_enabled = |unit: &str| said.lines().any(|line| line.starts_with(&format!("{unit} ")));
    for unit in ["chrony.service", "replyfleet-firewall.service", "systemd-networkd.service", "systemd-resolved.service", "apt-daily-upgrade.timer"] {
        assert!(is_enabled(unit), "{unit} is not enabled:\n{said}");
    }
    for unit in ["postfix.service", "fail2ban.service", "ssh.service", "replyfleet-mx.target", "replyfleet-worker.target", "getty@.service"] {
        assert!(!is_enabled(unit), "{unit} is enabled:\n{said}");
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(|item| item.as_str().unwrap()).collect()
}

/// Parameters of Postfix that user-data and the machine decide, apart from those that the golden files hold.
const OF_THE_MACHINE: [&str; 5] = ["inet_interfaces", "maillog_file", "maillog_file_prefixes", "myhostname", "postscreen_dnsbl_sites"];

/// Whether `postconf -n` of the machine is what the tests of Postfix hold for right (`tests/postfix/golden`).
fn is_golden(found: &[&str], golden: &str) {
    let golden = fs::read_to_string(repository().join("tests/postfix/golden").join(golden)).unwrap();
    let parameters = |line: &str| line.split_once(" =").map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let is_fixed = |(name, _): &(String, String)| !OF_THE_MACHINE.contains(&name.as_str());
    let wanted: BTreeMap<_, _> = golden.lines().filter_map(parameters).filter(is_fixed).collect();
    let found: BTreeMap<_, _> = found.iter().filter_map(|line| parameters(line)).collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    assert_eq!(found.clone().into_iter().filter(is_fixed).collect::<BTreeMap<_, _>>(), wanted);
    assert_eq!(found["myhostname"], "mx.responder.test");
}

/// What boot.py and, inside, self_test.py saw.
fn is_as_it_should_be(report: &Value, manifest: &Value) {
    let (started, ended) = (&report["started"], &report["ended"]);
    for (unit, state) in started["units"].as_object().unwrap() {
        assert_eq!(state, "active", "{unit}");
    }
    assert_eq!(strings(&started["failed"]), [""; 0]);
    assert_eq!(started["cloud_init"], "status: done");
    for (unit, exposure) in started["security"].as_object().unwrap() {
        println!("{unit}: {exposure}");
        assert!(exposure.as_f64().unwrap() <= EXPOSURE_MAX, "{unit}: {exposure}");
    }
    assert_eq!(started["versions"], manifest["packages"], "the machine is not what the manifest says");

    // Port 25 for the world; everything else is on loopback, or DHCP's.
    let listening: Vec<(&str, &str)> = strings(&started["listening"])
        .into_iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|columns| (columns[0], columns[4]))
        .filter(|(_, address)| !address.starts_with("127.") && !address.starts_with("[::1]"))
        .collect();
    assert_eq!(listening, [("udp", "169.254.10.15%eth0:68"), ("tcp", "0.0.0.0:25")]);
    let reaches: Vec<(&str, bool)> =
        ["root", "replyfleet", "postfix", "nobody"].map(|user| (user, started["reaches_metadata"][user] == true)).to_vec();
    assert_eq!(reaches, [("root", true), ("replyfleet", true), ("postfix", false), ("nobody", false)]);
    assert_eq!(strings(&report["metadata_reads_without_token"]), [""; 0], "only IMDSv2 is spoken");
    assert_eq!(started["core_pattern"], "|/bin/false");
    assert_eq!(strings(&started["swaps"]), [""; 0]);
    assert!(strings(&started["time_sources"]).iter().any(|line| line.contains(",169.254.169.123,")), "{}", started["time_sources"]);
    for (path, mode) in [
        ("/etc/replyfleet/secret.key", "-rw-r----- root:replyfleet"),
        ("/run/replyfleet/lmtp.sock", "srw-rw---- replyfleet:postfix"),
        ("/var/spool/replyfleet", "drwx------ replyfleet:replyfleet"),
        ("/var/lib/replyfleet", "drwxr-x--- replyfleet:replyfleet"),
        ("/var/cache/replyfleet", "drwx------ replyfleet:replyfleet"),
    ] {
        assert_eq!(started["modes"][path], mode, "{path}");
    }
    for (instance, golden) in [("/etc/postfix", "mx"), ("/etc/postfix-out", "out")] {
        is_golden(&strings(&started["postconf"][instance]), golden);
    }

    // SMTP in, reply out; what is not ours is refused at once.
    assert_eq!(report["first_answer"], serde_json::json!([250]));
    assert_eq!((&report["unknown_recipient"], &report["foreign_domain"]), (&550.into(), &554.into()));
    let taken = report["answers_during_restarts"].as_array().unwrap();
    assert!(taken.len() == 20 && taken.iter().all(|code| code == 250), "{taken:?}");
    let mut wanted: Vec<String> = (0..20).map(|number| format!("canary-{number}@example.org")).chain(["canary-first@example.org".into()]).collect();
    wanted.sort_unstable();
    assert_eq!(strings(&report["replies"]), wanted, "each request has one reply");
    // The socket is systemd's: while the enqueuer starts again nothing is deferred.
    assert!(strings(&ended["restarts"]).iter().all(|state| *state == "active"), "{}", ended["restarts"]);
    assert_eq!(strings(&ended["not_handed_over"]), [""; 0]);
    assert_eq!(ended["handed_over"], 21);
    for instance in ["/etc/postfix", "/etc/postfix-out"] {
        assert_eq!(strings(&ended["queues"][instance]), [""; 0], "mail is left in {instance}");
    }

    // Nothing of who asked is on the disk.
    for (word, files) in ended["canaries"].as_object().unwrap() {
        assert_eq!(strings(files), [""; 0], "{word} is on the disk");
    }
    assert_eq!(strings(&ended["journal_on_disk"]), [""; 0]);
    assert_eq!(strings(&ended["errors"]), [""; 0], "what the machine itself calls an error");
    assert_eq!(report["status"], 0, "it turned itself off");
}
