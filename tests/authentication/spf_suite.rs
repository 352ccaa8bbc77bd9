//! The public RFC 7208 test suite: every case through our own call, against its own zones served on loopback. pyspf is
//! asked the same, so that a case which we fail is seen to be ours.

use std::net::IpAddr;

use replyfleet::envelope::Facts;
use replyfleet_tests::{
    dns::{Dns, Fault, Zone},
    repository, skipped,
};
use serde_json::{Value, json};

use crate::{python, settings};
use replyfleet_worker::authenticate::Authenticator;

/// Cases whose result is not the suite's, and why that is right.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// The suite's records of one name, as it means them: TXT records are there under the old type SPF, unless it says NONE.
fn fill(zone: &mut Zone, name: &str, records: &[Value]) {
    let has_txt = records.iter().any(|record| record.get("TXT").is_some());
    for record in records {
        let Some((kind, value)) = record.as_object().and_then(|record| record.iter().next()) else {
            assert_eq!(record, "TIMEOUT", "{name}");
            zone.fault(name, Fault::Failure);
            continue;
        };
        match (kind.as_str(), value) {
            ("TXT", Value::String(none)) if none == "NONE" => {}
            ("SPF", _) if has_txt => {}
            ("SPF" | "TXT", Value::String(text)) => _ = zone.txt_parts(name, &[&octets(text)]),
            ("SPF" | "TXT", Value::Array(parts)) => {
                let parts: Vec<Vec<u8>> = parts.iter().map(|part| octets(part.as_str().unwrap())).collect();
                zone.txt_parts(name, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            ("A" | "AAAA", Value::String(address)) => _ = zone.address(name, address.parse::<IpAddr>().unwrap()),
            ("MX", Value::Array(mx)) => _ = zone.mx(name, u16::try_from(mx[0].as_u64().unwrap()).unwrap(), mx[1].as_str().unwrap()),
            ("PTR", Value::String(host)) => _ = zone.ptr_at(name, host),
            ("CNAME", Value::String(target)) => _ = zone.cname(name, target),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// YAML's `\x96` came through as a character; it means the octet.
fn octets(text: &str) -> Vec<u8> {
    text.chars().flat_map(|c| u8::try_from(u32::from(c)).map_or_else(|_| c.to_string().into_bytes(), |octet| vec![octet])).collect()
}

#[tokio::test]
async fn every_case_of_the_rfc_7208_suite_has_its_result() {
    let path = repository().join("../shared/corpora/auth/spf-rfc7208/rfc7208-tests.yml");
    if !path.exists() {
        return skipped("no corpora beside the repository");
    }
    let Some(mut found) = python::run(&json!([{"do": "suite", "path": path}]), None) else { return };
    let (mut cases, mut wrong) = (0, Vec::new());
    for scenario in found.remove(0).as_array().unwrap().iter().filter(|scenario| !scenario.is_null()) {
        let dns = Dns::start(|zone| {
            for (name, records) in scenario["zonedata"].as_object().unwrap() {
                fill(zone, name, records.as_array().unwrap());
            }
        });
        let authenticator = Authenticator::open(&settings(&dns, json!({}))).unwrap();
        for (name, case) in scenario["tests"].as_object().unwrap() {
            cases += 1;
            let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
            let facts = Facts { mail_from: text("mailfrom"), helo: text("helo"), client_address: text("host"), ..Facts::default() };
            let result = authenticator.spf(&facts).await.word();
            let expected: Vec<&str> = match &case["result"] {
                Value::Array(list) => list.iter().map(|one| one.as_str().unwrap()).collect(),
                one => vec![one.as_str().unwrap()],
            };
            if !expected.contains(&result) && !EXCEPTIONS.iter().any(|(excepted, _)| excepted == name) {
                wrong.push(format!("{name}: {result} instead of {expected:?} ({facts_text})", facts_text = json!(case)));
            }
        }
    }
    println!("RFC 7208 suite: {} of {cases} cases as it says", cases - wrong.len() - EXCEPTIONS.len());
    assert!(cases > 190, "{cases} cases");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
