//! When mails arrive: a Poisson process whose rate changes each second, made gap by gap, so that nothing is stored.

use crate::random::Random;

/// The times of arrival, in milliseconds, rising.
pub(crate) struct Arrivals<'a> {
    rates: &'a [f64],
    random: Random,
    /// The second that the process is in, and how far, 0 to 1.
    second: usize,
    within: f64,
}

impl<'a> Arrivals<'a> {
    /// Mails expected in each second.
    pub(crate) fn new(rates: &'a [f64], seed: u64) -> Arrivals<'a> {
        Arrivals { rates, random: Random::new(seed, 1), second: 0, within: 0.0 }
    }
}

impl Iterator for Arrivals<'_> {
    type Item = u64;

    /// A unit-rate exponential gap, used up second by second at each second's rate.
    fn next(&mut self) -> Option<u64> {
        let mut gap = self.random.exponential();
        loop {
            let rate = self.rates.get(self.second)?.max(0.0);
            let left = (1.0 - self.within) * rate;
            if gap < left {
                self.within += gap / rate;
                return Some(self.second as u64 * 1_000 + (self.within * 1_000.0) as u64);
            }
            gap -= left;
            self.second += 1;
            self.within = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_rate_and_poissons_spread() {
        let rates: Vec<f64> = (0..4_000).map(|second| if second % 2 == 0 { 0.0 } else { 10.0 }).collect();
        let mut counts = vec![0.0; rates.len()];
        let mut previous = 0;
        for at in Arrivals::new(&rates, 3) {
            assert!(at >= previous, "times rise");
            previous = at;
            counts[(at / 1_000) as usize] += 1.0;
        }
        let busy: Vec<f64> = counts.iter().copied().skip(1).step_by(2).collect();
        assert!(counts.iter().step_by(2).all(|count| *count == 0.0), "nothing in the quiet seconds");
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        let variance = busy.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / busy.len() as f64;
        assert!((mean - 10.0).abs() < 0.3, "mean {mean}");
        assert!((variance - 10.0).abs() < 1.2, "variance {variance}");
    }

    #[test]
    fn no_traffic_has_no_arrivals() {
        assert_eq!(Arrivals::new(&[], 1).next(), None);
        assert_eq!(Arrivals::new(&[0.0; 10], 1).next(), None);
    }
}
