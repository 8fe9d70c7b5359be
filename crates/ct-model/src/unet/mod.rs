//! The UNet of diffusers (`UNet2DModel`): same configuration, same parameter names, same forward pass.
//!
//! Inside, activations are channels-last, `[B, H, W, C]`; the layout changes once at each end.

mod attention;
mod block;
mod config;
mod embedding;
mod level;
mod resample;
mod resnet;
#[cfg(test)]
mod tests;
mod time_shift;
mod validate;

use std::sync::Arc;

use ct_kernels::{self as ops, Value};

pub use config::{ClassEmbedding, ResampleKind, SampleSize, TimeEmbedding, TimeScaleShift, UNet2DConfig};

use crate::act::Act;
use crate::layers::{Conv, Norm, Start};
use crate::part::Pass;
use crate::{Builder, Error, Input, Network, NetworkConfig, ParamLayout, Result, Weights};
use block::{DownBlock, Flow, MidBlock, UpBlock};
use embedding::Conditioning;

/// The UNet of diffusers.
#[derive(Debug)]
pub struct UNet2D {
    config: UNet2DConfig,
    layout: Arc<ParamLayout>,
    sample_shape: [usize; 3],
    conditioning: Conditioning,
    conv_in: Conv,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: Norm,
    conv_out: Conv,
}

impl UNet2D {
    /// Builds the network that `config` describes.
    ///
    /// # Errors
    /// A configuration that no network can be (numbers that do not divide, lists of different lengths),
    /// or that this program does not support; the field and what it may be are named.
    pub fn new(config: &UNet2DConfig) -> Result<Self> {
        config.validate()?;
        let b = Builder::new();
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);

        let conv_in = Conv::same(config.in_channels, first, Start::Random, &b.pp("conv_in"));
        let conditioning = Conditioning::new(config, &b);

        let mut skips = vec![first];
        let mut down_blocks = Vec::new();
        for (idx, kind) in config.down_blocks()?.into_iter().enumerate() {
            let c_in = channels[idx.saturating_sub(1)];
            let is_last = idx + 1 == channels.len();
            let block =
                DownBlock::new(config, kind, c_in, channels[idx], is_last, &b.pp("down_blocks").pp(idx))?;
            skips.extend(block.skip_channels());
            down_blocks.push(block);
        }

        let mid_block = match config.mid_block_type {
            Some(_) => Some(MidBlock::new(config, last, &b.pp("mid_block"))?),
            None => None,
        };

        let mut up_blocks = Vec::new();
        let mut c_in = last;
        for (idx, kind) in config.up_blocks()?.into_iter().enumerate() {
            let c_out = channels[channels.len() - 1 - idx];
            let is_last = idx + 1 == channels.len();
            let taken = skips.split_off(skips.len() - (config.layers_per_block + 1));
            up_blocks.push(UpBlock::new(
                config,
                kind,
                c_in,
                c_out,
                &taken,
                is_last,
                &b.pp("up_blocks").pp(idx),
            )?);
            c_in = c_out;
        }

        let conv_norm_out = Norm::new(
            first,
            config.num_groups_or_quarter(first),
            config.norm_eps,
            Act::Silu,
            &b.pp("conv_norm_out"),
        );
        let conv_out = Conv::same(first, config.out_channels, Start::Zero, &b.pp("conv_out"));
        let [height, width] = config.sample_size()?;
        Ok(Self {
            sample_shape: [config.in_channels, height, width],
            config: config.clone(),
            layout: b.finish(),
            conditioning,
            conv_in,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out,
            conv_out,
        })
    }

    fn check(&self, x: &Value) -> Result<()> {
        let unit = 1 << (self.config.block_out_channels.len() - 1);
        match *x.dims() {
            [_, c, h, w] if c == self.config.in_channels && h % unit == 0 && w % unit == 0 => Ok(()),
            _ => Err(Error::Shape {
                what: "input of the UNet (height and width must be multiples of the total downsampling)",
                expected: vec![0, self.config.in_channels, self.sample_shape[1], self.sample_shape[2]],
                got: x.dims().to_vec(),
            }),
        }
    }
}

impl Network for UNet2D {
    fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    fn num_classes(&self) -> Option<usize> {
        match self.config.class_embed_type {
            Some(ClassEmbedding::Identity) => None,
            None | Some(ClassEmbedding::Timestep) => self.config.num_class_embeds,
        }
    }

    fn embedding_dim(&self) -> Option<usize> {
        Some(self.config.embedding_dim())
    }

    fn config(&self) -> NetworkConfig {
        self.config.clone().into()
    }

    fn forward(&self, weights: &Weights, input: &Input<'_>) -> Result<Value> {
        self.check(input.x)?;
        let precision = weights.precision();
        let embedding = precision.inside(&self.conditioning.forward(weights, input)?)?;
        let pass = Pass { weights, embedding: &embedding, dropout: input.dropout };

        let mut x = ops::to_channels_last(&precision.inside(input.x)?)?;
        if self.config.center_input_sample {
            let minus_one = x.tensor().ones_like()?.neg()?;
            x = ops::add(&ops::scale(&x, 2.0)?, &Value::from(minus_one))?;
        }
        let image = Some(x.clone());
        x = self.conv_in.forward(weights, &x)?;

        let mut flow = Flow { skips: vec![x.clone()], x, image };
        for block in &self.down_blocks {
            block.forward(&pass, &mut flow)?;
        }
        if let Some(block) = &self.mid_block {
            block.forward(&pass, &mut flow)?;
        }
        flow.image = None;
        for block in &self.up_blocks {
            block.forward(&pass, &mut flow)?;
        }

        x = self.conv_norm_out.forward(weights, &flow.x)?;
        x = match &flow.image {
            Some(image) => self.conv_out.forward_residual(weights, &x, image)?,
            None => self.conv_out.forward(weights, &x)?,
        };
        x = ops::cast(&ops::to_channels_first(&x)?, input.x.tensor().dtype())?;
        self.conditioning.rescale_output(x, input)
    }
}
