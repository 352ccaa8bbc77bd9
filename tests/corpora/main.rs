//! Real mail of other people's test suites, asked by the worker's own rules: people are answered, machines are not, and
//! nothing breaks. The mails lie beside the repository in `../shared/corpora` and are never part of it; where they are
//! missing the tests say that they were skipped.
//!
//! As the corpora's own description asks: RCPT TO becomes an address of ours; MAIL FROM becomes the From address for
//! people, and the file's own Return-Path for bounces.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found")]
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use replyfleet::{clock::UnixMillis, envelope::Facts, settings::Settings};
use replyfleet_tests::{repository, skipped};
use replyfleet_worker::{
    catalogue::{Catalogue, SendMethod},
    reason::Reason,
    request,
    screen::{Policy, Seen, screen},
};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const CATALOGUE: &str = r#"[{"email_addr": "get@responder.test", "body": "links", "send_method": "SES"}]"#;
const MAIL_BYTES_MAX: usize = 10 << 20;
/// One mail may take no longer; the slowest of them takes milliseconds, even unoptimised.
const MAIL_TIME_MAX: Duration = Duration::from_secs(1);

struct World {
    catalogue: Catalogue,
    policy: Policy,
}

impl World {
    fn new() -> Self {
        let text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
        let text = text.replace("bounces@example.com", "bounces@responder.test");
        let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap();
        Self { catalogue: Catalogue::parse(CATALOGUE, &[SendMethod::Ses]).unwrap(), policy: Policy::new(&settings).unwrap() }
    }

    /// The verdict on a mail whose MAIL FROM is what `sender` finds in it.
    fn verdict(&self, mail: &[u8], sender: impl Fn(&request::Request) -> String) -> Result<(), Reason> {
        let request = request::read(mail, MAIL_BYTES_MAX)?;
        let facts = facts(sender(&request));
        screen(&Seen { facts: &facts, request: &request, catalogue: &self.catalogue, policy: &self.policy, now: NOW })
    }
}

fn facts(mail_from: String) -> Facts {
    Facts { mail_from, rcpt_to: "get@responder.test".into(), arrived: NOW, ..Facts::default() }
}

fn from_header(request: &request::Request) -> String {
    // A From that is no one mailbox has no address to take over; the rule for it must fire, not the one for MAIL FROM.
    request.from.as_ref().map_or("someone@example.org".into(), |from| from.as_str().to_owned())
}

fn return_path(request: &request::Request) -> String {
    request.values("return-path").next().unwrap_or_default().trim_matches(['<', '>', ' ']).to_owned()
}

/// The files below a folder of the corpora, sorted; `None`, said aloud, if there are no corpora.
fn corpus(name: &str) -> Option<Vec<PathBuf>> {
    let folder = repository().join("../shared/corpora").join(name);
    if !folder.is_dir() {
        skipped("no corpora beside the repository");
        return None;
    }
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    Some(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_notice = path
            .file_stem()
            .is_some_and(|name| matches!(name.to_string_lossy().to_uppercase().as_str(), "README" | "LICENSE" | "LICENCE" | "COPYING"));
        if path.is_dir() {
            collect(&path, files);
        } else if !is_notice {
            files.push(path);
        }
    }
}

/// Asks every mail of a corpus; prints the rate and returns the verdicts by file name.
fn survey(name: &str, files: &[PathBuf], sender: impl Fn(&request::Request) -> String) -> BTreeMap<String, Result<(), Reason>> {
    let world = World::new();
    let mut verdicts = BTreeMap::new();
    for path in files {
        let mail = std::fs::read(path).unwrap();
        let start = Instant::now();
        let verdict = world.verdict(&mail, &sender);
        assert!(start.elapsed() < MAIL_TIME_MAX, "{} took {:?}", path.display(), start.elapsed());
        verdicts.insert(path.strip_prefix(repository().join("../shared/corpora")).unwrap().display().to_string(), verdict);
    }
    let answered = verdicts.values().filter(|verdict| verdict.is_ok()).count();
    println!("corpus {name}: {answered} of {} answered", verdicts.len());
    verdicts
}

