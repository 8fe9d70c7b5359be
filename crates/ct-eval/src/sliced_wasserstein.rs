//! The sliced 2-Wasserstein distance (Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures").
//!
//! ```text
//! SW2^2 = mean over unit directions u of W2^2(u.x, u.y),   W2^2 = integral over q in (0, 1) of (F_x^-1(q) - F_y^-1(q))^2
//! ```
//!
//! The quantile functions of two finite sets are step functions, so the integral is a finite sum, exact for sets of
//! different size too.

use ct_random::{Purpose, Stream};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    samples::{Samples, check_pair},
};

/// The sliced 2-Wasserstein distance (a root, in the unit of the samples) over seeded random directions.
///
/// For a shift by v its expectation is about |v| / sqrt(D).
/// The sizes of the sets may differ.
///
/// ```
/// use ct_eval::{Samples, sliced_wasserstein};
///
/// // In one dimension every direction is the same: the distance of a shift by 3 is 3.
/// let x = Samples::new(vec![0.0, 1.0, 2.0], 1)?;
/// let y = Samples::new(vec![5.0, 3.0, 4.0], 1)?;
/// assert!((sliced_wasserstein(&x, &y, 16, 0)? - 3.0).abs() < 1e-12);
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When the sets are empty or of different dimension, or there is no direction.
pub fn sliced_wasserstein(x: &Samples, y: &Samples, num_projections: usize, seed: u64) -> Result<f64> {
    check_pair("the sliced Wasserstein distance", x, y, 1)?;
    if num_projections == 0 {
        return Err(Error::Setting {
            setting: "the number of projections",
            expected: "at least 1",
            got: 0.0,
        });
    }
    let squares: Vec<f64> = (0..num_projections as u64)
        .into_par_iter()
        .map(|index| {
            let direction = unit_direction(seed, index, x.dim());
            squared_w2(&sorted_projection(x, &direction), &sorted_projection(y, &direction))
        })
        .collect();
    Ok((squares.iter().sum::<f64>() / num_projections as f64).sqrt())
}

/// A uniformly distributed unit vector: a normalized normal vector.
fn unit_direction(seed: u64, index: u64, dim: usize) -> Vec<f64> {
    let mut stream = Stream::new(seed, Purpose::Eval, 0, index);
    let mut direction: Vec<f64> = (0..dim).map(|_| stream.normal()).collect();
    let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
    for value in &mut direction {
        *value /= norm;
    }
    direction
}

/// The coordinates along a direction, ascending.
fn sorted_projection(samples: &Samples, direction: &[f64]) -> Vec<f64> {
    let along = |row: &[f32]| row.iter().zip(direction).map(|(&value, d)| f64::from(value) * d).sum();
    let mut projected: Vec<f64> = samples.rows().map(along).collect();
    projected.sort_unstable_by(f64::total_cmp);
    projected
}

/// The squared 2-Wasserstein distance of two sorted sets on the line.
///
/// Between two neighbouring points of {i/n} and {j/m} both quantile functions are constant.
/// The points are compared as the integers i m and j n, so that none is missed by rounding.
fn squared_w2(x: &[f64], y: &[f64]) -> f64 {
    let (n, m) = (x.len(), y.len());
    let (mut i, mut j, mut at, mut sum) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let (x_end, y_end) = ((i + 1) * m, (j + 1) * n);
        let end = x_end.min(y_end);
        let difference = x[i] - y[j];
        sum += (end - at) as f64 * difference * difference;
        at = end;
        i += usize::from(x_end == end);
        j += usize::from(y_end == end);
    }
    sum / (n as f64 * m as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_different_size_are_compared_exactly() {
        // Doubling every point changes nothing.
        assert!(squared_w2(&[0.0, 1.0], &[0.0, 0.0, 1.0, 1.0]).abs() < 1e-15);
        // Quantiles 0 | 1 against 0 | 1/2 | 1 at thirds: the middle third is off by 1/2 everywhere.
        assert!((squared_w2(&[0.0, 1.0], &[0.0, 0.5, 1.0]) - 0.25 / 3.0).abs() < 1e-15);
    }
}
