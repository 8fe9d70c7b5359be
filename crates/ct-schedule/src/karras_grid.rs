//! The grid of noise levels: evenly spaced in `sigma^(1/rho)`.
//!
//! `sigma_i = (sigma_min^(1/rho) + i/(n-1) (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho`, `i = 0..n-1`.
//!
//! Karras et al. 2022 (arXiv 2206.00364), eq. 5; Song et al. 2023 (arXiv 2303.01469), section 3 and appendix C.
//! The reference code of both descends; ours ascends, as in the consistency paper. The reference code reaches the ends
//! only up to rounding; here `sigma_min` and `sigma_max` are exact.

use crate::{Result, check};

/// Ascending noise levels with exact ends.
///
/// ```
/// use ct_schedule::KarrasGrid;
///
/// let grid = KarrasGrid::new(5, 0.002, 80.0, 7.0)?;
/// let rounded: Vec<f64> = grid.sigmas().iter().map(|s| (s * 1e3).round() / 1e3).collect();
/// assert_eq!(rounded, [0.002, 0.17, 2.515, 17.528, 80.0]);
/// assert_eq!((grid.sigmas()[0], grid.sigmas()[4]), (0.002, 80.0)); // bit-exact
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KarrasGrid {
    sigmas: Vec<f64>,
}

impl KarrasGrid {
    /// `num_sigmas` levels from `sigma_min` to `sigma_max`; `rho` is 7 everywhere in the literature.
    ///
    /// # Errors
    /// If `num_sigmas` is below 2 or so large that levels coincide, `rho` is not positive and finite,
    /// or not `0 < sigma_min < sigma_max`.
    pub fn new(num_sigmas: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Self> {
        check::at_least("num_sigmas", "at least 2", 2, num_sigmas)?;
        check::noise_range(sigma_min, sigma_max)?;
        check::positive("rho", rho)?;
        let last = num_sigmas - 1;
        let (low, high) = (sigma_min.powf(1.0 / rho), sigma_max.powf(1.0 / rho));
        let level = |i: usize| (low + i as f64 / last as f64 * (high - low)).powf(rho);
        let inner = (1..last).map(level);
        let sigmas: Vec<f64> =
            core::iter::once(sigma_min).chain(inner).chain(core::iter::once(sigma_max)).collect();
        let ascending = sigmas.windows(2).all(|pair| pair[0] < pair[1]);
        check::within("num_sigmas", "small enough for distinct levels", ascending, num_sigmas as f64)?;
        Ok(Self { sigmas })
    }

    /// All levels, ascending.
    ///
    /// ```
    /// # use ct_schedule::KarrasGrid;
    /// let grid = KarrasGrid::new(40, 0.002, 80.0, 7.0)?;
    /// // Two-step sampling of the published ImageNet-64 model: levels 0 and 22 of a descending grid of 40.
    /// let descending: Vec<f64> = grid.sigmas().iter().rev().copied().collect();
    /// assert_eq!(descending[0], 80.0);
    /// assert!((descending[22] - 1.3824).abs() < 1e-4);
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// The number of pairs of neighbours: one less than the number of levels.
    pub fn num_pairs(&self) -> usize {
        self.sigmas.len() - 1
    }

    /// Neighbours `(sigma_lo, sigma_hi)` number `pair_idx`; an index past the last pair means the last pair.
    ///
    /// ```
    /// # use ct_schedule::KarrasGrid;
    /// let grid = KarrasGrid::new(2, 0.002, 80.0, 7.0)?;
    /// assert_eq!(grid.pair(0), (0.002, 80.0));
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    pub fn pair(&self, pair_idx: usize) -> (f64, f64) {
        let i = pair_idx.min(self.num_pairs() - 1);
        (self.sigmas[i], self.sigmas[i + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn ascending_with_exact_ends() {
        for num_sigmas in [2, 3, 11, 40, 151, 1281] {
            for (sigma_min, sigma_max, rho) in [(0.002, 80.0, 7.0), (0.01, 50.0, 3.0), (1e-3, 1e3, 1.0)] {
                let grid = KarrasGrid::new(num_sigmas, sigma_min, sigma_max, rho).unwrap();
                assert_eq!(grid.sigmas().len(), num_sigmas);
                assert_eq!((grid.sigmas()[0], grid.sigmas()[num_sigmas - 1]), (sigma_min, sigma_max));
                assert!(grid.sigmas().is_sorted_by(|a, b| a < b));
            }
        }
    }

    #[test]
    fn relative_step() {
        // The derivative of the ramp for rho 7: step / sigma = 7 (80^(1/7) - 0.002^(1/7)) sigma^(-1/7) / (n - 1),
        // the factor being 10.2. A finite step differs from it in second order.
        const TOLERANCE: f64 = 0.02;
        for num_sigmas in [40, 151, 1281] {
            let grid = KarrasGrid::new(num_sigmas, 0.002, 80.0, 7.0).unwrap();
            for (lo, hi) in (num_sigmas / 2..num_sigmas - 1).map(|i| grid.pair(i)) {
                let middle = f64::midpoint(lo.powf(1.0 / 7.0), hi.powf(1.0 / 7.0)).powi(7);
                let expected = 10.2 * middle.powf(-1.0 / 7.0) / (num_sigmas - 1) as f64;
                let got = (hi - lo) / middle;
                assert!((got / expected - 1.0).abs() < TOLERANCE, "n {num_sigmas}: {got}, {expected}");
            }
        }
    }

    #[test]
    fn errors_name_the_argument() {
        let name = |n, a, b, rho| match KarrasGrid::new(n, a, b, rho) {
            Err(Error::OutOfRange { name, .. }) => name,
            Err(Error::NotBelow { low_name, .. }) => low_name,
            _ => "",
        };
        assert_eq!(name(1, 0.002, 80.0, 7.0), "num_sigmas");
        assert_eq!(name(5, 0.0, 80.0, 7.0), "sigma_min");
        assert_eq!(name(5, 0.002, f64::INFINITY, 7.0), "sigma_max");
        assert_eq!(name(5, 80.0, 0.002, 7.0), "sigma_min");
        assert_eq!(name(5, 0.002, 80.0, f64::NAN), "rho");
    }
}
