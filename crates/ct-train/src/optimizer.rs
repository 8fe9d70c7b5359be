//! RAdam and `AdamW`, with a state that can be saved.
//!
//! `RAdam`: Liu et al. 2020, algorithm 2. `AdamW`: Loshchilov & Hutter 2019, algorithm 2.
//! Both follow PyTorch's definitions, so that runs can be compared step by step.

use candle_core::Tensor;
use ct_kernels::{AdamWStep, RAdamStep};
use ct_model::Params;

use crate::{Gradients, OptimizerKind, Result, TrainConfig};

/// Moments of the gradients, and what to do with them.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    mean: Params,
    mean_square: Params,
}

impl Optimizer {
    pub(crate) fn new(config: &TrainConfig, params: &Params) -> Result<Self> {
        Ok(Self {
            kind: config.optimizer,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
            mean: params.zeros_like()?,
            mean_square: params.zeros_like()?,
        })
    }

    /// Moves `params` along `gradients`. `step` counts from 1.
    ///
    /// A parameter that nothing depends on has no gradient, and stays where it is.
    ///
    /// # Errors
    /// Tensors that are not contiguous f32.
    pub fn step(&self, params: &Params, gradients: &Gradients, lr: f64, step: u64) -> Result<()> {
        let &Self { beta1, beta2, eps, weight_decay, .. } = self;
        let moments = self.mean.iter().zip(self.mean_square.iter());
        for (((_, param), gradient), ((_, m), (_, v))) in params.iter().zip(gradients.tensors()).zip(moments)
        {
            let Some(gradient) = gradient else { continue };
            match self.kind {
                OptimizerKind::Radam => {
                    let rule = RAdamStep { lr, beta1, beta2, eps, weight_decay, step };
                    ct_kernels::radam_step(param, m, v, gradient, &rule)?;
                }
                OptimizerKind::Adamw => {
                    let rule = AdamWStep { lr, beta1, beta2, eps, weight_decay, step };
                    ct_kernels::adamw_step(param, m, v, gradient, &rule)?;
                }
            }
        }
        Ok(())
    }

    /// The state: names of the moments and their tensors.
    pub(crate) fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let named = |kind: &'static str| move |(name, tensor)| (format!("{kind}.{name}"), tensor);
        self.mean.iter().map(named("mean")).chain(self.mean_square.iter().map(named("mean_square")))
    }

    /// Takes the place of another run's state.
    pub(crate) fn set_state(&mut self, mean: Params, mean_square: Params) {
        (self.mean, self.mean_square) = (mean, mean_square);
    }
}
