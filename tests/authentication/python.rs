//! Runs `second.py`: signs as another implementation signs, and asks it what it makes of a mail.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::OnceLock,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet_tests::{dns::Zone, ministack::venv, repository, skipped};
use serde_json::{Value, json};

/// Runs jobs, and returns their results. `None`, said aloud, where the packages are not installed.
pub(crate) fn run(jobs: &Value, dns: Option<SocketAddr>) -> Option<Vec<Value>> {
    let python = venv().join("bin/python");
    static IS_INSTALLED: OnceLock<bool> = OnceLock::new();
    let import = || Command::new(&python).args(["-c", "import dkim, spf, authheaders, nacl, yaml"]).stderr(Stdio::null()).status();
    if !IS_INSTALLED.get_or_init(|| import().is_ok_and(|status| status.success())) {
        skipped("no dkimpy, pyspf and authheaders; tests/run installs them");
        return None;
    }
    let mut child = Command::new(python)
        .arg(repository().join("tests/authentication/second.py"))
        .args(dns.map(|dns| dns.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let jobs = jobs.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(jobs.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "second.py failed");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Keys of every kind, made once for this process.
#[derive(Clone, Copy)]
pub(crate) struct Keys(&'static Value);

impl Keys {
    pub(crate) fn get() -> Option<Self> {
        static KEYS: OnceLock<Option<Value>> = OnceLock::new();
        KEYS.get_or_init(|| run(&json!([{"do": "keys"}]), None).map(|mut results| results.remove(0))).as_ref().map(Self)
    }

    /// What signs.
    pub(crate) fn private(self, kind: &str) -> &'static str {
        self.0[kind]["private"].as_str().unwrap()
    }

    /// What verifies: the p= of a key record.
    pub(crate) fn public(self, kind: &str) -> &'static str {
        self.0[kind]["public"].as_str().unwrap()
    }

    /// Publishes every key at `domain`, each under its kind as selector.
    pub(crate) fn publish(self, zone: &mut Zone, domain: &str) {
        for kind in ["rsa2048", "rsa1024", "rsa768"] {
            zone.txt(&format!("{kind}._domainkey.{domain}"), format!("v=DKIM1; k=rsa; p={}", self.public(kind)));
        }
        zone.txt(&format!("ed25519._domainkey.{domain}"), format!("v=DKIM1; k=ed25519; p={}", self.public("ed25519")));
    }

    /// A job that signs `mail` with the key of this kind; `more` holds further arguments.
    pub(crate) fn job(self, mail: &[u8], domain: &str, kind: &str, more: &Value) -> Value {
        let algorithm = if kind == "ed25519" { "ed25519-sha256" } else { "rsa-sha256" };
        let mut job =
            json!({"do": "sign", "mail": encoded(mail), "domain": domain, "selector": kind, "key": self.private(kind), "algorithm": algorithm});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    }

    /// `mail` with one more signature on top.
    pub(crate) fn sign(self, mail: &[u8], domain: &str, kind: &str, more: &Value) -> Vec<u8> {
        let field = run(&json!([self.job(mail, domain, kind, more)]), None).expect("the packages are there: so are the keys").remove(0);
        [decoded(&field), mail.to_vec()].concat()
    }
}

pub(crate) fn encoded(octets: &[u8]) -> String {
    BASE64_STANDARD.encode(octets)
}

pub(crate) fn decoded(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}
