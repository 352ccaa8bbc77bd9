//! Real mail of other people's test suites, asked by the worker's own rules: people are answered, machines are not, and
//! nothing breaks. The mails lie beside the repository in `../shared/corpora` and are never part of it; where they are
//! missing the tests say that they were skipped.
//!
//! As the corpora's own description asks: RCPT TO becomes an address of ours; MAIL FROM becomes the From address for
//! people, and the file's own Return-Path for bounces.
//!
//! These mails are years old, and their domains have other keys by now, or are gone. So each is asked twice: as it is, by
//! header and envelope; and signed by us for its From's domain, for which a name server of the test vouches, by all rules
//! but those of the ledger. The second rate is that of people whose provider signs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it found")]
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use replyfleet::{
    clock::UnixMillis,
    envelope::Facts,
    settings::{Settings, Trust},
};
use replyfleet_tests::{corpora::corpus, dkim::Signer, dns::Dns, repository, skipped};
use replyfleet_worker::{
    address::Address,
    catalogue::{Catalogue, SendMethod},
    judge::{End, Hearing, Judge},
    reason::Reason,
    request,
    screen::{Seen, screen},
};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const CATALOGUE: &str = r#"[{"email_addr": "get@responder.test", "body": "links", "send_method": "SES"}]"#;
const MAIL_BYTES_MAX: usize = 10 << 20;
/// One mail may take no longer; the slowest of them takes milliseconds, even unoptimised.
const MAIL_TIME_MAX: Duration = Duration::from_secs(1);

/// Everything that mail is asked by. Its name server knows every domain that signs.
struct World {
    catalogue: Catalogue,
    judge: Judge,
    signer: Signer,
    dns: Dns,
}

/// What became of one mail: by its header and envelope alone, and after it was signed for its From's domain.
struct Verdicts {
    unsigned: Result<(), Reason>,
    signed: Result<Trust, End>,
}

impl World {
    fn new() -> Self {
        let signer = Signer::new("corpus").at(NOW.0 / 1_000);
        let dns = Dns::start(|_| {});
        let text = std::fs::read_to_string(repository().join("docs/replyfleet.toml")).unwrap();
        let text = text
            .replace("bounces@example.com", "bounces@responder.test")
            .replace("# resolver = \"127.0.0.1:53\"", &format!("resolver = \"{}\"", dns.address()));
        let settings = Settings::parse(&text, "docs/replyfleet.toml", |_| None).unwrap();
        assert_eq!(settings.authentication.resolver, Some(dns.address()));
        Self { catalogue: Catalogue::parse(CATALOGUE, &[SendMethod::Ses]).unwrap(), judge: Judge::open(&settings).unwrap(), signer, dns }
    }

    /// The verdicts on a mail whose MAIL FROM is what `sender` finds in it, with the longest time that one of them took.
    async fn verdicts(&self, mail: &[u8], sender: impl Fn(&request::Request) -> String) -> (Verdicts, Duration) {
        let start = Instant::now();
        let read = request::read(mail, MAIL_BYTES_MAX);
        let (mail_from, from) = match &read {
            Ok(request) => (sender(request), request.from.clone().ok()),
            Err(_) => Default::default(),
        };
        let facts = facts(mail_from);
        let unsigned = read.and_then(|request| screen(&self.seen(&facts, &request)));
        let took = start.elapsed();
        let signed = from.map_or(mail.to_vec(), |from| self.sign(mail, &from));
        let start = Instant::now();
        let signed = self.judged(&signed, &facts).await;
        (Verdicts { unsigned, signed }, took.max(start.elapsed()))
    }

    async fn judged(&self, mail: &[u8], facts: &Facts) -> Result<Trust, End> {
        let request = request::read(mail, MAIL_BYTES_MAX).map_err(End::Ignore)?;
        let hearing = Hearing { seen: self.seen(facts, &request), mail, switches: Arc::default(), is_shedding: false, is_first_look: true };
        let (judgement, end) = self.judge.judge(&hearing, None).await;
        end.map_or(Ok(judgement.trust), Err)
    }

