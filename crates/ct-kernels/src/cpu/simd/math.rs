//! Exponential and sigmoid on vectors.

#![expect(unsafe_code, reason = "vector operations need the CPU feature")]

use super::Simd;

/// e^x, for x from -87.3 to 88.3; beyond, its value at the nearer end. A NaN stays one.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7, whose remainder
/// r^8 / 8! stays below 5e-9.
///
/// # Safety
/// Called from a [`Job`](super::Job) for `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    /// Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with trailing zeros so that its product with n is exact.
    const LN2_HI: f32 = 355.0 / 512.0;
    const LN2_LO: f32 = -2.121_944_4e-4;

    // SAFETY: only vector arithmetic. The bound comes first, so that a NaN passes.
    unsafe {
        let x = S::min(S::splat(88.3), S::max(S::splat(-87.3), x));
        let rounded = S::fma(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUND));
        let n = S::sub(rounded, S::splat(ROUND));
        let r = S::fma(n, S::splat(-LN2_LO), S::fma(n, S::splat(-LN2_HI), x));
        let mut p = S::splat(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(coefficient));
        }
        S::mul(p, S::pow2(rounded))
    }
}

/// 1 / (1 + e^-x).
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: only vector arithmetic.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// x sigmoid(x).
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: only vector arithmetic.
    unsafe { S::mul(x, sigmoid::<S>(x)) }
}

/// d/dx of x sigmoid(x): s (1 + x (1 - s)).
///
/// # Safety
/// As [`exp`].
#[inline(always)]
pub(crate) unsafe fn silu_slope<S: Simd>(x: S::V) -> S::V {
    // SAFETY: only vector arithmetic.
    unsafe {
        let s = sigmoid::<S>(x);
        let one = S::splat(1.0);
        S::mul(s, S::fma(x, S::sub(one, s), one))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::Isa;
    use super::super::{BLOCK, Job};
    use super::*;

    struct Exp<'a>(&'a mut [f32; BLOCK]);

    impl Job for Exp<'_> {
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: a vector divides the block.
                unsafe {
                    let p = self.0.as_mut_ptr().add(lane);
                    S::store(p, exp::<S>(S::load(p)));
                }
            }
        }
    }

    fn exps(isa: Isa, mut x: [f32; BLOCK]) -> [f32; BLOCK] {
        // SAFETY: the callers ask for instruction sets that are there.
        unsafe { isa.invoke(Exp(&mut x)) }
        x
    }

    #[test]
    fn exp_is_within_two_ulps() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for start in (-87_000i32..88_000).step_by(BLOCK) {
                let x: [f32; BLOCK] = std::array::from_fn(|i| (start as f32 + i as f32) * 1e-3);
                for (x, got) in x.into_iter().zip(exps(isa, x)) {
                    let want = f64::from(x).exp();
                    #[expect(clippy::cast_possible_truncation, reason = "rounding is what it is for")]
                    let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
                    assert!((f64::from(got) - want).abs() < 2.0 * ulp, "{isa:?}: e^{x} is {want}, got {got}");
                }
            }
        }
    }

    #[test]
    fn exp_beyond_the_ends_is_finite_and_nan_stays() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut x = [f32::NAN; BLOCK];
            (x[0], x[1], x[2]) = (f32::INFINITY, f32::NEG_INFINITY, 1e30);
            let y = exps(isa, x);
            assert!(y[0] > 1e38 && y[0].is_finite() && y[2].is_finite());
            assert!(y[1] < 2e-38 && y[1] > 0.0);
            assert!(y[3..].iter().all(|y| y.is_nan()));
        }
    }
}
