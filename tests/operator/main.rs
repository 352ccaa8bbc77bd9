//! The operator's commands, run as people run them: what they print, and with which status they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use replyfleet_tests::{program, wait_for};

const CATALOGUE: &str = r#"[
  {"email_addr": "get@example.com", "body": "links", "attachments": [["files", "a.bin", "a.bin"]], "send_method": "SES"}
]"#;

/// A small installation in a temporary folder.
struct Installation {
    folder: tempfile::TempDir,
}

impl Installation {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let settings = r#"
            secret_key_file = "DIR/secret.key"
            authentication = { mode = "off", unproven = "full" }
            queue = { url = "spool:DIR/spool" }
            store = { url = "dir:DIR/store" }
            catalogue = { bucket = "catalogue", key = "catalogue.json" }
            worker = { cache_dir = "DIR/cache" }
            database = { url = "sqlite:DIR/ledger.db" }
            reply = { bounce_address = "bounces@example.com" }
            send.SES = { kind = "maildir", dir = "DIR/replies" }
        "#;
        this.write("replyfleet.toml", &settings.replace("DIR", this.folder.path().to_str().unwrap()));
        this.write("secret.key", "0123456789abcdef0123456789abcdef\n");
        fs::set_permissions(this.path("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
        this.write("store/catalogue/catalogue.json", CATALOGUE);
        this.write("store/files/a.bin", "content");
        this
    }

    /// With everything that the worker's first start makes.
    fn after_a_start() -> Self {
        let this = Self::new();
        let mut worker = this.worker();
        wait_for("the worker to start", Duration::from_secs(20), || this.path("spool/new").is_dir().then_some(()));
        this.write("spool/new/1790000000000-1790000000000_x.0", "no envelope: it is parked");
        wait_for("it to work", Duration::from_secs(20), || fs::read_dir(this.path("spool/parked")).ok()?.next().map(drop));
        worker.kill().unwrap();
        worker.wait().unwrap();
        this
    }

    fn worker(&self) -> Child {
        Command::new(program("replyfleet-worker")).arg("--config").arg(self.path("replyfleet.toml")).stderr(Stdio::null()).spawn().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        said(Command::new(program("replyfleet")).args(arguments).arg("--config").arg(self.path("replyfleet.toml")))
    }
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

#[test]
fn check_says_one_line_for_each_part_and_ends_with_0_if_all_are_good() {
    let (status, said) = Installation::after_a_start().run(&["check"]);
    assert_eq!(status, Some(0), "{said}");
    for part in ["settings", "policy", "secret", "queue", "dead letters", "claim check", "catalogue", "attachment", "database", "send.SES"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("ok     {part}"))), "{part}: {said}");
    }
    assert!(!said.contains("WRONG"), "{said}");
}

#[test]
fn check_names_what_is_wrong_and_ends_with_1() {
    type Spoil = fn(&Installation);
    let cases: [(&str, Spoil); 6] = [
        ("catalogue/catalogue.json: line 2, column 36: expected `,`", |world| {
            world.write("store/catalogue/catalogue.json", &CATALOGUE.replacen(", \"body\"", " \"body\"", 1));
        }),
        ("no object files/a.bin", |world| fs::remove_file(world.path("store/files/a.bin")).unwrap()),
        ("chmod o-rwx", |world| fs::set_permissions(world.path("secret.key"), fs::Permissions::from_mode(0o644)).unwrap()),
        ("line 3, column 13: unknown field `autentication`", |world| {
            let text = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
            world.write("replyfleet.toml", &text.replace("authentication =", "autentication ="));
        }),
        ("database", |world| fs::remove_file(world.path("ledger.db")).unwrap()),
        ("there is no spool", |world| fs::remove_dir_all(world.path("spool")).unwrap()),
    ];
    for (wanted, spoil) in cases {
        let world = Installation::after_a_start();
        spoil(&world);
        let (status, said) = world.run(&["check"]);
        let line = said.lines().find(|line| line.starts_with("WRONG")).unwrap_or_default();
        assert!(status == Some(1) && line.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn looking_makes_nothing() {
    let world = Installation::new();
    for command in [&["check"][..], &["queue"], &["explain", "-"]] {
        world.run(command);
    }
    for made in ["spool", "ledger.db", "cache"] {
        assert!(!world.path(made).exists(), "{made}");
    }
}

#[test]
fn queue_shows_reasons_and_never_content() {
    let world = Installation::after_a_start();
    let (status, said) = world.run(&["queue"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("unreadable_envelope") && said.contains("25 B") && !said.contains("no envelope"), "{said}");
    let (_, json) = world.run(&["queue", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["visible"], &json["parked"][0]["reason"]), (&0.into(), &"unreadable_envelope".into()));
}

#[test]
fn explain_gives_each_rules_verdict() {
    let world = Installation::after_a_start();
    world.write("list.eml", "From: a@example.org\nList-Id: <x>\nAuto-Submitted: auto-replied\n\n");
    let file = world.path("list.eml");
    let (status, said) = world.run(&["explain", file.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("ignored: auto_submitted"), "{said}");
    assert!(said.lines().any(|line| line.contains("mailing_list") && line.contains("list-id")), "every rule is asked: {said}");
    world.write("person.eml", "From: a@example.org\n\nplease\n");
    let file = world.path("person.eml");
    let (_, said) = world.run(&["explain", file.to_str().unwrap(), "--recipient", "get+fa@example.com"]);
    assert!(said.contains("answered with 1 replies"), "{said}");
    let (_, said) = world.run(&["explain", file.to_str().unwrap(), "--sender", ""]);
    assert!(said.contains("ignored: null_sender"), "{said}");
}

#[test]
fn the_demo_goes_as_expected() {
    let (status, said) = said(Command::new(program("replyfleet")).args(["demo", "--once"]));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("Every sample went as expected: 7 replies."), "{said}");
}

#[test]
fn the_demo_is_not_led_astray_by_an_exported_fleet() {
    let world = Installation::new();
    let database = format!("sqlite:{}", world.path("production.db").display());
    let (status, said) = said(Command::new(program("replyfleet")).args(["demo", "--once"]).env("REPLYFLEET_DATABASE_URL", database));
    assert_eq!(status, Some(0), "{said}");
    assert!(!world.path("production.db").exists());
}

#[test]
fn completions_and_manual_pages_come_from_the_program_itself() {
    let world = Installation::new();
    let (status, said) = world.run(&["completions", "bash"]);
    assert!(status == Some(0) && said.contains("complete -F _replyfleet"), "{said}");
    let (status, said) = world.run(&["manual", world.folder.path().to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    assert!(fs::read_to_string(world.path("replyfleet-explain.1")).unwrap().contains("Says for a saved mail"));
}
