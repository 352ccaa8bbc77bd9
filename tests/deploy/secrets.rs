//! `replyfleet secrets`, as a machine runs it when it boots: from an emulator of AWS Secrets Manager, and from one that is not ready yet.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use replyfleet_tests::{
    installation::said,
    ministack::{Ministack, REGION},
    program, skipped,
    web::{Answer, serve},
};
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
const PASSWORD: &str = "p@ss/w\"o$rd";

/// A machine: its settings, the file that names its secrets, and a group that may read them.
struct Machine {
    dir: tempfile::TempDir,
    group: String,
}

impl Machine {
    /// That finds Secrets Manager at this URL.
    fn new(endpoint: &str, names: &str) -> Self {
        let user = Command::new("id").arg("-u").output().unwrap().stdout;
        let group =
            if user == b"0\n" { "nogroup".into() } else { String::from_utf8(Command::new("id").arg("-gn").output().unwrap().stdout).unwrap() };
        let machine = Self { dir: tempfile::tempdir().unwrap(), group: group.trim().to_owned() };
        let settings = format!(
            r#"
            queue = {{ url = "spool:/nowhere/spool" }}
            store = {{ url = "dir:/nowhere/store" }}
            catalogue = {{ bucket = "catalogue", key = "catalogue.json" }}
            worker = {{ cache_dir = "/nowhere/cache" }}
            reply = {{ bounce_address = "bounces@example.com" }}
            send.SES = {{ kind = "maildir", dir = "/nowhere/replies" }}
            aws = {{ region = "{REGION}", endpoint_url = "{endpoint}" }}"#
        );
        fs::write(machine.dir.path().join("replyfleet.toml"), settings).unwrap();
        fs::write(machine.dir.path().join("secrets.env"), names).unwrap();
        machine
    }

    /// Fetches with a umask that hides nothing; what it ended with and said.
    fn fetch(&self, timeout_s: u32) -> (Option<i32>, String) {
        let script = r#"umask 0; exec "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program("replyfleet")).args(["secrets", "--group", &self.group]);
        command.arg("--names").arg(self.dir.path().join("secrets.env")).arg("--directory").arg(self.dir.path().join("secrets"));
        said(command.args(["--timeout-s", &timeout_s.to_string()]).arg("--config").arg(self.dir.path().join("replyfleet.toml")))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("secrets").join(name)).expect(name)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.dir.path().join("secrets").join(name)).expect(name).permissions().mode() & 0o7777
    }
}

