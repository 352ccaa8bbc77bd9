//! How findings are weighed: tables of what was found, and what that buys.

use super::*;
use crate::authenticate::results;

fn policy(record_at: Option<&str>, mode: Mode) -> Policy {
    Policy { record_at: record_at.map(str::to_owned), dkim: mode, spf: mode, ..Policy::default() }
}

fn signature(domain: &str, outcome: Outcome) -> Verdict {
    Verdict { domain: domain.into(), selector: "s".into(), outcome, replay_key: None }
}

fn spf(domain: &str, result: SpfResult) -> SpfFinding {
    SpfFinding::Asked(domain.into(), result)
}

fn nothing() -> Findings<'static> {
    Findings {
        from: "mail.example.org",
        policy: Some(policy(None, Mode::Relaxed)),
        dkim: vec![],
        spf: spf("other.net", SpfResult::None),
        arc: None,
        results: None,
    }
}

/// Word, trust and whether to wait, under the default settings.
fn weighed(findings: Findings<'_>) -> (&'static str, Trust, bool) {
    let settings = AuthenticationSettings::default();
    let evidence = findings.weigh(&settings);
    assert!(!evidence.lines().is_empty());
    assert!(!format!("{evidence:?}").contains("example"), "Debug names nobody");
    (evidence.word(), evidence.trust(&settings), evidence.waits())
}

#[test]
fn nothing_proves_nothing_and_waits_for_nothing() {
    assert_eq!(weighed(nothing()), ("nothing", Trust::None, false));
    let failed = Findings { dkim: vec![signature("example.org", Outcome::No("fail", "x"))], spf: spf("example.org", SpfResult::Fail), ..nothing() };
    assert_eq!(weighed(failed), ("nothing", Trust::None, false));
}

#[test]
fn dkim_counts_as_closely_as_the_record_asks() {
    let signed = |domain: &str, policy| Findings { dkim: vec![signature(domain, Outcome::Pass)], policy: Some(policy), ..nothing() };
    let (relaxed, strict) = (policy(Some("example.org"), Mode::Relaxed), policy(Some("example.org"), Mode::Strict));
    assert_eq!(weighed(signed("example.org", policy(None, Mode::Relaxed))), ("dkim", Trust::Full, false));
    assert_eq!(weighed(signed("example.org", relaxed)), ("dmarc", Trust::Full, false));
    assert_eq!(weighed(signed("example.org", strict.clone())), ("nothing", Trust::None, false));
    assert_eq!(weighed(signed("mail.example.org", strict)), ("dmarc", Trust::Full, false));
    assert_eq!(weighed(signed("example.net", policy(None, Mode::Relaxed))), ("nothing", Trust::None, false));
}

#[test]
fn spf_alone_is_small_without_a_record_and_full_with_one() {
    let sent = |domain: &str, policy| Findings { spf: spf(domain, SpfResult::Pass), policy: Some(policy), ..nothing() };
    assert_eq!(weighed(sent("bounce.example.org", policy(None, Mode::Relaxed))), ("spf", Trust::Small, false));
    assert_eq!(weighed(sent("bounce.example.org", policy(Some("example.org"), Mode::Relaxed))), ("dmarc", Trust::Full, false));
    assert_eq!(weighed(sent("bounce.example.org", policy(Some("example.org"), Mode::Strict))), ("nothing", Trust::None, false));
}

#[test]
fn the_settings_say_what_little_proof_buys() {
    let settings = |spf_only, unproven| AuthenticationSettings { spf_only, unproven, ..AuthenticationSettings::default() };
    let sent = || Findings { spf: spf("example.org", SpfResult::Pass), ..nothing() };
    for (spf_only, unproven, proven, expected) in [
        (Trust::Full, Trust::None, true, Trust::Full),
        (Trust::None, Trust::None, true, Trust::None),
        (Trust::None, Trust::Small, true, Trust::Small), // never less than a mail for which nothing speaks
        (Trust::Full, Trust::Small, false, Trust::Small),
    ] {
        let settings = settings(spf_only, unproven);
        let findings = if proven { sent() } else { nothing() };
        assert_eq!(findings.weigh(&settings).trust(&settings), expected);
    }
    assert_eq!(Evidence::off().trust(&settings(Trust::Small, Trust::Full)), Trust::Full);
    assert_eq!(Evidence::off().word(), "off");
}

#[test]
fn what_is_temporary_is_waited_for_only_if_it_could_count() {
    let key_away = |domain: &str| Findings { dkim: vec![signature(domain, Outcome::Temporary)], ..nothing() };
    assert_eq!(weighed(key_away("example.org")), ("nothing", Trust::None, true));
    assert_eq!(weighed(key_away("example.net")), ("nothing", Trust::None, false));
    let strict = Findings { policy: Some(policy(Some("example.org"), Mode::Strict)), ..key_away("example.org") };
    assert_eq!(weighed(strict), ("nothing", Trust::None, false));

    let spf_away = |domain: &str| Findings { spf: spf(domain, SpfResult::TempError), ..nothing() };
    assert_eq!(weighed(spf_away("example.org")), ("nothing", Trust::None, true));
    assert_eq!(weighed(spf_away("example.net")), ("nothing", Trust::None, false));

    let proven = Findings {
        dkim: vec![signature("example.org", Outcome::Pass), signature("mail.example.org", Outcome::Temporary)],
        ..spf_away("example.org")
    };
    assert_eq!(weighed(proven), ("dkim", Trust::Full, false), "there is no more to have");
    let chain = Findings { arc: Some(Chain::Temporary), ..nothing() };
    assert_eq!(weighed(chain), ("nothing", Trust::None, true));
}

