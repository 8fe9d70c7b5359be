//! Augmentation that the network is told of, so that it does not show in samples
//! (Karras et al. 2022, appendix F.2; the transformations are in `ct-data`).
//!
//! The label of an image, nine numbers, is embedded by a matrix without a bias and added to the embedding of the noise level.
//! Where nothing was done the label is zero, and so is what is added: a model is sampled as if the matrix were not there,
//! which therefore is trained beside the network and left out of models.

use ct_data::{AUGMENT_LABELS, AugmentConfig};
use ct_kernels::{Tape, Value};
use ct_model::{Builder, Init, Network, Params};
use serde::{Deserialize, Serialize};

use crate::{Error, Gradients, Optimizer, Result, TrainConfig};

/// How often images are augmented: each transformation with the chance `probability` times its own factor, at most 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentSettings {
    /// The chance of a transformation with factor 1; 0 for no augmentation. 0.12 to 0.15 is usual.
    pub probability: f64,
    /// Mirroring left and right.
    pub xflip: f64,
    /// Mirroring top and bottom.
    pub yflip: f64,
    /// Scaling.
    pub scale: f64,
    /// Turning.
    pub rotate: f64,
    /// Stretching along any direction.
    pub aniso: f64,
    /// Moving.
    pub translate: f64,
}

impl Default for AugmentSettings {
    /// No augmentation; with a probability, everything but mirroring.
    fn default() -> Self {
        let AugmentConfig { probability, xflip, yflip, scale, rotate, aniso, translate } =
            AugmentConfig::without_flips(0.0);
        Self { probability, xflip, yflip, scale, rotate, aniso, translate }
    }
}

/// The matrix that embeds labels, its optimizer, and what is done to images.
#[derive(Debug)]
pub(crate) struct Augmentation {
    pub(crate) config: AugmentConfig,
    params: Params,
    optimizer: Optimizer,
}

impl Augmentation {
    /// What the settings ask for, if anything.
    pub(crate) fn new(config: &TrainConfig, network: &dyn Network) -> Result<Option<Self>> {
        let &AugmentSettings { probability, xflip, yflip, scale, rotate, aniso, translate } = &config.augment;
        let augment = AugmentConfig { probability, xflip, yflip, scale, rotate, aniso, translate };
        augment.validate()?;
        if probability <= 0.0 {
            return Ok(None);
        }
        let refuse = |range| {
            Err(Error::Config { key: "train.augment.probability", value: probability.to_string(), range })
        };
        if network.sample_shape().len() != 3 {
            return refuse("0 for vectors: only images are augmented");
        }
        let Some(embedding_dim) = network.embedding_dim() else {
            return refuse("0 for a network that takes no extra embedding");
        };
        let b = Builder::new();
        b.param("weight", &[embedding_dim, AUGMENT_LABELS], Init::Zeros);
        let params = Params::init(&b.finish(), 0, &candle_core::Device::Cpu)?;
        let optimizer = Optimizer::new(config, &params)?;
        Ok(Some(Self { config: augment, params, optimizer }))
    }

    /// The matrix as a constant.
    pub(crate) fn constant(&self) -> Value {
        Value::from(&self.params.tensors()[0])
    }

    /// The matrix as the next leaf of `tape`.
    pub(crate) fn watched(&self, tape: &Tape) -> Value {
        tape.leaf(&self.params.tensors()[0])
    }

    /// Moves the matrix along its gradient. `step` counts from 1.
    pub(crate) fn step(&self, gradients: &Gradients, lr: f64, step: u64) -> Result<()> {
        self.optimizer.step(&self.params, gradients, lr, step)
    }

    /// The weights and their moments, for the checkpoint.
    pub(crate) fn state(&self) -> (&Params, &Optimizer) {
        (&self.params, &self.optimizer)
    }

    /// Takes the place of another run's state.
    pub(crate) fn set_state(&mut self, params: Params, mean: Params, mean_square: Params) {
        self.params = params;
        self.optimizer.set_state(mean, mean_square);
    }
}
