//! The squared maximum mean discrepancy, unbiased (Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6).
//!
//! ```text
//! MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),   x != x', y != y'
//! ```
//!
//! It is 0 on average for equal distributions, so it may be negative.

use crate::{
    distances::{dot, mean_over_pairs, mean_within, squared_distance},
    error::{Error, Result},
    samples::{Samples, check_pair},
};

/// What two samples have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Kernel {
    /// exp(-|x - y|^2 / (2 bandwidth^2)).
    Gaussian {
        /// Standard deviation of the bell; [`median_distance`] is a good start.
        bandwidth: f64,
    },
    /// -|x - y|, which makes the discrepancy the energy distance 2 E|x - y| - E|x - x'| - E|y - y'|
    /// (Székely & Rizzo 2013). Nothing to tune.
    Energy,
    /// (x.y / D + 1)^3, the kernel of KID (Bińkowski et al. 2018, "Demystifying MMD GANs").
    Cubic,
}

impl Kernel {
    /// k(x, y).
    fn evaluate(self, x: &[f32], y: &[f32]) -> f64 {
        match self {
            Self::Gaussian { bandwidth } => (-squared_distance(x, y) / (2.0 * bandwidth * bandwidth)).exp(),
            Self::Energy => -squared_distance(x, y).sqrt(),
            Self::Cubic => (dot(x, y) / x.len() as f64 + 1.0).powi(3),
        }
    }
}

/// The unbiased estimate of the squared maximum mean discrepancy of two sets.
///
/// ```
/// use ct_eval::{Kernel, Samples, squared_mmd};
///
/// // Two points in 0 and two in 3: 2 * 3 - 0 - 0.
/// let x = Samples::new(vec![0.0, 0.0], 1)?;
/// let y = Samples::new(vec![3.0, 3.0], 1)?;
/// assert_eq!(squared_mmd(&x, &y, Kernel::Energy)?, 6.0);
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When a set has less than two samples, the dimensions differ, or the bandwidth is not positive.
pub fn squared_mmd(x: &Samples, y: &Samples, kernel: Kernel) -> Result<f64> {
    check_pair("the maximum mean discrepancy", x, y, 2)?;
    if let Kernel::Gaussian { bandwidth } = kernel
        && !(bandwidth > 0.0 && bandwidth.is_finite())
    {
        return Err(Error::Setting {
            setting: "the bandwidth",
            expected: "positive and finite",
            got: bandwidth,
        });
    }
    let term = |a: &[f32], b: &[f32]| kernel.evaluate(a, b);
    Ok(mean_within(x, term) + mean_within(y, term) - 2.0 * mean_over_pairs(x, y, term))
}

/// The median distance between different samples of a set, over at most its first 1000.
///
/// # Errors
/// When there are less than two samples.
pub fn median_distance(x: &Samples) -> Result<f64> {
    const MOST: usize = 1000;
    check_pair("the median distance", x, x, 2)?;
    let mut distances: Vec<f64> = (0..x.len().min(MOST))
        .flat_map(|i| x.rows().take(i).map(move |row| squared_distance(x.row(i), row)))
        .collect();
    let middle = distances.len() / 2;
    let (_, median, _) = distances.select_nth_unstable_by(middle, f64::total_cmp);
    Ok(median.sqrt())
}
