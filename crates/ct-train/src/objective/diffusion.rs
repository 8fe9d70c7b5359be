//! A denoiser (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", section 5):
//!
//! ```text
//! loss = weight(sigma) / D * |D(x0 + sigma z, sigma) - x0|^2,   ln sigma ~ N(p_mean, p_std^2)
//! ```
//!
//! With the weight 1 / `c_out`^2 (`karras`) the network's own target has unit variance at every noise level.
//! For `TrigFlow` the same loss is the regression of `sigma_data` F on the velocity cos t z - sin t x0.
//! Squares, and no other distance, make the estimate the mean of what the clean sample may be, which the ODE needs.

use ct_model::NoiseRange;
use ct_schedule::{TruncatedLognormal, Weighting};

use super::{Difference, Objective, Pair};
use crate::{DiffusionConfig, Result};

/// A denoiser.
#[derive(Debug)]
pub struct Diffusion {
    sigma: TruncatedLognormal,
    weighting: Weighting,
    range: NoiseRange,
    num_values: usize,
}

impl Diffusion {
    pub(super) fn new(config: &DiffusionConfig, range: NoiseRange, num_values: usize) -> Result<Self> {
        Ok(Self {
            sigma: TruncatedLognormal::new(config.p_mean, config.p_std, range.sigma_min, range.sigma_max)?,
            weighting: config.weighting,
            range,
            num_values,
        })
    }
}

impl Objective for Diffusion {
    fn pairs(&self, _step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        let pair = |&u: &f64| {
            let sigma_hi = self.sigma.sigma_at(u);
            let weight = self.weighting.weight(sigma_hi, 0.0, self.range.sigma_data);
            Pair { sigma_hi, sigma_lo: None, weight: weight / self.num_values as f64 }
        };
        Ok(u.iter().map(pair).collect())
    }

    fn difference(&self, _step: u64) -> Difference {
        Difference::SQUARES
    }

    fn describe(&self, _step: u64) -> String {
        "denoising".to_owned()
    }
}
