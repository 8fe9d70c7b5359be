//! Precision and recall of generated samples
//! (Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models").
//!
//! The manifold of a set is the union of balls around its samples, each reaching to the k-th nearest other one.
//! Precision is the share of generated samples on the manifold of the real ones: fidelity.
//! Recall is the share of real samples on the manifold of the generated ones: variety.

use rayon::prelude::*;

use crate::{
    distances::squared_distance,
    error::Result,
    nearest::radii,
    samples::{Samples, check_pair},
};

/// Fidelity and variety, both in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// Share of generated samples that lie on the manifold of the real ones.
    pub precision: f64,
    /// Share of real samples that lie on the manifold of the generated ones.
    pub recall: f64,
}

/// Precision and recall with balls that reach to the `k`-th neighbour; the paper takes k = 3.
///
/// ```
/// use ct_eval::{Samples, precision_recall};
///
/// let real = Samples::new(vec![0.0, 1.0, 2.0, 3.0], 1)?;
/// // Half of these are far away, and the rest cover the real ones.
/// let generated = Samples::new(vec![0.5, 2.5, 100.0, 103.0], 1)?;
/// let found = precision_recall(&real, &generated, 1)?;
/// assert_eq!((found.precision, found.recall), (0.5, 1.0));
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When the dimensions differ, or a set has not more than `k` samples.
pub fn precision_recall(real: &Samples, generated: &Samples, k: usize) -> Result<PrecisionRecall> {
    check_pair("precision and recall", real, generated, 1)?;
    Ok(PrecisionRecall { precision: share_on(generated, real, k)?, recall: share_on(real, generated, k)? })
}

/// The share of `samples` that lie in a ball of `manifold`.
fn share_on(samples: &Samples, manifold: &Samples, k: usize) -> Result<f64> {
    let squared_radii: Vec<f64> = radii(manifold, k)?.iter().map(|radius| radius * radius).collect();
    let covered = |sample: &[f32]| {
        manifold
            .rows()
            .zip(&squared_radii)
            .any(|(center, &radius)| squared_distance(sample, center) <= radius)
    };
    let count = (0..samples.len()).into_par_iter().filter(|&index| covered(samples.row(index))).count();
    Ok(count as f64 / samples.len() as f64)
}
