//! The packages: made of the programs that the tests have built, installed into a tree that nobody else sees, upgraded,
//! removed and purged.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use replyfleet_tests::{repository, skipped};

use crate::tree::Tree;

/// The folder of the packages, made once for all tests.
static MADE: LazyLock<tempfile::TempDir> = LazyLock::new(|| make().expect("dpkg-dev is there, or the test was skipped"));

/// Makes the packages of what is built; `None` where Debian's tools are missing.
fn make() -> Option<tempfile::TempDir> {
    if !["dpkg-shlibdeps", "dpkg-deb", "strip", "flock"].into_iter().all(is_there) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(repository().join("ami/packages"));
    let output = command.args(["--profile", "dev", "--no-build", "--output"]).arg(dir.path()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(printed.len(), 3, "it prints the paths and nothing else: {printed:?}");
    assert!(printed.iter().all(|path| Path::new(path).starts_with(dir.path())), "{printed:?}");
    Some(dir)
}

/// The same packages with small programs that say of which version they are: where installing is tried, and not what is installed.
static SMALL: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("sh").args(["-euc", MAKE_SMALL, "sh"]).arg(MADE.path()).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dir
});

const MAKE_SMALL: &str = r#"
cd "$2"
mkdir first next
for deb in "$1"/*.deb; do
    dpkg-deb --raw-extract "$deb" unpacked
    for program in unpacked/usr/bin/*; do
        printf '#!/bin/sh\necho first\n' >"$program"
    done
    dpkg-deb -Znone --build unpacked "first/${deb##*/}"
    sed -i -E 's/^Version: .*/Version: 0.9999/; s/replyfleet \(= [^)]*\)/replyfleet (= 0.9999)/' unpacked/DEBIAN/control
    for program in unpacked/usr/bin/*; do
        printf '#!/bin/sh\necho next\n' >"$program"
    done
    dpkg-deb -Znone --build unpacked "next/${deb##*/}"
    rm -r unpacked
done
"#;

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a tree gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    /// The programs that were built.
    Real,
    /// Small ones in their place; the next version is in `/tmp/next`.
    Small,
}

/// A tree with the packages in `/tmp/debs`; `None`, said, where there can be none.
pub(crate) fn tree_with_packages(programs: Programs) -> Option<Tree> {
    if !is_there("dpkg-shlibdeps") {
        skipped("dpkg-dev is missing");
        return None;
    }
    let tree = Tree::new()?;
    let copy = |from: &Path, to: &str| {
        fs::create_dir(tree.path(to)).unwrap();
        for deb in fs::read_dir(from).unwrap() {
            let deb = deb.unwrap();
            fs::copy(deb.path(), tree.path(to).join(deb.file_name())).unwrap();
        }
    };
    match programs {
        Programs::Real => copy(MADE.path(), "/tmp/debs"),
        Programs::Small => {
            copy(&SMALL.path().join("first"), "/tmp/debs");
            copy(&SMALL.path().join("next"), "/tmp/next");
        }
    }
    Some(tree)
}

/// Triggers would have other packages look through what they have, for nothing.
const INSTALL: &str = "dpkg --no-triggers --install /tmp/debs/*.deb";
const REMOVE: &str = "dpkg --no-triggers --remove replyfleet replyfleet-enqueuer replyfleet-worker";
const PURGE: &str = "dpkg --no-triggers --purge replyfleet replyfleet-enqueuer replyfleet-worker";

/// What is not the machine's own: all but what dpkg itself keeps, and the lists of users.
fn files(tree: &Tree) -> BTreeSet<String> {
    const KEPT: [&str; 7] = ["/var/lib/dpkg", "/var/log/", "/var/cache/ldconfig", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];
    let is_kept = |line: &str| line == "f /etc/.pwd.lock" || KEPT.iter().any(|prefix| line[2..].starts_with(prefix));
    tree.changes().into_iter().filter(|line| !is_kept(line)).collect()
}

#[test]
fn the_same_programs_make_the_same_packages() {
    if !is_there("dpkg-shlibdeps") {
        skipped("dpkg-dev is missing");
        return;
    }
    let again = make().unwrap();
    for deb in fs::read_dir(MADE.path()).unwrap() {
        let deb = deb.unwrap();
        let (first, second) = (fs::read(deb.path()).unwrap(), fs::read(again.path().join(deb.file_name())).unwrap());
        assert!(first == second, "{} differs from one packaging to the next", deb.file_name().display());
    }
}

