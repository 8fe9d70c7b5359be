//! Consistency distillation (Song et al. 2023, algorithm 2).
//!
//! Neighbours on a Karras grid as in consistency training, but the lower one is reached from the higher one by a step of
//! the teacher's probability-flow ODE, in the place of the same noise:
//!
//! ```text
//! loss = weight * d( f(x_hi, sigma_hi), f'(x_lo, sigma_lo) ),   x_lo = ODE step of D from x_hi
//! ```
//!
//! With an exact Euler step for D = x0 this is consistency training again.

use std::sync::Arc;

use candle_core::Tensor;
use ct_model::{NoiseRange, Weights};
use ct_schedule::{GridDraw, KarrasGrid, Weighting};

use super::ct::{grid, neighbours};
use super::{Difference, Objective, Pair, Target};
use crate::passes::{Examples, Training};
use crate::recipe::Solver;
use crate::teacher::{Teacher, ode_step};
use crate::{CdConfig, Result};

/// Consistency distillation.
#[derive(Debug)]
pub struct Cd {
    grid: KarrasGrid,
    draw: GridDraw,
    weighting: Weighting,
    solver: Solver,
    teacher: Arc<dyn Teacher>,
    mu: f64,
    range: NoiseRange,
    difference: Difference,
}

impl Cd {
    /// Distils `teacher`.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(
        config: &CdConfig,
        range: NoiseRange,
        teacher: Arc<dyn Teacher>,
        difference: Difference,
    ) -> Result<Self> {
        let grid = grid(config.num_sigmas, range)?;
        let draw = match config.p_mean {
            Some(p_mean) => GridDraw::lognormal(&grid, p_mean, config.p_std)?,
            None => GridDraw::uniform(&grid),
        };
        let &CdConfig { weighting, solver, mu, .. } = config;
        Ok(Self { grid, draw, weighting, solver, teacher, mu, range, difference })
    }
}

impl Objective for Cd {
    fn pairs(&self, _step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        Ok(neighbours(&self.grid, &self.draw, self.weighting, self.range, u))
    }

    fn target_weights(&self, _step: u64) -> Target {
        if self.mu > 0.0 { Target::Average { mu: self.mu } } else { Target::Student }
    }

    fn target(
        &self,
        _step: u64,
        training: &Training<'_>,
        weights: &Weights,
        examples: &Examples,
    ) -> Result<Tensor> {
        let sigma_hi = examples.sigma_hi();
        let sigma_lo: Vec<f64> = examples.pairs.iter().filter_map(|pair| pair.sigma_lo).collect();
        let labels = examples.labels.as_deref();
        let x_hi = examples.at(&sigma_hi)?;
        let x_lo = ode_step(&*self.teacher, self.solver, &x_hi, &sigma_hi, &sigma_lo, labels)?;
        Ok(training.f(weights, examples, &x_lo, &sigma_lo)?.tensor().clone())
    }

    fn difference(&self, _step: u64) -> Difference {
        self.difference
    }

    fn describe(&self, _step: u64) -> String {
        format!("N {}", self.grid.sigmas().len())
    }
}
