//! Mail that arrives: how many a second are expected in each second, for shapes that have a name and for a file of one's own. What then
//! really arrives is drawn by the simulation. No file is read here.

mod csv;

#[cfg(test)]
mod tests;

use std::f64::consts::{LN_2, TAU};

pub use csv::{CsvError, csv};

/// Shapes with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Always the same.
    Steady,
    /// A day: least at four in the night, most at four in the afternoon.
    Diurnal,
    /// At once to `factor`, and it stays.
    Step,
    /// A television programme shows the address: up in under a minute, then half as much every ten minutes.
    Tv,
    /// Two of these, the second half as high, an hour later.
    TwoHumps,
    /// The surge and what comes again: a part of it was deferred on its way, and returns when mail servers usually try again.
    RetryStorm,
    /// A parliament's streams on the day of a vote, as measured from 10:00 on: 27 times the quiet rate by midnight.
    Measured,
}

/// All shapes.
pub const SHAPES: [Shape; 7] = [Shape::Steady, Shape::Diurnal, Shape::Step, Shape::Tv, Shape::TwoHumps, Shape::RetryStorm, Shape::Measured];

/// A shape with its measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The shape.
    pub shape: Shape,
    /// Mails a second when all is quiet.
    pub base: f64,
    /// How many times that at the peak: at least 1.
    pub factor: f64,
    /// When the surge begins, in seconds.
    pub surge_at_s: u32,
    /// How long it lasts, in seconds.
    pub horizon_s: u32,
}

/// A surge's way up, in seconds: under a minute.
const RISE_S: f64 = 45.0;
/// Half of the surge is over after so many seconds.
const HALF_LIFE_S: f64 = 600.0;
/// From the first hump to the second, in seconds.
const HUMPS_S: f64 = 3_600.0;
/// When mail servers try again, in seconds after a deferral: Postfix's 300 s doubled each time, others' half hour.
const RETRIES_S: [f64; 4] = [300.0, 900.0, 1_800.0, 2_100.0];
/// How much of the surge each retry brings, of its peak: the later, the less is still deferred.
const RETRY_SHARES: [f64; 4] = [0.6, 0.3, 0.3, 0.1];
/// How long such a wave lasts, in seconds.
const RETRY_WAVE_S: f64 = 60.0;
/// The measured day: seconds after 10:00, and Mbit/s. Quiet was 60. From 12:49 on the one server was full (780, then 650 to 700), which
/// hides what was wanted; the second server came at about 16:30, the third at 19:30.
const MEASURED: [(f64, f64); 12] = [
    (0.0, 60.0),
    (1_800.0, 100.0),
    (8_700.0, 160.0),
    (9_120.0, 367.0),
    (9_480.0, 597.0),
    (9_720.0, 756.0),
    (10_140.0, 779.0),
    (14_400.0, 675.0),
    (23_400.0, 675.0),
    (27_900.0, 1_020.0),
    (36_600.0, 1_200.0),
    (50_400.0, 1_660.0),
];

impl Shape {
    /// Its name on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Shape::Steady => "steady",
            Shape::Diurnal => "diurnal",
            Shape::Step => "step",
            Shape::Tv => "tv",
            Shape::TwoHumps => "two-humps",
            Shape::RetryStorm => "retry-storm",
            Shape::Measured => "measured",
        }
    }

    /// The shape of this name.
    pub fn from_word(word: &str) -> Option<Shape> {
        SHAPES.into_iter().find(|shape| shape.word() == word)
    }

    /// Its peak where nobody asked for another, in multiples of the quiet rate.
    pub fn usual_factor(self) -> f64 {
        match self {
            Shape::Steady => 1.0,
            Shape::Diurnal => 3.0,
            Shape::Step | Shape::Tv | Shape::TwoHumps | Shape::RetryStorm => 20.0,
            Shape::Measured => peak(&MEASURED) / MEASURED[0].1,
        }
    }

    /// Whether there is a moment when the surge begins, from which times to capacity count.
    pub fn has_surge(self) -> bool {
        !matches!(self, Shape::Steady | Shape::Diurnal)
    }
}

impl Traffic {
    /// When the surge begins, in seconds: the measured one has its own time.
    pub fn surge_s(&self) -> Option<u32> {
        match self.shape {
            Shape::Measured => Some(8_700).filter(|at| *at < self.horizon_s),
            shape => shape.has_surge().then_some(self.surge_at_s),
        }
    }

    /// Mails expected in each second, from 0 to the horizon.
    pub fn rates(&self) -> Vec<f64> {
        (0..self.horizon_s).map(|second| self.base * (1.0 + (self.factor - 1.0) * self.share(f64::from(second)))).collect()
    }

    /// How much of the surge there is at `second`: 0 is quiet, 1 is the peak.
    fn share(&self, second: f64) -> f64 {
        let since = second - f64::from(self.surge_at_s);
        match self.shape {
            Shape::Steady => 0.0,
            // The simulation begins at midnight.
            Shape::Diurnal => (1.0 - (TAU * (second / 3_600.0 - 4.0) / 24.0).cos()) / 2.0,
            Shape::Step => f64::from(u8::from(since >= 0.0)),
            Shape::Tv => hump(since),
            Shape::TwoHumps => hump(since).max(hump(since - HUMPS_S) / 2.0),
            Shape::RetryStorm => {
                let waves = RETRIES_S.into_iter().zip(RETRY_SHARES).filter(|(at, _)| (*at..at + RETRY_WAVE_S).contains(&since));
                hump(since).max(waves.map(|(_, share)| share).sum())
            }
            Shape::Measured => (interpolate(&MEASURED, second) - MEASURED[0].1) / (peak(&MEASURED) - MEASURED[0].1),
        }
    }
}

/// A rise in a line, then half every half-life; 1 at the top.
fn hump(since: f64) -> f64 {
    if since < 0.0 { 0.0 } else { (since / RISE_S).min(1.0) * (-LN_2 * (since - RISE_S).max(0.0) / HALF_LIFE_S).exp() }
}

fn peak(points: &[(f64, f64)]) -> f64 {
    points.iter().fold(0.0, |peak, point| peak.max(point.1))
}

/// The value at `at` on the line through `points`, which are in order and not empty; before the first and after the last, theirs.
fn interpolate(points: &[(f64, f64)], at: f64) -> f64 {
    let next = points.partition_point(|point| point.0 <= at);
    match (next.checked_sub(1).map(|last| points[last]), points.get(next).copied()) {
        (Some((from, low)), Some((to, high))) => low + (high - low) * (at - from) / (to - from),
        (Some((_, only)), None) | (None, Some((_, only))) => only,
        (None, None) => 0.0,
    }
}
