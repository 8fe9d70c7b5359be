//! The pseudo-Huber distance `sqrt(|x - y|^2 + c^2) - c`, its norm taken over the whole sample.
//!
//! Song & Dhariwal 2023 (arXiv 2310.14189), section 3.3: `c = 0.00054 sqrt(D)` for `D` values per sample.
//! Some reimplementations apply it element by element, which is another loss.

/// The constant `c = 0.00054 sqrt(D)` for samples of `num_values` numbers.
///
/// ```
/// use ct_schedule::pseudo_huber_c;
///
/// let c = [3 * 32 * 32, 28 * 28, 8 * 8].map(|d| (pseudo_huber_c(d) * 1e4).round() / 1e4);
/// assert_eq!(c, [0.0299, 0.0151, 0.0043]);
/// ```
pub fn pseudo_huber_c(num_values: usize) -> f64 {
    0.00054 * (num_values as f64).sqrt()
}

/// The distance of a squared norm; the plain norm for `c = 0`.
///
/// Computed as `s / (sqrt(s + c^2) + c)`, which does not cancel for small `s`.
///
/// ```
/// use ct_schedule::pseudo_huber;
///
/// assert_eq!(pseudo_huber(9.0, 4.0), 1.0); // sqrt(9 + 16) - 4
/// assert_eq!(pseudo_huber(9.0, 0.0), 3.0);
/// assert_eq!(pseudo_huber(0.0, 0.0), 0.0);
/// assert!((pseudo_huber(1e-20, 1.0) / 5e-21 - 1.0).abs() < 1e-15);
/// ```
pub fn pseudo_huber(squared_norm: f64, c: f64) -> f64 {
    let denominator = (squared_norm + c * c).sqrt() + c;
    if denominator > 0.0 { squared_norm / denominator } else { 0.0 }
}
