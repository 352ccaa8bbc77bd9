//! What is planned for some settings.

use super::*;

fn settings(change: impl FnOnce(String) -> String) -> Settings {
    let text = include_str!("../../../../docs/replyfleet.toml").replace("\"bounces@example.com\"", "\"bounces@bounce.example.com\"");
    let text = text.replace("# mx_hosts =", "mx_hosts =").replace("# spf =", "spf =").replace("# report_address =", "report_address =");
    Settings::parse(&change(text), "docs/replyfleet.toml", |_| None).expect("valid")
}

/// `example.com` is to be signed by us, the other domain of the catalogue by SES.
fn plan(settings: &Settings) -> Result<Plan, String> {
    let signer = Signer::open(settings).expect("no keys");
    let served = ["example.com", "bücher.example", "example.com"].into_iter();
    Plan::new(settings, served, &["example.com"].into(), &signer, UnixMillis(0))
}

fn names(plan: &Plan) -> Vec<(&str, &str)> {
    plan.entries.iter().map(|entry| (entry.purpose(), entry.name.as_str())).collect()
}

#[test]
fn every_domain_of_the_catalogue_and_the_bounce_address_gets_its_records() {
    let plan = plan(&settings(|text| text)).expect("a plan");
    let mut want = Vec::new();
    for domain in ["example.com", "xn--bcher-kva.example", "bounce.example.com"] {
        want.extend([("MX", domain.to_owned()), ("SPF", domain.to_owned()), ("DMARC", format!("_dmarc.{domain}"))]);
        if domain == "xn--bcher-kva.example" {
            want.push(("DMARC reports", format!("{domain}._report._dmarc.example.com")));
        }
        want.extend([("MTA-STS", format!("_mta-sts.{domain}")), ("TLS-RPT", format!("_smtp._tls.{domain}"))]);
    }
    assert_eq!(names(&plan), want.iter().map(|(purpose, name)| (*purpose, name.as_str())).collect::<Vec<_>>());
    let values: Vec<_> = plan.entries.iter().filter(|entry| entry.domain == "example.com").flat_map(|entry| entry.expected.values()).collect();
    assert_eq!(
        values[..4],
        [
            "10 mx1.example.com.",
            "20 mx2.example.com.",
            "v=spf1 include:amazonses.com ip4:192.0.2.10 -all",
            "v=DMARC1; p=none; rua=mailto:reports@example.com"
        ]
    );
    let gaps: Vec<_> = plan.gaps.iter().map(|gap| (gap.domain.as_str(), gap.what)).collect();
    assert_eq!(gaps, [("example.com", "DKIM"), ("xn--bcher-kva.example", "DKIM")], "nothing is From the bounce domain");
}

#[test]
fn what_others_shall_refuse_is_said_only_where_we_sign_or_send_nothing() {
    let of = |policy: &str| {
        let plan = plan(&settings(|text| text.replace("# dmarc_policy = \"reject\"", &format!("dmarc_policy = \"{policy}\"")))).expect("a plan");
        let dmarc = plan.entries.into_iter().filter(|entry| matches!(entry.expected, Expected::Dmarc { .. }));
        dmarc.map(|entry| (entry.domain, entry.expected.values().concat(), entry.notes.join(" "))).collect::<Vec<_>>()
    };
    for (policy, words) in [("quarantine", "p=none and not p=quarantine: no key of signing.keys signs"), ("none", "")] {
        let found = of(policy);
        let [ours, by_ses, bounce] = &found[..] else { panic!("{found:?}") };
        assert!(ours.0 == "example.com" && ours.1.starts_with("v=DMARC1; p=none;") && ours.2.contains(words), "{ours:?}");
        assert_eq!(ours.2.contains("signing.keys"), policy != "none");
        assert!(bounce.0 == "bounce.example.com" && bounce.1.contains(&format!("p={policy};")) && !bounce.2.contains("signing.keys"), "{bounce:?}");
        assert!(by_ses.1.contains(&format!("p={policy};")), "SES signs: {by_ses:?}");
        assert!(ours.2.contains("everybody's mail of example.com"));
    }
}

#[test]
fn the_id_of_mta_sts_changes_with_its_policy() {
    let id = |change: fn(String) -> String| {
        let plan = plan(&settings(change)).expect("a plan");
        let mut ids =
            plan.entries.into_iter().filter_map(|entry| if let Expected::MtaSts { id, policy } = entry.expected { Some((id, policy)) } else { None });
        ids.next_back().expect("a policy")
    };
    let (first, policy) = id(|text| text);
    assert_eq!(policy, "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: mx2.example.com\r\nmax_age: 604800\r\n");
    assert!(first.len() == MTA_STS_ID_CHARS && first.bytes().all(|byte| byte.is_ascii_alphanumeric()), "RFC 8461 §3.1: {first}");
    assert_eq!(id(|text| text).0, first);
    assert_ne!(id(|text| text.replace("# mta_sts = \"enforce\"", "mta_sts = \"testing\"")).0, first);
    assert_ne!(id(|text| text.replace("mx2.example.com", "mx3.example.com")).0, first);
}

#[test]
fn what_is_not_set_is_said_with_its_key() {
    let plan = plan(&settings(|text| {
        text.replace("\nmx_hosts =", "\n# mx_hosts =").replace("\nspf =", "\n# spf =").replace("\nreport_address =", "\n# report_address =")
    }))
    .expect("a plan");
    assert!(names(&plan).iter().all(|(purpose, _)| *purpose == "DMARC"), "{:?}", names(&plan));
    for key in ["dns.mx_hosts", "dns.spf", "signing.keys", "dns.report_address"] {
        assert!(plan.gaps.iter().any(|gap| gap.domain == "example.com" && gap.why.contains(key)), "{key}");
    }
}

#[test]
fn what_no_record_can_hold_is_refused_with_its_key() {
    for (from, to, words) in [
        ("\"mx1.example.com\",", "\"https://mx1.example.com\",", "dns.mx_hosts: \"https://mx1.example.com\" is no name of a host"),
        ("\"ip4:192.0.2.10\"", "\"ip4:192.0.2.10 ip4:192.0.2.11\"", "dns.spf: \"ip4:192.0.2.10 ip4:192.0.2.11\" is no term"),
        ("\"ip4:192.0.2.10\"", "\"~all\"", "dns.spf: \"~all\" is no term"),
        ("\"ip4:192.0.2.10\"", "\"v=spf1\"", "dns.spf: \"v=spf1\" is no term"),
        ("\"reports@example.com\"", "\"reports\"", "dns.report_address: is no address"),
    ] {
        let error = plan(&settings(|text| text.replace(from, to))).err().expect(words);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_address_in_a_uri_cannot_be_taken_for_a_list_or_a_size() {
    let address = |text| Address::parse(text).expect("valid");
    assert_eq!(mailto(&address("a.b+c@Bücher.example")), "mailto:a.b+c@xn--bcher-kva.example");
    assert_eq!(mailto(&address("a!10m%?@example.com")), "mailto:a%2110m%25%3F@example.com");
}

#[test]
fn a_day_is_said_as_the_settings_have_it() {
    assert_eq!(day(UnixMillis(1_795_219_200_000)), "2026-11-21");
    assert_eq!(day(UnixMillis(1_795_219_199_999)), "2026-11-20");
    let settings = settings(|text| text);
    assert_eq!(day(removable(UnixMillis(1_795_219_200_000), &settings)), "2026-11-26", "four days of waiting and one more");
}