#[test]
fn packages_of_one_version_go_together() {
    let version = env!("CARGO_PKG_VERSION");
    for package in ["enqueuer", "worker"] {
        let manifest: toml::Table = fs::read_to_string(repository().join(package).join("Cargo.toml")).unwrap().parse().unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        assert_eq!(deb["depends"].as_str(), Some(format!("$auto, replyfleet (= {version})").as_str()), "{package}/Cargo.toml");
        assert_eq!(deb["revision"].as_str(), Some(""));
    }
}

#[test]
fn packages_come_twice_are_upgraded_and_go() {
    let Some(tree) = tree_with_packages(Programs::Small) else { return };
    // Stands for systemd where a script asks for it, and writes down what it is asked.
    for program in ["systemctl", "deb-systemd-invoke"] {
        tree.write_program(&format!("/usr/local/sbin/{program}"), "#!/bin/sh\necho \"${0##*/} $*\" >>/tmp/calls\n");
    }
    let before = files(&tree);
    let calls = || {
        let calls = fs::read_to_string(tree.path("/tmp/calls")).unwrap_or_default();
        let _ = fs::remove_file(tree.path("/tmp/calls")); // there is none where nothing was asked
        calls
    };

    // An image is made without systemd.
    tree.say(INSTALL);
    assert_eq!(calls(), "");
    permissions_are_right(&tree);
    let installed = files(&tree);
    assert!(installed.contains("f /usr/bin/replyfleet") && installed.contains("d /run/replyfleet"), "changes are seen: {installed:#?}");
    let (secret, settings) = (read(&tree, "/etc/replyfleet/secret.key"), read(&tree, "/etc/replyfleet/replyfleet.toml"));
    assert!(secret.trim().len() >= 43, "256 bits");
    assert_eq!(settings, fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap());

    // Again, where systemd runs: the same, and nothing is started, only what ran is restarted.
    fs::create_dir_all(tree.path("/run/systemd/system")).unwrap();
    tree.say(INSTALL);
    let asked = calls();
    for unit in ["replyfleet-enqueue.service", "replyfleet-worker.service", "replyfleet-mail-queue.service"] {
        assert!(asked.lines().any(|call| call.starts_with("deb-systemd-invoke try-restart") && call.contains(unit)), "{unit}: {asked}");
    }
    assert!(!asked.contains(" start ") && !asked.contains(" stop ") && !asked.contains("enable"), "{asked}");
    fs::remove_dir_all(tree.path("/run/systemd")).unwrap();
    assert_eq!(files(&tree), installed);

    // A new version, and settings that somebody has edited.
    let edited = settings + "\n# by hand\n";
    fs::write(tree.path("/etc/replyfleet/replyfleet.toml"), &edited).unwrap();
    fs::create_dir_all(tree.path("/run/systemd/system")).unwrap();
    tree.say("dpkg --no-triggers --install /tmp/next/*.deb");
    assert!(tree.say("dpkg-query --show replyfleet-worker").contains("0.9999"));
    assert_eq!(tree.say("replyfleet-worker").trim(), "next");
    assert!(calls().contains("try-restart replyfleet-worker.service"));
    let kept = || {
        assert_eq!(read(&tree, "/etc/replyfleet/replyfleet.toml"), edited);
        assert_eq!(read(&tree, "/etc/replyfleet/secret.key"), secret);
    };
    kept();

    tree.say(REMOVE);
    let asked = calls();
    assert!(asked.contains("deb-systemd-invoke stop replyfleet-worker.target replyfleet-worker.service"), "{asked}");
    assert!(asked.contains("replyfleet-enqueue.socket"), "its socket goes too: {asked}");
    assert!(!tree.path("/usr/bin/replyfleet").exists() && !tree.path("/run/replyfleet").exists());
    kept();
    fs::remove_dir_all(tree.path("/run/systemd")).unwrap();

    // What the services and an administrator have left behind.
    tree.say(
        "cd /var/lib/replyfleet; touch ledger.db ledger.db-wal; mkdir -p /var/cache/replyfleet/x; touch /var/spool/replyfleet/tmp/cut
        mkdir -p /etc/systemd/system/multi-user.target.wants /etc/postfix/replyfleet
        ln -s /lib/systemd/system/replyfleet-mx.target /etc/systemd/system/multi-user.target.wants/
        touch /etc/postfix/replyfleet/domains.db",
    );
    let said = tree.say(PURGE);
    assert!(!said.contains("kept"), "{said}");
    // What the test has made itself, where the machine has it not.
    let made_here = |line: &&String| line.ends_with("/multi-user.target.wants") || line.ends_with(" /etc/postfix");
    let after = files(&tree);
    let left: Vec<&String> = after.symmetric_difference(&before).filter(|line| !made_here(line)).collect();
    assert!(left.is_empty(), "left after a purge, or gone with it: {left:#?}");
    assert!(tree.say("id replyfleet").contains("replyfleet"), "the user stays, so that no other gets its number");
}

