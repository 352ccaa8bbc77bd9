//! Two implementations, one verdict: dkimpy, pyspf and authheaders judge the same mails and sessions as we do, with the
//! same DNS. Where they are known to differ it says so, and why.

use std::path::PathBuf;

use replyfleet::envelope::Facts;
use replyfleet_tests::{corpora::corpus, dkim::with_crlf, dns::Dns};
use replyfleet_worker::{address::Address, authenticate::Authenticator, request};
use serde_json::{Value, json};

use crate::{
    CLIENT, authenticator, facts,
    python::{Keys, decoded, encoded, run},
    said,
};

/// A mail of the people corpus that somebody could be answered for, with CRLF as signers see it.
struct Person {
    file: String,
    mail: Vec<u8>,
    from: Address,
}

fn people() -> Option<Vec<Person>> {
    let files = corpus("people")?;
    let person = |path: &PathBuf| {
        let mail = with_crlf(&std::fs::read(path).unwrap());
        let from = request::read(&mail, 10 << 20).ok()?.from.ok()?;
        Some(Person { file: path.file_name().unwrap().to_string_lossy().into_owned(), mail, from })
    };
    Some(files.iter().filter_map(person).collect())
}

/// How a mail is signed (a name, the key, and more arguments), and what is done to it then.
type Variant = (&'static str, &'static str, Value, fn(Vec<u8>) -> Vec<u8>);

fn variants() -> Vec<Variant> {
    fn same(mail: Vec<u8>) -> Vec<u8> {
        mail
    }
    fn other_body(mut mail: Vec<u8>) -> Vec<u8> {
        mail.extend_from_slice(b"one line more\r\n");
        mail
    }
    fn blank_body(mut mail: Vec<u8>) -> Vec<u8> {
        mail.extend_from_slice(b"\r\n\r\n");
        mail
    }
    fn other_header(mail: Vec<u8>) -> Vec<u8> {
        let at = mail.windows(7).position(|window| window.eq_ignore_ascii_case(b"\nfrom: ")).map_or(0, |at| at + 7);
        [&mail[..at], b"Somebody Else ", &mail[at..]].concat()
    }
    vec![
        ("relaxed/relaxed", "rsa2048", json!({}), same),
        ("relaxed/simple", "rsa2048", json!({"canonicalize": ["relaxed", "simple"]}), same),
        ("simple/relaxed", "rsa2048", json!({"canonicalize": ["simple", "relaxed"]}), same),
        ("simple/simple", "rsa2048", json!({"canonicalize": ["simple", "simple"]}), same),
        ("ed25519", "ed25519", json!({}), same),
        ("oversigned", "rsa2048", json!({"headers": ["From", "From", "Subject", "Subject", "Reply-To", "Cc"]}), same),
        ("relaxed, blank lines more", "rsa2048", json!({}), blank_body),
        ("simple, blank lines more", "rsa2048", json!({"canonicalize": ["simple", "simple"]}), blank_body),
        ("body changed", "rsa2048", json!({}), other_body),
        ("header changed", "rsa2048", json!({}), other_header),
        ("long expired", "rsa2048", json!({"tags": {"t": "1000000000", "x": "1000000001"}}), same),
        ("small key", "rsa768", json!({}), same),
        ("From unsigned", "rsa2048", json!({"without_from": true}), same),
    ]
}

/// Variants, or mails, on which dkimpy and we differ, and why we are right.
const DIFFERENCES: [&str; 1] = [
    // dkimpy verifies a signature that leaves From out; RFC 6376 §5.4 says that it must not be left out.
    "From unsigned",
];

