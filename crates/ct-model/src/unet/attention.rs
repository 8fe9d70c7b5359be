//! Self-attention over the pixels of a level.

use ct_kernels::{self as ops, Value};

use super::config::UNet2DConfig;
use super::resnet::rescale;
use crate::act::Act;
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
        let num_heads = channels / config.head_dim(channels);
        // Channels that do not divide into heads are left over: diffusers maps to and from the rest.
        let inner = num_heads * config.head_dim(channels);
        let into_heads = |b: Builder| Linear::new(channels, inner, Start::Random, &b);
        Self {
            group_norm: num_groups.map(|groups| {
                Norm::new(channels, groups, config.norm_eps, Act::Identity, &b.pp("group_norm"))
            }),
            to_q: into_heads(b.pp("to_q")),
            to_k: into_heads(b.pp("to_k")),
            to_v: into_heads(b.pp("to_v")),
            to_out: Linear::new(inner, channels, Start::Zero, &b.pp("to_out").pp(0)),
            num_heads,
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