#[track_caller]
fn read(tree: &Tree, path: &str) -> String {
    fs::read_to_string(tree.path(path)).expect(path)
}

#[track_caller]
fn permissions_are_right(tree: &Tree) {
    const WANTED: [&str; 12] = [
        "root:root 755 /etc/replyfleet",
        "root:root 644 /etc/replyfleet/replyfleet.toml",
        "root:replyfleet 640 /etc/replyfleet/secret.key",
        "root:root 755 /run/replyfleet",
        "root:replyfleet 710 /run/replyfleet/secrets",
        "replyfleet:replyfleet 750 /var/lib/replyfleet",
        "replyfleet:replyfleet 750 /var/lib/replyfleet/store/catalogue",
        "replyfleet:replyfleet 700 /var/spool/replyfleet",
        "replyfleet:replyfleet 700 /var/cache/replyfleet",
        "root:root 755 /usr/bin/replyfleet-worker",
        "root:root 755 /usr/lib/replyfleet/make-secret-key",
        "root:root 644 /usr/lib/systemd/system/replyfleet-worker.service",
    ];
    for wanted in WANTED {
        let path = wanted.rsplit(' ').next().unwrap();
        assert_eq!(tree.say(&format!("stat -c '%U:%G %a %n' {path}")).trim(), wanted);
    }
    // Of what the packages bring, nothing is anybody's but root's, or may be written by anybody else, or gives away a right.
    let odd = tree.say("dpkg -L replyfleet replyfleet-enqueuer replyfleet-worker | grep . | while read -r f; do find \"$f\" -maxdepth 0 \\( ! -user root -o ! -group root -o -perm /7022 \\) -path '*replyfleet*' ! -type l; done");
    assert_eq!(odd, "");
    let passwd = tree.say("getent passwd replyfleet");
    assert!(passwd.trim().ends_with(":/var/lib/replyfleet:/usr/sbin/nologin"), "{passwd}");
    assert_eq!(tree.say("find /etc/systemd /usr/lib/systemd -type l -name '*replyfleet*'"), "", "nothing is enabled");
}

#[test]
fn a_purge_keeps_unanswered_mail_and_what_is_somebodys_own_and_says_so() {
    let Some(tree) = tree_with_packages(Programs::Small) else { return };
    tree.say(INSTALL);
    tree.say("touch /var/spool/replyfleet/cur/mail /var/lib/replyfleet/ledger.db /etc/replyfleet/signing.pem");
    let said = tree.say(PURGE);
    assert!(said.contains("kept, because unanswered mail is in it: /var/spool/replyfleet"), "{said}");
    for kept in ["/var/spool/replyfleet/cur/mail", "/var/lib/replyfleet/ledger.db", "/etc/replyfleet/secret.key", "/etc/replyfleet/replyfleet.toml"] {
        assert!(tree.path(kept).exists(), "{kept} is needed to answer the mail once");
    }

    // The mail is answered; a catalogue is somebody's work, and so is a key.
    tree.say("rm /var/spool/replyfleet/cur/mail; touch /var/lib/replyfleet/store/catalogue/catalogue.json");
    tree.say(INSTALL);
    let said = tree.say(PURGE);
    assert!(said.contains("/var/lib/replyfleet") && said.contains("/etc/replyfleet") && !said.contains("unanswered"), "{said}");
    for kept in ["/var/lib/replyfleet/store/catalogue/catalogue.json", "/etc/replyfleet/signing.pem"] {
        assert!(tree.path(kept).exists(), "{kept}");
    }
    for gone in ["/var/spool/replyfleet", "/var/lib/replyfleet/ledger.db", "/etc/replyfleet/secret.key", "/etc/replyfleet/replyfleet.toml"] {
        assert!(!tree.path(gone).exists(), "{gone}");
    }
}

