//! Row 35: a worker at the database of another version. A newer one's is refused with a clear line; an older one's is brought up,
//! and what the older worker does, which still runs, still works.

use replyfleet_tests::{
    databases::{Kind, Server},
    skipped,
};
use sea_orm::{ConnectionTrait, Database};

use crate::bed::{Bed, PATIENCE};

const MAILDIR: &str = "send.SES = { kind = \"maildir\", dir = \"DIR/replies\" }";
/// The database as version 0.1 made it, with a request that was answered and one that was not yet.
const OF_0001: &str = include_str!("schema-0001.sql");
/// What a worker of version 0.1 says to its database while it answers a request, with its values in place.
const AS_0001: [&str; 7] = [
    "INSERT INTO request (request_key, answered_mail, sender, identity, verdict, granted, has_attachments, catalogue, created_ms) \
     VALUES ('old', 'm', 's', 'i', 'answer', 'small', 0, 'c', 1)",
    "INSERT INTO reply (request_key, number, response, state, attempts, ambiguous, held_until_ms) VALUES ('old', 0, 'r', 'pending', 0, 0, 0)",
    "UPDATE reply SET state = 'claimed', attempts = 1, held_until_ms = 5 WHERE request_key = 'old' AND number = 0 AND state = 'pending' AND attempts = 0",
    "UPDATE reply SET state = 'sent', held_until_ms = 0 WHERE request_key = 'old' AND number = 0",
    "INSERT INTO counter (name, slots, touched_ms) VALUES ('n', '[]', 1)",
    "INSERT INTO worker (id, started_ms, seen_ms, switches, is_shedding, catalogue) VALUES ('old', 1, 1, '', 0, '')",
    "DELETE FROM request WHERE request_key = 'old'",
];

#[tokio::test]
async fn a_worker_refuses_a_database_that_a_newer_one_has_changed() {
    let bed = Bed::new(&format!("database.url = \"sqlite:DIR/ledger.db\"\n{MAILDIR}"));
    bed.start_ready().stop();
    let connection = Database::connect(format!("sqlite:{}", bed.path("ledger.db").display())).await.unwrap();
    for statement in ["CREATE TABLE later (x INTEGER)", "INSERT INTO seaql_migrations VALUES ('9999_later', 0)"] {
        connection.execute_unprepared(statement).await.unwrap();
    }
    connection.close().await.unwrap();
    bed.put(1).await;
    let mut worker = bed.start();
    let status = worker.wait(PATIENCE);
    assert_eq!((status.code(), bed.depth()), (Some(1), (1, 0, 0)), "{}", worker.log());
    assert!(worker.log().contains("the database's schema is not one that this program knows"), "{}", worker.log());
    assert!(worker.log().contains("9999_later"), "{}", worker.log());
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_beside_a_worker_that_still_uses_it() {
    let bed = Bed::new(&format!("database.url = \"sqlite:DIR/ledger.db\"\n{MAILDIR}"));
    let old = Database::connect(format!("sqlite:{}?mode=rwc", bed.path("ledger.db").display())).await.unwrap();
    old.execute_unprepared(OF_0001).await.unwrap();
    bed.put(1).await;
    let worker = bed.start_ready();
    bed.wait_until_empty();
    assert_eq!(bed.answered("replies"), ["a1@example.org"]);
    for statement in AS_0001 {
        old.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    worker.stop();
    bed.start_ready().stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_one_version_start_beside_each_other_on_a_new_database() {
    let server = match Server::shared(Kind::MariaDb) {
        Ok(server) => server,
        Err(why) => return skipped(&why.0),
    };
    let url = server.new_database().await;
    let bed = Bed::new(&format!("database.url = \"{url}\"\n{MAILDIR}"));
    let mut workers: Vec<_> = (0..3).map(|_| bed.start()).collect();
    workers.iter_mut().for_each(|worker| worker.wait_until_told("READY=1"));
    workers.into_iter().for_each(crate::bed::Worker::stop);
}
