//! The end of a machine of an Auto Scaling group: the worker asks the instance's metadata service whether the group ends it,
//! drains as on SIGTERM, says now and then that it still does, and completes the lifecycle hook. `replyfleet mail-queue` does the
//! same with a hook of its own, for the mail that waits in Postfix.
//!
//! Only where a hook is named (`[termination] hook`). A metadata service that is away, or has no such state, changes nothing: it is
//! asked again. If the hook cannot be completed, the group ends the machine by itself when the hook's time is over.

mod aws;
pub(crate) mod metadata;

use std::time::Duration;

use async_trait::async_trait;
use replyfleet::settings::{AwsSettings, SettingsError, TerminationSettings};
use tokio::sync::watch;

use self::aws::AwsGroup;

/// How often the state is asked for.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The state of an instance that its group ends (EC2 User Guide, `autoscaling/target-lifecycle-state`).
const TERMINATED: &str = "Terminated";
/// How often the group is told that the worker still drains. A hook's time is at least 30 s.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Tries to complete the hook, and the pause between them.
const COMPLETE_TRIES_MAX: u32 = 5;
const COMPLETE_PAUSE: Duration = Duration::from_secs(1);

/// The group that the machine is of.
#[async_trait]
trait Group: Send + Sync {
    /// What the machine is to become, if its group says anything.
    async fn target_state(&self) -> Option<String>;

    /// It still drains.
    async fn heartbeat(&self) -> Result<(), String>;

    /// It has drained.
    async fn complete(&self) -> Result<(), String>;
}

/// Watches for the machine's end.
pub struct Lifecycle(Box<dyn Group>);

impl Lifecycle {
    /// Asks nobody yet; `None` if the settings name no hook.
    ///
    /// # Errors
    /// [`SettingsError`] with the key.
    pub async fn open(termination: &TerminationSettings, aws: &AwsSettings) -> Result<Option<Self>, SettingsError> {
        let Some(hook) = &termination.hook else { return Ok(None) };
        let group = AwsGroup::open(hook, termination.group.clone(), aws).await?;
        Ok(Some(Self(Box::new(group))))
    }

    /// Watches until the worker has drained. If the group ends the machine, turns `stop` true, and completes the hook once
    /// `is_drained` is true.
    pub async fn run(self, stop: watch::Sender<bool>, is_drained: watch::Receiver<bool>) {
        self.run_at(stop, is_drained, ASK_EVERY, HEARTBEAT_EVERY).await;
    }

    async fn run_at(self, stop: watch::Sender<bool>, mut is_drained: watch::Receiver<bool>, ask_every: Duration, heartbeat_every: Duration) {
        let mut asking = tokio::time::interval(ask_every);
        loop {
            tokio::select! {
                biased;
                () = drained(&mut is_drained) => return,
                _ = asking.tick() => {}
            }
            if self.0.target_state().await.as_deref() == Some(TERMINATED) {
                break;
            }
        }
        tracing::info!("the Auto Scaling group ends this machine; stopping");
        stop.send_replace(true);
        let mut beats = tokio::time::interval(heartbeat_every);
        beats.tick().await; // the first tick is at once
        loop {
            tokio::select! {
                () = drained(&mut is_drained) => break,
                _ = beats.tick() => {
                    if let Err(error) = self.0.heartbeat().await {
                        tracing::warn!(error, "the group cannot be told that this machine still drains");
                    }
                }
            }
        }
        for tries in 1..=COMPLETE_TRIES_MAX {
            match self.0.complete().await {
                Ok(()) => return tracing::info!("the lifecycle hook is completed"),
                Err(error) => tracing::error!(error, tries, "the lifecycle hook cannot be completed yet"),
            }
            if tries < COMPLETE_TRIES_MAX {
                tokio::time::sleep(COMPLETE_PAUSE).await;
            }
        }
    }
}

async fn drained(is_drained: &mut watch::Receiver<bool>) {
    let _ = is_drained.wait_for(|is_drained| *is_drained).await; // an error means that nobody drains any more
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Counts {
        asked: AtomicUsize,
        beats: AtomicUsize,
        completions: AtomicUsize,
    }

    /// A machine that is to end from the third question on; completing it fails at first.
    struct Scripted(Arc<Counts>);

    #[async_trait]
    impl Group for Scripted {
        async fn target_state(&self) -> Option<String> {
            let states = [None, Some("InService"), Some("Terminated")];
            let asked = self.0.asked.fetch_add(1, Ordering::SeqCst);
            states[asked.min(2)].map(str::to_owned)
        }
        async fn heartbeat(&self) -> Result<(), String> {
            self.0.beats.fetch_add(1, Ordering::SeqCst);
            Err("throttled".into())
        }
        async fn complete(&self) -> Result<(), String> {
            if self.0.completions.fetch_add(1, Ordering::SeqCst) == 0 { Err("throttled".into()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_machine_that_is_to_end_drains_beats_and_completes_its_hook() {
        let counts = Arc::new(Counts::default());
        let ((stop, mut stopped), (drain, is_drained)) = (watch::channel(false), watch::channel(false));
        let millisecond = Duration::from_millis(1);
        let running = tokio::spawn(Lifecycle(Box::new(Scripted(Arc::clone(&counts)))).run_at(stop, is_drained, millisecond, millisecond));
        stopped.wait_for(|stop| *stop).await.expect("it runs");
        assert_eq!((counts.asked.load(Ordering::SeqCst), counts.completions.load(Ordering::SeqCst)), (3, 0));
        while counts.beats.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        drain.send_replace(true);
        running.await.expect("no panic");
        assert_eq!(counts.completions.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_worker_that_ends_by_itself_completes_nothing() {
        let counts = Arc::new(Counts::default());
        let ((stop, stopped), (_drain, is_drained)) = (watch::channel(false), watch::channel(true));
        let group = Box::new(Scripted(Arc::clone(&counts)));
        Lifecycle(group).run_at(stop, is_drained, Duration::from_millis(1), Duration::from_millis(1)).await;
        assert_eq!((counts.completions.load(Ordering::SeqCst), *stopped.borrow()), (0, false));
    }
}