    fn seen<'a>(&'a self, facts: &'a Facts, request: &'a request::Request) -> Seen<'a> {
        Seen { facts, request, catalogue: &self.catalogue, policy: self.judge.policy(), now: NOW }
    }

    /// The mail as its own domain would send it, if that lived and signed: it has a mail host and a key now.
    fn sign(&self, mail: &[u8], from: &Address) -> Vec<u8> {
        let domain = from.ascii_domain();
        self.dns.change(|zone| {
            zone.mx(&domain, 10, "mx.example.org");
            self.signer.publish(zone.remove(&self.signer.record(&domain).0), &domain);
        });
        self.signer.sign(mail, &domain)
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

/// Asks every mail of a corpus; prints the rates and returns the verdicts by file name.
async fn survey(name: &str, files: &[PathBuf], sender: impl Fn(&request::Request) -> String) -> BTreeMap<String, Verdicts> {
    let world = World::new();
    let mut all = BTreeMap::new();
    for path in files {
        let mail = std::fs::read(path).unwrap();
        let (verdicts, took) = world.verdicts(&mail, &sender).await;
        assert!(took < MAIL_TIME_MAX, "{} took {took:?}", path.display());
        all.insert(path.strip_prefix(repository().join("../shared/corpora")).unwrap().display().to_string(), verdicts);
    }
    let count = |is_counted: fn(&Verdicts) -> bool| {
        let counted = all.values().filter(|verdicts| is_counted(verdicts)).count();
        format!("{counted} of {} ({:.1} %)", all.len(), 100.0 * counted as f64 / all.len() as f64)
    };
    println!("corpus {name}: {} answered by header and envelope", count(|verdicts| verdicts.unsigned.is_ok()));
    println!("corpus {name}: {} answered with trust full, signed for their From's domain", count(|verdicts| verdicts.signed == Ok(Trust::Full)));
    all
}

#[tokio::test]
async fn people_are_answered_with_full_trust_once_their_domain_signs() {
    let Some(files) = corpus("people") else { return };
    let all = survey("people", &files, from_header).await;
    let refused: BTreeMap<_, _> = all.iter().filter_map(|(file, verdicts)| Some((file.as_str(), verdicts.unsigned.err()?))).collect();
    for (file, reason) in &refused {
        println!("  not answered: {file}: {}", reason.word());
    }
    let expected = BTreeMap::from(EXCEPTIONS);
    assert_eq!(refused, expected, "the mails that the policy refuses, each for its reason");
    // Signed, the same are refused for the same reasons, and everybody else is proven in full.
    let signed = all.iter().filter(|(_, verdicts)| verdicts.signed != Ok(Trust::Full));
    let signed: BTreeMap<_, _> = signed.map(|(file, verdicts)| (file.as_str(), verdicts.signed)).collect();
    let wanted: BTreeMap<_, _> = expected.into_iter().map(|(file, reason)| (file, Err(End::Ignore(reason)))).collect();
    assert_eq!(signed, wanted, "who is not answered in full although the mail is signed");
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

#[tokio::test]
async fn bounces_are_never_answered() {
    let Some(files) = corpus("bounces") else { return };
    let all = survey("bounces", &files, return_path).await;
    let answered = all.iter().filter(|(_, verdicts)| verdicts.unsigned.is_ok() || !matches!(verdicts.signed, Err(End::Ignore(_))));
    let answered: Vec<_> = answered.map(|(file, _)| file).collect();
    assert!(answered.is_empty(), "{answered:#?}");
}

#[tokio::test]
async fn malformed_mail_ends_in_one_verdict_each() {
    let Some(files) = corpus("malformed") else { return };
    let all = survey("malformed", &files, from_header).await;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, verdicts) in &all {
        *reasons.entry(verdicts.unsigned.err().map_or("answered", Reason::word)).or_default() += 1;
        assert!(!matches!(verdicts.signed, Err(End::Later(_))), "{file} is never done with");
        if verdicts.unsigned.is_ok() && verdicts.signed != Ok(Trust::Full) {
            println!("  {file}: {:?}, although signed", verdicts.signed);
        }
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
