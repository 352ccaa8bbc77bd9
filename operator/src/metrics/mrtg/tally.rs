//! What of the figures was told already, and what is new: each sample is told once, however late it comes and however often
//! its period is read. Pure: figures in, a number out.
//!
//! CloudWatch shows a sample some minutes late, and adds it to its period, which may have been read by then. So the last
//! periods are read again and again, and what they have grown by is told with what is new. What comes later than
//! [`LOOK_BACK_PERIODS`] after its period was told is lost; that is the bound.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::cloudwatch::{Points, Statistic, Window};

/// How many periods that were told are read again: three hours of five minutes.
pub(super) const LOOK_BACK_PERIODS: u64 = 36;
/// How far a first time goes back: a period and its delay, and then some.
const FIRST_S: u64 = 900;

/// A period's figure, or what was told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// The sum of a count or of a measure's samples, or the statistic itself.
    value: f64,
    /// The samples of a measure; of a statistic that cannot be added, 1; of a count, 0.
    weight: f64,
}

/// What is remembered between two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// Before this second nothing was ever told, and nothing will be.
    since_s: u64,
    /// The end of what was told.
    next_s: u64,
    /// What was told of the last periods, by their start.
    told: [BTreeMap<u64, Reading>; 2],
}

/// A clock may be set back by so much between two looks: what was told until then is not told again.
const CLOCK_STEP_S: u64 = 300;

impl Tally {
    /// Of one that was never asked.
    pub(super) fn first(now_s: u64, period_s: u64) -> Self {
        let since_s = start(now_s.saturating_sub(FIRST_S), period_s);
        Self { since_s, next_s: since_s, told: Default::default() }
    }

    /// Whether it can have been written by this machine, by this clock.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, now_s: u64, period_s: u64) -> anyhow::Result<()> {
        let is_even = [self.since_s, self.next_s].iter().chain(self.told.iter().flat_map(BTreeMap::keys)).all(|second| second % period_s == 0);
        ensure!(is_even && self.since_s <= self.next_s, "its times are not those of periods");
        ensure!(self.next_s <= now_s + CLOCK_STEP_S, "it is from the future: was the clock set back?");
        ensure!(
            self.told.iter().flat_map(BTreeMap::values).all(|told| told.value.is_finite() && told.weight.is_finite()),
            "it has figures that are no numbers"
        );
        Ok(())
    }

    /// What has to be read now, up to the last period that ended `delay_s` ago; `None` if no period has ended yet. What CloudWatch
    /// no longer has is not asked for.
    pub(super) fn window(&self, now_s: u64, delay_s: u64, period_s: u64) -> Option<Window> {
        let to_s = start(now_s.saturating_sub(delay_s), period_s).max(self.next_s);
        let oldest_s = start(now_s.saturating_sub(kept_s(period_s)), period_s) + period_s;
        let from_s = self.next_s.saturating_sub(LOOK_BACK_PERIODS * period_s).max(self.since_s).max(oldest_s);
        (from_s < to_s).then_some(Window { from_s, to_s })
    }

    /// The window in which nothing is new.
    pub(super) fn nothing(&self) -> Window {
        Window { from_s: self.next_s, to_s: self.next_s }
    }

    /// How much was never told and is no longer there, in seconds.
    pub(super) fn lost_s(&self, window: Window) -> u64 {
        window.from_s.saturating_sub(self.next_s)
    }

    /// Tells what is new in the window; the statistics are those of the two lines. `None` is a measure that nobody measured.
    pub(super) fn tell(
        &mut self,
        lines: &[BTreeMap<u64, Reading>; 2],
        statistics: &[Statistic; 2],
        window: Window,
        period_s: u64,
    ) -> [Option<f64>; 2] {
        let mut news = [None, None];
        for (index, line) in lines.iter().enumerate() {
            news[index] = tell(&mut self.told[index], line, &statistics[index]);
        }
        self.next_s = self.next_s.max(window.to_s);
        let oldest_s = self.next_s.saturating_sub(LOOK_BACK_PERIODS * period_s);
        for told in &mut self.told {
            told.retain(|second, _| *second >= oldest_s);
        }
        news
    }
}

/// The start of the period that a second lies in.
fn start(second: u64, period_s: u64) -> u64 {
    second - second % period_s
}

/// How long CloudWatch keeps points of such a period, by its own promise: 3 hours, 15, 63 and 455 days.
fn kept_s(period_s: u64) -> u64 {
    match period_s {
        0..60 => 3 * 3_600,
        60..300 => 15 * 86_400,
        300..3_600 => 63 * 86_400,
        _ => 455 * 86_400,
    }
}

/// The statistics to ask for one line: a mean over several periods takes sum and number.
pub(super) fn parts(statistic: &Statistic) -> Vec<Statistic> {
    match statistic {
        Statistic::Average => vec![Statistic::Sum, Statistic::SampleCount],
        other => vec![other.clone()],
    }
}

/// One line's readings from the points of its [`parts`].
///
/// # Errors
/// A sum without its number of samples.
pub(super) fn readings(statistic: &Statistic, points: &[Points]) -> anyhow::Result<BTreeMap<u64, Reading>> {
    let Some(values) = points.first() else { return Ok(BTreeMap::new()) };
    let weight = |second: &u64| match statistic {
        Statistic::Sum | Statistic::SampleCount => Ok(0.0),
        Statistic::Average => points
            .get(1)
            .and_then(|samples| samples.get(second))
            .copied()
            .filter(|samples| *samples > 0.0)
            .ok_or_else(|| anyhow::anyhow!("CloudWatch gave a sum and no number of samples")),
        _ => Ok(1.0),
    };
    values.iter().map(|(second, value)| Ok((*second, Reading { value: *value, weight: weight(second)? }))).collect()
}

fn tell(told: &mut BTreeMap<u64, Reading>, line: &BTreeMap<u64, Reading>, statistic: &Statistic) -> Option<f64> {
    let mut fresh = Vec::new();
    for (second, reading) in line {
        let before = told.get(second).copied();
        let is_additive = matches!(statistic, Statistic::Sum | Statistic::SampleCount | Statistic::Average);
        match before {
            // A figure that shrank is not taken back: what was told is told.
            Some(before) if is_additive => {
                let grown = Reading { value: reading.value - before.value, weight: reading.weight - before.weight };
                let has_grown = if *statistic == Statistic::Average { grown.weight > 0.0 } else { grown.value > 0.0 };
                if has_grown {
                    fresh.push(grown);
                    told.insert(*second, *reading);
                }
            }
            Some(_) => {}
            None => {
                fresh.push(*reading);
                told.insert(*second, *reading);
            }
        }
    }
    let (value, weight) = fresh.iter().fold((0.0, 0.0), |(value, weight), reading| (value + reading.value, weight + reading.weight));
    match statistic {
        Statistic::Sum | Statistic::SampleCount => Some(value),
        Statistic::Minimum => fresh.iter().map(|reading| reading.value).reduce(f64::min),
        Statistic::Maximum => fresh.iter().map(|reading| reading.value).reduce(f64::max),
        // Percentiles of several periods cannot be made one; their mean is what MRTG itself makes of them in its longer graphs.
        Statistic::Average | Statistic::Percentile(_) => (weight > 0.0).then(|| value / weight),
    }
}