#[test]
fn nobody_waits_for_what_buys_nothing() {
    let settings = AuthenticationSettings { unproven: Trust::Full, ..AuthenticationSettings::default() };
    let findings = Findings { dkim: vec![signature("example.org", Outcome::Temporary)], ..nothing() };
    assert!(!findings.weigh(&settings).waits());
    let settings = AuthenticationSettings { spf_only: Trust::None, ..AuthenticationSettings::default() };
    let findings = Findings { spf: spf("example.org", SpfResult::TempError), ..nothing() };
    assert!(!findings.weigh(&settings).waits());
}

#[test]
fn without_an_answer_about_dmarc_only_the_very_same_domain_counts() {
    let signed = |domain: &str| Findings { dkim: vec![signature(domain, Outcome::Pass)], policy: None, ..nothing() };
    assert_eq!(weighed(signed("mail.example.org")), ("dkim", Trust::Full, false));
    assert_eq!(weighed(signed("example.org")), ("nothing", Trust::None, true));
    assert_eq!(weighed(signed("example.net")), ("nothing", Trust::None, false));
    let sent = |domain: &str| Findings { spf: spf(domain, SpfResult::Pass), policy: None, ..nothing() };
    assert_eq!(weighed(sent("mail.example.org")), ("spf", Trust::Small, true), "a record would make it full");
    assert_eq!(weighed(sent("example.org")), ("nothing", Trust::None, true));
}

fn ours(text: &str) -> Findings<'static> {
    Findings { results: Some(Some(results::parse(text).expect(text))), ..nothing() }
}

#[test]
fn believed_results_count_as_if_we_had_found_them() {
    for (text, expected) in [
        ("mx; dmarc=pass header.from=mail.example.org", ("results", Trust::Full)),
        ("mx; dmarc=pass header.from=MAIL.example.ORG", ("results", Trust::Full)),
        ("mx; dmarc=pass header.from=example.org", ("nothing", Trust::None)),
        ("mx; dmarc=fail header.from=mail.example.org", ("nothing", Trust::None)),
        ("mx; dmarc=pass", ("nothing", Trust::None)),
        ("mx; dkim=pass header.d=example.org", ("results", Trust::Full)),
        ("mx; dkim=pass header.i=joe@mail.example.org", ("results", Trust::Full)),
        ("mx; dkim=pass header.i=@example.org", ("results", Trust::Full)),
        ("mx; dkim=pass header.d=example.net header.i=@mail.example.org", ("nothing", Trust::None)),
        ("mx; dkim=pass header.d=example.org header.d=example.net", ("nothing", Trust::None)),
        ("mx; dkim=pass header.d=example.org header.a=rsa-sha1", ("nothing", Trust::None)),
        ("mx; dkim=policy header.d=example.org", ("nothing", Trust::None)),
        ("mx; dkim=fail header.d=example.org; dkim=pass header.d=example.org", ("results", Trust::Full)),
        ("mx; spf=pass smtp.mailfrom=x@example.org", ("results", Trust::Small)),
        ("mx; spf=pass smtp.mailfrom=example.org", ("results", Trust::Small)),
        ("mx; spf=pass smtp.helo=example.org", ("nothing", Trust::None)),
        ("mx; auth=pass smtp.auth=x@mail.example.org", ("nothing", Trust::None)),
        ("mx; none", ("nothing", Trust::None)),
    ] {
        let (word, trust, waits) = weighed(ours(text));
        assert_eq!((word, trust), expected, "{text}");
        assert!(!waits, "{text}");
    }
}

#[test]
fn believed_results_add_and_never_lower() {
    let signed = Findings {
        dkim: vec![signature("example.org", Outcome::Pass)],
        ..ours("mx; dmarc=fail header.from=mail.example.org; dkim=fail header.d=example.org")
    };
    assert_eq!(weighed(signed), ("dkim", Trust::Full, false));
    let malformed = Findings { dkim: vec![signature("example.org", Outcome::Pass)], results: Some(None), ..nothing() };
    assert_eq!(weighed(malformed), ("dkim", Trust::Full, false));
}

#[test]
fn a_chain_counts_by_what_its_first_sealer_saw() {
    let chain = |text| Findings { arc: Some(Chain::Pass(results::parse(text).expect(text))), ..nothing() };
    assert_eq!(weighed(chain("f; dmarc=pass header.from=mail.example.org")), ("arc", Trust::Full, false));
    assert_eq!(weighed(chain("f; dkim=pass header.d=example.net")), ("nothing", Trust::None, false));
    let broken = Findings { arc: Some(Chain::No("fail", "x")), ..nothing() };
    assert_eq!(weighed(broken), ("nothing", Trust::None, false));
}

#[test]
fn every_line_names_a_rule_and_a_word_of_the_registry() {
    let settings = AuthenticationSettings::default();
    let findings = Findings {
        dkim: vec![
            signature("example.org", Outcome::No("policy", "l= leaves a part of the body unsigned")),
            signature("example.org", Outcome::Temporary),
        ],
        arc: Some(Chain::No("policy", "x")),
        policy: None,
        ..ours("mx; none")
    };
    let lines = findings.weigh(&settings).lines();
    let rules: Vec<_> = lines.iter().map(|line| (line.rule, line.method, line.result)).collect();
    let expected = [
        (22, "dkim", "policy"),
        (23, "dkim", "temperror"),
        (21, "spf", "none"),
        (23, "dmarc", "temperror"),
        (21, "arc", "policy"),
        (24, "authentication-results", "neutral"),
    ];
    assert_eq!(rules, expected);
    assert!(lines[0].detail.contains("d=example.org s=s: l="), "{}", lines[0].detail);
}
