//! Averages of the weights over the run.

use ct_model::Params;
use ct_schedule::EmaProfile;

use crate::{Result, TrainConfig};

/// An average of the weights: the model that is sampled, since single steps are noisy.
#[derive(Debug)]
pub struct Average {
    name: String,
    profile: EmaProfile,
    params: Params,
}

impl Average {
    /// All averages that `config` asks for, starting at `params`. The first is the one that is sampled and shown.
    pub(crate) fn all(config: &TrainConfig, params: &Params) -> Result<Vec<Self>> {
        let constant = config.ema.iter().map(|&beta| {
            let profile =
                if config.ema_warmup { EmaProfile::warmed_up(beta) } else { EmaProfile::constant(beta) };
            (format!("ema-{beta}"), profile)
        });
        let power = config
            .ema_power
            .iter()
            .map(|&sigma_rel| (format!("ema-power-{sigma_rel}"), EmaProfile::power(sigma_rel)));
        constant
            .chain(power)
            .map(|(name, profile)| Ok(Self { name, profile: profile?, params: params.deep_copy()? }))
            .collect()
    }

    /// Name of the average: its kind and its length.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The relative width of an average with a power-function profile; others have none.
    pub fn sigma_rel(&self) -> Option<f64> {
        self.profile.sigma_rel()
    }

    /// The averaged weights.
    pub fn params(&self) -> &Params {
        &self.params
    }

    pub(crate) fn set_params(&mut self, params: Params) {
        self.params = params;
    }

    /// Takes in the weights after update number `update`, counted from 1.
    pub(crate) fn update(&self, params: &Params, update: u64, batch_size: u64) -> Result<()> {
        decay(&self.params, params, self.profile.beta(update, batch_size))
    }
}

/// `average <- beta average + (1 - beta) params`, for all tensors at once where they lie in one piece of memory.
pub(crate) fn decay(average: &Params, params: &Params, beta: f64) -> Result<()> {
    if let (Some(average), Some(whole)) = (average.whole(), params.whole()) {
        return Ok(ct_kernels::ema_update(average, whole, beta)?);
    }
    for ((_, average), (_, tensor)) in average.iter().zip(params.iter()) {
        ct_kernels::ema_update(average, tensor, beta)?;
    }
    Ok(())
}
