//! The RFCs' own signed mails and those with forged results, each by its verdict. They lie beside the repository.

use std::path::PathBuf;

use replyfleet::{clock::UnixMillis, envelope::Facts};
use replyfleet_tests::{
    dns::{Dns, Zone},
    repository, skipped,
};
use replyfleet_worker::{
    address::Address,
    authenticate::{Authenticator, Evidence},
    request,
};
use serde_json::json;

use crate::{facts, said, settings};

/// RFC 6376 appendix C: the key of example.com's selector brisbane (also RFC 8463's selector test, at another domain).
const BRISBANE: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
/// RFC 8463 appendix A.2.
const BRISBANE_ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const TEST_RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

fn publish(zone: &mut Zone) {
    zone.txt("brisbane._domainkey.example.com", BRISBANE);
    zone.txt("brisbane._domainkey.football.example.com", BRISBANE_ED25519).txt("test._domainkey.football.example.com", TEST_RSA);
}

fn folder(name: &str) -> Option<Vec<PathBuf>> {
    let folder = repository().join("../shared/corpora/auth").join(name);
    if !folder.is_dir() {
        skipped("no corpora beside the repository");
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    Some(files)
}

/// The verdict on a file that comes now; `None` if it has no From that could be answered.
async fn judged(authenticator: &Authenticator, mail: &[u8]) -> Option<Evidence> {
    judged_at(authenticator, mail, UnixMillis::now()).await
}

async fn judged_at(authenticator: &Authenticator, mail: &[u8], arrived: UnixMillis) -> Option<Evidence> {
    let from: Address = request::read(mail, 1 << 20).unwrap().from.ok()?;
    Some(authenticator.authenticate(mail, &from, &Facts { arrived, ..facts("bounce@elsewhere.net") }).await)
}

#[tokio::test]
async fn the_rfcs_examples_have_the_verdicts_of_their_names() {
    let Some(files) = folder("rfc-examples") else { return };
    let dns = Dns::start(publish);
    let authenticator = Authenticator::open(&settings(&dns, json!({}))).unwrap();
    let mut found = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        // Just after they were signed: RFC 6376's have a Date, RFC 8463's a t=.
        let arrived = UnixMillis(if name.starts_with("rfc8463") { 1_528_637_910_000 } else { 1_057_982_438_000 });
        let evidence = judged_at(&authenticator, &std::fs::read(&file).unwrap(), arrived).await;
        let dkim = evidence.map(|evidence| {
            let lines = evidence.lines();
            println!("{name}: {}", said(&evidence));
            (evidence.word(), lines.into_iter().filter(|line| line.method == "dkim").map(|line| line.result).collect::<Vec<_>>())
        });
        found.push((name, dkim));
    }
    let expected = [
        ("ill_formed-from", None),
        ("rfc6376-A.2-body_modified", Some(("nothing", vec!["fail"]))),
        ("rfc6376-A.2-header_subject_modified", Some(("nothing", vec!["fail"]))),
        ("rfc6376-A.2-ill_formed-list_id", Some(("dkim", vec!["pass"]))),
        ("rfc6376-A.2-ill_formed-missing_v", Some(("nothing", vec!["permerror"]))),
        ("rfc6376-A.2", Some(("dkim", vec!["pass"]))),
        // The two selectors are exchanged: each signature finds the other's key.
        ("rfc8463-A.3-key_algo_mismatch", Some(("nothing", vec!["policy", "policy"]))),
        ("rfc8463-A.3", Some(("dkim", vec!["pass", "pass"]))),
    ];
    let found: Vec<_> = found.iter().map(|(name, verdict)| (name.as_str(), verdict.clone())).collect();
    assert_eq!(found, expected);
}

/// What an attacker writes into a mail, whoever it claims to be by, and wherever it stands among others.
const FORGED: &str =
    "dmarc=pass header.from=football.example.com; dkim=pass header.d=football.example.com; spf=pass smtp.mailfrom=football.example.com";

#[tokio::test]
async fn a_forged_result_buys_nothing_at_any_position() {
    let Some(files) = folder("forged-results") else { return };
    // No keys and no SPF: nothing but the results speaks for the sender.
    let dns = Dns::start(|_| {});
    let open = |more| Authenticator::open(&settings(&dns, more)).unwrap();
    let (without, with) = (open(json!({})), open(json!({"authserv_id": "mx.responder.example"})));
    let (mut asked, mut believed) = (0, 0);
    for file in files {
        let mail = String::from_utf8(std::fs::read(&file).unwrap()).unwrap().replace("\r\n", "\n");
        let (header, body) = mail.split_once("\n\n").unwrap();
        let fields = fields(header);
        for id in [
            "mx.example.net",
            "mx.responder.example.evil.net",
            "responder.example",
            "(mx.responder.example) evil.net",
            "\"mx.responder.example evil\"",
        ] {
            for at in 0..=fields.len() {
                let mut fields = fields.clone();
                fields.insert(at, format!("Authentication-Results: {id}; {FORGED}"));
                let mail = format!("{}\n\n{body}", fields.join("\n"));
                for authenticator in [&without, &with] {
                    let evidence = judged(authenticator, mail.as_bytes()).await.unwrap();
                    asked += 1;
                    believed += usize::from(evidence.word() != "nothing");
                }
            }
        }
    }
    println!("forged results: {believed} of {asked} believed");
    assert!(asked > 500 && believed == 0);
}

#[tokio::test]
async fn of_our_own_results_only_the_topmost_is_believed() {
    let dns = Dns::start(|_| {});
    let authenticator = Authenticator::open(&settings(&dns, json!({"authserv_id": "MX.responder.example"}))).unwrap();
    let (ours, failed) = (format!("mx.responder.example; {FORGED}"), "mx.responder.example; dkim=fail header.d=football.example.com".to_owned());
    let foreign = format!("mx.example.net; {FORGED}");
    for (values, word) in [
        (vec![&ours], "results"),
        (vec![&foreign, &ours], "results"),
        (vec![&ours, &failed], "results"),
        (vec![&failed, &ours], "nothing"),
        (vec![&"mx.responder.example; none".to_owned(), &ours], "nothing"),
        (vec![&"mx.responder.example; dkim=".to_owned(), &ours], "nothing"),
        (vec![&"mx.responder.example 2; dkim=pass".to_owned(), &ours], "nothing"),
        (vec![&"mx.responder.example; \u{fffd}".to_owned(), &ours], "nothing"),
    ] {
        let fields: String = values.iter().map(|value| format!("Authentication-Results: {value}\n")).collect();
        let mail = format!("{fields}From: joe@football.example.com\n\nplease\n");
        let evidence = judged(&authenticator, mail.as_bytes()).await.unwrap();
        assert_eq!(evidence.word(), word, "{values:?}: {}", said(&evidence));
    }
}

/// The fields of a header, each with its continuation lines.
fn fields(header: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(&format!("\n{line}")),
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}
