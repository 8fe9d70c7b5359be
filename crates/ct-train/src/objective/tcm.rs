//! The second stage of truncated consistency models (Lee et al. 2024, arXiv 2410.14895, section 4).
//!
//! A consistency model, the first stage, is kept as it is for noise below a boundary; a copy of it goes on being trained
//! above the boundary alone, where one-step samples are made:
//!
//! ```text
//! target = f_first(x_lo, sigma_lo)                   where sigma_lo < boundary
//!          stop_gradient f(x_lo, sigma_lo)           elsewhere
//! ```
//!
//! A share of the batch lies on the boundary, where the first stage is the target, so that the two fit together.
//! ln sigma of the rest follows a Student t distribution with heavy tails, truncated to the noise above the boundary.
//! What comes out is no model below the boundary, and says so in its folder.

use candle_core::Tensor;
use ct_model::{ConsistencyModel, NoiseRange, Weights};
use ct_schedule::{EctMapping, EctPhase, TruncatedStudentT, Weighting};

use super::{Difference, Objective, Pair};
use crate::passes::{Examples, Training, replace_rows};
use crate::{Error, Result, TcmConfig, TrainConfig};

/// The second stage of truncated consistency models.
#[derive(Debug)]
pub struct Tcm {
    config: TcmConfig,
    sigma_hi: TruncatedStudentT,
    mapping: EctMapping,
    /// Where the mapping's step stays.
    phase: EctPhase,
    weighting: Weighting,
    first_stage: ConsistencyModel,
    range: NoiseRange,
    difference: Difference,
}

impl Tcm {
    pub(super) fn new(
        config: &TrainConfig,
        range: NoiseRange,
        first_stage: ConsistencyModel,
        difference: Difference,
    ) -> Result<Self> {
        let (tcm, ect) = (config.tcm.clone(), &config.ect);
        if !(tcm.sigma_boundary > range.sigma_min && tcm.sigma_boundary < range.sigma_max) {
            return Err(Error::Config {
                key: "train.tcm.sigma_boundary",
                value: tcm.sigma_boundary.to_string(),
                range: "between noise.sigma_min and noise.sigma_max",
            });
        }
        let last_stage = ect.stages.checked_sub(1).ok_or_else(|| Error::Config {
            key: "train.ect.stages",
            value: "0".to_owned(),
            range: "at least 1",
        })?;
        Ok(Self {
            sigma_hi: TruncatedStudentT::new(
                tcm.p_mean,
                tcm.p_std,
                tcm.df,
                tcm.sigma_boundary,
                range.sigma_max,
            )?,
            mapping: EctMapping::sigmoid_with(ect.q, ect.k, ect.b)?,
            phase: EctPhase::Stage(last_stage),
            weighting: ect.weighting,
            config: tcm,
            first_stage,
            range,
            difference,
        })
    }

    fn pair(&self, u: f64) -> Pair {
        let TcmConfig { sigma_boundary, boundary_share, boundary_weight, .. } = self.config;
        let (sigma_hi, factor) = if u < boundary_share {
            (sigma_boundary, boundary_weight)
        } else {
            (self.sigma_hi.sigma_at((u - boundary_share) / (1.0 - boundary_share)), 1.0)
        };
        let sigma_lo = self.mapping.sigma_lo(sigma_hi, self.phase).max(self.range.sigma_min);
        let weight = factor * self.weighting.weight(sigma_hi, sigma_lo, self.range.sigma_data);
        Pair { sigma_hi, sigma_lo: Some(sigma_lo), weight }
    }
}

impl Objective for Tcm {
    fn pairs(&self, _step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        Ok(u.iter().map(|&u| self.pair(u)).collect())
    }

    fn target(
        &self,
        _step: u64,
        training: &Training<'_>,
        weights: &Weights,
        examples: &Examples,
    ) -> Result<Tensor> {
        let sigma_lo: Vec<f64> = examples.pairs.iter().filter_map(|pair| pair.sigma_lo).collect();
        let (below, above): (Vec<usize>, Vec<usize>) =
            (0..sigma_lo.len()).partition(|&row| sigma_lo[row] < self.config.sigma_boundary);
        let levels = |rows: &[usize]| rows.iter().map(|&row| sigma_lo[row]).collect::<Vec<_>>();

        let mut target = examples.x0.clone();
        if !below.is_empty() {
            let (part, sigma) = (examples.select(&below)?, levels(&below));
            let labels = part.labels.as_deref();
            target = replace_rows(&target, &below, &self.first_stage.f(&part.at(&sigma)?, &sigma, labels)?)?;
        }
        if !above.is_empty() {
            let (part, sigma) = (examples.select(&above)?, levels(&above));
            let f_lo = training.f(weights, &part, &part.at(&sigma)?, &sigma)?;
            target = replace_rows(&target, &above, f_lo.tensor())?;
        }
        Ok(target)
    }

    fn difference(&self, _step: u64) -> Difference {
        self.difference
    }

    fn describe(&self, _step: u64) -> String {
        format!("above sigma {}", self.config.sigma_boundary)
    }

    fn trained_from_sigma(&self) -> Option<f64> {
        Some(self.config.sigma_boundary)
    }
}
