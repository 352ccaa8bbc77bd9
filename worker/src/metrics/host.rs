//! How much of this machine's memory and disk is used, for alarms that would else need an agent. What cannot be found out, or not
//! within a second, is left out.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long it may take: a disk may hang.
const LOOK_MAX: Duration = Duration::from_secs(1);
const MEMINFO: &str = "/proc/meminfo";

/// A disk that hangs holds the one look that waits for it, and no second.
static IS_LOOKING: AtomicBool = AtomicBool::new(false);

/// The shares of memory, and of the file system that holds this path, that are used, in percent.
pub(super) async fn shares(path: PathBuf) -> (Option<f64>, Option<f64>) {
    if IS_LOOKING.swap(true, Ordering::AcqRel) {
        return (None, None);
    }
    let look = tokio::task::spawn_blocking(move || {
        let found = (std::fs::read_to_string(MEMINFO).ok().as_deref().and_then(memory), disk(&path));
        IS_LOOKING.store(false, Ordering::Release);
        found
    });
    match tokio::time::timeout(LOOK_MAX, look).await {
        Ok(Ok(found)) => found,
        _ => (None, None),
    }
}

/// What is not available to a new program, by the kernel's own estimate.
fn memory(meminfo: &str) -> Option<f64> {
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    share(kilobytes("MemTotal")?, kilobytes("MemAvailable")?)
}

/// As `df` has it: blocks that only root may take count neither as used nor as free.
fn disk(path: &std::path::Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
    share((used + stat.f_bavail) as f64, stat.f_bavail as f64)
}

fn share(all: f64, free: f64) -> Option<f64> {
    (all > 0.0).then(|| ((all - free) / all * 100.0).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_does_not_count_as_used() {
        let text = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    6000000 kB\n";
        assert_eq!(memory(text), Some(25.0));
        for bad in ["", "MemTotal: 8 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n"] {
            assert_eq!(memory(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn this_machine_has_memory_and_a_disk() {
        let (memory, disk) = shares("/".into()).await;
        for share in [memory, disk] {
            assert!(share.is_some_and(|share| share > 0.0 && share <= 100.0), "{share:?}");
        }
        assert_eq!(shares("/nowhere/at/all".into()).await.1, None);
    }
}
