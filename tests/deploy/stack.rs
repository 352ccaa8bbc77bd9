//! The stack: its templates as `ami/fleet` makes them on an emulator of AWS, everything described afterwards and compared with what the
//! templates say, what each role may do, a new image, and the end. `stack.py` asks; here is what the answers must be.
//!
//! What the emulator does not keep stands in [`NOT_KEPT`]; a test fails if that list becomes wrong. What only a real account can show is
//! in docs/deploy.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use replyfleet::settings::{SenderSettings, Settings, SmtpTls};
use replyfleet_tests::{
    NoWorld,
    ministack::{Ministack, REGION, venv},
    repository, skipped,
};
use serde_json::{Value, json};

/// In the order in which they are made.
const TEMPLATES: [&str; 3] = ["ami/fleet.yaml", "ami/scaling.yaml", "ami/alarms.yaml"];
/// The largest template that CloudFormation takes in the call itself.
const TEMPLATE_BYTES_MAX: usize = 51_200;
/// CloudFormation's other limits for one template.
const LIMITS: [(&str, usize); 4] = [("Parameters", 200), ("Resources", 500), ("Outputs", 200), ("Mappings", 200)];
/// What EC2 takes, before its own base64.
const USER_DATA_BYTES_MAX: usize = 16_384;

/// Properties that the emulator (ministack 1.5.33) takes and does not show again: `TYPE.PROPERTY`, without `AWS::`. They are checked by
/// cfn-lint only.
const NOT_KEPT: [&str; 9] = [
    "AutoScaling::AutoScalingGroup.DefaultInstanceWarmup",
    "AutoScaling::AutoScalingGroup.InstanceMaintenancePolicy",
    "AutoScaling::AutoScalingGroup.MetricsCollection",
    "AutoScaling::AutoScalingGroup.TargetGroupARNs",
    "S3::Bucket.BucketEncryption",
    "S3::Bucket.LifecycleConfiguration",
    "SES::EmailIdentity.DkimSigningAttributes",
    "SNS::Topic.KmsMasterKeyId",
    "SecretsManager::Secret.GenerateSecretString.ExcludePunctuation",
];

/// What is left of a stack that is gone: what cannot be made again.
const RETAINED: [&str; 6] = ["Backups", "Catalogue", "Key", "MxSecret", "SecretKey", "WorkerSecret"];

fn world(made: Result<Ministack, NoWorld>) -> Option<Ministack> {
    match made {
        Ok(ministack) if venv().join("bin/aws").exists() => Some(ministack),
        Ok(_) => {
            skipped("no aws; tests/run installs it");
            None
        }
        Err(no_world) => {
            skipped(&no_world.0);
            None
        }
    }
}

/// A program with nothing of the environment but what leads to the emulator.
fn command(program: PathBuf, ministack: &Ministack) -> Command {
    let mut command = Command::new(program);
    let path = format!("{}:{}", venv().join("bin").display(), std::env::var("PATH").unwrap());
    command
        .env("PATH", path)
        .env("AWS_ENDPOINT_URL", ministack.endpoint())
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(repository());
    command
}

