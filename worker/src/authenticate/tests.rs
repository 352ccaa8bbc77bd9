//! Everything at once: hostile fields, bytes at random, and nothing ever proven by them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn our_field_is_known_by_its_name_in_any_case_and_only_the_topmost_counts() {
    let mail = |fields: &str| format!("{fields}From: a@example.org\r\n\r\n");
    let method = |fields: &str| {
        let mail = mail(fields);
        our_results(&Mail::split(mail.as_bytes()).expect("valid"), "MX.example.org").map(|results| results.results[0].method.clone())
    };
    assert_eq!(method("Authentication-Results: mx.example.org; spf=pass\r\n").as_deref(), Some("spf"));
    assert_eq!(
        method("authentication-results:other.org; spf=pass\r\nAuthentication-Results: (c) mx.EXAMPLE.org 1; dkim=pass\r\n").as_deref(),
        Some("dkim")
    );
    assert_eq!(method("Authentication-Results: mx.example.org; spf\r\nAuthentication-Results: mx.example.org; dkim=pass\r\n"), None);
    assert_eq!(method("X-Authentication-Results: mx.example.org; spf=pass\r\nOld-Authentication-Results: mx.example.org; spf=pass\r\n"), None);
}

/// A name server that knows no name: each question comes back as its own answer, NXDOMAIN. It ends with the process.
fn empty_dns() -> std::net::SocketAddr {
    static ADDRESS: std::sync::OnceLock<std::net::SocketAddr> = std::sync::OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                (buffer[2], buffer[3]) = (buffer[2] | 0x80, 0x83);
                let _ = socket.send_to(&buffer[..length], client);
            }
        });
        address
    })
}

fn authenticator() -> Authenticator {
    let settings = AuthenticationSettings {
        resolver: Some(empty_dns()),
        trusted_sealers: vec!["example.org".into()],
        authserv_id: Some("mx.example.org".into()),
        ..AuthenticationSettings::default()
    };
    Authenticator::open(&settings).expect("it opens without asking anything")
}

fn facts() -> Facts {
    Facts { mail_from: "a@example.org".into(), client_address: "192.0.2.1".into(), ..Facts::default() }
}

#[tokio::test]
async fn hostile_headers_cost_little() {
    let authenticator = authenticator();
    let from = Address::parse("a@example.org").expect("an address");
    let signature = |h: &str| format!("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; bh=AAAA; b=AAAA; h=from{h}\r\n");
    for (what, fields) in [
        ("a name ten thousand times in h=", signature(&":from".repeat(10_000))),
        ("a signature of one long tag", format!("DKIM-Signature: {}\r\n", "a".repeat(90_000))),
        ("a signature of many tags", format!("DKIM-Signature: {}\r\n", "a=b;".repeat(20_000))),
        ("900 signatures", signature("").repeat(900)),
        ("comments without end", format!("Authentication-Results: mx.example.org; {}\r\n", "(".repeat(90_000))),
        ("results without end", format!("Authentication-Results: mx.example.org{}\r\n", "; a=b".repeat(15_000))),
        ("900 results", "Authentication-Results: mx.example.org; dkim=pass header.d=example.org\r\n".repeat(900)),
        ("900 seals", "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=example.org; s=s; b=AAAA\r\n".repeat(900)),
        ("a DKIM2 recipe", format!("Message-Instance: m=1; {}\r\nDKIM2-Signature: {}\r\n", "[".repeat(40_000), "{".repeat(40_000))),
        ("white space", format!("X: {}\r\n", " \r\n".repeat(30_000))),
    ] {
        let mail = format!("{fields}From: a@example.org\r\n\r\n");
        let start = std::time::Instant::now();
        let evidence = authenticator.authenticate(mail.as_bytes(), &from, &facts()).await;
        assert_ne!((evidence.word(), what), ("dkim", what));
        assert!(!evidence.waits(), "{what}");
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without an answer from DNS, and without our own MX's word, nothing is ever proven.
    #[test]
    fn no_bytes_break_it_and_none_prove_themselves(
        fields in prop::collection::vec(("DKIM-Signature|ARC-Seal|ARC-Message-Signature|ARC-Authentication-Results|Authentication-Results|X", "[ -~\\t]{0,80}"), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let header: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let mail = [header.as_bytes(), b"From: a@example.org\n\n", &body].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("valid");
        let from = Address::parse("a@example.org").expect("valid");
        let evidence = runtime.block_on(async { authenticator().authenticate(&mail, &from, &facts()).await });
        prop_assert_eq!(evidence.word(), "nothing");
    }
}