#[test]
fn a_purge_ends_well_where_the_folders_are_file_systems_of_their_own() {
    let Some(tree) = tree_with_packages(Programs::Small) else { return };
    tree.say("for d in spool lib cache; do mkdir -p /var/$d/replyfleet; mount -t tmpfs tmpfs /var/$d/replyfleet; done");
    tree.say(INSTALL);
    tree.say("touch /var/spool/replyfleet/tmp/cut /var/lib/replyfleet/ledger.db; mkdir /var/spool/replyfleet/lost+found");
    let said = tree.say(PURGE);
    assert!(!said.contains("kept"), "{said}");
    assert_eq!(tree.say("find /var/spool/replyfleet /var/lib/replyfleet /var/cache/replyfleet -mindepth 1"), "");
    let state = tree.run("dpkg-query -W -f '${db:Status-Abbrev}' replyfleet");
    assert_ne!(String::from_utf8_lossy(&state.stdout), "pH ", "half purged");
}

#[test]
fn a_fresh_machine_says_what_is_to_be_edited_and_helps() {
    let Some(tree) = tree_with_packages(Programs::Real) else { return };
    tree.say(INSTALL);
    let check = tree.run("exec setpriv --reuid replyfleet --regid replyfleet --clear-groups replyfleet check");
    let said = String::from_utf8(check.stdout).unwrap();
    let marks: Vec<(&str, &str)> = said.lines().filter_map(|line| Some((line.get(..5)?.trim(), line.get(7..)?.split("  ").next()?.trim()))).collect();
    // Name server and relay are the machine's, which may or may not have them.
    let wrong = marks.iter().filter(|(mark, part)| *mark == "WRONG" && !["name server", "send.SMTP"].contains(part));
    let wrong: Vec<&str> = wrong.map(|(_, part)| *part).collect();
    assert_eq!(wrong, FRESH_WRONG, "{said}");
    for part in ["settings", "policy", "secret"] {
        assert!(marks.contains(&("ok", part)), "{part}: {said}");
    }

    // The example is a catalogue; with it and a start nothing is wrong any more.
    tree.say("install -m 644 /usr/share/doc/replyfleet/examples/catalogue.json /var/lib/replyfleet/store/catalogue/catalogue.json");
    let again = String::from_utf8(tree.run("replyfleet check").stdout).unwrap();
    assert!(again.contains("1 responses for 1 addresses"), "{again}");

    // Completions do what they should in the shell that is everywhere.
    let completed = tree.say(
        "exec bash -euc 'source /usr/share/bash-completion/completions/replyfleet; COMP_WORDS=(replyfleet expl); COMP_CWORD=1; _replyfleet replyfleet expl replyfleet; echo \"${COMPREPLY[@]}\"'",
    );
    assert_eq!(completed.trim(), "explain");

    // Manual pages of each command, and of both services, which the formatter has nothing to say of.
    let pages = tree.say("dpkg -L replyfleet replyfleet-enqueuer replyfleet-worker | grep '/man/.*gz$'");
    for page in ["man1/replyfleet.1.gz", "man1/replyfleet-check.1.gz", "man8/replyfleet-enqueue.8.gz", "man8/replyfleet-worker.8.gz"] {
        assert!(pages.contains(page), "{page}: {pages}");
    }
    if is_there("groff") {
        let warnings = tree.say(&format!("for page in {}; do gunzip -c $page | groff -man -Tutf8 -ww -z; done", pages.replace('\n', " ")));
        assert_eq!(warnings, "");
    }
}

#[test]
fn postfix_understands_the_examples() {
    if !Command::new("postconf").arg("-d").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        skipped("postfix is missing");
        return;
    }
    for (example, transport) in [("lmtp.cf", "lmtp/unix"), ("pipe.cf", "replyfleet/unix"), ("replies.cf", "127.0.0.1:2525/inet")] {
        let text = fs::read_to_string(repository().join("ami/package/examples").join(example)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // What belongs into master.cf stands indented in the comment, or is all there is.
        let in_comment: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#       ")).collect();
        let (master, main) = if in_comment.is_empty() { (text.clone(), "") } else { (in_comment.join("\n"), text.as_str()) };
        fs::write(dir.path().join("master.cf"), master + "\n").unwrap();
        fs::write(dir.path().join("main.cf"), format!("compatibility_level = 3.6\n{main}")).unwrap();
        let postconf = |flag: &str| {
            let output = Command::new("postconf").arg("-c").arg(dir.path()).arg(flag).output().unwrap();
            // Names that Postfix does not know, and values that no transport uses, are warnings.
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{example}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(postconf("-Mf").split_whitespace().collect::<Vec<_>>().join("/").starts_with(transport), "{}", postconf("-Mf"));
        assert!(main.is_empty() || postconf("-n").contains("enable_long_queue_ids = yes"));
    }
}

/// What a machine lacks that has the packages and nothing else.
const FRESH_WRONG: [&str; 2] = ["catalogue", "database"];
