//! `replyfleet dns`: what it prints is a zone file, in the eyes of another program; served by a real DNS server it is all
//! there, and what is taken away, changed or silent is said.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use replyfleet_tests::{
    dns::{Dns, Fault, Zone},
    ministack::venv,
    skipped,
};
use serde_json::{Value, json};

use replyfleet_tests::installation::{Installation, said_to};

/// dnspython reads a zone file and says its records: name, TTL, type, and strings or preference and host.
const READER: &str = r#"
import dns.zone, json, sys
zone = dns.zone.from_text(sys.stdin.read(), origin=".", relativize=False, check_origin=False)
records = []
for name, ttl, data in zone.iterate_rdatas():
    kind = dns.rdatatype.to_text(data.rdtype)
    value = [text.decode() for text in data.strings] if kind == "TXT" else [str(data.preference), data.exchange.to_text(omit_final_dot=True)]
    records.append([name.to_text(omit_final_dot=True), ttl, kind, value])
print(json.dumps(records))
"#;

/// An installation with all of `[dns]` and keys of both algorithms, one of which does not sign any more.
fn installation(dns: &Dns) -> Installation {
    let world = Installation::with_authentication(&format!(r#"resolver = "{}", timeout_s = 3"#, dns.address()));
    for (name, algorithm) in [("rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..]), ("curve", &["ed25519"]), ("old", &["ed25519"])] {
        let path = world.path(&format!("{name}.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-out"]).arg(&path).arg("-algorithm").args(algorithm).stderr(Stdio::null());
        assert!(openssl.status().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let more = r#"
        [dns]
        mx_hosts = ["mx1.example.com", "mx2.example.net"]
        spf = ["include:amazonses.com", "ip4:192.0.2.10"]
        report_address = "reports@example.net"
        [signing]
        keys = [
            { domain = "example.com", selector = "rsa", key = "file:DIR/rsa.pem", sign_from = 2026-01-01 },
            { domain = "example.com", selector = "curve", key = "file:DIR/curve.pem", sign_from = 2126-12-01, sign_until = 2127-12-01 },
            { domain = "example.com", selector = "old", key = "file:DIR/old.pem", sign_from = 2001-01-01, sign_until = 2002-01-01 },
        ]
    "#;
    let settings = fs::read_to_string(world.path("replyfleet.toml")).unwrap();
    world.write("replyfleet.toml", &(settings + &more.replace("DIR", world.path("").to_str().unwrap().trim_end_matches('/'))));
    world
}

/// Every name, type and state of a check.
fn states(checked: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checked["records"].as_array().unwrap().iter().map(|record| (text(&record["name"]), text(&record["for"]), text(&record["state"]))).collect()
}

/// The check's JSON, and its status.
fn check(world: &Installation) -> (Option<i32>, Value) {
    let (status, said) = world.run(&["dns", "--check", "--json"]);
    (status, serde_json::from_str(&said).expect(&said))
}

#[test]
fn what_is_printed_is_a_zone_file_and_served_as_such_it_is_all_there() {
    let python = venv().join("bin/python");
    let has_dnspython = Command::new(&python).args(["-c", "import dns.zone"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has_dnspython {
        return skipped("no dnspython; tests/run installs it");
    }
    let dns = Dns::start(|_| {});
    let world = installation(&dns);
    let (status, zone) = world.run(&["dns"]);
    assert_eq!(status, Some(0), "{zone}");
    for comment in [
        "; DKIM: what verifies signatures with selector rsa, which signs now",
        "; DKIM: what verifies signatures with selector curve, which signs from 2126-12-01 to 2127-12-01",
        ";   to be removed on 2127-12-06 or later, not before",
        "; DKIM: what verifies signatures with selector old, which has not signed since 2002-01-01",
        ";   it holds for everybody's mail of example.com, not only for ours",
        ";   the file https://mta-sts.example.com/.well-known/mta-sts.txt, served first, with these lines:",
        ";     mx: mx2.example.net",
    ] {
        assert!(zone.lines().any(|line| line == comment), "{comment}: {zone}");
    }
    let (status, said) = said_to(Command::new(python).args(["-c", READER]), &zone);
    assert_eq!(status, Some(0), "{said}{zone}");
    let records: Vec<(String, u32, String, Vec<String>)> = serde_json::from_str(&said).unwrap();
    dns.change(|served| records.iter().for_each(|(name, _, kind, value)| serve(served, name, kind, value)));
    let rsa = records.iter().find(|(name, ..)| name == "rsa._domainkey.example.com").expect("a key").3.clone();
    assert!(rsa.len() == 2 && rsa[0].len() == 255 && rsa.concat().starts_with("v=DKIM1; k=rsa; p=MIIB"), "cut, and whole again: {rsa:?}");

    let (status, said) = world.run(&["dns", "--check"]);
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("example.com")).collect();
    assert!(lines.len() == 9 && lines.iter().all(|line| line.contains(" ok ") || line.trim_end().ends_with(" ok")), "{said}");
    let (status, checked) = check(&world);
    assert_eq!((status, &checked["is_good"], &checked["not_set"]), (Some(0), &json!(true), &json!([])), "{checked}");
    assert!(states(&checked).iter().all(|(_, _, state)| state == "ok") && states(&checked).len() == 9, "{checked}");
}

fn serve(zone: &mut Zone, name: &str, kind: &str, value: &[String]) {
    match kind {
        "TXT" => zone.txt_parts(name, &value.iter().map(String::as_bytes).collect::<Vec<_>>()),
        "MX" => zone.mx(name, value[0].parse().unwrap(), &value[1]),
        other => panic!("{other} at {name}"),
    };
}

#[test]
fn what_is_taken_away_changed_or_silent_is_said_and_the_rest_stays_good() {
    let served = Dns::start(|_| {});
    let world = installation(&served);
    let printed = world.json(&["dns"]);
    let records: Vec<(String, String, String, Vec<String>)> = printed["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| serde_json::from_value(json!([record["name"], record["for"], record["type"], record["values"]])).unwrap())
        .collect();
    let purposes: Vec<&str> = records.iter().map(|(_, purpose, ..)| purpose.as_str()).collect();
    assert_eq!(purposes, ["MX", "SPF", "DKIM", "DKIM", "DKIM", "DMARC", "DMARC reports", "MTA-STS", "TLS-RPT"]);
    // All but one entry, and in its place other values.
    let serve_with = |index: usize, instead: &[&str]| {
        served.change(|zone| {
            records.iter().for_each(|(name, ..)| {
                zone.remove(name);
            });
            for (number, (name, _, kind, values)) in records.iter().enumerate() {
                let values: Vec<&str> = if number == index { instead.to_vec() } else { values.iter().map(String::as_str).collect() };
                for value in values {
                    let words: Vec<String> = match kind.as_str() {
                        "MX" => value.trim_end_matches('.').split(' ').map(str::to_owned).collect(),
                        _ => vec![value[..value.len().min(255)].to_owned(), value[value.len().min(255)..].to_owned()],
                    };
                    serve(zone, name, kind, &words);
                }
            }
        });
    };
    let changed: [&[&str]; 9] = [
        &["10 mx1.example.com."],
        &["v=spf1 include:amazonses.com -all"],
        &["v=DKIM1; k=rsa; p="],
        &["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
        &["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
        &["v=DMARC1; p=none"],
        &["v=DMARC1", "v=DMARC1"],
        &["v=STSv1; id=20261121;"],
        &["v=TLSRPTv1; rua=mailto:reports@example.org"],
    ];
    for (index, changed) in changed.iter().enumerate() {
        // The key that ended long ago may be missing.
        let missing = if index == 4 { "ok" } else { "missing" };
        for (instead, want) in [(&[][..], missing), (changed, "differs")] {
            serve_with(index, instead);
            let (status, checked) = check(&world);
            for (number, (name, purpose, state)) in states(&checked).into_iter().enumerate() {
                assert_eq!(state, if number == index { want } else { "ok" }, "{purpose} at {name}, with {index} changed: {checked}");
            }
            assert_eq!((status, &checked["is_good"]), (Some(i32::from(want != "ok")), &json!(want == "ok")));
            let (_, said) = world.run(&["dns", "--check"]);
            assert_eq!(said.contains("  should be "), want != "ok", "{said}");
            assert_eq!(said.contains("  there is  "), want == "differs", "{said}");
        }
        serve_with(index, &[]);
        served.change(|zone| {
            zone.fault(&records[index].0, Fault::Failure);
        });
        let (status, checked) = check(&world);
        assert_eq!((status, states(&checked)[index].2.as_str()), (Some(1), "DNS does not answer"), "{checked}");
    }
}

#[test]
fn what_the_settings_leave_open_is_said_and_nothing_is_made() {
    let world = Installation::new();
    let (status, said) = world.run(&["dns"]);
    assert_eq!(status, Some(0), "{said}");
    for key in ["; No MX: dns.mx_hosts", "; No SPF: dns.spf", "; No DKIM: signing.keys", "; No MTA-STS: dns.mx_hosts", "dns.report_address"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(said.contains("\n_dmarc.example.com. 3600 IN TXT \"v=DMARC1; p=none\"\n"), "{said}");
    assert!(said.contains("\n;   p=none and not p=reject: no key of signing.keys signs for it today"), "{said}");
    assert!(!world.path("spool").exists());
    world.write("store/catalogue/catalogue.json", "[");
    let (status, said) = world.run(&["dns"]);
    assert!(status == Some(1) && said.contains("catalogue.json: line 1"), "{said}");
}

#[test]
fn a_key_that_cannot_be_read_is_named() {
    let world = installation(&Dns::start(|_| {}));
    fs::set_permissions(world.path("rsa.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let (status, said) = world.run(&["dns"]);
    assert!(status == Some(1) && said.contains("signing.keys: domain example.com, selector rsa: ") && said.contains("chmod o-rwx"), "{said}");
}