fn fleet(ministack: &Ministack, arguments: &[&str]) -> Output {
    command(repository().join("ami/fleet"), ministack).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a command that must succeed says.
#[track_caller]
fn done(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What `stack.py` answers to a question.
#[track_caller]
fn ask(ministack: &Ministack, question: &[&str], input: &Value) -> Value {
    let mut child = command(venv().join("bin/python"), ministack)
        .args(["-B", "tests/deploy/stack.py"])
        .args(question)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    serde_json::from_str(&done(child.wait_with_output().unwrap())).unwrap()
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn cfn_lint_finds_no_fault_in_the_templates() {
    let lint = venv().join("bin/cfn-lint");
    if !lint.exists() {
        return skipped("no cfn-lint; tests/run installs it");
    }
    let output = Command::new(lint).args(TEMPLATES).current_dir(repository()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_templates_are_within_cloudformations_limits() {
    for template in TEMPLATES {
        let text = std::fs::read_to_string(repository().join(template)).unwrap();
        assert!(text.len() <= TEMPLATE_BYTES_MAX, "{template}: {} bytes; `aws cloudformation deploy` would want a bucket for it", text.len());
        for (section, max) in LIMITS {
            let entries = text.split_once(&format!("\n{section}:\n")).map_or("", |(_, rest)| rest);
            let count = entries
                .lines()
                .take_while(|line| line.is_empty() || line.starts_with(' ') || line.starts_with('#'))
                .filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.trim_start().starts_with('#'))
                .count();
            assert!(count <= max, "{template}: {count} {section}");
        }
    }
}

#[test]
fn the_fleet_is_made_as_the_templates_say_gets_a_new_image_and_goes() {
    let Some(ministack) = world(Ministack::alone()) else { return };
    let first = ask(&ministack, &["prepare"], &json!(null));
    let given = |name: &str| format!("{name}={}", first[name].as_str().unwrap());
    let up = ["--stack", "mail", "--image", first["ImageId"].as_str().unwrap(), "up"];
    let parameters = [
        given("VpcId"),
        given("SubnetIds"),
        "MailDomain=example.com".into(),
        "MailHostname=mx.example.com".into(),
        "AlertEmail=people@example.com".into(),
        "SmtpReplies=direct".into(),
        "ScalingProfile=faithful".into(),
        "ProbeAlarm=yes".into(),
    ];
    let said = done(fleet(&ministack, &up.into_iter().chain(parameters.iter().map(String::as_str)).collect::<Vec<_>>()));
    for wanted in ["CatalogueBucket", "_domainkey.example.com", "mx.example.com", "replyfleet dns"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }

    let described = ask(&ministack, &["compare", "mail", "mail-workers", "mail-alarms"], &json!(null));
    assert_eq!(described["differences"], json!([]));
    assert!(described["compared"].as_u64().unwrap() > 400, "{}", described["compared"]);
    assert_eq!(strings(&described["not_kept"]), BTreeSet::from(NOT_KEPT));

    let again = done(fleet(&ministack, &["--stack", "mail", "image", first["OtherImageId"].as_str().unwrap()]));
    assert!(again.contains(&format!("ami/fleet --stack mail image {}", first["ImageId"].as_str().unwrap())), "how to go back: {again}");
    let changed = ask(&ministack, &["image", "mail"], &json!(null));
    for group in ["mail-mx", "mail-workers"] {
        assert_eq!(changed[group], json!({"image": first["OtherImageId"], "version": "2", "refreshes": 1}), "{group}");
    }

    let refused = fleet(&ministack, &["--stack", "mail", "down"]);
    assert!(!refused.status.success(), "nobody typed the name");
    let said = done(fleet(&ministack, &["--stack", "mail", "--yes", "down"]));
    let left = ask(&ministack, &["left", "mail"], &described["physical"]);
    assert_eq!(strings(&left["retained"]), BTreeSet::from(RETAINED));
    assert_eq!(left["others"], json!([]), "left over");
    assert!(said.contains("kept"), "{said}");
}

#[test]
fn each_role_may_do_what_it_needs_and_nothing_else() {
    let Some(ministack) = world(Ministack::with_iam()) else { return };
    let found = ask(&ministack, &["allowed"], &json!(null));
    let wanted = table();
    for (role, what) in wanted.as_object().unwrap() {
        for (attempt, may) in what.as_object().unwrap() {
            assert_eq!(found[role][attempt], *may, "{role}: {attempt}");
        }
        assert_eq!(found[role].as_object().unwrap().len(), what.as_object().unwrap().len(), "{role}: an attempt that the table lacks");
    }
}

/// Role, what it tries, and whether it may.
fn table() -> Value {
    const YES: bool = true;
    const NO: bool = false;
    let rows: [(&str, [bool; 4]); 28] = [
        // What is tried                MX, worker, operator, catalogue
        ("send to the queue", [YES, NO, YES, NO]),
        ("receive from the queue", [NO, YES, YES, NO]),
        ("purge the queue", [NO, NO, NO, NO]),
        ("delete the queue", [NO, NO, NO, NO]),
        ("send to the dead letters", [NO, YES, YES, NO]),
        ("receive from the dead letters", [NO, NO, YES, NO]),
        ("put a claim check", [YES, NO, NO, NO]),
        ("get a claim check", [NO, YES, YES, NO]),
        ("delete a claim check", [NO, YES, YES, NO]),
        ("get the catalogue", [YES, YES, YES, NO]),
        ("get an attachment", [NO, YES, YES, NO]),
        ("put the catalogue", [NO, NO, NO, YES]),
        ("delete the catalogue", [NO, NO, NO, YES]),
        ("put a backup", [NO, NO, YES, NO]),
        ("list the backups", [NO, NO, YES, NO]),
        ("get a backup", [NO, NO, NO, NO]),
        ("delete a backup", [NO, NO, NO, NO]),
        ("read the secret key", [YES, YES, YES, NO]),
        ("read the MXs' secret", [YES, NO, NO, NO]),
        ("read the database's password", [NO, YES, YES, NO]),
        ("write a secret", [NO, NO, NO, NO]),
        ("read the settings", [NO, NO, YES, NO]),
        ("publish a metric", [YES, YES, NO, NO]),
        ("send a reply", [NO, YES, YES, NO]),
        ("end an MX's hook", [YES, NO, NO, NO]),
        ("end a worker's hook", [NO, YES, NO, NO]),
        ("end a machine", [NO, NO, NO, NO]),
        ("change a role", [NO, NO, NO, NO]),
    ];
    let mut table: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for (what, may) in rows {
        for (role, may) in ["MxRole", "WorkerRole", "OperatorRole", "CatalogueRole"].into_iter().zip(may) {
            table.entry(role).or_default().insert(what, may);
        }
    }
    json!(table)
}

#[test]
fn the_machines_settings_are_settings_and_their_user_data_has_no_secret() {
    let Some(ministack) = world(Ministack::alone()) else { return };
    let cases = [
        json!({}),
        json!({"SmtpReplies": "relay", "RelayHost": "relay.example.net", "RelayPort": "2587", "RelayUser": "us"}),
        json!({"SmtpReplies": "relay", "RelayHost": "relay.example.net", "DatabaseEngine": "mariadb"}),
        json!({"SmtpReplies": "direct", "MoreSettings": "[allowance]\nanswers_per_sender = 7\n", "Postmaster": "ops@example.net",
               "MxRelayHost": "relay.example.net", "MxRelayPort": "587"}),
        json!({"DatabaseHost": "db.example.net", "DatabaseSecretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:db"}),
    ];
    let machines = ask(&ministack, &["machines"], &json!(cases));
    let machines: Vec<&Value> = machines.as_array().unwrap().iter().collect();
    assert_eq!(machines.len(), cases.len());
    let settings = |case: usize, role: &str| -> Settings {
        let text = machines[case][role]["files"]["/etc/replyfleet/replyfleet.toml"].as_str().unwrap();
        Settings::parse(text, &format!("case {case}, {role}"), |_| None).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    for (number, case) in cases.iter().enumerate() {
        let mx = settings(number, "mx");
        assert_eq!(mx.termination.hook.as_deref(), Some("mail-queue"));
        let worker = settings(number, "worker");
        assert_eq!(worker.termination.hook.as_deref(), Some("drain"));
        assert_eq!(worker.metrics.auto_scaling_group, worker.termination.group, "the hook and the metrics are of one group");
        assert!(worker.publishes_metrics());
        assert_eq!(format!("{:?}", mx.queue.url), format!("{:?}", worker.queue.url));
        for role in ["mx", "worker"] {
            let machine = &machines[number][role];
            let secrets = machine["files"]["/etc/replyfleet/secrets.env"].as_str().unwrap();
            assert!(secrets.lines().all(|line| line.split_once('=').is_some_and(|(_, value)| !value.is_empty())), "{secrets}");
            assert_eq!(secrets.contains("DATABASE_SECRET_ARN"), role == "worker");
            assert_eq!(secrets.contains("MX_SECRET_ARN"), role == "mx");
            assert!(machine["bytes"].as_u64().unwrap() < USER_DATA_BYTES_MAX as u64 / 2, "room for more settings");
            assert_eq!(machine["secrets"], json!([]), "a secret's value in user-data");
            assert!(machine["schema"].is_null() || machine["schema"] == "", "cloud-init's own check: {}", machine["schema"]);
        }
        let units = machines[number]["worker"]["units"].to_string();
        assert_eq!(units.contains("replyfleet-mail-queue.service"), case["SmtpReplies"] == "direct", "{units}");
        assert!(units.contains("replyfleet-worker.target"));
        assert!(machines[number]["mx"]["units"].to_string().contains("replyfleet-mx.target"));
        let postfix = machines[number]["mx"]["files"]["/etc/replyfleet/postfix.env"].as_str().unwrap();
        assert!(postfix.contains("MYHOSTNAME=mx.example.com\n") && postfix.contains("PROXY_PROTOCOL=yes\n"), "{postfix}");
    }
    let smtp = |case: usize| match settings(case, "worker").send.smtp {
        Some(SenderSettings::Smtp(smtp)) => Some((smtp.host, smtp.port, smtp.tls, smtp.user)),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(smtp(0), None);
    assert_eq!(smtp(1), Some(("relay.example.net".into(), 2_587, SmtpTls::Starttls, Some("us".into()))));
    assert_eq!(smtp(2), Some(("relay.example.net".into(), 587, SmtpTls::Starttls, None)));
    assert_eq!(smtp(3), Some(("127.0.0.1".into(), 2_525, SmtpTls::None, None)));
    assert_eq!(settings(3, "worker").allowance.answers_per_sender.get(), 7, "MoreSettings");
    assert_eq!(settings(0, "mx").postfix.postmaster, None);
    assert_eq!(settings(3, "mx").postfix.postmaster.as_deref(), Some("ops@example.net"));
    let relay = |case: usize| {
        let postfix = machines[case]["mx"]["files"]["/etc/replyfleet/postfix.env"].as_str().unwrap();
        postfix.lines().find_map(|line| line.strip_prefix("RELAYHOST=")).unwrap().to_owned()
    };
    assert_eq!((relay(0), relay(3)), (String::new(), "[relay.example.net]:587".into()));
    assert!(matches!(settings(0, "worker").send.ses, Some(SenderSettings::Ses(_))));
    let secrets = |case: usize| machines[case]["worker"]["files"]["/etc/replyfleet/secrets.env"].as_str().unwrap().to_owned();
    assert!(secrets(2).contains("DATABASE_ENGINE=mariadb\n") && secrets(2).contains("DATABASE_PORT=3306\n"), "{}", secrets(2));
    assert!(secrets(4).contains("DATABASE_HOST=db.example.net\n") && secrets(4).contains("secret:db\n"), "{}", secrets(4));
    // Its package would change how a machine begins: only the long test installs it.
    if machines[0]["mx"]["schema"].is_null() && std::env::var_os("REPLYFLEET_LONG").is_some() {
        skipped("no cloud-init: nobody has checked the user-data but we");
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_made() {
    let Some(ministack) = world(Ministack::alone()) else { return };
    let cases: [(&[&str], &str); 8] = [
        (&[], "usage"),
        (&["fly"], "usage"),
        (&["up", "MailDomain=example.com"], "no image"),
        (&["--image", "ami-00000000", "up", "Colour=red"], "Colour"),
        (&["--image", "ami-00000000", "up", "red"], "NAME=VALUE"),
        (&["--image", "ami-00000000", "up", "LaunchTemplateId=lt-1"], "LaunchTemplateId"),
        (&["image", "disk.raw"], "ami-"),
        (&["outputs"], "no stack"),
    ];
    for (arguments, wanted) in cases {
        let output = fleet(&ministack, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{arguments:?}: {said}");
        assert!(!said.contains("Traceback"), "{said}");
    }
    assert_eq!(ask(&ministack, &["stacks"], &json!(null)), json!([]));
}
