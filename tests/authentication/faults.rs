//! Everything that DNS can do wrong (rule 23), the cache, and a name server that we did not write.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use replyfleet::envelope::Facts;
use replyfleet_tests::{
    dns::{Dns, Fault},
    eventually,
    ministack::free_port,
    skipped,
};
use replyfleet_worker::authenticate::{Authenticator, DomainFault, SpfResult};
use serde_json::json;

use crate::{CLIENT, address, authenticator, facts, python::Keys, said, settings};

const FROM: &str = "joe@example.org";
const MAIL: &[u8] = b"From: joe@example.org\r\nSubject: please\r\n\r\nplease\r\n";

/// An SPF check of a mail from example.org.
async fn spf(dns: &Dns) -> SpfResult {
    authenticator(dns).spf(&facts(FROM)).await
}

#[tokio::test]
async fn what_dns_does_not_say_is_waited_for_where_it_could_count() {
    let Some(keys) = Keys::get() else { return };
    let signed = keys.sign(MAIL, "example.org", "rsa2048", &json!({}));
    let unaligned = keys.sign(MAIL, "example.net", "rsa2048", &json!({}));
    let key = "rsa2048._domainkey.example.org";
    for (at, fault, mail, mail_from, waits) in [
        (key, Fault::Failure, &signed, "x@example.net", true),
        (key, Fault::Silence, &signed, "x@example.net", true),
        ("rsa2048._domainkey.example.net", Fault::Failure, &unaligned, "x@example.net", false),
        ("example.org", Fault::Failure, &MAIL.to_vec(), "x@example.org", true),
        ("example.org", Fault::Silence, &MAIL.to_vec(), "x@example.org", true),
        ("example.net", Fault::Failure, &MAIL.to_vec(), "x@example.net", false),
        // Whether DMARC asks for more is unknown, but nothing was proven that it could turn into something.
        ("_dmarc.example.org", Fault::Failure, &MAIL.to_vec(), "x@example.net", false),
    ] {
        let dns = Dns::start(|zone| _ = zone.fault(at, fault));
        let authenticator = Authenticator::open(&settings(&dns, json!({"timeout_s": 1}))).unwrap();
        let evidence = authenticator.authenticate(mail, &address(FROM), &facts(mail_from)).await;
        assert_eq!((evidence.word(), evidence.waits()), ("nothing", waits), "{at} {fault:?}: {}", said(&evidence));
    }
}

#[tokio::test]
async fn a_mail_that_waited_is_proven_once_dns_answers_again() {
    let Some(keys) = Keys::get() else { return };
    let signed = keys.sign(MAIL, "example.org", "rsa2048", &json!({}));
    let key = "rsa2048._domainkey.example.org";
    let dns = Dns::start(|zone| _ = zone.fault(key, Fault::Failure));
    let authenticator = authenticator(&dns);
    assert!(authenticator.authenticate(&signed, &address(FROM), &facts("x@example.net")).await.waits());
    dns.change(|zone| keys.publish(zone.remove(key), "example.org"));
    let evidence = authenticator.authenticate(&signed, &address(FROM), &facts("x@example.net")).await;
    assert_eq!((evidence.word(), evidence.waits()), ("dkim", false), "{}", said(&evidence));
}

