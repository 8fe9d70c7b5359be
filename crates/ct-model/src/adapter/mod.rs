//! Networks of other processes, used as networks with the coefficients of EDM.
//!
//! The parameters and their names are those of the network inside; what it is told and what it predicts is translated
//! around it, so that training, samplers and edits see a network like any other (decision 0012).

mod steps;
mod translation;

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ct_kernels::{self as ops, Value};
use serde::{Deserialize, Serialize};

pub(crate) use steps::noise_range;
pub use steps::{BetaSchedule, NoiseSteps};
pub use translation::{Prediction, Translation};

use crate::{Error, Input, Network, NetworkConfig, ParamLayout, Result, UNet2D, UNet2DConfig, Weights};
use translation::{Interpreter, Terms};

/// The configuration of an [`Adapted`] network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptedConfig {
    /// The network inside.
    pub unet: UNet2DConfig,
    /// What it is told and what it predicts.
    pub translation: Translation,
}

/// A network of another process, with its words translated.
#[derive(Debug)]
pub struct Adapted {
    config: AdaptedConfig,
    inner: UNet2D,
    interpreter: Interpreter,
}

impl Adapted {
    /// Builds the network that `config` describes.
    ///
    /// # Errors
    /// A configuration that no network can be, one that this program does not support, or a network that cannot be told
    /// what the translation would tell it.
    pub fn new(config: &AdaptedConfig) -> Result<Self> {
        let inner = UNet2D::new(&config.unet)?;
        let interpreter = config.translation.interpreter(&config.unet)?;
        let (c_in, c_out) = (config.unet.in_channels, config.unet.out_channels);
        if c_out != c_in && c_out != 2 * c_in {
            return Err(Error::Config {
                field: "out_channels",
                value: c_out.to_string(),
                reason: format!(
                    "must be {c_in} as in_channels, or {} for a network that also predicts a variance",
                    2 * c_in
                ),
            });
        }
        Ok(Self { config: config.clone(), inner, interpreter })
    }

    /// What is said of each sample's noise level.
    fn terms(&self, c_noise: &Value) -> Result<Vec<Terms>> {
        if c_noise.tangent().is_some() {
            let reason = "a derivative by the noise level is asked for, but the network is told of it by a table of another process";
            return Err(Error::Time(reason.to_owned()));
        }
        let told = c_noise.tensor().to_dtype(DType::F64)?.to_vec1::<f64>()?;
        // c_noise = 250 ln(sigma)
        Ok(told.into_iter().map(|c_noise| self.interpreter.terms(c_noise / 250.0)).collect())
    }

    /// The network's prediction, without that of a variance.
    fn predict(&self, weights: &Weights, input: &Input<'_>, terms: &[Terms]) -> Result<Value> {
        let times: Vec<f64> = terms.iter().map(|terms| terms.time).collect();
        let told = input.c_noise.tensor();
        let times = Value::from(Tensor::new(times, told.device())?.to_dtype(told.dtype())?);
        let x = ops::scale_samples(input.x, &column(terms, |terms| terms.input))?;
        let &Input { class_labels, dropout, extra_embedding, .. } = input;
        let inner = Input { x: &x, c_noise: &times, class_labels, dropout, extra_embedding };
        let output = self.inner.forward(weights, &inner)?;
        let channels = self.config.unet.in_channels;
        if self.config.unet.out_channels == channels {
            return Ok(output);
        }
        let mean = ops::narrow_channels(&ops::to_channels_last(&output)?, 0, channels)?;
        Ok(ops::to_channels_first(&mean)?)
    }
}

fn column(terms: &[Terms], of: impl Fn(&Terms) -> f64) -> Vec<f64> {
    terms.iter().map(of).collect()
}

impl Network for Adapted {
    fn layout(&self) -> &Arc<ParamLayout> {
        self.inner.layout()
    }

    fn sample_shape(&self) -> &[usize] {
        self.inner.sample_shape()
    }

    fn num_classes(&self) -> Option<usize> {
        self.inner.num_classes()
    }

    fn embedding_dim(&self) -> Option<usize> {
        self.inner.embedding_dim()
    }

    fn translation(&self) -> Option<&Translation> {
        Some(&self.config.translation)
    }

    fn config(&self) -> NetworkConfig {
        NetworkConfig::Adapted(Box::new(self.config.clone()))
    }

    fn forward(&self, weights: &Weights, input: &Input<'_>) -> Result<Value> {
        let batch = input.x.dims().first().copied().unwrap_or(0);
        if input.c_noise.dims() != [batch] {
            let got = input.c_noise.dims().to_vec();
            return Err(Error::Shape { what: "c_noise", expected: vec![batch], got });
        }
        let terms = self.terms(input.c_noise)?;
        let output = self.predict(weights, input, &terms)?;
        Ok(ops::add(
            &ops::scale_samples(input.x, &column(&terms, |terms| terms.from_input))?,
            &ops::scale_samples(&output, &column(&terms, |terms| terms.from_output))?,
        )?)
    }
}
