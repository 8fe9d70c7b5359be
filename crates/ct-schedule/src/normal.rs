//! The standard normal distribution function and its inverse.

use core::f64::consts::{PI, SQRT_2};

/// `Phi(x)`, the probability that a standard normal is below `x`; accurate relative to itself in the lower tail.
///
/// ```
/// use ct_schedule::normal_cdf;
///
/// assert_eq!(normal_cdf(0.0), 0.5);
/// assert!((normal_cdf(-10.0) / 7.619853024160527e-24 - 1.0).abs() < 1e-13);
/// ```
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The `x` with `Phi(x) = p`: minus infinity for `p <= 0`, infinity for `p >= 1`.
///
/// A rational start (Abramowitz & Stegun, eq. 26.2.22, error 3e-3) and Halley's iteration on `Phi`, whose error is cubed
/// each time.
///
/// ```
/// use ct_schedule::inverse_normal_cdf;
///
/// assert!(inverse_normal_cdf(0.5).abs() < 1e-16);
/// assert!((inverse_normal_cdf(0.975) - 1.959963984540054).abs() < 1e-14);
/// assert!((inverse_normal_cdf(1e-20) + 9.262340089798408).abs() < 1e-13);
/// ```
pub fn inverse_normal_cdf(p: f64) -> f64 {
    if p.is_nan() {
        f64::NAN
    } else if p <= 0.0 {
        f64::NEG_INFINITY
    } else if p <= 0.5 {
        lower_quantile(p)
    } else if p < 1.0 {
        // 1 - p is exact here.
        -lower_quantile(1.0 - p)
    } else {
        f64::INFINITY
    }
}

/// The quantile for `0 < p <= 1/2`, where `Phi` loses no digits.
fn lower_quantile(p: f64) -> f64 {
    const ITERATIONS: usize = 3;
    let mut x = rational_start(p);
    for _ in 0..ITERATIONS {
        let step = (normal_cdf(x) - p) / density(x);
        x -= step / (1.0 + 0.5 * x * step);
    }
    x
}

fn rational_start(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    (2.30753 + 0.27061 * t) / (1.0 + t * (0.99229 + 0.04481 * t)) - t
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// `Phi(b) - Phi(a)` for `a <= b`, without cancellation in either tail.
pub(crate) fn normal_mass(a: f64, b: f64) -> f64 {
    if a > 0.0 { normal_cdf(-a) - normal_cdf(-b) } else { normal_cdf(b) - normal_cdf(a) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few units in the last place of an argument of order one, through `Phi` and back.
    const TOLERANCE: f64 = 4.0 * f64::EPSILON;

    #[test]
    fn inverts_the_distribution_function() {
        for i in 0..=3700 {
            let x = -37.0 + f64::from(i) * 0.01;
            let error = inverse_normal_cdf(normal_cdf(x)) - x;
            // The error of Phi, relative to itself, divided by |x|: what erfc allows.
            assert!(error.abs() < 16.0 * f64::EPSILON * (1.0 + x.abs()), "x {x}: error {error}");
        }
    }

    #[test]
    fn odd_about_one_half() {
        for i in 1..64 {
            let p = f64::from(i) / 128.0;
            let sum = inverse_normal_cdf(p) + inverse_normal_cdf(1.0 - p);
            assert!(sum.abs() < TOLERANCE, "p {p}: {sum}");
        }
    }

    #[test]
    fn ends() {
        assert!(inverse_normal_cdf(0.0) == f64::NEG_INFINITY && inverse_normal_cdf(1.0) == f64::INFINITY);
        assert!(inverse_normal_cdf(f64::NAN).is_nan());
        assert!(inverse_normal_cdf(f64::EPSILON / 2.0).is_finite());
        assert!(inverse_normal_cdf(1.0 - f64::EPSILON / 2.0).is_finite());
    }

    #[test]
    fn mass_is_symmetric() {
        assert!((normal_mass(-9.0, -8.0) / normal_mass(8.0, 9.0) - 1.0).abs() < TOLERANCE);
        assert!((normal_mass(-1.0, 1.0) - 0.682_689_492_137_085_9).abs() < TOLERANCE);
    }
}