#[tokio::test]
async fn what_is_proven_stays_proven_at_the_deadline() {
    let Some(keys) = Keys::get() else { return };
    let signed = keys.sign(MAIL, "example.org", "rsa2048", &json!({}));
    let dns = Dns::start(|zone| {
        keys.publish(zone, "example.org");
        // The record that could ask for more, and SPF, never come.
        zone.fault("_dmarc.example.org", Fault::Silence).fault("example.org", Fault::Silence);
    });
    let authenticator = Authenticator::open(&settings(&dns, json!({"timeout_s": 1}))).unwrap();
    let start = Instant::now();
    let evidence = authenticator.authenticate(&signed, &address(FROM), &facts(FROM)).await;
    assert_eq!((evidence.word(), evidence.waits()), ("dkim", false), "{}", said(&evidence));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_silent_server_costs_the_set_time_however_much_there_is_to_ask() {
    let includes: String = (0..9).map(|n| format!(" include:i{n}.example.org")).collect();
    let dns = Dns::start(|zone| {
        zone.txt("example.org", format!("v=spf1{includes} -all"));
        for n in 0..9 {
            zone.fault(&format!("i{n}.example.org"), Fault::Silence).fault(&format!("s{n}._domainkey.example.org"), Fault::Silence);
        }
    });
    let signatures: String = (0..9)
        .map(|n| format!("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s{n}; h=from; c=simple/simple; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\r\n"))
        .collect();
    let mail = format!("{signatures}From: joe@example.org\r\n\r\n");
    let authenticator = Authenticator::open(&settings(&dns, json!({"timeout_s": 1}))).unwrap();
    let start = Instant::now();
    let evidence = authenticator.authenticate(mail.as_bytes(), &address(FROM), &facts(FROM)).await;
    assert!(evidence.waits() && evidence.word() == "nothing", "{}", said(&evidence));
    assert_eq!(evidence.lines().iter().filter(|line| line.result == "temperror").count(), 10, "{}", said(&evidence));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn spf_asks_ten_times_and_finds_nothing_twice_at_most() {
    let chain = |links: usize| {
        Dns::start(|zone| {
            zone.txt("example.org", "v=spf1 include:i1.example.org -all");
            for n in 1..links {
                zone.txt(&format!("i{n}.example.org"), format!("v=spf1 include:i{}.example.org -all", n + 1));
            }
            zone.txt(&format!("i{links}.example.org"), format!("v=spf1 ip4:{CLIENT} -all"));
        })
    };
    assert_eq!(spf(&chain(10)).await, SpfResult::Pass);
    assert_eq!(spf(&chain(11)).await, SpfResult::PermError);
    let voids = |count: usize| {
        let terms: String = (0..count).map(|n| format!(" a:void{n}.example.org")).collect();
        Dns::start(|zone| _ = zone.txt("example.org", format!("v=spf1{terms} ip4:{CLIENT} -all")))
    };
    assert_eq!(spf(&voids(2)).await, SpfResult::Pass);
    assert_eq!(spf(&voids(3)).await, SpfResult::PermError);
    let looped = Dns::start(|zone| _ = zone.txt("example.org", "v=spf1 include:example.org -all"));
    assert_eq!(spf(&looped).await, SpfResult::PermError);
    assert!(looped.asked_in_all() < 15);
}

#[tokio::test]
async fn spf_alone_makes_small_or_with_a_dmarc_record_full() {
    for (record, word) in [(None, "spf"), (Some("v=DMARC1; p=none"), "dmarc")] {
        let dns = Dns::start(|zone| {
            zone.txt("example.org", format!("v=spf1 ip4:{CLIENT} -all"));
            if let Some(record) = record {
                zone.txt("_dmarc.example.org", record);
            }
        });
        let evidence = authenticator(&dns).authenticate(MAIL, &address(FROM), &facts(FROM)).await;
        assert_eq!(evidence.word(), word, "{}", said(&evidence));
        let mapped = Facts { client_address: format!("::ffff:{CLIENT}"), ..facts(FROM) };
        assert_eq!(authenticator(&dns).authenticate(MAIL, &address(FROM), &mapped).await.word(), word);
        for client in ["", "unknown", "192.0.2.300"] {
            let unknown = Facts { client_address: client.into(), ..facts(FROM) };
            let evidence = authenticator(&dns).authenticate(MAIL, &address(FROM), &unknown).await;
            assert_eq!((evidence.word(), evidence.waits()), ("nothing", false), "{client:?}");
        }
        let by_helo = Facts { mail_from: String::new(), helo: "example.org".into(), ..facts("") };
        assert_eq!(authenticator(&dns).authenticate(MAIL, &address(FROM), &by_helo).await.word(), "nothing");
    }
}

#[tokio::test]
async fn spf_is_not_asked_where_it_could_not_count() {
    for (mail_from, is_asked) in
        [("joe@example.org", true), ("joe@bounce.example.org", true), ("joe@example.net", false), ("joe@org", false), ("", false), ("joe", false)]
    {
        let dns = Dns::start(|zone| {
            for domain in ["example.org", "bounce.example.org", "example.net", "client.example.net"] {
                zone.txt(domain, format!("v=spf1 ip4:{CLIENT} -all"));
            }
        });
        let evidence = authenticator(&dns).authenticate(MAIL, &address(FROM), &facts(mail_from)).await;
        let asked: usize =
            ["example.org", "bounce.example.org", "example.net", "client.example.net", "org"].iter().map(|name| dns.asked(name, "TXT")).sum();
        assert_eq!((asked > 0, evidence.word() == "spf"), (is_asked, is_asked), "{mail_from}: {}", said(&evidence));
        assert_eq!(said(&evidence).contains("not asked: not aligned with From"), !is_asked, "{mail_from}: {}", said(&evidence));
    }
}

#[tokio::test]
async fn mail_of_a_silent_domain_soon_costs_no_time() {
    let dns = Dns::start(|zone| {
        for n in 0..40 {
            zone.fault(&format!("n{n}.example.org"), Fault::Silence);
        }
        zone.mx("n0.example.net", 10, "mx.example.net");
    });
    let authenticator = Authenticator::open(&settings(&dns, json!({"timeout_s": 1}))).unwrap();
    let start = Instant::now();
    for n in 0..40 {
        let mut ends = Vec::new();
        for _ in 0..5 {
            ends.push(authenticator.mail_hosts(&format!("n{n}.example.org")).await);
        }
        assert_eq!(ends, vec![Err(DomainFault::Temporary); 5]);
    }
    assert!(start.elapsed() < Duration::from_secs(6), "200 mails took {:?}", start.elapsed());
    assert!(authenticator.mail_hosts("n0.example.net").await.is_ok(), "nobody else is touched");
}

#[tokio::test]
async fn loops_and_floods_in_dns_end() {
    let dns = Dns::start(|zone| {
        zone.cname("example.org", "b.example.org").cname("b.example.org", "example.org");
    });
    let start = Instant::now();
    assert!(matches!(spf(&dns).await, SpfResult::None | SpfResult::TempError));
    assert!(start.elapsed() < Duration::from_secs(2) && dns.asked_in_all() < 100, "{:?}, {} asked", start.elapsed(), dns.asked_in_all());
    // 60 KB at one name: by TCP, read, and no record among it.
    let flood = Dns::start(|zone| {
        for n in 0..15 {
            zone.txt("example.org", format!("{n} {}", "x".repeat(4_000)));
        }
        zone.txt("example.org", format!("v=spf1 {}ip4:{CLIENT} -all", "x=y ".repeat(1_100)));
    });
    assert_eq!(spf(&flood).await, SpfResult::None, "a record longer than any record is passed over");
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
    let dns = Dns::start(|zone| {
        zone.txt("example.org", format!("v=spf1 {}ip4:{CLIENT} -all", "ip4:198.51.100.1 ".repeat(150)));
    });
    assert_eq!(spf(&dns).await, SpfResult::Pass);
    assert!(dns.asked("example.org", "TXT") >= 2, "first by UDP, where it was cut");
}

#[tokio::test]
async fn answers_are_remembered_good_and_bad_and_failures_are_not() {
    let Some(keys) = Keys::get() else { return };
    let signed = keys.sign(MAIL, "example.org", "rsa2048", &json!({}));
    let dns = Dns::start(|zone| {
        keys.publish(zone, "example.org");
        zone.fault("example.net", Fault::Failure);
    });
    let authenticator = authenticator(&dns);
    let ask = async || {
        let evidence = authenticator.clone().authenticate(&signed, &address(FROM), &facts("x@missing.example.org")).await;
        assert_eq!(evidence.word(), "dkim", "{}", said(&evidence));
        assert_eq!(authenticator.spf(&facts("x@missing.example.org")).await, SpfResult::None);
    };
    ask().await;
    let asked = dns.asked_in_all();
    for _ in 0..5 {
        ask().await;
    }
    assert_eq!(dns.asked_in_all(), asked, "nothing is asked twice, not even what is missing");
    for _ in 0..2 {
        let before = dns.asked("example.net", "TXT");
        assert_eq!(authenticator.spf(&facts("x@example.net")).await, SpfResult::TempError);
        assert!(dns.asked("example.net", "TXT") > before, "a failure is asked about again");
    }
}

#[tokio::test]
async fn off_means_that_nothing_is_asked() {
    let dns = Dns::start(|_| {});
    let settings = settings(&dns, json!({"mode": "off", "unproven": "small"}));
    let evidence = Authenticator::open(&settings).unwrap().authenticate(MAIL, &address(FROM), &facts(FROM)).await;
    assert_eq!((evidence.word(), evidence.trust(&settings).word(), evidence.waits()), ("off", "small", false));
    assert_eq!(dns.asked_in_all(), 0);
}

#[test]
fn settings_that_cannot_serve_are_refused_by_name() {
    let dns = Dns::start(|_| {});
    let open = |more| Authenticator::open(&settings(&dns, more)).err();
    assert_eq!(open(json!({"trusted_sealers": ["example.org"]})), None);
    for id in ["mx.example.org", " mx.example.org ", "mx"] {
        assert_eq!(open(json!({"authserv_id": id})), None, "{id:?}");
    }
    for id in ["", " ", "mx example", "mx.example.org;", "\"mx\"", "mx/1", "mx\u{7}"] {
        let error = open(json!({"authserv_id": id})).expect(id);
        assert!(error.contains("authentication.authserv_id"), "{error}");
    }
    for sealer in ["*.example.org", "org", "a@example.org", ""] {
        let error = open(json!({"trusted_sealers": [sealer]})).expect(sealer);
        assert!(error.contains("authentication.trusted_sealers"), "{error}");
    }
}

/// A program that ends with its test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same against dnsmasq: our own server's idea of DNS is not the only one.
#[tokio::test]
async fn another_name_server_is_understood_as_well() {
    let Some(keys) = Keys::get() else { return };
    let port = free_port();
    let record = format!("v=DKIM1; k=rsa; p={}", keys.public("rsa2048"));
    let parts: Vec<_> = record.as_bytes().chunks(255).map(String::from_utf8_lossy).collect();
    let child = Command::new("dnsmasq")
        .args(["--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="])
        .args([format!("--port={port}"), "--local=/example.org/".into(), "--mx-host=example.org,mail.example.org,10".into()])
        .args([
            format!("--txt-record=rsa2048._domainkey.example.org,{}", parts.join(",")),
            format!("--txt-record=example.org,v=spf1 ip4:{CLIENT} -all"),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else { return skipped("no dnsmasq; tests/run installs it") };
    let _child = Killed(child);
    let settings = serde_json::from_value(json!({"resolver": format!("127.0.0.1:{port}"), "timeout_s": 2})).unwrap();
    let authenticator = Authenticator::open(&settings).unwrap();
    let hosts = eventually("dnsmasq to answer", Duration::from_secs(30), async || authenticator.mail_hosts("example.org").await.ok()).await;
    let signed = keys.sign(MAIL, "example.org", "rsa2048", &json!({}));
    let evidence = authenticator.authenticate(&signed, &address(FROM), &facts("x@example.net")).await;
    let spf = authenticator.spf(&facts(FROM)).await;
    let missing = authenticator.mail_hosts("missing.example.org").await;
    assert_eq!(hosts.hosts, ["mail.example.org"]);
    assert_eq!((evidence.word(), spf), ("dkim", SpfResult::Pass), "{}", said(&evidence));
    assert!(missing.is_err());
}
