//! The ledger's promises on three real databases: each promise is one function that runs on SQLite, MariaDB and PostgreSQL.
//!
//! Several workers are several ledgers, each with connections of its own. Without a server (`tests/run` installs them) its
//! third is skipped.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![forbid(unsafe_code)]

/// One test for each promise on each database.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        promises!(@on sqlite [$($promise),+]);
        promises!(@on mariadb [$($promise),+]);
        promises!(@on postgres [$($promise),+]);
    };
    (@on $database:ident [$($promise:ident),+]) => {
        mod $database {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(bed) = crate::bed::Bed::$database().await {
                    super::$promise(&bed).await;
                }
            })+
        }
    };
}

mod allowance;
mod bed;
mod caps;
mod fleet;
mod given_up;
mod lists;
mod outage;
mod privacy;
mod replies;
mod schema;
mod steps;
mod suspects;
