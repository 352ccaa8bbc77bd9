//! Wall-clock time in milliseconds, and the seam through which a decision reads it.
//!
//! Arrival stamps cross machines, so they are wall-clock. Waits and deadlines inside one process use tokio's monotonic
//! clock and do not come through here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The time of this machine's clock; a clock set before 1970 counts as 1970.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// How long ago `earlier` was. A time in the future counts as zero: clocks of two machines differ.
    pub fn since(self, earlier: UnixMillis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This time of day as the clock of the file system has it.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

impl From<SystemTime> for UnixMillis {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add<Duration> for UnixMillis {
    type Output = UnixMillis;
    fn add(self, duration: Duration) -> UnixMillis {
        UnixMillis(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for UnixMillis {
    type Output = UnixMillis;
    fn sub(self, duration: Duration) -> UnixMillis {
        UnixMillis(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What time it is. [`SystemClock`] serves users; a test holds one that it moves itself.
pub trait Clock: Send + Sync {
    /// The current wall-clock time.
    fn now(&self) -> UnixMillis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_from_a_faster_clock_counts_as_zero_elapsed() {
        assert_eq!(UnixMillis(5).since(UnixMillis(9)), Duration::ZERO);
        assert_eq!(UnixMillis(9).since(UnixMillis(5)), Duration::from_millis(4));
    }

    #[test]
    fn arithmetic_stops_at_the_ends_instead_of_wrapping() {
        assert_eq!(UnixMillis(3) - Duration::from_secs(1), UnixMillis(0));
        assert_eq!(UnixMillis(u64::MAX) + Duration::from_secs(1), UnixMillis(u64::MAX));
    }
}
