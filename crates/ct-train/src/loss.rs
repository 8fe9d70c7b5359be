//! The loss of a batch: the weighted difference between what the student says and what it should say.

use candle_core::{Device, Tensor};
use ct_kernels::{Value, add, distance, distances, overflow_penalty};
use ct_model::Lpips;

use crate::objective::Difference;
use crate::{Error, Result, TrainConfig};

/// What a loss needs beside the numbers of the batch.
#[derive(Debug)]
pub(crate) struct Loss {
    lpips: Option<Lpips>,
    overflow: f64,
}

impl Loss {
    /// Reads the weights of the perceptual network, where the settings ask for it.
    pub(crate) fn new(config: &TrainConfig, sample_shape: &[usize], device: &Device) -> Result<Self> {
        let is_image = sample_shape.len() == 3;
        let lpips = match &config.lpips_weights {
            Some(_) if !is_image => {
                let value = "lpips".to_owned();
                return Err(Error::Config { key: "train.loss", value, range: "another for vectors" });
            }
            Some(path) => Some(Lpips::load(path, device)?),
            None => None,
        };
        Ok(Self { lpips, overflow: config.overflow_penalty })
    }

    /// Mean over the batch of the weighted difference: a scalar.
    pub(crate) fn of(
        &self,
        difference: Difference,
        estimate: &Value,
        target: &Tensor,
        weights: &[f64],
    ) -> Result<Value> {
        let loss = match (difference, &self.lpips) {
            (Difference::Values(metric), _) => distance(estimate, target, metric, weights)?,
            (Difference::Perceptual, Some(lpips)) => lpips.loss(estimate, target, weights)?,
            (Difference::Perceptual, None) => return Err(no_lpips()),
        };
        if self.overflow > 0.0 {
            let weights: Vec<f64> = weights.iter().map(|weight| weight * self.overflow).collect();
            return Ok(add(&loss, &overflow_penalty(estimate, &weights)?)?);
        }
        Ok(loss)
    }

    /// The difference of each sample, unweighted.
    pub(crate) fn differences(
        &self,
        difference: Difference,
        estimate: &Tensor,
        target: &Tensor,
    ) -> Result<Vec<f64>> {
        match (difference, &self.lpips) {
            (Difference::Values(metric), _) => Ok(distances(estimate, target, metric)?),
            (Difference::Perceptual, Some(lpips)) => Ok(lpips.distances(estimate, target)?),
            (Difference::Perceptual, None) => Err(no_lpips()),
        }
    }
}

/// The loss that has no network.
pub(crate) fn no_lpips() -> Error {
    let range = "another loss, or set train.lpips_weights to the file with the network's weights";
    Error::Config { key: "train.loss", value: "lpips".to_owned(), range }
}
