//! The ledgers on a real database against the functions that they decide by (`ledger::steps`, of which a model goes through
//! every interleaving): whatever several workers ask in whatever order, both say the same and come to stand the same. That is
//! what the single statements, the locks and the columns must not change.

use std::time::Duration;

use proptest::{
    prelude::{Just, Strategy, prop_oneof},
    test_runner::{Config, TestRunner},
};
use replyfleet::clock::UnixMillis;
use replyfleet_worker::ledger::{
    Attempt, Claim, Ledger, ReplyState, Try, Withdrawn,
    steps::{self, Standing},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::bed::{Ask, Bed, T0};

const HOLD: Duration = Duration::from_secs(60);
/// Requests that are gone through on each database.
const CASES: u32 = 60;
const STEPS_MAX: usize = 14;

promises! {
    whatever_workers_ask_in_whatever_order_the_ledger_does_what_its_steps_say,
}

/// What a worker asks, of which reply, and what its clock says.
#[derive(Clone, Debug)]
struct Asked {
    worker: usize,
    reply: usize,
    now: UnixMillis,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Claim,
    /// Of the attempts that were granted so far, the one of this number from the last.
    Record(usize, Try),
    Withdraw(Withdrawn),
    Expire,
}

fn asked() -> impl Strategy<Value = Asked> {
    let result = prop_oneof![1 => Just(Try::Sent), 1 => Just(Try::Refused), 3 => Just(Try::NotSent), 3 => Just(Try::Ambiguous)];
    let what = prop_oneof![
        5 => Just(What::Claim),
        5 => (0_usize..3, result).prop_map(|(back, result)| What::Record(back, result)),
        1 => Just(What::Withdraw(Withdrawn::Refused)),
        1 => Just(What::Withdraw(Withdrawn::TooBig)),
        1 => Just(What::Expire),
    ];
    // Around the end of a hold, a little wrong, and as wrong as no claim can be.
    let clock = prop_oneof![8 => -70_i64..70, 1 => Just(-86_400_i64), 1 => Just(86_400_i64)];
    (0_usize..3, 0_usize..2, clock, what).prop_map(|(worker, reply, seconds, what)| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        Asked { worker, reply, now: if seconds < 0 { T0 - by } else { T0 + by }, what }
    })
}

async fn whatever_workers_ask_in_whatever_order_the_ledger_does_what_its_steps_say(bed: &Bed) {
    let workers = bed.workers(r#""answers_per_sender": 1000, "attachments_per_sender": 1000"#).await;
    let connection = bed.connection().await;
    let runtime = tokio::runtime::Handle::current();
    let number = std::cell::Cell::new(0);
    tokio::task::block_in_place(|| {
        let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let way = proptest::collection::vec(asked(), 1..STEPS_MAX);
        let all = TestRunner::new(config).run(&way, |way| {
            number.set(number.get() + 1);
            runtime.block_on(go(&workers, &connection, number.get(), &way));
            Ok(())
        });
        all.unwrap();
    });
}

/// One request's way, in the ledger and by the steps.
async fn go(workers: &[Ledger], connection: &DatabaseConnection, number: u32, way: &[Asked]) {
    let ask = Ask::new(number, &format!("a{number}@b.org"));
    assert_eq!(ask.admit(&workers[0], T0).await.replies.len(), 2);
    let mut rows = [Standing::NEW, Standing::NEW];
    let mut granted: [Vec<(Attempt, Attempt)>; 2] = [Vec::new(), Vec::new()];
    for (step, Asked { worker, reply, now, what }) in way.iter().enumerate() {
        let (ledger, row) = (&workers[*worker], &mut rows[*reply]);
        match what {
            What::Claim => {
                let real = ledger.claim(&ask.key, *reply, *now, HOLD).await.expect("claim");
                let holder = i64::try_from(step).unwrap() + 1;
                match (real, steps::claim(row, *now, HOLD, holder)) {
                    (Claim::Granted(real), Claim::Granted(told)) => granted[*reply].push((real, told)),
                    (real, told) => assert_eq!(real, told, "step {step}"),
                }
            }
            What::Record(back, result) => {
                let Some((real, told)) = granted[*reply].iter().rev().nth(*back) else { continue };
                let real = ledger.record(&ask.key, *reply, *real, *result).await.expect("record");
                assert_eq!(real, steps::record(row, *told, *result), "step {step}");
            }
            What::Withdraw(why) => {
                let real = ledger.withdraw(&ask.key, *reply, *why, *now).await.expect("withdraw");
                assert_eq!(real, steps::give_up(row, *why, *now), "step {step}");
            }
            What::Expire => {
                let real = ledger.expire(&ask.key, *now).await.expect("expire").expect("known");
                let told: Vec<ReplyState> = rows.iter_mut().map(|row| steps::give_up(row, Withdrawn::Expired, *now)).collect();
                assert_eq!(real.replies.iter().map(|reply| reply.state).collect::<Vec<_>>(), told, "step {step}");
            }
        }
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(columns(connection, &ask.key, index).await, expected(row), "reply {index} after step {step}");
        }
    }
}

/// What the database has of a reply, but for the holder, which is random there.
async fn columns(connection: &DatabaseConnection, key: &str, index: usize) -> (String, i32, i32, i64) {
    let backend = connection.get_database_backend();
    let quote = if backend == DbBackend::MySql { '`' } else { '"' };
    let query = format!("SELECT state, attempts, ambiguous, held_until_ms FROM {quote}reply{quote} WHERE request_key = '{key}' AND number = {index}");
    let row = connection.query_one_raw(Statement::from_string(backend, query)).await.expect("asked").expect("a row");
    (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap(), row.try_get_by_index(2).unwrap(), row.try_get_by_index(3).unwrap())
}

fn expected(row: &Standing) -> (String, i32, i32, i64) {
    (row.state.word().to_owned(), row.attempts, row.ambiguous, i64::try_from(row.held_until.0).unwrap())
}
