//! A histogram of durations whose buckets grow with the value: at most 1.6 % wide, whatever the value, in a few kilobytes. It counts;
//! it never fails, and what is too large for its last bucket counts there.

use serde::Serialize;

/// Buckets in each doubling of the value.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// The largest value that has a bucket of its own: 2^32 ms are 49 days.
const VALUE_MAX: u64 = (1 << 32) - 1;

/// Counts of durations in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// Grows as far as values need.
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

/// The bucket of a value: exact below 64, then 64 buckets a doubling.
fn bucket(value: u64) -> usize {
    let value = value.min(VALUE_MAX);
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((u64::from(shift) + 1) * SUB + ((value >> shift) - SUB)) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    ((bucket % SUB + SUB + 1) << shift) - 1
}

impl Histogram {
    /// Counts one duration, in milliseconds.
    pub fn add(&mut self, value_ms: u64) {
        self.add_many(value_ms, 1);
    }

    /// Counts `count` equal durations.
    pub fn add_many(&mut self, value_ms: u64, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = bucket(value_ms);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += count;
        self.count += count;
        self.sum += value_ms * count;
        self.max = self.max.max(value_ms);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Forgets everything, but keeps its room.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.sum, self.max) = (0, 0, 0);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, exactly; zero of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The value that the share `share` (0 to 1) of the durations does not exceed, at most 1.6 % too large; none of nothing.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Some(upper(bucket).min(self.max));
            }
        }
        None
    }

    /// The share of the durations that are longer than `value_ms`, to the width of a bucket; zero of nothing.
    pub fn share_over(&self, value_ms: u64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let over: u64 = self.counts.iter().skip(bucket(value_ms) + 1).sum();
        over as f64 / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let mut previous = 0;
        for value in (0..2_000).chain((2_000..40_000_000).step_by(997)) {
            let of = bucket(value);
            assert!(of >= previous, "buckets follow the values at {value}");
            previous = of;
            assert!(upper(of) >= value, "{value} is above its bucket");
            assert!(of == 0 || upper(of - 1) < value, "{value} belongs into an earlier bucket");
            assert!(upper(of) - value <= value / 64, "the bucket of {value} is wide");
        }
    }

    #[test]
    fn quantiles_and_shares_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for value in 1..=10_000 {
            histogram.add(value);
        }
        assert_eq!(histogram.max(), 10_000);
        assert!((histogram.mean() - 5_000.5).abs() < 1e-9);
        for (share, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            let found = histogram.quantile(share).expect("values") as f64;
            assert!((found - exact).abs() <= exact / 64.0, "{share}: {found}");
        }
        assert!((histogram.share_over(9_000) - 0.1).abs() < 0.01);
        assert_eq!(histogram.share_over(10_000), 0.0);
    }
}
