//! The list of messages that were in hand when a worker died.

use crate::bed::{Bed, T0};
use replyfleet_worker::ledger::RETENTION;

promises! {
    a_suspect_keeps_its_deaths_until_it_is_cleared_or_forgotten,
    workers_that_report_the_same_dead_at_once_agree,
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:064x}")).collect()
}

async fn a_suspect_keeps_its_deaths_until_it_is_cleared_or_forgotten(bed: &Bed) {
    let (one, other) = (bed.ledger("").await, bed.ledger("").await);
    let keys = keys(2);
    assert_eq!(one.deaths(&keys[0]).await.expect("asked"), None);
    one.suspect(&keys, T0).await.expect("listed");
    assert_eq!(other.deaths(&keys[0]).await.expect("asked"), Some(0), "being there when a worker died counts for nothing");
    other.set_deaths(&keys[0], 1).await.expect("counted");
    one.suspect(&keys, T0).await.expect("listed again");
    assert_eq!(one.deaths(&keys[0]).await.expect("asked"), Some(1));
    one.clear_suspect(&keys[0]).await.expect("cleared");
    assert_eq!(other.deaths(&keys[0]).await.expect("asked"), None);
    other.set_deaths(&keys[0], 2).await.expect("nobody");
    assert_eq!(other.deaths(&keys[0]).await.expect("asked"), None, "who was cleared meanwhile is no suspect");
    one.forget_old(T0 + RETENTION).await.expect("forget");
    assert_eq!(one.deaths(&keys[1]).await.expect("asked"), Some(0));
    one.forget_old(T0 + RETENTION * 2).await.expect("forget");
    assert_eq!(one.deaths(&keys[1]).await.expect("asked"), None);
}

async fn workers_that_report_the_same_dead_at_once_agree(bed: &Bed) {
    let workers = bed.workers("").await;
    let reports = (0..8).map(|number| {
        let worker = workers[number % workers.len()].clone();
        tokio::spawn(async move { worker.suspect(&keys(4), T0).await.expect("listed") })
    });
    for report in reports.collect::<Vec<_>>() {
        report.await.expect("no panic");
    }
    for key in keys(4) {
        assert_eq!(workers[0].deaths(&key).await.expect("asked"), Some(0));
    }
}
