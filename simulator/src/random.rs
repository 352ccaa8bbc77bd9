//! The simulation's random numbers: xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64, and the few distributions that the
//! model needs. Its own, and not a library's, so that a seed in our documents gives the same picture with every version of every
//! library. Nothing here is for secrets.

use std::f64::consts::TAU;

/// A stream of random numbers; the same seed gives the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

/// Advances a SplitMix64 state and gives its next number.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl Random {
    /// The stream `stream` of a seed. What uses different streams does not disturb each other: a fault more does not change the traffic.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut state = seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95);
        Random { state: std::array::from_fn(|_| split_mix(&mut state)) }
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in 0 (with) to 1 (without).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in the whole numbers from 0 to `bound`, without it; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_stream_and_another_gives_another() {
        let take = |seed, stream| {
            let mut random = Random::new(seed, stream);
            std::array::from_fn::<u64, 4, _>(|_| random.bits())
        };
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(2, 0));
        assert_ne!(take(1, 0), take(1, 1));
    }

    #[test]
    fn the_distributions_have_their_moments() {
        let mut random = Random::new(7, 0);
        let count = 200_000;
        let moments = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
        };
        let near = |(mean, variance): (f64, f64), (mean_expected, variance_expected): (f64, f64)| {
            assert!((mean - mean_expected).abs() < 0.01, "mean {mean}, expected {mean_expected}");
            assert!((variance - variance_expected).abs() < 0.02, "variance {variance}, expected {variance_expected}");
        };
        near(moments((0..count).map(|_| random.unit()).collect()), (0.5, 1.0 / 12.0));
        near(moments((0..count).map(|_| random.exponential()).collect()), (1.0, 1.0));
        near(moments((0..count).map(|_| random.normal()).collect()), (0.0, 1.0));
        near(moments((0..count).map(|_| random.below(2) as f64).collect()), (0.5, 0.25));
    }
}
