//! Easy consistency tuning (Geng et al. 2024), also from scratch.
//!
//! The larger noise level is lognormal, truncated to the model's range; the smaller one follows from it by a mapping
//! whose step shrinks from stage to stage. The teacher is the student itself.
//! Where the mapping gives 0, the target is the clean sample, as in training a denoiser;
//! a run from scratch spends its first part with nothing else.
//!
//! The paper's boundary is at 0 and ours at `sigma_min`: a smaller level between the two is raised to `sigma_min`,
//! where f is the identity.

use ct_model::NoiseRange;
use ct_schedule::{EctMapping, EctPhase, EctStages, TruncatedLognormal, Weighting};

use super::{Difference, Objective, Pair};
use crate::{EctConfig, Result};

/// Easy consistency tuning.
#[derive(Debug)]
pub struct Ect {
    stages: EctStages,
    mapping: EctMapping,
    sigma_hi: TruncatedLognormal,
    pretrain_weighting: Weighting,
    weighting: Weighting,
    range: NoiseRange,
    steps: u64,
    difference: Difference,
    pretrain_difference: Difference,
}

impl Ect {
    pub(super) fn new(
        config: &EctConfig,
        range: NoiseRange,
        steps: u64,
        difference: Difference,
        pretrain_difference: Difference,
    ) -> Result<Self> {
        Ok(Self {
            stages: EctStages::new(config.pretrain, config.stages)?,
            mapping: EctMapping::sigmoid_with(config.q, config.k, config.b)?,
            sigma_hi: TruncatedLognormal::new(config.p_mean, config.p_std, range.sigma_min, range.sigma_max)?,
            pretrain_weighting: config.pretrain_weighting,
            weighting: config.weighting,
            range,
            steps,
            difference,
            pretrain_difference,
        })
    }

    fn phase(&self, step: u64) -> EctPhase {
        self.stages.at(step, self.steps)
    }

    fn pair(&self, phase: EctPhase, u: f64) -> Pair {
        let NoiseRange { sigma_min, sigma_data, .. } = self.range;
        let sigma_hi = self.sigma_hi.sigma_at(u);
        let sigma_lo = self.mapping.sigma_lo(sigma_hi, phase);
        let weighting = match phase {
            EctPhase::Denoising => self.pretrain_weighting,
            EctPhase::Stage(_) => self.weighting,
        };
        Pair {
            sigma_hi,
            sigma_lo: (sigma_lo > 0.0).then_some(sigma_lo.max(sigma_min)),
            weight: weighting.weight(sigma_hi, sigma_lo, sigma_data),
        }
    }
}

impl Objective for Ect {
    fn pairs(&self, step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        let phase = self.phase(step);
        Ok(u.iter().map(|&u| self.pair(phase, u)).collect())
    }

    fn difference(&self, step: u64) -> Difference {
        match self.phase(step) {
            EctPhase::Denoising => self.pretrain_difference,
            EctPhase::Stage(_) => self.difference,
        }
    }

    fn describe(&self, step: u64) -> String {
        match self.phase(step) {
            EctPhase::Denoising => "denoising".to_owned(),
            EctPhase::Stage(stage) => format!("stage {stage}"),
        }
    }
}
