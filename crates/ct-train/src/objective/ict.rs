//! Improved consistency training (Song & Dhariwal 2023).
//!
//! Neighbours on a Karras grid whose number of levels doubles from stage to stage, drawn with discretized lognormal
//! probabilities and weighted by 1 / (`sigma_hi` - `sigma_lo`); the teacher is the student itself.

use ct_model::NoiseRange;
use ct_schedule::{GridDraw, NumSigmas, Weighting};

use super::ct::{grid, neighbours};
use super::{Difference, Objective, Pair};
use crate::{IctConfig, Result};

/// Improved consistency training.
#[derive(Debug)]
pub struct Ict {
    num_sigmas: NumSigmas,
    p_mean: f64,
    p_std: f64,
    range: NoiseRange,
    steps: u64,
    difference: Difference,
}

impl Ict {
    pub(super) fn new(
        config: &IctConfig,
        range: NoiseRange,
        steps: u64,
        difference: Difference,
    ) -> Result<Self> {
        let num_sigmas = NumSigmas::ict(config.s0, config.s1)?;
        // The finest grid is checked here, so that no later one can fail.
        GridDraw::lognormal(&grid(num_sigmas.last(), range)?, config.p_mean, config.p_std)?;
        Ok(Self { num_sigmas, p_mean: config.p_mean, p_std: config.p_std, range, steps, difference })
    }
}

impl Objective for Ict {
    fn pairs(&self, step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        let grid = grid(self.num_sigmas.at(step, self.steps), self.range)?;
        let draw = GridDraw::lognormal(&grid, self.p_mean, self.p_std)?;
        Ok(neighbours(&grid, &draw, Weighting::InverseDelta, self.range, u))
    }

    fn difference(&self, _step: u64) -> Difference {
        self.difference
    }

    fn describe(&self, step: u64) -> String {
        format!("N {}", self.num_sigmas.at(step, self.steps))
    }
}
