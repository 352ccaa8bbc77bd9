//! A database that goes away: it crashes in the middle and comes back, or it hangs.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use replyfleet_tests::{
    databases::{Kind, Server},
    eventually, skipped,
};
use replyfleet_worker::ledger::{ANSWER_TIMEOUT, Claim, Ledger, Progress, ReplyState, Try};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::bed::{Ask, T0, answered, open};

/// How long a request may wait for a database that comes back.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: usize = 120;
const LIMITS: &str = r#""answers_per_sender": 1000, "attachments_per_sender": 1000, "per_domain": null, "per_network": null,
    "total": {"answers": 70, "attachments": 30}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_mariadb_nothing_is_lost_or_counted_twice() {
    crash(Kind::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_postgresql_nothing_is_lost_or_counted_twice() {
    crash(Kind::Postgres).await;
}

/// Each request is tried until it has a verdict, as a message that comes again is; the server dies half-way.
async fn crash(kind: Kind) {
    let mut server = match Server::start(kind, true) {
        Ok(server) => server,
        Err(why) => return skipped(&why.0),
    };
    let url = server.new_database().await;
    static DONE: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let done = &DONE[usize::from(kind == Kind::Postgres)];
    let workers = [open(&url, LIMITS).await.expect("opened"), open(&url, LIMITS).await.expect("opened")];
    let asking = |number: usize| {
        let ledger = workers[number % 2].clone();
        let ask = Ask::new(number, &format!("a{}@b.org", number % 10));
        tokio::spawn(async move {
            let decided = tokio::time::timeout(PATIENCE, until_decided(&ledger, &ask)).await.expect("a verdict in time");
            done.fetch_add(1, Ordering::Relaxed);
            decided
        })
    };
    let first: Vec<_> = (0..REQUESTS / 2).map(asking).collect();
    eventually("some verdicts", PATIENCE, async || (done.load(Ordering::Relaxed) >= REQUESTS / 8).then_some(())).await;
    server.crash();
    let second: Vec<_> = (REQUESTS / 2..REQUESTS).map(asking).collect();
    workers[0].recall("k0").await.expect_err("it is away");
    server.start_again();

    let (mut progress, mut failures) = (Vec::new(), 0);
    for task in first.into_iter().chain(second) {
        let (one, failed) = task.await.expect("no panic");
        progress.push(one);
        failures += failed;
    }
    assert!(failures > 0, "the crash was noticed");
    assert_eq!(answered(&progress), (70, 30));
    for (number, told) in progress.iter().enumerate() {
        let known = workers[0].recall(&format!("k{number}")).await.expect("recall").expect("known");
        assert_eq!(known, *told, "what was told is what is kept");
    }
}

/// The verdict, and how often the ledger failed before.
async fn until_decided(ledger: &Ledger, ask: &Ask) -> (Progress, usize) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut failures = 0;
    loop {
        ticks.tick().await;
        match ask.try_admit(ledger, T0).await {
            Ok(progress) => return (progress, failures),
            Err(_) => failures += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_hangs_costs_seconds() {
    hang(Kind::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_hangs_costs_seconds() {
    hang(Kind::Postgres).await;
}

/// Between the worker and the server stands a proxy that can stop passing anything on, as a network does that is cut.
async fn hang(kind: Kind) {
    let server = match Server::shared(kind) {
        Ok(server) => server,
        Err(why) => return skipped(&why.0),
    };
    let direct = server.new_database().await;
    let (cut, is_cut) = watch::channel(false);
    let port = proxy(server.port(), is_cut).await;
    let database = direct.rsplit('/').next().unwrap();
    let ledger = open(&server.url(database, port), "").await.expect("opened");
    Ask::new(1, "a@b.org").admit(&ledger, T0).await;

    cut.send_replace(true);
    let start = Instant::now();
    let waiting: Vec<_> = (2..12)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { Ask::new(number, "a@b.org").try_admit(&ledger, T0).await })
        })
        .collect();
    for task in waiting {
        task.await.expect("no panic").expect_err("nobody answers");
    }
    let limit = ANSWER_TIMEOUT + Duration::from_secs(5);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());

    // The old connections stay cut, as those to a machine that is gone; new ones get through. None of the former is in the way.
    cut.send_replace(false);
    let start = Instant::now();
    eventually("a verdict", limit, async || Ask::new(20, "a@b.org").try_admit(&ledger, T0).await.ok()).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_a_mariadb_lost_is_no_doubtful_try() {
    lose_the_answer(Kind::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_a_postgresql_lost_is_no_doubtful_try() {
    lose_the_answer(Kind::Postgres).await;
}

/// The claim gets to the server and is committed there; what the server says to it gets lost.
async fn lose_the_answer(kind: Kind) {
    let server = match Server::shared(kind) {
        Ok(server) => server,
        Err(why) => return skipped(&why.0),
    };
    let direct = server.new_database().await;
    let (arm, is_armed) = watch::channel(false);
    let port = one_way_proxy(server.port(), is_armed).await;
    let database = direct.rsplit('/').next().unwrap();
    // The proxy must see what goes by.
    let clear = if kind == Kind::MariaDb { "ssl-mode=disabled" } else { "sslmode=disable" };
    let ledger = open(&format!("{}?{clear}", server.url(database, port)), "").await.expect("opened");
    let other = open(&direct, "").await.expect("opened");
    Ask::new(1, "a@b.org").admit(&ledger, T0).await;
    let hold = Duration::from_secs(600);
    arm.send_replace(true);
    let claiming = ledger.clone();
    let claim = tokio::spawn(async move { claiming.claim("k1", 0, T0, hold).await });
    eventually("the claim at the server", PATIENCE, async || {
        let known = other.recall("k1").await.expect("recall").expect("known");
        (known.replies[0].state == ReplyState::Claimed).then_some(())
    })
    .await;
    claim.await.expect("no panic").expect_err("its answer is lost");
    arm.send_replace(false);
    // Without its own worker's word the reply would be held for ten minutes, and the try would count as one that may have sent.
    let again = eventually("the claim to be taken back", PATIENCE, async || match other.claim("k1", 0, T0, hold).await.expect("claim") {
        Claim::Granted(attempt) => Some(attempt),
        Claim::Held(_) => None,
        Claim::Settled(state) => panic!("{state:?}"),
    });
    other.record("k1", 0, again.await, Try::NotSent).await.expect("record");
    let progress = other.expire("k1", T0).await.expect("expire").expect("known");
    assert_eq!(progress.replies[0].state, ReplyState::Expired, "no try is in doubt");
}

/// A proxy that passes all on to the server. While it is armed, a connection on which a claim went by gets nothing back any more.
async fn one_way_proxy(to: u16, is_armed: watch::Receiver<bool>) -> u16 {
    const CLAIM: &[u8] = b"claimed";
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut ways = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", to)).await.expect("the server answers").into_split();
            let (is_armed, silence) = (is_armed.clone(), watch::Sender::new(false));
            let is_silent = silence.subscribe();
            ways.push(tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                    if *is_armed.borrow() && bytes[..count].windows(CLAIM.len()).any(|window| window == CLAIM) {
                        silence.send_replace(true);
                    }
                    to_server.write_all(&bytes[..count]).await.expect("the server takes it");
                }
            }));
            ways.push(tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    let is_heard = !*is_silent.borrow();
                    if is_heard && to_client.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            }));
        }
    });
    port
}

/// Listens on a port of its own and passes on to `to`. A connection that was open during a cut never passes anything on again.
async fn proxy(to: u16, is_cut: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut is_cut = is_cut.clone();
            hanging.push(tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.expect("the server answers");
                let has_ended = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => true,
                    _ = is_cut.wait_for(|is_cut| *is_cut) => false,
                };
                if !has_ended {
                    std::future::pending::<()>().await;
                }
            }));
        }
    });
    port
}
