//! The one module of routing with floating point: draws from a Beta distribution. What goes in and what comes out are whole numbers,
//! and no amount of money is near.
//!
//! The same seed must give the same draw on every machine. IEEE 754 fixes `+ - * /` and the square root to the bit, and
//! Rust neither fuses nor reorders them; logarithms of a machine's library are not fixed, so the one that is needed is
//! put together here from those four.
#![allow(
    clippy::float_arithmetic,
    reason = "statistics; results leave as parts of a billion and never enter money"
)]

use std::f64::consts::LN_2;

use sha2::{Digest as _, Sha256};

/// Numbers drawn from a seed: SHA-256 over seed and count.
pub(super) struct Stream {
    seed: [u8; 32],
    count: u64,
}

impl Stream {
    /// A stream of its own for each list of parts.
    pub(super) fn new(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"tillway routing");
        for part in parts {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self { seed: hasher.finalize().into(), count: 0 }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        let block = Sha256::new().chain_update(self.seed).chain_update(self.count.to_be_bytes()).finalize();
        block.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }

    /// A number above 0 and below 1.
    fn uniform(&mut self) -> f64 {
        let bits = self.next();
        let high = u32::try_from(bits >> 32).unwrap_or(0);
        (f64::from(high) + 0.5) / 4_294_967_296.0
    }

    /// A standard normal number, by Marsaglia's polar method.
    fn normal(&mut self) -> f64 {
        for _ in 0..MOST {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * ln(s) / s).sqrt();
            }
        }
        0.0
    }

    /// A number of the gamma distribution with a shape of at least 1, by Marsaglia and Tsang.
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        for _ in 0..MOST {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            if ln(self.uniform()) < 0.5 * x * x + d - d * v + d * ln(v) {
                return d * v;
            }
        }
        d
    }
}

/// Rounds of a rejection method; each rejects less than a quarter.
const MOST: u32 = 200;

/// The natural logarithm of a positive number: halved or doubled into [0.7, 1.4], then a series of which the left-out rest
/// is below the last bit that matters here.
pub(crate) fn ln(x: f64) -> f64 {
    let (mut mantissa, mut powers) = (x, 0.0);
    while mantissa > 1.4 && powers < 1100.0 {
        mantissa *= 0.5;
        powers += 1.0;
    }
    while mantissa < 0.7 && powers > -1100.0 {
        mantissa *= 2.0;
        powers -= 1.0;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let (mut term, mut sum, mut odd) = (t, 0.0, 1.0);
    for _ in 0..14 {
        sum += term / odd;
        term *= square;
        odd += 2.0;
    }
    2.0 * sum + powers * LN_2
}

/// A draw from Beta(good + 1, bad + 1), in parts of a billion; `unit` is what one outcome counts.
pub(super) fn draw(stream: &mut Stream, good: u64, bad: u64, unit: u64) -> u32 {
    let shape = |count: u64| whole(count) / whole(unit.max(1)) + 1.0;
    let (a, b) = (stream.gamma(shape(good)), stream.gamma(shape(bad)));
    billionths(a / (a + b))
}

pub(crate) fn whole(n: u64) -> f64 {
    let high = u32::try_from(n >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(n & 0xffff_ffff).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and 0 to 1 billion fits"
)]
fn billionths(share: f64) -> u32 {
    (share * 1e9) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        for n in 1..20_000_u32 {
            for x in [f64::from(n) / 20_000.0, f64::from(n), f64::from(n) * 1e-9] {
                assert!((ln(x) - x.ln()).abs() < 1e-12 * (1.0 + x.ln().abs()), "{x}");
            }
        }
    }

    #[test]
    fn draws_have_the_mean_and_the_spread_of_their_distribution() {
        for (good, bad) in [(0_u64, 0_u64), (3, 1), (90, 10), (1000, 4000), (1, 400)] {
            let mut stream = Stream::new(&["moments", &good.to_string(), &bad.to_string()]);
            let n = 6000;
            let draws: Vec<f64> =
                (0..n).map(|_| f64::from(draw(&mut stream, good * 64, bad * 64, 64)) / 1e9).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            let spread = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / f64::from(n);
            let (a, b) = (whole(good) + 1.0, whole(bad) + 1.0);
            let expected = a / (a + b);
            let variance = a * b / ((a + b) * (a + b) * (a + b + 1.0));
            assert!((mean - expected).abs() < 4.0 * (variance / f64::from(n)).sqrt(), "{good} {bad}: {mean}");
            assert!((spread / variance - 1.0).abs() < 0.12, "{good} {bad}: {spread} for {variance}");
        }
    }

    /// What one machine draws any other must: these were computed in Python as well.
    #[test]
    fn draws_are_the_same_for_ever() {
        let drawn: Vec<u32> = (0..4_u64)
            .map(|n| draw(&mut Stream::new(&["shop/A-1", "t1", &n.to_string()]), 640 * n, 64, 64))
            .collect();
        assert_eq!(drawn, [342_012_562, 829_389_738, 960_725_818, 960_439_261]);
        assert_eq!(Stream::new(&["a", "bc"]).next(), Stream::new(&["a", "bc"]).next());
        assert_ne!(Stream::new(&["a", "bc"]).next(), Stream::new(&["ab", "c"]).next());
    }
}
