//! Which pair of neighbouring grid levels is trained next.
//!
//! - Uniform: Song et al. 2023 (arXiv 2303.01469), algorithms 2 and 3.
//! - Discretized lognormal: Song & Dhariwal 2023 (arXiv 2310.14189), section 3.5:
//!   `p(i) ~ erf((ln sigma_{i+1} - p_mean) / (sqrt(2) p_std)) - erf((ln sigma_i - p_mean) / (sqrt(2) p_std))`.

use crate::normal::normal_mass;
use crate::{Error, KarrasGrid, Lognormal, Result};

/// A distribution over the pairs of a grid; `pair_idx` is 0-based and goes to [`KarrasGrid::pair`].
///
/// ```
/// use ct_schedule::{GridDraw, KarrasGrid};
///
/// let grid = KarrasGrid::new(11, 0.002, 80.0, 7.0)?;
/// let draw = GridDraw::lognormal(&grid, -1.1, 2.0)?;
/// let p: Vec<f64> = draw.probabilities().iter().map(|p| (p * 1e4).round() / 1e4).collect();
/// assert_eq!(p, [0.0626, 0.1817, 0.2455, 0.2135, 0.1424, 0.0806, 0.0411, 0.0196, 0.0089, 0.0040]);
/// assert_eq!(draw.pair_idx(0.3), 2); // 0.0626 + 0.1817 < 0.3
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GridDraw {
    probabilities: Vec<f64>,
    cumulative: Vec<f64>,
}

impl GridDraw {
    /// Every pair equally likely.
    ///
    /// ```
    /// # use ct_schedule::{GridDraw, KarrasGrid};
    /// let draw = GridDraw::uniform(&KarrasGrid::new(5, 0.002, 80.0, 7.0)?);
    /// assert_eq!(draw.probabilities(), [0.25; 4]);
    /// assert_eq!([0.1, 0.3, 0.6, 0.9].map(|u| draw.pair_idx(u)), [0, 1, 2, 3]);
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    pub fn uniform(grid: &KarrasGrid) -> Self {
        Self::from_masses(vec![1.0; grid.num_pairs()])
    }

    /// The discretized lognormal; the paper has `p_mean = -1.1`, `p_std = 2.0`.
    ///
    /// # Errors
    /// As [`Lognormal::new`]; if the grid has no mass.
    pub fn lognormal(grid: &KarrasGrid, p_mean: f64, p_std: f64) -> Result<Self> {
        Lognormal::new(p_mean, p_std)?;
        let standardize = |sigma: f64| (sigma.ln() - p_mean) / p_std;
        let masses: Vec<f64> = grid
            .sigmas()
            .windows(2)
            .map(|pair| normal_mass(standardize(pair[0]), standardize(pair[1])))
            .collect();
        if masses.iter().sum::<f64>() < f64::MIN_POSITIVE {
            let (sigma_min, sigma_max) = (grid.sigmas()[0], grid.pair(usize::MAX).1);
            return Err(Error::NoMass { distribution: "lognormal", sigma_min, sigma_max });
        }
        Ok(Self::from_masses(masses))
    }

    fn from_masses(mut probabilities: Vec<f64>) -> Self {
        let total: f64 = probabilities.iter().sum();
        for p in &mut probabilities {
            *p /= total;
        }
        let mut sum = 0.0;
        let cumulative = probabilities
            .iter()
            .map(|p| {
                sum += p;
                sum
            })
            .collect();
        Self { probabilities, cumulative }
    }

    /// One probability per pair; they sum to 1.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The pair of a uniform `u` in (0, 1).
    pub fn pair_idx(&self, u: f64) -> usize {
        self.cumulative.partition_point(|c| *c <= u).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(num_sigmas: usize) -> KarrasGrid {
        KarrasGrid::new(num_sigmas, 0.002, 80.0, 7.0).unwrap()
    }

    #[test]
    fn probabilities_sum_to_one() {
        for n in [2, 11, 151, 1281] {
            for draw in [GridDraw::uniform(&grid(n)), GridDraw::lognormal(&grid(n), -1.1, 2.0).unwrap()] {
                // Rounding of a sum of n terms.
                assert!((draw.probabilities().iter().sum::<f64>() - 1.0).abs() < n as f64 * f64::EPSILON);
                assert_eq!(draw.probabilities().len(), n - 1);
            }
        }
    }

    #[test]
    fn draws_have_the_stated_frequencies() {
        const DRAWS: u32 = 100_000;
        let draw = GridDraw::lognormal(&grid(11), -1.1, 2.0).unwrap();
        let mut counts = [0_u32; 10];
        for i in 0..DRAWS {
            counts[draw.pair_idx((f64::from(i) + 0.5) / f64::from(DRAWS))] += 1;
        }
        for (count, p) in counts.into_iter().zip(draw.probabilities()) {
            // Evenly spaced u: off by at most one at each end of an interval.
            assert!((f64::from(count) - p * f64::from(DRAWS)).abs() < 2.0);
        }
    }

    #[test]
    fn ends_of_the_unit_interval() {
        let draw = GridDraw::uniform(&grid(1281));
        assert_eq!((draw.pair_idx(0.0), draw.pair_idx(1.0)), (0, 1279));
    }

    #[test]
    fn a_grid_far_from_the_mean_has_no_mass() {
        assert!(matches!(GridDraw::lognormal(&grid(11), 50.0, 0.1), Err(Error::NoMass { .. })));
    }
}
