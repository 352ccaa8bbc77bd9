//! From values to positions, and where the numbers of an axis stand.

/// An axis: values from `low` to `high` at the positions from `from` to `to`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub(super) from: f64,
    pub(super) to: f64,
    is_logarithmic: bool,
    /// The values that have a number, in order.
    pub(super) ticks: Vec<f64>,
}

/// Steps of time between two numbers, in seconds.
const TIME_STEPS: [u64; 14] = [10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 604_800];
/// Numbers on a time's axis, at most.
const TIME_TICKS_MAX: u64 = 7;
/// Numbers on an upright axis, at most.
const TICKS_MAX: f64 = 5.0;

impl Axis {
    /// Milliseconds from 0.
    pub(super) fn time(horizon_ms: u64, from: f64, to: f64) -> Axis {
        let seconds = horizon_ms / 1_000;
        let step = TIME_STEPS.into_iter().find(|step| seconds / step <= TIME_TICKS_MAX).unwrap_or(seconds.max(1));
        let ticks = (0..=seconds / step).map(|index| (index * step * 1_000) as f64).collect();
        Axis { low: 0.0, high: horizon_ms as f64, from, to, is_logarithmic: false, ticks }
    }

    /// Values from 0 to at least `peak`, ending at a round number.
    pub(super) fn linear(peak: f64, from: f64, to: f64) -> Axis {
        let step = round(peak.max(1.0) / TICKS_MAX);
        let steps = (peak.max(1.0) / step).ceil();
        let ticks = (0..=steps as u32).map(|index| f64::from(index) * step).collect();
        Axis { low: 0.0, high: steps * step, from, to, is_logarithmic: false, ticks }
    }

    /// Values from `low` to at least `peak` where each number is ten times the one before; `low` is above 0.
    pub(super) fn logarithmic(low: f64, peak: f64, from: f64, to: f64) -> Axis {
        let mut ticks = vec![low];
        let mut tick = low;
        while tick < peak.min(1e12) || ticks.len() < 3 {
            tick *= 10.0;
            ticks.push(tick);
        }
        Axis { low, high: tick, from, to, is_logarithmic: true, ticks }
    }

    /// Where a value stands; what is beyond the ends stands at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, and a whole number: at least `step`.
fn round(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|round| *round >= step).unwrap_or(step)
}

/// Milliseconds as hours and minutes, with seconds only if there are some.
pub(super) fn clock(ms: u64) -> String {
    let seconds = ms / 1_000;
    let minutes = format!("{}:{:02}", seconds / 3_600, seconds % 3_600 / 60);
    if seconds.is_multiple_of(60) { minutes } else { format!("{minutes}:{:02}", seconds % 60) }
}

/// The number beside a tick: 0.1, 25,000, 1.5 M.
pub(super) fn number(value: f64) -> String {
    if value >= 1e6 {
        format!("{} M", value / 1e6)
    } else if value < 1.0 {
        format!("{value:.10}").trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        super::count(value.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_and_have_few() {
        for (peak, high, ticks) in
            [(0.0, 1.0, 2), (1.0, 1.0, 2), (7.0, 8.0, 5), (20.0, 20.0, 5), (49_500.0, 50_000.0, 6), (1_234_567.0, 1_500_000.0, 4)]
        {
            let axis = Axis::linear(peak, 100.0, 0.0);
            assert_eq!((axis.high, axis.ticks.len()), (high, ticks), "{peak}");
        }
        let axis = Axis::linear(20.0, 100.0, 0.0);
        assert_eq!([axis.at(0.0), axis.at(5.0), axis.at(20.0), axis.at(99.0)], [100.0, 75.0, 0.0, 0.0]);
    }

    #[test]
    fn each_step_of_a_logarithmic_axis_is_ten_times() {
        let axis = Axis::logarithmic(0.1, 60.0, 0.0, 30.0);
        assert_eq!(axis.ticks.len(), 4);
        assert!((axis.at(1.0) - 10.0).abs() < 1e-9 && (axis.at(100.0) - 30.0).abs() < 1e-9);
        assert_eq!(axis.at(0.0), 0.0, "below the end is at the end");
    }

    #[test]
    fn time_has_numbers_that_people_use() {
        let ticks = |horizon_s: u64| Axis::time(horizon_s * 1_000, 0.0, 1.0).ticks.iter().map(|tick| clock(*tick as u64)).collect::<Vec<_>>();
        assert_eq!(ticks(14_400), ["0:00", "1:00", "2:00", "3:00", "4:00"].map(str::to_owned));
        assert_eq!(ticks(90)[1], "0:00:30");
        assert_eq!(ticks(86_400).len(), 7);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([number(0.1), number(0.0), number(10.0), number(25_000.0), number(1_500_000.0)], ["0.1", "0", "10", "25,000", "1.5 M"]);
    }
}
