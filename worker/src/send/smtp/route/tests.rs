//! Which way a domain has, and what the settings may not say.

use super::{super::tests::settings, *};

fn routes(more: &str) -> Result<Routes, String> {
    Routes::open(&settings("127.0.0.1", 25, "none", more))
}

fn route(domains: &str, more: &str) -> String {
    format!("[[send.SMTP.routes]]\ndomains = [{domains}]\n{more}\n")
}

#[test]
fn the_longest_suffix_decides() {
    let text = [
        route("\"example.org\", \"EXAMPLE.net\"", "tls = \"none\"\nport = 1"),
        route("\"a.example.org\"", "tls = \"refuse\""),
        route("\"b.a.example.org\", \"bücher.example\"", "tls = \"none\"\nport = 2"),
    ]
    .concat();
    let routes = routes(&text).expect("good");
    for (domain, port) in [
        ("example.org", Some(1)),
        ("x.example.org", Some(1)),
        ("example.net", Some(1)),
        ("notexample.org", Some(25)),
        ("org", Some(25)),
        ("", Some(25)),
        ("a.example.org", None),
        ("x.a.example.org", None),
        ("b.a.example.org", Some(2)),
        ("y.b.a.example.org", Some(2)),
        ("xn--bcher-kva.example", Some(2)),
    ] {
        assert_eq!(routes.way_to(domain).map(|way| routes.ways()[way].port), port, "{domain}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let twice = route("\"example.org\"", "tls = \"refuse\"").repeat(2);
    for (text, want) in [
        (twice.as_str(), "routes[1].domains: \"example.org\" is in two routes"),
        (&route("\".example.org\"", "tls = \"refuse\""), "routes[0].domains: \".example.org\" is no domain"),
        (&route("\"\"", "tls = \"refuse\""), "routes[0].domains: \"\" is no domain"),
        (
            &route("\"a.example\"", "tls = \"starttls\"\ntrusted_roots_file = \"/nowhere/x.pem\""),
            "routes[0].trusted_roots_file: cannot read /nowhere/x.pem",
        ),
        (
            &route("\"a.example\"", "tls = \"starttls\"\ntrusted_roots_file = \"/etc/hostname\""),
            "routes[0].trusted_roots_file: no certificate in /etc/hostname",
        ),
        ("user = \"user\"\n[[send.SMTP.routes]]\ndomains = [\"a.example\"]\ntls = \"encrypt\"", "routes[0].tls: \"encrypt\" would show the password"),
    ] {
        let error = routes(text).err().expect(want);
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn the_password_goes_to_the_relay_only() {
    let text = format!(
        "user = \"user\"\n{}{}",
        route("\"a.example\"", "tls = \"none\"\nport = 26"),
        route("\"b.example\"", "tls = \"encrypt\"\nhost = \"mx.b.example\"")
    );
    let routes = routes(&text).expect("good");
    let have: Vec<_> = routes.ways().iter().map(|way| way.credentials.is_some()).collect();
    assert_eq!(have, [true, true, false]);
}

#[test]
fn what_a_server_says_of_size_is_known_until_it_says_otherwise() {
    let routes = routes("").expect("good");
    let (way, now) = (&routes.ways()[0], Instant::now());
    assert_eq!(way.message_bytes_max(now), None);
    way.learn(Some(5));
    assert_eq!(way.message_bytes_max(now), Some(5));
    way.learn(None);
    assert_eq!(way.message_bytes_max(now), None);
}

#[test]
fn a_size_that_was_too_big_counts_for_some_hours_whatever_ehlo_says() {
    let routes = routes("").expect("good");
    let (way, now) = (&routes.ways()[0], Instant::now());
    way.learn(Some(1_000));
    way.learn_too_big(1_001, now);
    way.learn(None);
    assert_eq!(way.message_bytes_max(now), None, "SIZE had said it: there was nothing to remember");
    way.learn_too_big(800, now);
    way.learn_too_big(900, now);
    assert_eq!(way.message_bytes_max(now), Some(799), "the smallest counts");
    way.learn(Some(700));
    assert_eq!(way.message_bytes_max(now), Some(700));
    way.learn(None);
    assert_eq!(way.message_bytes_max(now + TOO_BIG_TIME - Duration::from_secs(1)), Some(799));
    let later = now + TOO_BIG_TIME;
    assert_eq!(way.message_bytes_max(later), None, "it may have been raised");
    way.learn_too_big(900, later);
    assert_eq!(way.message_bytes_max(later), Some(899));
}
