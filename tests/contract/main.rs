//! The promises of the seams, held by every implementation: each promise is one function that runs on the embedded and
//! on the emulated AWS implementation, followed by what only one of them promises.
//!
//! Without the emulator (`tests/run` installs it) its half is skipped. Waits are conditions with a deadline; where a
//! test must see that something does *not* happen, the queue's own long poll is the clock.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

/// One test for each promise on each implementation; `$open` makes what the promise is asked of, `None` skips.
macro_rules! contract {
    ($($implementation:ident by $open:path),+; $($promise:ident),+ $(,)?) => {
        contract!(@all [$($implementation by $open),+] [$($promise),+]);
    };
    (@all [$($implementation:ident by $open:path),+] $promises:tt) => {
        $(contract!(@one $implementation by $open, $promises);)+
    };
    (@one $implementation:ident by $open:path, [$($promise:ident),+]) => {
        mod $implementation {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(bed) = $open().await {
                    super::$promise(&bed).await;
                }
            })+
        }
    };
}

mod endpoint;
mod far;
mod faults;
mod queue;
mod ses;
mod store;
