//! Floating-point numbers that the kernels are written for.

use std::ops::Neg;

use candle_core::{CpuStorage, WithDType};

/// `f32`, in which networks run, or `f64`, in which gradients are checked.
pub(crate) trait Real: WithDType + Neg<Output = Self> {
    const ZERO: Self;
    const ONE: Self;

    /// The elements of a storage of this type.
    fn elements_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;

    /// e^x, written so that loops over it vectorize.
    fn exp(self) -> Self;

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn elements_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(elements) => Some(elements),
            _ => None,
        }
    }

    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn elements_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(elements) => Some(elements),
            _ => None,
        }
    }

    fn exp(self) -> Self {
        self.exp()
    }
}

/// e^x without branches or calls.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7, whose remainder
/// r^8 / 8! stays below 5e-9; 2^n by two shifted exponents, so that results below the smallest
/// normal number and infinity come out right.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    /// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with trailing zeros so that its product with n is exact.
    const LN2_HI: f32 = 355.0 / 512.0;
    const LN2_LO: f32 = -2.121_944_4e-4;

    // A NaN passes through clamp.
    let x = x.clamp(-105.0, 90.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    let e_r = (p * r) * r + r + 1.0;
    // The lowest bits of n + ROUND are n. Whatever a NaN gives here, the product below is NaN.
    let n = (n + ROUND).to_bits().cast_signed().wrapping_sub(ROUND.to_bits().cast_signed());
    let half = n >> 1;
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) << 23).cast_unsigned());
    e_r * power(half) * power(n.wrapping_sub(half))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;

    /// Distance to the true value in units of the last place of the result.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
    fn ulps(x: f32) -> f64 {
        let want = f64::from(x).exp();
        let got = f64::from(exp_f32(x));
        let rounded = want as f32;
        let ulp = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        (got - want).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_ulps() {
        let worst = (-1_030_000..885_000).map(|i| ulps(i as f32 * 1e-4)).fold(0.0, f64::max);
        assert!(worst < 2.0, "{worst} ulps");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(89.0), f32::INFINITY);
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