#[tokio::test]
async fn dkimpy_and_we_agree_on_the_mail_of_people() {
    let (Some(keys), Some(mut people)) = (Keys::get(), people()) else { return };
    let dns = Dns::start(|zone| people.iter().for_each(|person| keys.publish(zone, &person.from.ascii_domain())));
    let authenticator = authenticator(&dns);
    let (mut compared, mut passed, mut differ) = (0, 0, Vec::new());
    let jobs: Vec<Value> = people.iter().map(|person| keys.job(&person.mail, "example.org", "ed25519", &json!({}))).collect();
    let mut is_readable = run(&json!(jobs), None).unwrap().into_iter().map(|field| !field.is_null());
    people.retain(|person| {
        let is_readable = is_readable.next().unwrap();
        if !is_readable {
            println!("dkimpy cannot read the header of {}", person.file);
        }
        is_readable
    });
    for (name, kind, more, change) in variants() {
        let jobs: Vec<Value> = people.iter().map(|person| keys.job(&person.mail, &person.from.ascii_domain(), kind, &more)).collect();
        let fields = run(&json!(jobs), None).unwrap();
        let signed: Vec<Vec<u8>> = people.iter().zip(&fields).map(|(person, field)| change([decoded(field), person.mail.clone()].concat())).collect();
        let jobs: Vec<Value> = signed.iter().map(|mail| json!({"do": "verify", "mail": encoded(mail)})).collect();
        let theirs = run(&json!(jobs), Some(dns.address())).unwrap();
        for ((person, mail), theirs) in people.iter().zip(&signed).zip(theirs) {
            let evidence = authenticator.authenticate(mail, &person.from, &facts("bounce@elsewhere.net")).await;
            let (ours, theirs) = (evidence.word() == "dkim", theirs[0].as_bool().unwrap());
            compared += 1;
            passed += usize::from(ours);
            assert!(!ours || name != "From unsigned", "{}", person.file);
            if ours != theirs && !DIFFERENCES.iter().any(|known| *known == name || *known == person.file) {
                differ.push(format!("{name}: {}: we say {}, dkimpy says {theirs}", person.file, said(&evidence)));
            }
        }
    }
    println!("dkimpy and we: {compared} verdicts on {} mails of people, {passed} pass, {} differ", people.len(), differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(people.len() > 90 && passed >= 7 * people.len() && passed < compared);
}

#[tokio::test]
async fn two_signatures_are_judged_one_by_one_as_dkimpy_does() {
    let Some(keys) = Keys::get() else { return };
    let mail = b"From: joe@example.org\r\nSubject: please\r\n\r\nplease\r\n".to_vec();
    let dns = Dns::start(|zone| keys.publish(zone, "example.org"));
    let signed = keys.sign(&keys.sign(&mail, "example.org", "rsa2048", &json!({})), "example.org", "ed25519", &json!({"tags": {"bh": "AAAA"}}));
    let theirs = run(&json!([{"do": "verify", "mail": encoded(&signed)}]), Some(dns.address())).unwrap();
    let evidence = authenticator(&dns).authenticate(&signed, &Address::parse("joe@example.org").unwrap(), &facts("x@example.net")).await;
    let mut ours: Vec<bool> = evidence.lines().iter().filter(|line| line.method == "dkim").map(|line| line.result == "pass").collect();
    ours.sort_unstable();
    assert_eq!((json!(ours), &theirs[0]), (json!([false, true]), &json!([false, true])), "{}", said(&evidence));
}

#[tokio::test]
async fn authheaders_and_we_agree_on_dmarc() {
    let Some(keys) = Keys::get() else { return };
    let mail = b"From: joe@mail.example.org\r\nSubject: please\r\n\r\nplease\r\n".to_vec();
    let by_org = keys.sign(&mail, "example.org", "rsa2048", &json!({}));
    let by_self = keys.sign(&mail, "mail.example.org", "rsa2048", &json!({}));
    let by_other = keys.sign(&mail, "example.net", "rsa2048", &json!({}));
    let mut compared = 0;
    for record in ["v=DMARC1; p=none", "v=DMARC1; p=reject; adkim=s", "v=DMARC1; p=reject; aspf=s", "v=DMARC1; p=none; adkim=s; aspf=s"] {
        for at in ["_dmarc.example.org", "_dmarc.mail.example.org"] {
            let dns = Dns::start(|zone| {
                ["example.org", "mail.example.org", "example.net"].iter().for_each(|domain| keys.publish(zone, domain));
                zone.txt(at, record);
                for domain in ["example.org", "mail.example.org"] {
                    zone.txt(domain, format!("v=spf1 ip4:{CLIENT} -all"));
                }
            });
            let authenticator = authenticator(&dns);
            let mails = [&mail, &by_org, &by_self, &by_other];
            let cases: Vec<_> =
                mails.into_iter().flat_map(|mail| ["x@example.org", "x@mail.example.org", "x@elsewhere.net"].map(|sender| (mail, sender))).collect();
            let job = |(mail, sender): &(&Vec<u8>, &str)| json!({"do": "results", "mail": encoded(mail), "client": CLIENT, "mail_from": sender, "helo": "client.example.net"});
            let theirs = run(&cases.iter().map(job).collect(), Some(dns.address())).unwrap();
            for ((mail, sender), theirs) in cases.into_iter().zip(theirs) {
                let evidence = authenticator.authenticate(mail, &Address::parse("joe@mail.example.org").unwrap(), &facts(sender)).await;
                assert_eq!(evidence.word() == "dmarc", theirs == "pass", "{record} at {at}, {sender}: {} and {theirs}", said(&evidence));
                compared += 1;
            }
        }
    }
    println!("authheaders and we: {compared} verdicts on DMARC, none differs");
}

#[tokio::test]
async fn pyspf_and_we_agree_on_senders() {
    if Keys::get().is_none() {
        return;
    }
    let dns = Dns::start(|zone| {
        zone.txt("ip.example.org", "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/32 -all")
            .txt("soft.example.org", "v=spf1 ~all")
            .txt("neutral.example.org", "v=spf1 ?all");
        zone.txt("a.example.org", "v=spf1 a a:b.example.org/24 -all")
            .address("a.example.org", [198, 51, 100, 1])
            .address("b.example.org", [192, 0, 2, 77]);
        zone.txt("mx.example.org", "v=spf1 mx -all")
            .mx("mx.example.org", 1, "b.example.org")
            .mx("mx.example.org", 2, "c.example.org")
            .address("c.example.org", [192, 0, 2, 1]);
        zone.txt("include.example.org", "v=spf1 include:soft.example.org include:ip.example.org -all")
            .txt("redirect.example.org", "v=spf1 redirect=ip.example.org");
        zone.txt("macro.example.org", "v=spf1 exists:%{ir}.%{l1r-}.list.example.org -all").address("1.2.0.192.x.list.example.org", [127, 0, 0, 2]);
        zone.txt("broken.example.org", "v=spf1 foo -all").txt("two.example.org", "v=spf1 -all").txt("two.example.org", "v=spf1 ~all");
        zone.txt("v6.example.org", "v=spf1 a:d.example.org -all").address("d.example.org", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        zone.txt("self.example.org", "v=spf1 include:self.example.org -all").txt("missing.example.org", "v=spf1 include:nowhere.example.org -all");
    });
    let domains = ["ip", "soft", "neutral", "a", "mx", "include", "redirect", "macro", "broken", "two", "v6", "self", "missing", "none"];
    let clients = ["192.0.2.1", "198.51.100.1", "2001:db8::1", "203.0.113.9"];
    let cases: Vec<(String, &str)> = domains.iter().flat_map(|domain| clients.map(|client| (format!("x-y@{domain}.example.org"), client))).collect();
    let jobs: Vec<Value> =
        cases.iter().map(|(mail_from, client)| json!({"do": "sender", "client": client, "mail_from": mail_from, "helo": "h.example.net"})).collect();
    let theirs = run(&json!(jobs), Some(dns.address())).unwrap();
    let authenticator: Authenticator = authenticator(&dns);
    for ((mail_from, client), theirs) in cases.iter().zip(theirs) {
        let facts = Facts { mail_from: mail_from.clone(), client_address: (*client).into(), helo: "h.example.net".into(), ..Facts::default() };
        assert_eq!(authenticator.spf(&facts).await.word(), theirs.as_str().unwrap(), "{mail_from} from {client}");
    }
    println!("pyspf and we: {} verdicts, none differs", cases.len());
}