#[test]
fn people_are_answered() {
    let Some(files) = corpus("people") else { return };
    let verdicts = survey("people", &files, from_header);
    let refused: BTreeMap<_, _> = verdicts.iter().filter_map(|(file, verdict)| Some((file.as_str(), verdict.err()?))).collect();
    for (file, reason) in &refused {
        println!("  not answered: {file}: {}", reason.word());
    }
    let expected = BTreeMap::from(EXCEPTIONS);
    assert_eq!(refused, expected, "the mails that the policy refuses, each for its reason");
}

/// Mails among `people` that the policy does not answer, and why that is right.
const EXCEPTIONS: [(&str, Reason); 10] = [
    ("people/mikel/example10.eml", Reason::UnclearFrom), // comments inside the address: two ways to read it
    ("people/mikel/example13.eml", Reason::UnclearFrom), // "machine(comment).  example": the same
    ("people/mikel/mix_caps_content_type.eml", Reason::UnclearFrom), // an address without brackets behind a name
    ("people/mikel/raw_email11.eml", Reason::UnclearFrom), // xxxxx@xxxxx: a domain of one label
    ("people/mikel/raw_email_multiple_from.eml", Reason::UnclearFrom), // two addresses
    ("people/mikel/raw_email_trailing_dot.eml", Reason::RoleSender), // noreply@
    ("people/mikel/raw_email_with_at_display_name.eml", Reason::UnclearFrom), // two mailboxes
    ("people/mikel/raw_email_with_mimepart_without_content_type.eml", Reason::RoleSender), // MAILER-DAEMON: a bounce
    ("people/zbateson/m0010.txt", Reason::UnclearFrom),  // two From fields
    ("people/zbateson/m0024.txt", Reason::MailingList),  // Mailing-List
];

#[test]
fn bounces_are_never_answered() {
    let Some(files) = corpus("bounces") else { return };
    let verdicts = survey("bounces", &files, return_path);
    let answered: Vec<_> = verdicts.iter().filter(|(_, verdict)| verdict.is_ok()).map(|(file, _)| file).collect();
    assert!(answered.is_empty(), "{answered:#?}");
}

#[test]
fn malformed_mail_ends_in_one_verdict_each() {
    let Some(files) = corpus("malformed") else { return };
    let verdicts = survey("malformed", &files, from_header);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in verdicts.values() {
        *reasons.entry(verdict.as_ref().err().map_or("answered", |reason| reason.word())).or_default() += 1;
    }
    println!("  {reasons:?}");
    assert_eq!(reasons.values().sum::<usize>(), files.len());
}

/// The predecessor's documentation has an example catalogue, which lacks a comma.
#[test]
fn the_predecessors_own_example_is_read_once_its_missing_comma_is_set() {
    let file = repository().join("../shared/seeds/000_33e3896be7d7d51c.txt");
    let Ok(document) = std::fs::read_to_string(file) else { return skipped("no documents of the predecessor beside the repository") };
    let example = document.split("For example:\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let both = [SendMethod::Ses, SendMethod::Smtp];
    let fault = Catalogue::parse(example, &both).unwrap_err();
    let faulty = example.lines().nth(fault.line - 1).unwrap();
    assert_eq!(&faulty[fault.column - 1..], "\"send_method\": \"SMTP\"", "{fault}");
    assert!(fault.text.contains("expected `,`"), "{fault}");

    let mended = example.replace("\"PsiphonAndroid.apk\"]]\n", "\"PsiphonAndroid.apk\"]],\n");
    let catalogue = Catalogue::parse(&mended, &both).unwrap();
    let ways = |address: &str| {
        catalogue.responses_for(address).iter().map(|response| (response.send_method, response.attachments.len())).collect::<Vec<_>>()
    };
    assert_eq!(ways("multipart-email@example.com"), [(SendMethod::Ses, 0), (SendMethod::Smtp, 2)]);
    assert_eq!(ways("justtext@example.com"), [(SendMethod::Ses, 0), (SendMethod::Smtp, 2)]);
    assert_eq!((ways("simplebody@example2.com").len(), ways("attachment@example3.com").len()), (1, 1));
}
