//! Which way a domain has, how large a mail may be there, and what the settings may not say.

use super::{
    super::tests::{Act, GOOD, PIPELINING, Script, Server, not_sent, reply, reply_of, sender, settings, too_big},
    *,
};
use crate::{
    address::Address,
    send::{Accepted, Sender, smtp::SmtpSender},
};

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

fn bytes_max(sender: &SmtpSender, rcpt_to: &str) -> Option<usize> {
    sender.message_bytes_max(&Address::parse(rcpt_to).expect("an address"))
}

#[tokio::test]
async fn a_mail_above_the_servers_size_is_not_begun() {
    let server = Server::start(vec![PIPELINING]).await;
    let sender = sender(server.port, "none");
    assert_eq!(bytes_max(&sender, "a@example.org"), None, "nothing is known yet");
    assert_eq!(sender.send(&reply_of(vec![vec![b'x'; 987]])).await, Err(too_big("larger than the server's SIZE")));
    assert_eq!(bytes_max(&sender, "a@example.org"), Some(1000));
    assert_eq!(server.saw("MAIL"), 0);
    // The connection is still good, and what fits goes; the line that does not end is ended.
    assert_eq!(sender.send(&reply_of(vec![vec![b'x'; 986]])).await, Ok(Accepted));
    assert_eq!((server.saw("EHLO"), server.saw("MAIL FROM:<bounces+t@example.com> SIZE=1000")), (1, 1));
    assert!(server.messages()[0].ends_with(b"x\r\n"));
}

#[tokio::test]
async fn a_size_that_is_refused_at_mail_is_the_limit_from_then_on() {
    const REFUSES: Script = Script { mail: Act::Say("552 message size exceeds the limit"), ..GOOD };
    for ehlo in [GOOD.ehlo, "250-test\r\n250 SIZE", "250-test\r\n250 SIZE 9000000"] {
        let server = Server::start(vec![Script { ehlo, ..REFUSES }, GOOD]).await;
        let sender = sender(server.port, "none");
        let large = reply_of(vec![b"x\r\n".repeat(30_000)]);
        assert_eq!(sender.send(&large).await, Err(too_big("MAIL: 552")), "{ehlo}");
        assert_eq!(bytes_max(&sender, "a@example.org"), Some(large.len() - 1), "{ehlo}");
        assert_eq!(sender.send(&reply()).await, Ok(Accepted));
        assert_eq!(bytes_max(&sender, "a@example.org"), Some(large.len() - 1), "{ehlo}: the next EHLO does not make it forgotten");
    }
    // Nothing is too big below what every server must take: another 552 says nothing of the next mail.
    let server = Server::start(vec![REFUSES]).await;
    let sender = sender(server.port, "none");
    assert_eq!(sender.send(&reply()).await, Err(not_sent("MAIL: 552")));
    assert_eq!(bytes_max(&sender, "a@example.org"), None);
}

#[tokio::test]
async fn the_smallest_of_all_limits_on_the_way_counts() {
    let relay = Server::start(vec![Script { ehlo: "250-test\r\n250 SIZE 5000", ..GOOD }]).await;
    let other = Server::start(vec![PIPELINING]).await;
    let more = format!(
        "message_bytes_max = 2000\nrate = \"3000/min\"\n[[send.SMTP.routes]]\ndomains = [\"example.org\"]\ntls = \"none\"\nport = {}\n\
         [[send.SMTP.routes]]\ndomains = [\"no.example.org\"]\ntls = \"refuse\"",
        other.port
    );
    let sender = SmtpSender::new(&settings("127.0.0.1", relay.port, "none", &more)).expect("opened");
    assert_eq!(bytes_max(&sender, "a@example.org"), Some(2000));
    sender.check().await.expect("both answer");
    for (to, want) in [("a@example.com", 2000), ("a@EXAMPLE.org", 1000), ("a@below.example.org", 1000), ("a@no.example.org", 2000)] {
        assert_eq!(bytes_max(&sender, to), Some(want), "{to}");
    }
    assert_eq!(sender.rate_max().await, Some(50.0));
}
