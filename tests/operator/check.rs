//! `replyfleet check`, and that commands which look make nothing.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use replyfleet_tests::{
    cloudwatch::{Endpoint, PUT},
    faults::{Fault, Rule},
    installation::{CATALOGUE, Installation, aws},
};

#[test]
fn check_says_one_line_for_each_part_and_ends_with_0_if_all_are_good() {
    let (status, said) = Installation::after_a_start().run(&["check"]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "settings",
        "policy",
        "secret",
        "signing",
        "queue",
        "dead letters",
        "claim check",
        "catalogue",
        "attachment",
        "database",
        "send.SES",
        "metrics",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("ok     {part}"))), "{part}: {said}");
    }
    assert!(!said.contains("WRONG") && said.contains("signing      0 keys; not signed: example.com"), "{said}");
}

#[test]
fn check_names_what_is_wrong_and_ends_with_1() {
    type Spoil = fn(&Installation);
    let cases: [(&str, Spoil); 9] = [
        ("catalogue/catalogue.json: line 2, column 36: expected `,`", |world| {
            world.write("store/catalogue/catalogue.json", &CATALOGUE.replacen(", \"body\"", " \"body\"", 1));
        }),
        ("no object files/a.bin", |world| fs::remove_file(world.path("store/files/a.bin")).unwrap()),
        (
            "attachment   files/a.bin: its SHA-256 is ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73, and the catalogue wants 0",
            |world| {
                world.write("store/catalogue/catalogue.json", &CATALOGUE.replace(r#""a.bin"]]"#, &format!(r#""a.bin", "{}"]]"#, "0".repeat(64))));
            },
        ),
        ("signing      no key signs today for example.com; add one to signing.keys", |world| {
            let openssl = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(world.path("key.pem")).status();
            assert!(openssl.unwrap().success());
            fs::set_permissions(world.path("key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
            let text = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
            let key = format!("file:{}", world.path("key.pem").display());
            let key = format!(r#"{{ domain = "example.com", selector = "s", key = "{key}", sign_until = 2002-01-01 }}"#);
            world.write("replyfleet.toml", &format!("{text}\nsigning = {{ keys = [{key}] }}\n"));
        }),
        ("chmod o-rwx", |world| fs::set_permissions(world.path("secret.key"), fs::Permissions::from_mode(0o644)).unwrap()),
        ("signing.keys: domain example.com, selector s: the key env:NO_SUCH_KEY: the environment has no NO_SUCH_KEY", |world| {
            let text = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
            let key = r#"{ domain = "example.com", selector = "s", key = "env:NO_SUCH_KEY" }"#;
            world.write("replyfleet.toml", &format!("{text}\nsigning = {{ keys = [{key}] }}\n"));
        }),
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
    for command in
        [&["check"][..], &["dns"], &["queue"], &["status"], &["switch"], &["block", "example.org"], &["forget", "a@example.org"], &["explain", "-"]]
    {
        world.run(command);
    }
    for made in ["spool", "ledger.db", "cache"] {
        assert!(!world.path(made).exists(), "{made}");
    }
}

#[test]
fn check_says_whether_metrics_may_be_published_and_publishes_none() {
    let (world, cloudwatch) = (Installation::after_a_start(), Endpoint::start());
    let settings = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    let aws = aws(&cloudwatch.endpoint()).replace(" }", ", imds_endpoint_url = \"http://127.0.0.1:9\" }");
    let line = |metrics: &str| {
        world.write("replyfleet.toml", &format!("{settings}\naws = {aws}\nmetrics = {{ {metrics} }}\n"));
        let said = world.run(&["check"]).1;
        said.lines().find(|line| line[7..].starts_with("metrics ")).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(line(""), "ok     metrics      not published to CloudWatch");
    let group = "cloudwatch = true, auto_scaling_group = \"workers\"";
    assert_eq!(line(group), "ok     metrics      namespace replyfleet, group workers");
    assert!(cloudwatch.calls() == 1 && cloudwatch.data().is_empty());
    let without = line("cloudwatch = true");
    assert!(without.starts_with("WRONG") && without.contains("set metrics.auto_scaling_group"), "{without}");
    cloudwatch.faults().add(Rule::new(PUT, Fault::Answer { status: 403, code: "AccessDenied".into() }));
    let denied = line(group);
    assert!(denied.starts_with("WRONG") && denied.contains("cloudwatch:PutMetricData"), "{denied}");
}
