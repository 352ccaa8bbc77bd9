//! Row 21: the database goes away under a running worker. Nothing is sent, no message is received again and again, and all are
//! answered, once, when it is back.

use replyfleet_tests::{
    databases::{Kind, Server},
    skipped, wait_for,
};

use crate::bed::{Bed, PATIENCE};

const MAILDIR: &str = "send.SES = { kind = \"maildir\", dir = \"DIR/replies\" }";
const MAILS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_leaves_its_queue_alone_while_the_database_is_away() {
    let mut server = match Server::start(Kind::MariaDb, true) {
        Ok(server) => server,
        Err(why) => return skipped(&why.0),
    };
    let url = server.new_database().await;
    let bed = Bed::new(&format!("database.url = \"{url}\"\n{MAILDIR}"));
    let mut worker = bed.start_ready();
    for number in 0..MAILS / 2 {
        bed.put(number).await;
    }
    wait_for("the first half to be answered", PATIENCE, || (bed.answered("replies").len() == MAILS / 2).then_some(()));
    bed.wait_until_empty();

    server.crash();
    for number in MAILS / 2..MAILS {
        bed.put(number).await;
    }
    worker.wait_until_logged(&["a breaker is open", "ledger"]);
    wait_for("what was in hand to be given back", PATIENCE, || (bed.depth() == (MAILS / 2, 0, 0)).then_some(()));
    let receives = bed.receives();
    // A minute of it: the line that is written each minute.
    worker.wait_until_logged(&["a breaker is still open", "ledger"]);
    assert_eq!((bed.receives(), bed.answered("replies").len()), (receives.clone(), MAILS / 2), "nobody received anything");
    assert!(receives.iter().all(|receives| *receives <= 3), "{receives:?}");

    server.start_again();
    worker.wait_until_logged(&["a breaker is closed", "ledger"]);
    bed.wait_until_empty();
    let mut all: Vec<String> = (0..MAILS).map(|number| format!("a{number}@example.org")).collect();
    all.sort_unstable();
    assert_eq!(bed.answered("replies"), all, "each once");
    worker.stop();
}
