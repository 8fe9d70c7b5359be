//! Augmentation that the network is told of, so that it does not show in samples
//! (Karras et al. 2022, appendix F.2; the transformations are in `ct-data`).
//!
//! The label of an image, nine numbers, is embedded by a matrix without a bias and added to the embedding of the noise level.
//! Where nothing was done the label is zero, and so is what is added: a model is sampled as if the matrix were not there,
//! which therefore is trained beside the network and left out of models.

use candle_core::Device;
use ct_data::{AUGMENT_LABELS, AugmentConfig};
use ct_kernels::{Tape, Value};
use ct_model::{Builder, Init, Network, Params};

use crate::{Error, Gradients, Optimizer, Result, TrainConfig};

/// The matrix that embeds labels, its optimizer, and what is done to images.
#[derive(Debug)]
pub(crate) struct Augmentation {
    pub(crate) config: AugmentConfig,
    params: Params,
    optimizer: Optimizer,
}

impl Augmentation {
    /// What the settings ask for, if anything.
    pub(crate) fn new(config: &TrainConfig, network: &dyn Network, device: &Device) -> Result<Option<Self>> {
        let augment = config.augment;
        augment.validate()?;
        let probability = augment.probability;
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
        let params = Params::init(&b.finish(), 0, device)?;
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
