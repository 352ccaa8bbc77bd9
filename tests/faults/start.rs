//! Row 36: a worker that starts while something is away waits, says for what, and is not ready; what does not pass by itself ends
//! the start at once.

use std::time::Duration;

use replyfleet_tests::{
    databases::{Kind, Server},
    ministack::free_port,
    skipped, wait_for,
};

use crate::bed::{Bed, PATIENCE, Worker};

const MAILDIR: &str = "send.SES = { kind = \"maildir\", dir = \"DIR/replies\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_its_database_and_is_ready_once_it_is_there() {
    for kind in [Kind::MariaDb, Kind::Postgres] {
        let mut server = match Server::start(kind, true) {
            Ok(server) => server,
            Err(why) => return skipped(&why.0),
        };
        let url = server.new_database().await;
        server.crash();
        let bed = Bed::new(&format!("database.url = \"{url}\"\n{MAILDIR}"));
        bed.put(1).await;
        let mut worker = bed.start();
        worker.wait_until_told("STATUS=waiting for the database");
        worker.wait_until_told("WATCHDOG=1");
        worker.wait_until_logged(&["ERROR", "waiting for the database", "next_try_s"]);
        assert_eq!((worker.is_ready(), bed.depth()), (false, (1, 0, 0)));
        server.start_again();
        worker.wait_until_told("READY=1");
        bed.wait_until_empty();
        assert_eq!(bed.answered("replies"), ["a1@example.org"]);
        assert_eq!(worker.logged(&["waiting for the database"]), 1, "one line a minute");
        worker.stop();
    }
}

#[test]
fn a_worker_that_waits_ends_at_once_when_it_is_told_to() {
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let sqlite = "database.url = \"sqlite:DIR/ledger.db\"";
    let aws = format!("aws = {{ region = \"us-east-1\", endpoint_url = \"{endpoint}\" }}\n{sqlite}\n{MAILDIR}");
    for (what, more) in [
        ("the database", format!("database.url = \"postgres://root@127.0.0.1:{port}/x\"\n{MAILDIR}")),
        ("the queue", format!("{aws}\n[queue]\nurl = \"{endpoint}/1/q\"\ndead_letter_url = \"{endpoint}/1/d\"")),
        ("the store", format!("{aws}\n[store]\nurl = \"s3:\"")),
    ] {
        let bed = Bed::new("");
        bed.set(&more);
        let text = std::fs::read_to_string(bed.path("replyfleet.toml")).unwrap();
        let is_twice = |line: &&str| !more.contains("[queue]") || !line.starts_with("queue =");
        let is_twice_too = |line: &&str| !more.contains("[store]") || !line.starts_with("store =");
        let text: Vec<&str> = text.lines().filter(is_twice).filter(is_twice_too).collect();
        std::fs::write(bed.path("replyfleet.toml"), text.join("\n")).unwrap();
        let mut worker = bed.start();
        worker.wait_until_told(&format!("STATUS=waiting for {what}"));
        worker.wait_until_told("EXTEND_TIMEOUT_USEC=331000000"); // a second, a try, and thirty more
        worker.wait_until_logged(&[&format!("waiting for {what}")]);
        worker.signal("TERM");
        assert!(worker.wait(Duration::from_secs(30)).success(), "{what}: {}", worker.log());
        assert!(!worker.is_ready());
    }
}

#[test]
fn what_does_not_pass_by_itself_ends_the_start_at_once() {
    type Spoil = fn(&Bed);
    let cases: [(&str, Spoil); 4] = [
        ("no object catalogue/catalogue.json", |bed| std::fs::remove_file(bed.path("store/catalogue/catalogue.json")).unwrap()),
        ("catalogue/catalogue.json: line 1", |bed| std::fs::write(bed.path("store/catalogue/catalogue.json"), "[").unwrap()),
        ("database.url: expected", |bed| bed.set(&format!("database.url = \"oracle://x\"\n{MAILDIR}"))),
        ("unable to open database file", |bed| bed.set(&format!("database.url = \"sqlite:DIR/nowhere/x.db\"\n{MAILDIR}"))),
    ];
    for (wanted, spoil) in cases {
        let bed = Bed::new(&format!("database.url = \"sqlite:DIR/ledger.db\"\n{MAILDIR}"));
        spoil(&bed);
        let mut worker = bed.start();
        let status = worker.wait(PATIENCE);
        assert!(status.code() == Some(1) && worker.log().contains(wanted), "{wanted}: {status}, {}", worker.log());
        assert!(!worker.log().contains("waiting for"), "{}", worker.log());
    }
}

#[test]
fn systemd_hears_that_a_worker_moves_and_that_it_stops() {
    let bed = Bed::new(&format!("database.url = \"sqlite:DIR/ledger.db\"\n{MAILDIR}"));
    let mut worker = bed.start_ready();
    let beats = |worker: &mut Worker| worker.told().iter().filter(|line| *line == "WATCHDOG=1").count();
    let before = beats(&mut worker);
    wait_for("more signs of life", PATIENCE, || (beats(&mut worker) > before + 2).then_some(()));
    worker.signal("TERM");
    assert!(worker.wait(PATIENCE).success());
    assert!(worker.told().iter().any(|line| line == "STOPPING=1"), "{:?}", worker.told());
}

impl Worker {
    fn is_ready(&mut self) -> bool {
        self.told().iter().any(|line| line == "READY=1")
    }
}
