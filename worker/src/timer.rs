//! Time as the drain loop and the breakers wait by it: the machine's, or one that a test moves itself, hours in a moment.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

/// The seam.
#[async_trait]
pub(crate) trait Timer: Send + Sync {
    /// The time, which never goes back.
    fn now(&self) -> Instant;

    /// Waits.
    async fn wait(&self, time: Duration);
}

/// The machine's time.
pub(crate) struct MachineTimer;

#[async_trait]
impl Timer for MachineTimer {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A time of a test's own.
#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;

    use super::*;

    pub(crate) struct TestTimer {
        start: Instant,
        passed: Mutex<Duration>,
        waiting: Mutex<Vec<(Duration, oneshot::Sender<()>)>>,
    }

    impl Default for TestTimer {
        fn default() -> Self {
            Self { start: Instant::now(), passed: Mutex::default(), waiting: Mutex::default() }
        }
    }

    impl TestTimer {
        /// What has passed since its beginning.
        pub(crate) fn passed(&self) -> Duration {
            *self.passed.lock().expect("no panic while it was held")
        }

        /// Time passes.
        pub(crate) fn advance(&self, time: Duration) {
            let now = self.passed() + time;
            *self.passed.lock().expect("no panic while it was held") = now;
            let mut waiting = self.waiting.lock().expect("no panic while it was held");
            let (due, later) = waiting.drain(..).partition(|(at, _)| *at <= now);
            *waiting = later;
            for (_, wake) in due {
                let _: Result<(), ()> = wake.send(()); // nobody waits any more
            }
        }

        /// Goes to the next moment for which somebody waits, if somebody does.
        pub(crate) fn skip(&self) {
            let next = {
                let mut waiting = self.waiting.lock().expect("no panic while it was held");
                waiting.retain(|(_, wake)| !wake.is_closed());
                waiting.iter().map(|(at, _)| *at).min()
            };
            if let Some(next) = next {
                self.advance(next - self.passed());
            }
        }
    }

    #[async_trait]
    impl Timer for TestTimer {
        fn now(&self) -> Instant {
            self.start + self.passed()
        }

        async fn wait(&self, time: Duration) {
            let (wake, woken) = oneshot::channel();
            let at = self.passed() + time;
            self.waiting.lock().expect("no panic while it was held").push((at, wake));
            let _ = woken.await;
        }
    }
}
