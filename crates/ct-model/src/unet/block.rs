//! The levels of the UNet: down, middle, up.

use ct_kernels::{self as ops, Value};

use super::Pass;
use super::attention::Attention;
use super::config::{BlockKind, TimeScaleShift, UNet2DConfig};
use super::resample::{Downsample, Upsample};
use super::resnet::Resnet;
use crate::{Builder, Result};

/// Residual blocks of one level, each with its attention where the level has any.
#[derive(Debug)]
struct Level(Vec<(Resnet, Option<Attention>)>);

impl Level {
    /// `c_in` holds the channels that flow into each residual block.
    fn new(config: &UNet2DConfig, kind: BlockKind, c_in: &[usize], c_out: usize, b: &Builder) -> Self {
        let layer = |(idx, &c_in): (usize, &usize)| {
            let resnet = Resnet::new(config, c_in, c_out, 1.0, None, &b.pp("resnets").pp(idx));
            let attention = kind.attention.then(|| {
                Attention::new(config, c_out, Some(config.norm_num_groups), 1.0, &b.pp("attentions").pp(idx))
            });
            (resnet, attention)
        };
        Self(c_in.iter().enumerate().map(layer).collect())
    }
}

fn run_layer((resnet, attention): &(Resnet, Option<Attention>), pass: &Pass<'_>, x: &Value) -> Result<Value> {
    let x = resnet.forward(pass, x)?;
    match attention {
        Some(attention) => attention.forward(pass, &x),
        None => Ok(x),
    }
}

/// One level on the way down.
#[derive(Debug)]
pub(crate) struct DownBlock {
    level: Level,
    downsample: Option<Downsample>,
    channels: usize,
}

impl DownBlock {
    pub(crate) fn new(
        config: &UNet2DConfig,
        kind: BlockKind,
        c_in: usize,
        c_out: usize,
        is_last: bool,
        b: &Builder,
    ) -> Self {
        let mut inputs = vec![c_out; config.layers_per_block];
        inputs[0] = c_in;
        Self {
            level: Level::new(config, kind, &inputs, c_out, b),
            downsample: (!is_last).then(|| Downsample::new(config, kind.resample, c_out, b)),
            channels: c_out,
        }
    }

    /// Channels of each activation that the way up will want.
    pub(crate) fn skip_channels(&self) -> Vec<usize> {
        vec![self.channels; self.level.0.len() + usize::from(self.downsample.is_some())]
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, mut x: Value, skips: &mut Vec<Value>) -> Result<Value> {
        for layer in &self.level.0 {
            x = run_layer(layer, pass, &x)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(pass, &x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// The middle: residual block, attention, residual block.
#[derive(Debug)]
pub(crate) struct MidBlock {
    first: Resnet,
    attention: Option<Attention>,
    last: Resnet,
}

impl MidBlock {
    pub(crate) fn new(config: &UNet2DConfig, channels: usize, b: &Builder) -> Self {
        let scale = config.mid_block_scale_factor;
        let resnet =
            |idx: usize| Resnet::new(config, channels, channels, scale, None, &b.pp("resnets").pp(idx));
        // diffusers normalizes here by default only where the time embedding is added, not where it scales.
        let num_groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(config.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        });
        Self {
            first: resnet(0),
            attention: config
                .add_attention
                .then(|| Attention::new(config, channels, num_groups, scale, &b.pp("attentions").pp(0))),
            last: resnet(1),
        }
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let mut x = self.first.forward(pass, x)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(pass, &x)?;
        }
        self.last.forward(pass, &x)
    }
}

/// One level on the way up.
#[derive(Debug)]
pub(crate) struct UpBlock {
    level: Level,
    upsample: Option<Upsample>,
}

impl UpBlock {
    /// `skips` holds the channels of the activations from the way down, the last of which is used first.
    pub(crate) fn new(
        config: &UNet2DConfig,
        kind: BlockKind,
        c_in: usize,
        c_out: usize,
        skips: &[usize],
        is_last: bool,
        b: &Builder,
    ) -> Self {
        let previous = std::iter::once(c_in).chain(std::iter::repeat(c_out));
        let inputs: Vec<usize> = previous.zip(skips.iter().rev()).map(|(x, skip)| x + skip).collect();
        Self {
            level: Level::new(config, kind, &inputs, c_out, b),
            upsample: (!is_last).then(|| Upsample::new(config, kind.resample, c_out, b)),
        }
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, mut x: Value, skips: &mut Vec<Value>) -> Result<Value> {
        for layer in &self.level.0 {
            if let Some(skip) = skips.pop() {
                x = ops::concat_channels(&[&x, &skip])?;
            }
            x = run_layer(layer, pass, &x)?;
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(pass, &x),
            None => Ok(x),
        }
    }
}
