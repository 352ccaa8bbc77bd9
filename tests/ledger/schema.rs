//! Opening: URLs, schemas, and what is refused.

use std::time::Duration;

use replyfleet_tests::{
    databases::{Kind, Server},
    skipped,
};
use replyfleet_worker::ledger::{Claim, Ledger, LedgerError, ReplyState, Try, Verdict};
use sea_orm::ConnectionTrait;

use crate::bed::{Ask, Bed, T0, allowance, open, secret};

promises! {
    workers_that_start_at_once_make_one_schema,
    a_database_that_a_newer_program_changed_is_refused,
    looking_and_joining_change_nothing,
    a_schema_that_was_cut_off_half_way_is_completed,
    a_database_of_the_version_before_is_brought_up_with_what_is_in_it,
}

async fn workers_that_start_at_once_make_one_schema(bed: &Bed) {
    let starting = (0..6).map(|_| {
        let url = bed.url.clone();
        tokio::spawn(async move { open(&url, "").await.expect("opened") })
    });
    let mut ledgers = Vec::new();
    for ledger in starting.collect::<Vec<_>>() {
        ledgers.push(ledger.await.expect("no panic"));
    }
    for (number, ledger) in ledgers.iter().enumerate() {
        assert_eq!(Ask::new(number, &format!("a{number}@b.org")).verdict(ledger, T0).await, Verdict::Answer);
    }
    assert_eq!(bed.dump().await.iter().filter(|line| line.starts_with("turn|")).count(), 1_024);
}

async fn a_database_that_a_newer_program_changed_is_refused(bed: &Bed) {
    bed.ledger("").await;
    bed.connection().await.execute_unprepared("INSERT INTO seaql_migrations VALUES ('9999_later', 0)").await.expect("insert");
    assert!(matches!(open(&bed.url, "").await, Err(LedgerError::Schema(_))));
    assert!(matches!(Ledger::join(&bed.url, secret(), allowance("")).await, Err(LedgerError::Schema(_))));
    assert!(matches!(Ledger::look(&bed.url).await, Err(LedgerError::Schema(_))));
}

async fn looking_and_joining_change_nothing(bed: &Bed) {
    // SQLite's file is not even there yet.
    if bed.url.starts_with("sqlite:") {
        Ledger::look(&bed.url).await.expect_err("there is none");
        Ledger::join(&bed.url, secret(), allowance("")).await.err().expect("there is none");
        assert!(!std::path::Path::new(bed.url.strip_prefix("sqlite:").unwrap()).exists());
    } else {
        assert_eq!(Ledger::look(&bed.url).await.expect("it answers"), 2);
        assert!(matches!(Ledger::join(&bed.url, secret(), allowance("")).await, Err(LedgerError::Behind(2))));
        assert_eq!(bed.dump().await, Vec::<String>::new());
    }
    bed.ledger("").await;
    assert_eq!(Ledger::look(&bed.url).await.expect("it answers"), 0);
    let joined = Ledger::join(&bed.url, secret(), allowance("")).await.expect("joined");
    assert_eq!(Ask::new(1, "a@b.org").verdict(&joined, T0).await, Verdict::Answer);
}

async fn a_schema_that_was_cut_off_half_way_is_completed(bed: &Bed) {
    bed.ledger("").await;
    let connection = bed.connection().await;
    for statement in ["DELETE FROM seaql_migrations", "DROP TABLE worker", "DELETE FROM turn WHERE number > 7"] {
        connection.execute_unprepared(statement).await.expect(statement);
    }
    let ledger = bed.ledger("").await;
    assert_eq!(Ask::new(1, "a@b.org").verdict(&ledger, T0).await, Verdict::Answer);
    assert_eq!(bed.dump().await.iter().filter(|line| line.starts_with("turn|")).count(), 1_024);
    assert_eq!(ledger.workers(T0).await.expect("asked").len(), 0);
}

async fn a_database_of_the_version_before_is_brought_up_with_what_is_in_it(bed: &Bed) {
    let hold = Duration::from_secs(60);
    let ledger = bed.ledger("").await;
    Ask::new(1, "a@b.org").admit(&ledger, T0).await;
    assert!(matches!(ledger.claim("k1", 0, T0, hold).await.expect("claim"), Claim::Granted(_)));
    drop(ledger);
    let connection = bed.connection().await;
    for statement in ["ALTER TABLE reply DROP COLUMN holder", "DROP TABLE suspect", "DELETE FROM seaql_migrations WHERE version LIKE '0002%'"] {
        connection.execute_unprepared(statement).await.expect(statement);
    }
    assert_eq!(Ledger::look(&bed.url).await.expect("it answers"), 1);
    let ledger = bed.ledger("").await;
    assert_eq!(ledger.claim("k1", 0, T0, hold).await.expect("claim"), Claim::Held(T0 + hold), "that worker goes on");
    let attempt = match ledger.claim("k1", 0, T0 + hold, hold).await.expect("claim") {
        Claim::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    };
    assert_eq!(ledger.record("k1", 0, attempt, Try::Ambiguous).await.expect("record"), ReplyState::Uncertain, "the claim before it counts");
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_with_the_remedy_and_never_shown() {
    for (url, remedy) in [
        ("", "sqlite:FILE"),
        ("oracle://hunter2@db/x", "sqlite:FILE"),
        ("sqlite:", "sqlite:FILE"),
        ("mysql://hunter2", "names no database"),
        ("mysql://user:hunter2@db:port/x", "cannot be read"),
        ("postgres://user:hunter2@db", "names no database"),
        ("postgresql://user:hunter2@:99999/x", "cannot be read"),
        ("mysql://user:hunter2@db/x?ssl-mod=required", "unknown parameter \"ssl-mod\"; those known are ssl-mode"),
        ("postgres://user:hunter2@db/x?sslmode=hunter2", "cannot be read"),
        ("postgres://user:hunter2@db/x?password=hunter2", "unknown parameter \"password\""),
    ] {
        let error = open(url, "").await.err().expect(url).to_string();
        assert!(error.starts_with("database.url: ") && error.contains(remedy), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        let looked = Ledger::look(url).await.expect_err(url).to_string();
        assert_eq!(looked, error);
    }
}

#[tokio::test]
async fn a_server_that_is_not_whom_the_url_trusts_is_refused() {
    for (kind, verify) in [(Kind::MariaDb, "ssl-mode=verify_identity"), (Kind::Postgres, "sslmode=verify-full")] {
        let server = match Server::shared(kind) {
            Ok(server) => server,
            Err(why) => return skipped(&why.0),
        };
        let url = server.new_database().await;
        let error = open(&format!("{url}?{verify}"), "").await.err().expect("not one of the public authorities'");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(!error.is_temporary(), "nobody but a person can mend it: {error:?}");
        open(&format!("{url}?{verify}&ssl-ca={}", server.authority().display()), "").await.expect("trusted");
    }
}
