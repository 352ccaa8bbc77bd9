//! What is laid on a machine, as the programs read it that it is for.

use std::{fs, path::Path};

use replyfleet_tests::{repository, skipped};
use serde_json::Value;

use super::{files, has, run, run_alone};

/// What no line that leaves the machine may hold, in each line below that a stranger has a part in.
const CANARY: &str = "canary";

/// Lines as Postfix writes them, and what is to be left of each: event, queue id, reply, DSN, delay, size.
const MAIL_LINES: [(&str, &str, [&str; 6]); 9] = [
    ("postfix/smtpd[11]", "4bYzQd3Xz9z1c: client=canary.example.org[198.51.100.7]", ["client", "4bYzQd3Xz9z1c", "", "", "", ""]),
    ("postfix/cleanup[12]", "4bYzQd3Xz9z1c: message-id=<canary@example.org>", ["message-id", "4bYzQd3Xz9z1c", "", "", "", ""]),
    ("postfix/qmgr[13]", "4bYzQd3Xz9z1c: from=<canary@example.org>, size=438, nrcpt=1 (queue active)", ["from", "4bYzQd3Xz9z1c", "", "", "", "438"]),
    (
        "postfix/lmtp[14]",
        "4bYzQd3Xz9z1c: to=<get@responder.test>, orig_to=<canary@x>, relay=mx[/run/replyfleet/lmtp.sock], delay=0.12, \
         delays=0.1/0/0/0.02, dsn=2.0.0, status=sent (250 2.0.0 canary)",
        ["sent", "4bYzQd3Xz9z1c", "", "2.0.0", "0.12", ""],
    ),
    (
        "postfix-out/smtp[14]",
        "4bYzQd3Xz9z1c: to=<canary@example.org>, relay=mail.example.org[192.0.2.26]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, \
         status=bounced (host mail.example.org[192.0.2.26] said: 550 5.1.1 <canary@example.org> status=sent no)",
        ["bounced", "4bYzQd3Xz9z1c", "550", "5.1.1", "1", ""],
    ),
    (
        "postfix/smtpd[15]",
        "NOQUEUE: reject: RCPT from canary.example.org[198.51.100.7]: 550 5.1.1 <x@responder.test>: Recipient address rejected: \
         User unknown; from=<canary@example.org> to=<x@responder.test> proto=ESMTP helo=<canary>",
        ["reject", "", "550", "", "", ""],
    ),
    ("postfix/postscreen[16]", "PREGREET 11 after 0.1 from [198.51.100.7]:4711: EHLO canary", ["PREGREET", "", "", "", "", ""]),
    ("postfix/smtpd[17]", "warning: hostname canary.example.org does not resolve to address 198.51.100.7", ["warning", "", "", "", "", ""]),
    ("postfix/qmgr[13]", "4bYzQd3Xz9z1c: removed", ["removed", "4bYzQd3Xz9z1c", "", "", "", ""]),
];
const OUR_LINE: &str = r#"{"level":"INFO","message":"ready \"x\" ü"}"#;

