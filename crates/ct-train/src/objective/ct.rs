//! Consistency training (Song et al. 2023, algorithm 3).
//!
//! Neighbours on a Karras grid of N(k) levels, drawn uniformly and weighted alike;
//! the teacher is an average of the student that decays by mu(k).

use ct_model::NoiseRange;
use ct_schedule::{GridDraw, KarrasGrid, NumSigmas, TargetDecay, Weighting};

use super::{Difference, Objective, Pair, Target};
use crate::{CtConfig, Result};

/// Consistency training.
#[derive(Debug)]
pub struct Ct {
    num_sigmas: NumSigmas,
    target_decay: TargetDecay,
    range: NoiseRange,
    steps: u64,
    difference: Difference,
}

impl Ct {
    pub(super) fn new(
        config: &CtConfig,
        range: NoiseRange,
        steps: u64,
        difference: Difference,
    ) -> Result<Self> {
        let num_sigmas = NumSigmas::ct(config.s0, config.s1)?;
        let target_decay = if config.openai_compat {
            TargetDecay::ct_openai_compat(config.mu0, config.s0)?
        } else {
            TargetDecay::ct(config.mu0, config.s0)?
        };
        // The finest grid is checked here, so that no later one can fail.
        grid(num_sigmas.last(), range)?;
        Ok(Self { num_sigmas, target_decay, range, steps, difference })
    }
}

impl Objective for Ct {
    fn pairs(&self, step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        let grid = grid(self.num_sigmas.at(step, self.steps), self.range)?;
        Ok(neighbours(&grid, &GridDraw::uniform(&grid), Weighting::Uniform, self.range, u))
    }

    fn target_weights(&self, step: u64) -> Target {
        Target::Average { mu: self.target_decay.mu(self.num_sigmas.at(step, self.steps)) }
    }

    fn difference(&self, _step: u64) -> Difference {
        self.difference
    }

    fn describe(&self, step: u64) -> String {
        let num_sigmas = self.num_sigmas.at(step, self.steps);
        format!("N {num_sigmas}, mu {:.4}", self.target_decay.mu(num_sigmas))
    }
}

/// Pairs of neighbours on `grid`, drawn by `draw`.
pub(super) fn neighbours(
    grid: &KarrasGrid,
    draw: &GridDraw,
    weighting: Weighting,
    range: NoiseRange,
    u: &[f64],
) -> Vec<Pair> {
    let pair = |&u: &f64| {
        let (sigma_lo, sigma_hi) = grid.pair(draw.pair_idx(u));
        Pair {
            sigma_hi,
            sigma_lo: Some(sigma_lo),
            weight: weighting.weight(sigma_hi, sigma_lo, range.sigma_data),
        }
    };
    u.iter().map(pair).collect()
}

/// The grid of `num_sigmas` levels.
pub(super) fn grid(num_sigmas: usize, range: NoiseRange) -> Result<KarrasGrid> {
    Ok(KarrasGrid::new(num_sigmas, range.sigma_min, range.sigma_max, range.rho)?)
}
