//! The kernel inception distance (Bińkowski et al. 2018, "Demystifying MMD GANs"), on any features.
//!
//! The unbiased squared MMD with the kernel (x.y / D + 1)^3, averaged over random subsets.
//! Unlike the Fréchet distance it has no bias for few samples.

use ct_random::{Purpose, permutation};

use crate::{
    error::{Error, Result},
    mmd::{Kernel, squared_mmd},
    samples::{Samples, check_pair},
};

/// How many subsets are drawn, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KidConfig {
    /// Number of subsets, 100 by default.
    pub num_subsets: usize,
    /// Samples per subset, 1000 by default, or all where there are fewer.
    pub subset_size: usize,
    /// Key of the random choice.
    pub seed: u64,
}

impl Default for KidConfig {
    fn default() -> Self {
        Self { num_subsets: 100, subset_size: 1000, seed: 0 }
    }
}

/// The kernel distance and its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kid {
    /// Mean over the subsets.
    pub mean: f64,
    /// Standard deviation over the subsets (not of the mean).
    pub std: f64,
}

/// The kernel distance of two sets.
///
/// When both sets fit into one subset, every subset is the whole and is evaluated once.
///
/// ```
/// use ct_eval::{KidConfig, Samples, kid};
///
/// let x = Samples::new(vec![0.0, 0.0, 0.0], 1)?;
/// let y = Samples::new(vec![1.0, 1.0, 1.0], 1)?;
/// // k(0, 0) = 1, k(1, 1) = 8, k(0, 1) = 1.
/// assert_eq!(kid(&x, &y, &KidConfig::default())?.mean, 7.0);
/// # Ok::<(), ct_eval::Error>(())
/// ```
///
/// # Errors
/// When a set has less than two samples, the dimensions differ, or there is no subset of at least two.
pub fn kid(x: &Samples, y: &Samples, config: &KidConfig) -> Result<Kid> {
    check_pair("the kernel distance", x, y, 2)?;
    if config.num_subsets == 0 {
        return Err(Error::Setting { setting: "the number of subsets", expected: "at least 1", got: 0.0 });
    }
    if config.subset_size < 2 {
        let got = config.subset_size as f64;
        return Err(Error::Setting { setting: "the size of a subset", expected: "at least 2", got });
    }
    let size = config.subset_size.min(x.len()).min(y.len());
    let num_subsets = if x.len() == size && y.len() == size { 1 } else { config.num_subsets };
    let estimates = (0..num_subsets as u64)
        .map(|subset| {
            // Two orders per subset: an even step for x, an odd one for y.
            let chosen = |samples: &Samples, step| {
                samples.select(&permutation(config.seed, Purpose::Eval, step, samples.len())[..size])
            };
            squared_mmd(&chosen(x, 2 * subset), &chosen(y, 2 * subset + 1), Kernel::Cubic)
        })
        .collect::<Result<Vec<f64>>>()?;
    let mean = estimates.iter().sum::<f64>() / num_subsets as f64;
    let variance = estimates.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / num_subsets as f64;
    Ok(Kid { mean, std: variance.sqrt() })
}
