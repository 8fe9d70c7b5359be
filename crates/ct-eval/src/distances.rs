//! Sums over pairs of samples.

use rayon::prelude::*;

use crate::samples::Samples;

/// Independent sums, so that the compiler can use vector instructions; the order of additions is fixed.
const LANES: usize = 8;

/// Squared Euclidean distance, in f64.
pub(crate) fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    lane_sum(x, y, |a, b| (a - b) * (a - b))
}

/// Scalar product, in f64.
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    lane_sum(x, y, |a, b| a * b)
}

/// The sum of a term over two rows of the same length.
fn lane_sum(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (y_lanes, y_rest) = y.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (xs, ys) in x_lanes.iter().zip(y_lanes) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(xs.iter().zip(ys)) {
            *sum += term(f64::from(a), f64::from(b));
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum();
    sums.iter().sum::<f64>() + rest
}

/// The mean of a term over all pairs of a row of `x` and a row of `y`.
pub(crate) fn mean_over_pairs(x: &Samples, y: &Samples, term: impl Fn(&[f32], &[f32]) -> f64 + Sync) -> f64 {
    let per_row: Vec<f64> =
        (0..x.len()).into_par_iter().map(|i| y.rows().map(|row| term(x.row(i), row)).sum()).collect();
    per_row.iter().sum::<f64>() / (x.len() as f64 * y.len() as f64)
}

/// The mean of a symmetric term over all pairs of two different rows of `x`.
pub(crate) fn mean_within(x: &Samples, term: impl Fn(&[f32], &[f32]) -> f64 + Sync) -> f64 {
    let per_row: Vec<f64> =
        (0..x.len()).into_par_iter().map(|i| x.rows().take(i).map(|row| term(x.row(i), row)).sum()).collect();
    let pairs = x.len() as f64 * (x.len() as f64 - 1.0) / 2.0;
    per_row.iter().sum::<f64>() / pairs
}
