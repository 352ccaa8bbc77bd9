//! Who sent a mail, asked against a real DNS server on loopback: signatures by another implementation, the RFCs' own
//! examples and suite, the corpora, and everything that DNS can do wrong.
//!
//! `second.py` holds the other implementations (dkimpy, pyspf, authheaders), which `tests/run` installs; without them the
//! tests that need them say that they were skipped.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found, and panics where it cannot go on")]
#![forbid(unsafe_code)]

mod arc;
mod corpora;
mod crates;
mod dkim;
mod faults;
mod hosts;
mod python;
mod replay;
mod second;
mod signing;
mod spf_suite;

use replyfleet::{clock::UnixMillis, envelope::Facts, settings::AuthenticationSettings};
use replyfleet_tests::dns::Dns;
use replyfleet_worker::{
    address::Address,
    authenticate::{Authenticator, Evidence},
};
use serde_json::{Value, json};

/// The address of a client that may send for nobody unless a test says so.
const CLIENT: &str = "192.0.2.1";

/// Settings that ask `dns`, with more or other values.
fn settings(dns: &Dns, more: Value) -> AuthenticationSettings {
    let mut settings = json!({"resolver": dns.address(), "timeout_s": 5});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

/// An authenticator that asks `dns`, under the default settings.
fn authenticator(dns: &Dns) -> Authenticator {
    Authenticator::open(&settings(dns, json!({}))).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).expect(text)
}

/// A mail from nowhere, now.
fn facts(mail_from: &str) -> Facts {
    let helo = "client.example.net".into();
    Facts { mail_from: mail_from.into(), client_address: CLIENT.into(), helo, arrived: UnixMillis::now(), ..Facts::default() }
}

/// What speaks for `from`, said short: the word, and each line as `method=result`.
fn said(evidence: &Evidence) -> String {
    let lines: Vec<String> = evidence.lines().iter().map(|line| format!("{}={} ({})", line.method, line.result, line.detail)).collect();
    format!("{}: {}", evidence.word(), lines.join("; "))
}
