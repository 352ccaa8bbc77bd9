//! Rows 16 and 18: messages that kill the worker that reads them, or never let it go.
//!
//! The killing is real: strace sends SIGABRT to whichever process opens the poison's mail in the store, as an abort in the
//! middle of reading it would. The worker knows nothing of it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use replyfleet::clock::UnixMillis;
use replyfleet_tests::{eventually, skipped};

use crate::alone::{Kept, PATIENCE, Surroundings};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// The words before a worker's own that make it, and every process that it starts, die where it opens `path`.
fn deadly(path: &Path) -> Option<Vec<String>> {
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        skipped("strace is missing, or may not trace here");
        return None;
    }
    let path = path.display().to_string();
    let words = ["strace", "-f", "-qqq", "-o", "/dev/null", "-P", &path, "-e", "trace=openat", "-e", "inject=openat:signal=SIGABRT"];
    Some(words.map(str::to_owned).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_its_worker_takes_one_down_is_tried_twice_alone_and_parked() {
    const MAILS: usize = 200;
    const SLOTS: usize = 8;
    let here = Surroundings::new(SLOTS, 60).await;
    let id = |number: usize| format!("{number}");
    for number in 0..MAILS / 4 {
        here.put(&id(number)).await;
    }
    let Some(wrapper) = deadly(&here.put_stored("poison").await) else { return };
    for number in MAILS / 4..MAILS {
        here.put(&id(number)).await;
    }
    let mut worker = here.start(&wrapper);
    eventually("all mail to be answered or parked", PATIENCE, async || {
        worker.tend();
        (here.left().await == 0).then_some(())
    })
    .await;
    assert_eq!(here.parked().await, [("kills_worker".to_owned(), 3)], "received once by the worker, and twice alone");
    assert_eq!(worker.signals(), [Some(SIGABRT)], "one worker died, and none after it was known");
    let copies = here.copies((0..MAILS).map(id));
    assert!(copies.iter().all(|&copies| copies == 1 || copies == 2), "{copies:?}");
    let twice = copies.iter().filter(|&&copies| copies == 2).count();
    assert!(twice < SLOTS, "only what was under way when the worker died may have come twice: {twice}");
    assert_eq!(here.copies(["poison".to_owned()].into_iter()), [0]);
    // The innocent are off the list; the poison stays on it, with its chances anew should it be replayed.
    let ledger = here.ledger().await;
    for number in 0..MAILS {
        assert_eq!(ledger.deaths(&here.key(&id(number))).await.expect("asked"), None, "request {number}");
    }
    assert_eq!(ledger.deaths(&here.key("poison")).await.expect("asked"), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_has_in_hand_when_it_is_killed_is_answered_by_the_next() {
    const MAILS: usize = 8;
    let here = Surroundings::new(MAILS, 60).await;
    for number in 0..MAILS {
        here.put(&number.to_string()).await;
    }
    here.sink.hold(true);
    let mut worker = here.start(&[]);
    eventually("all to be at the sink", PATIENCE, async || (here.sink.held() == MAILS).then_some(())).await;
    worker.kill();
    assert_eq!(worker.signals(), [Some(SIGKILL)]);
    here.sink.hold(false);
    worker.tend();
    let _next = here.start(&[]);
    let ledger = here.ledger().await;
    eventually("all to be answered", PATIENCE, async || (here.left().await == 0).then_some(())).await;
    assert_eq!(here.parked().await, [], "nothing is parked because its worker was killed");
    let copies = here.copies((0..MAILS).map(|number| number.to_string()));
    assert!(copies.iter().all(|&copies| copies == 2), "one may be a copy, and is: {copies:?}");
    for number in 0..MAILS {
        let key = here.key(&number.to_string());
        eventually("it to be off the list", PATIENCE, async || ledger.deaths(&key).await.expect("asked").is_none().then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspects_that_hang_take_no_slot_from_other_mail() {
    const SLOTS: usize = 4;
    const MAILS: usize = 40;
    // So long that the first is still at it whenever the other mail is answered.
    let here = Surroundings::new(SLOTS, 300).await;
    let ledger = here.ledger().await;
    // As many as there are slots, each of which hangs when its mail is opened: nobody ever writes into the pipe.
    for number in 0..SLOTS {
        let file = here.put_stored(&format!("hangs{number}")).await;
        std::fs::remove_file(&file).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        ledger.suspect(&[here.key(&format!("hangs{number}"))], UnixMillis::now()).await.expect("listed");
    }
    here.receive_and_give_back(SLOTS).await;
    let _worker = here.start(&[]);
    eventually("all suspects to be in hand", PATIENCE, async || {
        (here.ground.queue.depth().await.expect("asked").in_flight == SLOTS as u64).then_some(())
    })
    .await;
    for number in 0..MAILS {
        here.put(&number.to_string()).await;
    }
    eventually("all other mail to be answered", PATIENCE, async || (here.left().await == SLOTS as u64).then_some(())).await;
    assert_eq!(here.copies((0..MAILS).map(|number| number.to_string())), [1; MAILS]);
    for number in 0..SLOTS {
        let deaths = ledger.deaths(&here.key(&format!("hangs{number}"))).await.expect("asked");
        assert_eq!(deaths, Some(0), "the first was still at it, and the others behind it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_that_hangs_twice_is_parked() {
    let here = Surroundings::new(1, 1).await;
    let file = here.put_stored("hangs").await;
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let ledger = here.ledger().await;
    ledger.suspect(&[here.key("hangs")], UnixMillis::now()).await.expect("listed");
    // It hung once before: each time takes as long as all its sends may.
    ledger.set_deaths(&here.key("hangs"), 1).await.expect("counted");
    here.receive_and_give_back(1).await;
    let _worker = here.start(&[]);
    eventually("it to be parked", PATIENCE, async || (!here.parked().await.is_empty()).then_some(())).await;
    assert_eq!(here.parked().await, [("kills_worker".to_owned(), 2)]);
}

/// A suspect of which the sink has the reply, in the lane of a worker.
async fn one_suspect_at_the_sink(here: &Surroundings) -> Kept {
    here.put("suspect").await;
    here.ledger().await.suspect(&[here.key("suspect")], UnixMillis::now()).await.expect("listed");
    here.receive_and_give_back(1).await;
    here.sink.hold(true);
    let worker = here.start(&[]);
    eventually("its reply at the sink", PATIENCE, async || (here.sink.held() == 1).then_some(())).await;
    assert_eq!(worker.children().len(), 1, "it is worked on alone");
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_stop_waits_for_the_process_of_its_suspect() {
    let here = Surroundings::new(2, 60).await;
    let mut worker = one_suspect_at_the_sink(&here).await;
    worker.signal_all("TERM");
    here.sink.hold(false);
    let status = eventually("the worker's end", PATIENCE, async || worker.ended()).await;
    assert!(status.success(), "{status}");
    assert_eq!((here.left().await, here.parked().await.len()), (0, 0));
    assert_eq!(here.copies(["suspect".to_owned()].into_iter()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_of_a_suspect_goes_with_its_worker_and_that_is_no_death_of_the_suspect() {
    // By itself, it would wait for the sink for ten minutes.
    let here = Surroundings::new(2, 60).await.with_patient_sends();
    let mut worker = one_suspect_at_the_sink(&here).await;
    let alone = worker.children()[0];
    worker.kill();
    eventually("the process to be gone", PATIENCE, async || {
        let state = std::fs::read_to_string(format!("/proc/{alone}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
    assert_eq!(here.ledger().await.deaths(&here.key("suspect")).await.expect("asked"), Some(0));
    assert_eq!((here.left().await, here.parked().await.len()), (1, 0), "it comes again");
}
