//! How large a mail may be, and how long it may take: what is over a limit has surely not been taken.

use super::{
    super::delivery::{Limits, deliver},
    *,
};

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

#[tokio::test]
async fn waiting_for_a_connection_has_a_limit_of_its_own() {
    let server = Server::start(vec![Script { dot: Act::Hang, ..GOOD }]).await;
    let settings = settings("127.0.0.1", server.port, "none", "connections_max = 1\ntimeout_s = 2");
    let sender = Arc::new(SmtpSender::new(&settings).expect("opened"));
    assert_eq!(sender.timeout(), Duration::from_millis(2_500), "the wait and the mail");
    let slot = sender.pool.slot().await.expect("open");
    let start = Instant::now();
    assert_eq!(sender.send(&reply()).await, Err(not_sent("no free connection")));
    assert!(start.elapsed() < Duration::from_secs(2), "it waited for as long as a mail may take");
    let (other, mail) = (Arc::clone(&sender), reply());
    let mut sent = tokio::spawn(async move { other.send(&mail).await });
    assert!(timeout(Duration::from_millis(300), &mut sent).await.is_err(), "it waits");
    drop(slot);
    let start = Instant::now();
    assert_eq!(sent.await.expect("no panic"), Err(uncertain("message: time-out")));
    assert!(start.elapsed() > Duration::from_millis(1_900), "the wait was taken from the mail's own time");
}

#[tokio::test]
async fn a_dot_that_would_leave_too_late_does_not_leave() {
    for reply in [reply(), big_reply()] {
        let server = Server::start(vec![GOOD]).await;
        let sender = sender(server.port, "none");
        let end = Instant::now() + Duration::from_secs(60);
        let connection = sender.fresh(&sender.routes.ways()[0], end).await.expect("connected");
        let (result, connection) = deliver(connection, &reply, false, Limits { end, dot_by: Instant::now() }).await;
        let Err(Failure::Final(error)) = result else { panic!("{result:?}") };
        assert_eq!((error, connection.is_none()), (not_sent("message: too late for the end"), true));
        assert_eq!((server.saw("DATA"), server.messages().len()), (1, 0));
    }
}

#[test]
fn the_answer_has_five_seconds_or_a_tenth_of_the_time() {
    let now = Instant::now();
    for (seconds, ms) in [(1, 100), (20, 2_000), (50, 5_000), (120, 5_000)] {
        let limits = Limits::of(Duration::from_secs(seconds), now);
        assert_eq!((limits.end - now, limits.end - limits.dot_by), (Duration::from_secs(seconds), Duration::from_millis(ms)));
    }
}
