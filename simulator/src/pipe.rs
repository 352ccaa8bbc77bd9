//! CloudWatch between publishing and looking: what was published shows after a while, in bins of the clock. Only metrics that somebody
//! asked for are kept. A bin of which a part of the workers has published yet already has a value, as it has there.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap};

use crate::{
    metric::{Metric, Stat},
    scaling::{MetricQuery, Statistic},
};

/// The finest resolution, in milliseconds.
const BIN_MS: u64 = 10_000;

/// What was published and what shows.
pub(crate) struct Pipe {
    namespace: String,
    /// The bins of each metric that is asked for, by their number from the start.
    bins: [Option<Vec<Stat>>; Metric::COUNT],
    /// Metrics whose values must be kept for percentiles.
    kept: [bool; Metric::COUNT],
    /// What does not show yet, by when it will.
    coming: BinaryHeap<Reverse<(u64, u64)>>,
    batches: BTreeMap<u64, Vec<(Metric, u64, Stat)>>,
    published: u64,
}

impl Pipe {
    /// Keeps what these queries ask for. `namespace` is replyfleet's own.
    pub(crate) fn new<'a>(queries: impl Iterator<Item = &'a MetricQuery>, namespace: &str) -> Pipe {
        let mut bins = [const { None }; Metric::COUNT];
        let mut kept = [false; Metric::COUNT];
        for query in queries {
            if let Some(metric) = Metric::find(query, namespace) {
                bins[metric as usize] = Some(Vec::new());
                kept[metric as usize] |= matches!(query.statistic, Statistic::Percentile(_));
            }
        }
        Pipe { namespace: namespace.to_owned(), bins, kept, coming: BinaryHeap::new(), batches: BTreeMap::new(), published: 0 }
    }

    /// Does anybody ask for percentiles of this metric?
    pub(crate) fn is_kept(&self, metric: Metric) -> bool {
        self.kept[metric as usize]
    }

    /// Publishes values of the bin of `at_ms`, which show at `shown_ms`.
    pub(crate) fn publish(&mut self, at_ms: u64, shown_ms: u64, stats: impl IntoIterator<Item = (Metric, Stat)>) {
        let bin = at_ms / BIN_MS;
        let batch: Vec<_> =
            stats.into_iter().filter(|(metric, _)| self.bins[*metric as usize].is_some()).map(|(metric, stat)| (metric, bin, stat)).collect();
        if !batch.is_empty() {
            self.coming.push(Reverse((shown_ms, self.published)));
            self.batches.insert(self.published, batch);
            self.published += 1;
        }
    }

    /// Shows what is to show by now.
    pub(crate) fn show(&mut self, now_ms: u64) {
        while let Some(Reverse((shown_ms, number))) = self.coming.peek().copied() {
            if shown_ms > now_ms {
                break;
            }
            self.coming.pop();
            for (metric, bin, stat) in self.batches.remove(&number).unwrap_or_default() {
                if let Some(bins) = &mut self.bins[metric as usize] {
                    let bin = bin as usize;
                    if bins.len() <= bin {
                        bins.resize(bin + 1, Stat::default());
                    }
                    bins[bin].merge(&stat);
                }
            }
        }
    }

    /// The data point of the period that begins at `from_ms`, as it shows now; none if nothing shows, or the metric is unknown.
    pub(crate) fn point(&self, query: &MetricQuery, from_ms: u64) -> Option<f64> {
        let bins = self.bins[Metric::find(query, &self.namespace)? as usize].as_ref()?;
        let first = (from_ms / BIN_MS) as usize;
        let last = (first + (u64::from(query.period_s) * 1_000 / BIN_MS) as usize).min(bins.len());
        let within = bins.get(first..last)?;
        if let [one] = within {
            return one.statistic(query.statistic);
        }
        let mut all = Stat::default();
        within.iter().for_each(|stat| all.merge(stat));
        all.statistic(query.statistic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_after_its_lag_in_the_bin_of_its_time() {
        let query = |period_s, statistic| MetricQuery {
            namespace: "fleet".into(),
            name: "queue_depth".into(),
            statistic,
            period_s,
            dimensions: BTreeMap::new(),
        };
        let mut pipe = Pipe::new([query(60, Statistic::Maximum)].iter(), "fleet");
        pipe.publish(60_000, 130_000, [(Metric::QueueDepth, Stat::of(5.0)), (Metric::InHand, Stat::of(1.0))]);
        pipe.publish(70_000, 125_000, [(Metric::QueueDepth, Stat::of(7.0))]);
        pipe.show(124_999);
        assert_eq!(pipe.point(&query(60, Statistic::Maximum), 60_000), None);
        pipe.show(125_000);
        assert_eq!(pipe.point(&query(60, Statistic::Average), 60_000), Some(7.0), "half of it shows");
        pipe.show(130_000);
        assert_eq!(pipe.point(&query(60, Statistic::Average), 60_000), Some(6.0));
        assert_eq!(pipe.point(&query(10, Statistic::Average), 60_000), Some(5.0));
        assert_eq!(pipe.point(&query(60, Statistic::Average), 0), None);
        assert_eq!(pipe.point(&query(60, Statistic::Average), 120_000), None);
    }
}
