//! Who waited has all his time, and what comes too late has surely not been taken.

use std::sync::Arc;

use tokio::time::timeout;

use super::{
    super::{
        delivery::{Failure, deliver},
        tests::{Act, GOOD, Script, Server, big_reply, not_sent, reply, sender, settings, uncertain},
    },
    *,
};
use crate::send::{Sender, smtp::SmtpSender};

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
