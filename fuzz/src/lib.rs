//! What each fuzz target does with its input, and what must hold then. Here, and not in the targets, so that `cargo test`
//! replays every seed without a fuzzer.

#![forbid(unsafe_code)]

use std::sync::LazyLock;

use bytes::Bytes;
use replyfleet::{
    clock::UnixMillis,
    envelope::{Envelope, Facts},
    settings::Settings,
};
use replyfleet_worker::{
    address::Address,
    authenticate::{author_agrees, results},
    catalogue::{Catalogue, SendMethod},
    request::{self, Request},
    screen::{Policy, RULES, Seen, TOO_OLD, screen as ask},
};

const SETTINGS: &str = include_str!("../../docs/replyfleet.toml");
const CATALOGUE: &str = include_str!("../seeds/catalogue/two-entries.json");
const BOTH: [SendMethod; 2] = [SendMethod::Ses, SendMethod::Smtp];
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const MAIL_BYTES_MAX: usize = 10 << 20;

/// A mail: it is read or ends in a reason; what is taken from it can be written back without harm.
pub fn parse(data: &[u8]) {
    let Ok(request) = request::read(data, MAIL_BYTES_MAX) else { return };
    if let Ok(from) = &request.from {
        assert_eq!(Address::parse(from.as_str()).as_ref(), Some(from), "an address has one spelling");
        assert!(!from.as_str().contains(char::is_whitespace) && !from.as_str().contains(char::is_control));
        author_agrees(data, from); // the second reader must stand it, too; where it does not agree, nothing is proven
    }
    for id in request.message_id.iter().chain(&request.references) {
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()) && id.starts_with('<') && id.ends_with('>'), "{id:?}");
    }
}

/// An envelope's MAIL FROM and RCPT TO in the first two lines, a mail behind them: one verdict, and the same one again.
pub fn screen(data: &[u8]) {
    static WORLD: LazyLock<(Policy, Catalogue)> = LazyLock::new(|| {
        let settings = Settings::parse(SETTINGS, "docs/replyfleet.toml", |_| None).expect("the annotated example");
        (Policy::new(&settings).expect("its policy"), Catalogue::parse(CATALOGUE, &BOTH).expect("the seed"))
    });
    let mut lines = data.splitn(3, |&byte| byte == b'\n');
    let mut line = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let facts = Facts { mail_from: line(), rcpt_to: line(), arrived: NOW, ..Facts::default() };
    let Ok(request) = request::read(lines.next().unwrap_or_default(), MAIL_BYTES_MAX) else { return };
    let (policy, catalogue) = &*WORLD;
    let seen = Seen { facts: &facts, request: &request, catalogue, policy, now: NOW };
    let verdict = ask(&seen);
    let findings: Vec<_> = RULES.iter().chain([&TOO_OLD]).map(|rule| (rule.check)(&seen)).collect();
    assert_eq!(verdict.err(), findings.iter().find_map(|finding| finding.reason), "the first rule that fires is the reason");
    assert!(verdict.is_err() || is_answerable(&request), "who is answered has one clear address");
}

fn is_answerable(request: &Request) -> bool {
    request.from.is_ok()
}

/// A catalogue: it is taken whole, or refused with a place that lies in it.
pub fn catalogue(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Catalogue::parse(text, &BOTH) {
        Ok(catalogue) => assert!(catalogue.responses().iter().all(|response| !catalogue.responses_for(&response.address).is_empty())),
        Err(fault) => assert!(fault.line >= 1 && fault.line <= text.matches('\n').count() + 1 && fault.column >= 1, "{fault}"),
    }
}

/// A file of settings: it is taken, or refused in words.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Settings::parse(text, "fuzzed.toml", |_| None) {
        assert!(!error.to_string().is_empty());
    }
}

/// A message of the queue: it is no envelope, or one that comes out as it went in.
pub fn envelope(data: &[u8]) {
    let Ok(envelope) = Envelope::decode(&Bytes::copy_from_slice(data)) else { return };
    let again = Envelope::decode(&Bytes::from(envelope.encode())).expect("what was written is read");
    assert_eq!(again, envelope);
}

/// The value of an Authentication-Results field: who wrote it is the same whether the rest is read or not, and words are in
/// lower case.
pub fn results(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(parsed) = results::parse(text) else { return };
    assert_eq!(results::authserv_id(text), Some(parsed.authserv_id));
    for word in parsed.results.iter().flat_map(|found| [&found.method, &found.result]) {
        assert!(!word.is_empty() && *word == word.to_ascii_lowercase(), "{word:?}");
    }
}

#[cfg(test)]
mod tests;