/// Makes a secret in the emulator, and returns its ARN.
fn make(endpoint: &str, name: &str, text: &str) -> String {
    let body = json!({"Name": name, "SecretString": text}).to_string();
    let mut stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST / HTTP/1.0\r\nHost: localhost\r\nX-Amz-Target: secretsmanager.CreateSecret\r\nContent-Type: application/x-amz-json-1.1";
    let credential = format!("Authorization: AWS4-HMAC-SHA256 Credential=test/20261122/{REGION}/secretsmanager/aws4_request");
    stream.write_all(format!("{head}\r\n{credential}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect(&answer).1).expect(&answer);
    body["ARN"].as_str().expect(&answer).to_owned()
}

#[test]
fn a_machine_fetches_its_secrets_and_only_those_may_read_them_who_should() {
    let ministack = match Ministack::shared() {
        Ok(ministack) => ministack,
        Err(no_world) => return skipped(&no_world.0),
    };
    let endpoint = ministack.endpoint();
    let unique = std::process::id();
    let key = make(&endpoint, &format!("key-{unique}"), KEY);
    let worker = make(&endpoint, &format!("worker-{unique}"), &json!({"smtp_password": PASSWORD, "dkim": {"rf2026a.pem": PEM}}).to_string());
    let mx = make(&endpoint, &format!("mx-{unique}"), &json!({"spamhaus_key": "abc123"}).to_string());
    let database = make(&endpoint, &format!("database-{unique}"), &json!({"username": "ledger", "password": PASSWORD}).to_string());
    let names = format!(
        "SECRET_KEY_ARN={key}\nMX_SECRET_ARN={mx}\nWORKER_SECRET_ARN={worker}\nDATABASE_SECRET_ARN={database}\nDATABASE_ENGINE=postgres\n\
         DATABASE_HOST=db.test\nDATABASE_PORT=5432\nDATABASE_NAME=ledger\n"
    );
    let machine = Machine::new(&endpoint, &names);
    let (status, text) = machine.fetch(30);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("4 files") && text.contains("4 of them new"), "{text}");
    for secret in [KEY, PASSWORD, "AAAA"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!((machine.read("secret.key").trim(), machine.read("dkim/rf2026a.pem").as_str()), (KEY, PEM));
    let environment = machine.read("worker.env");
    assert!(environment.contains("REPLYFLEET_DATABASE_URL=\"postgres://ledger:p%40ss%2Fw%22o%24rd@db.test:5432/ledger?sslmode=require\"\n"));
    assert!(environment.contains("REPLYFLEET_SMTP_PASSWORD=\"p@ss/w\\\"o\\$rd\"\n"), "{environment}");
    assert_eq!(machine.read("spamhaus.key"), "abc123\n");
    let modes = ["", "dkim", "secret.key", "dkim/rf2026a.pem", "worker.env", "spamhaus.key"].map(|name| machine.mode(name));
    assert_eq!(modes, [0o710, 0o710, 0o640, 0o640, 0o600, 0o600]);
    let group = |name: &str| fs::metadata(machine.dir.path().join("secrets").join(name)).unwrap().gid();
    assert_eq!((group("secret.key"), group("dkim/rf2026a.pem")), (group(""), group("")));
    // The programs take the file as it is.
    assert!(replyfleet::keyed::Secret::from_file(&machine.dir.path().join("secrets/secret.key")).is_ok());
    let (_, text) = machine.fetch(30);
    assert!(text.contains("0 of them new"), "{text}");
}

#[test]
fn a_machine_whose_role_is_not_there_yet_tries_again_and_one_without_the_right_says_what_is_missing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let refused = || Answer::new(400, json!({"__type": "AccessDeniedException", "Message": "not authorized"}).to_string());
    let endpoint = serve(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => refused(),
        1 => Answer::new(500, "{}"),
        _ => Answer::new(200, json!({"ARN": "arn", "Name": "key", "SecretString": KEY}).to_string()),
    });
    let machine = Machine::new(&endpoint, "SECRET_KEY_ARN=key\n");
    let (status, text) = machine.fetch(60);
    assert_eq!((status, calls.load(Ordering::SeqCst)), (Some(0), 3), "{text}");
    assert!(text.contains("cannot be read yet: AccessDeniedException"), "{text}");
    assert_eq!(machine.read("secret.key").trim(), KEY);

    let machine = Machine::new(&serve(move |_| refused()), "SECRET_KEY_ARN=key\n");
    let (status, text) = machine.fetch(1);
    assert_eq!(status, Some(1));
    assert!(text.contains("secretsmanager:GetSecretValue") && text.contains("not authorized"), "{text}");
    assert!(!machine.dir.path().join("secrets/secret.key").exists());
}

#[test]
fn a_secret_that_is_no_such_thing_is_refused_at_once_and_not_shown() {
    let endpoint = serve(|_| Answer::new(200, json!({"ARN": "arn", "Name": "key", "SecretString": "hunter2"}).to_string()));
    let machine = Machine::new(&endpoint, "SECRET_KEY_ARN=key\n");
    let (status, text) = machine.fetch(600);
    assert_eq!(status, Some(1));
    assert!(text.contains("SECRET_KEY_ARN") && text.contains("openssl rand") && !text.contains("hunter2"), "{text}");
    assert!(!machine.dir.path().join("secrets").exists(), "nothing is written");
}