#[test]
fn log_lines_are_shipped_as_json_and_those_of_mail_without_what_names_people() {
    if !has(&["rsyslogd", "python3", "ip"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Where AppArmor confines it, it reads its own folders only.
    let probe = folder.path().join("probe.conf");
    fs::write(&probe, "*.* /dev/null\n").unwrap();
    let said = run(r#"rsyslogd -N1 -f "$1" 2>&1 || true"#, &[&probe]);
    if said.contains("Permission denied") {
        return skipped("rsyslogd may not read what is in the temporary folder");
    }
    // The example as it is, but for TLS and the collector's place; the drop-in as it is, but for where the example lies.
    let example = fs::read_to_string(files().join("usr/share/replyfleet/examples/elk/rsyslog.conf")).unwrap();
    let example = example.lines().filter(|line| !line.contains("StreamDriver=") && !line.starts_with("global("));
    let example: String = example.map(|line| format!("{}\n", line.replace("logs.example.com", "127.0.0.1"))).collect();
    assert_eq!(example.matches(r#"target="127.0.0.1""#).count(), 2, "{example}");
    fs::write(folder.path().join("ship.conf"), example).unwrap();
    let drop_in = fs::read_to_string(files().join("etc/rsyslog.d/10-replyfleet.conf")).unwrap();
    let ship = folder.path().join("ship.conf").display().to_string();
    assert_eq!(drop_in.matches(r#"file="/etc/replyfleet/rsyslog.conf""#).count(), 1);
    fs::write(folder.path().join("drop-in.conf"), drop_in.replace("/etc/replyfleet/rsyslog.conf", &ship)).unwrap();
    let lines: Vec<(u32, &str, &str)> = MAIL_LINES
        .iter()
        .map(|(program, line, _)| (22, *program, *line))
        .chain([(30, "fail2ban.actions[21]", "Ban canary"), (30, "systemd[1]", "Started a unit."), (30, "replyfleet-worker[20]", OUR_LINE)])
        .collect();
    fs::write(folder.path().join("lines.json"), serde_json::to_string(&lines).unwrap()).unwrap();
    run_alone(
        r#"
        cd "$1"
        ip link set lo up
        mkdir spool
        cat >main.conf <<EOF
        global(workDirectory="$1/spool")
        module(load="imuxsock" SysSock.Use="off")
        input(type="imuxsock" Socket="$1/socket" CreatePath="on")
        include(file="$1/drop-in.conf")
        *.* -$1/on-disk
EOF
        rsyslogd -N1 -f "$1/main.conf" 2>said || { cat said; exit 1; }
        python3 "$2" "$1" & collector=$!
        rsyslogd -n -f "$1/main.conf" -i "$1/pid" &
        wait "$collector"
        "#,
        &[folder.path(), &repository().join("tests/deploy/image/collector.py")],
    );
    let shipped = fs::read_to_string(folder.path().join("shipped")).unwrap();
    let shipped: Vec<Value> = shipped.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let of = |line: &Value, name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} of {line}")).to_owned();
    for (line, (program, text, left)) in shipped.iter().zip(MAIL_LINES) {
        let found = ["event", "queue_id", "reply", "dsn", "delay", "size"].map(|name| of(line, name));
        assert_eq!(found, left.map(str::to_owned), "{text}");
        assert_eq!(of(line, "program"), program.split('[').next().unwrap());
        assert!(!line.to_string().contains(CANARY) && !line.to_string().contains("198.51.100"), "{line}");
    }
    let rest: Vec<String> = shipped[MAIL_LINES.len()..].iter().map(|line| of(line, "message")).collect();
    assert_eq!(rest, ["Started a unit.", OUR_LINE], "whole, and none of fail2ban");
    // What rsyslog writes to files after that is the machine's own: nothing of mail, of ours, or of who was banned.
    let on_disk = fs::read_to_string(folder.path().join("on-disk")).unwrap_or_default();
    assert!(!on_disk.contains(CANARY) && !on_disk.contains("replyfleet"), "{on_disk}");
}

#[test]
fn fail2ban_takes_its_jail_and_finds_who_probes_but_nobody_else() {
    if !has(&["fail2ban-client", "fail2ban-regex"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        (
            "198.51.100.1",
            "smtpd[1]: NOQUEUE: reject: RCPT from unknown[198.51.100.1]: 550 5.1.1 <x@y.test>: Recipient address rejected: User unknown",
        ),
        ("198.51.100.2", "smtpd[1]: NOQUEUE: reject: RCPT from unknown[198.51.100.2]: 554 5.7.1 <x@y.test>: Relay access denied; from=<a@b.test>"),
        ("198.51.100.3", "postscreen[1]: PREGREET 11 after 0.1 from [198.51.100.3]:4711: EHLO x"),
        ("198.51.100.4", "postscreen[1]: NOQUEUE: reject: RCPT from [198.51.100.4]:4711: 550 5.7.1 Service unavailable; client blocked"),
        ("198.51.100.5", "smtpd[1]: lost connection after AUTH from unknown[198.51.100.5]"),
        ("", "smtpd[1]: disconnect from good.example.org[198.51.100.6] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"),
        ("", "smtpd[1]: 4bYzQd3Xz9z1c: client=good.example.org[198.51.100.6]"),
        ("", "lmtp[1]: 4bYzQd3Xz9z1c: to=<get@responder.test>, relay=mx, delay=1, dsn=4.4.2, status=deferred (lost connection with mx)"),
    ];
    let log: String = lines.iter().map(|(_, line)| format!("Nov 22 02:00:00 mx postfix/{line}\n")).collect();
    fs::write(folder.path().join("log"), log).unwrap();
    let said = run(
        r#"
        cp -r /etc/fail2ban "$1/settings"
        cp -r "$2/etc/fail2ban/." "$1/settings/"
        fail2ban-client -c "$1/settings" -t >/dev/null
        fail2ban-client -c "$1/settings" -d
        fail2ban-regex --out '<ip> found' -c "$1/settings" "$1/log" "$1/settings/filter.d/postfix.conf[mode=aggressive]" 2>/dev/null |
            grep found || true
        "#,
        &[folder.path(), &files()],
    );
    for setting in [
        "['set', 'dbfile', ':memory:']",
        "['set', 'logtarget', 'SYSTEMD-JOURNAL']",
        "['add', 'postfix', 'systemd']",
        "['set', 'postfix', 'addjournalmatch', 'SYSLOG_FACILITY=2']",
        "['set', 'postfix', 'addaction', 'nftables-multiport']",
        "['set', 'postfix', 'maxmatches', 0]",
    ] {
        assert!(said.contains(setting), "{setting} is not in:\n{said}");
    }
    let found: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next().filter(|_| line.ends_with(" found"))).collect();
    let wanted: Vec<&str> = lines.iter().map(|(who, _)| *who).filter(|who| !who.is_empty()).collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_packet_filter_lets_only_our_own_user_and_root_reach_the_credentials() {
    if !has(&["nft", "python3", "ip"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = run_alone(
        r#"
        ip link set lo up
        ip addr add 169.254.169.254/32 dev lo
        ip addr add 169.254.169.253/32 dev lo
        { echo 'replyfleet:x:64001:64001::/:/bin/false'; grep -v '^replyfleet:' /etc/passwd; } >"$1/passwd"
        mount --bind "$1/passwd" /etc/passwd
        nft -c -f "$2/etc/replyfleet/firewall.nft"
        # Twice is as once.
        nft -f "$2/etc/replyfleet/firewall.nft"
        nft list ruleset >"$1/once"
        nft -f "$2/etc/replyfleet/firewall.nft"
        nft list ruleset | cmp - "$1/once"
        python3 - "$1/ready" <<'EOF' &
import socket, sys, threading
# The kernel takes the connections; nobody has to accept them.
listeners = [socket.create_server((address, 80)) for address in ("169.254.169.254", "169.254.169.253")]
open(sys.argv[1], "w").close()
threading.Event().wait()
EOF
        while [ ! -e "$1/ready" ]; do sleep 0.05; done
        python3 - <<'EOF'
import os, socket
for user in (0, 64001, 65534):
    if os.fork() == 0:
        os.setgid(user)
        os.setuid(user)
        for address in ("169.254.169.254", "169.254.169.253"):
            try:
                connection = socket.socket()
                connection.settimeout(10)
                connection.connect((address, 80))
                print(user, address, "reached", flush=True)
            except ConnectionRefusedError:
                print(user, address, "refused", flush=True)
        os._exit(0)
    os.wait()
EOF
        cat "$1/once"
        "#,
        &[folder.path(), &files()],
    );
    for (user, is_reached) in [(0, true), (64001, true), (65534, false)] {
        let word = if is_reached { "reached" } else { "refused" };
        assert!(said.contains(&format!("{user} 169.254.169.254 {word}")), "{said}");
        assert!(said.contains(&format!("{user} 169.254.169.253 reached")), "the name server is everybody's: {said}");
    }
    assert!(said.contains("hook input priority filter; policy drop;"), "{said}");
    let ports: Vec<&str> = said.lines().filter(|line| line.contains("tcp dport")).map(str::trim).collect();
    assert_eq!(ports, ["tcp dport 25 accept", "tcp dport 22 accept"]);
}

#[test]
fn only_security_fixes_come_by_themselves_and_no_machine_restarts_for_them() {
    if !has(&["apt-config"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // As Debian has it before, which must not be left.
    fs::write(folder.path().join("50"), "Unattended-Upgrade::Origins-Pattern { \"origin=Debian,label=Debian\"; };\n").unwrap();
    fs::copy(files().join("etc/apt/apt.conf.d/52replyfleet"), folder.path().join("52")).unwrap();
    let said = run(
        r#"printf 'Dir::Etc::parts "%s"; Dir::Etc::main "/dev/null";\n' "$1" >"$1.conf"; APT_CONFIG=$1.conf apt-config dump | grep -E 'Unattended|Periodic'; rm "$1.conf""#,
        &[folder.path()],
    );
    let origins: Vec<&str> = said.lines().filter(|line| line.contains("Origins-Pattern::")).collect();
    assert_eq!(
        origins,
        [r#"Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";"#],
        "{said}"
    );
    assert!(
        said.contains(r#"Unattended-Upgrade::Automatic-Reboot "false";"#) && said.contains(r#"APT::Periodic::Unattended-Upgrade "1";"#),
        "{said}"
    );
}

#[test]
fn sealing_takes_the_certificates_of_the_image_that_point_nowhere_in_it_and_no_others() {
    if !has(&["find", "chroot"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The script's own lines, with the machine's programs in a root that has a file which the machine has not.
    let said = run_alone(
        r#"
        root=$1/root
        mkdir -p "$root/etc/ssl/certs" "$root/proc" "$root/run" "$root/usr" "$root/only-in-the-image"
        for name in bin sbin lib lib64; do [ ! -e "/$name" ] || ln -s "usr/$name" "$root/$name"; done
        mount --bind /usr "$root/usr"
        touch "$root/only-in-the-image/ca.crt" "$1/only-here"
        ln -s /only-in-the-image/ca.crt "$root/etc/ssl/certs/ca.pem"
        ln -s ca.pem "$root/etc/ssl/certs/0123abcd.0"
        ln -s "$1/only-here" "$root/etc/ssl/certs/snakeoil.0"
        lines=$(sed -n -e '/^inside() {/,/^}/p' -e '/ssl\/certs.* -xtype/p' "$2")
        [ "$(printf '%s\n' "$lines" | grep -c -e '-xtype')" = 1 ]
        eval "$lines"
        ls "$root/etc/ssl/certs"
        "#,
        &[folder.path(), &repository().join("ami/provision")],
    );
    assert_eq!(said, "0123abcd.0\nca.pem\n");
}

#[test]
fn logrotate_reads_its_file() {
    if !has(&["logrotate"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // logrotate refuses files that others may write; a checkout may be such.
    let said = run(
        r#"install -m 644 "$2/etc/logrotate.d/replyfleet" "$1/settings"; logrotate -d -s "$1/state" "$1/settings" 2>&1"#,
        &[folder.path(), &files()],
    );
    assert!(!said.contains("error:") && said.contains("cloud-init.log"), "{said}");
}

/// Files below `ami/`, with their text.
fn texts(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            texts(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Why a word looks like a secret: a key's head, or letters and digits as chance has them.
fn secret_in(line: &str) -> Option<&str> {
    if ["PRIVATE KEY", "AKIA", "ASIA", "aws_secret", "password="].iter().any(|head| line.contains(head)) {
        return Some(line);
    }
    // Base64 and hex of 32 random bytes; a path or a name has words, a UUID has dashes.
    line.split(|character: char| !character.is_ascii_alphanumeric() && character != '+').find(|word| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        word.len() >= 32 && digits * 8 >= word.len() && word.chars().any(|character| character.is_ascii_alphabetic())
    })
}

#[test]
fn nothing_that_is_laid_or_told_is_a_secret() {
    // It finds what it is to find.
    for secret in
        ["-----BEGIN PRIVATE KEY-----", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "k: 4fJ7Wq9ZpX2LmN8vB3cR6tY1uI5oP0aS", "AKIAIOSFODNN7EXAMPLE"]
    {
        assert!(secret_in(secret).is_some(), "{secret}");
    }
    let mut found = Vec::new();
    texts(&repository().join("ami"), &mut found);
    assert!(found.len() > 30, "{}", found.len());
    let secrets: Vec<String> =
        found.iter().flat_map(|(path, text)| text.lines().filter_map(secret_in).map(move |word| format!("{path}: {word}"))).collect();
    assert!(secrets.is_empty(), "{}", secrets.join("\n"));
}
