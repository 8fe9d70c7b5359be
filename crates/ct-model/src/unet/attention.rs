//! Self-attention over the pixels of a level.

use ct_kernels::{self as ops, Activation, Value};

use super::config::UNet2DConfig;
use super::resnet::rescale;
use crate::layers::{Linear, Norm, Start};
use crate::part::Pass;
use crate::{Builder, Result};

/// Normalized multi-head self-attention beside a shortcut.
#[derive(Debug)]
pub(crate) struct Attention {
    group_norm: Option<Norm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    num_heads: usize,
    output_scale: f64,
}

impl Attention {
    /// Without `num_groups` there is no normalization.
    pub(crate) fn new(
        config: &UNet2DConfig,
        channels: usize,
        num_groups: Option<usize>,
        output_scale_factor: f64,
        b: &Builder,
    ) -> Self {
        let linear = |start, b: Builder| Linear::new(channels, channels, start, &b);
        Self {
            group_norm: num_groups.map(|groups| {
                Norm::new(channels, groups, config.norm_eps, Activation::Identity, &b.pp("group_norm"))
            }),
            to_q: linear(Start::Random, b.pp("to_q")),
            to_k: linear(Start::Random, b.pp("to_k")),
            to_v: linear(Start::Random, b.pp("to_v")),
            to_out: linear(Start::Zero, b.pp("to_out").pp(0)),
            num_heads: channels / config.head_dim(channels),
            output_scale: output_scale_factor.recip(),
        }
    }

    /// `x: [B, H, W, C]`, same shape out.
    pub(crate) fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let w = pass.weights;
        let shape = x.dims().to_vec();
        let (batch, channels) = (shape[0], shape[3]);
        let tokens = ops::reshape(x, &[batch, shape[1] * shape[2], channels])?;
        let h = match &self.group_norm {
            Some(norm) => norm.forward(w, &tokens)?,
            None => tokens.clone(),
        };
        let (q, k, v) = (self.to_q.forward(w, &h)?, self.to_k.forward(w, &h)?, self.to_v.forward(w, &h)?);
        let h = ops::attention(&q, &k, &v, self.num_heads)?;
        let sum = rescale(self.to_out.forward_residual(w, &h, &tokens)?, self.output_scale)?;
        Ok(ops::reshape(&sum, &shape)?)
    }
}
