//! The levels of the UNet: down, middle, up.

use ct_kernels::Value;

use super::attention::Attention;
use super::config::{BlockKind, TimeScaleShift, UNet2DConfig};
use super::resample::{Downsample, Upsample};
use super::resnet::Resnet;
use crate::part::{Layer, Part, Pass};
use crate::{Builder, Result};

/// A residual block, with its attention where the level has any.
#[derive(Debug)]
struct ResidualLayer {
    resnet: Resnet,
    attention: Option<Attention>,
}

impl Layer for ResidualLayer {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let x = self.resnet.forward(pass, x)?;
        match &self.attention {
            Some(attention) => attention.forward(pass, &x),
            None => Ok(x),
        }
    }
}

/// The residual layers of one level.
#[derive(Debug)]
struct Level(Vec<Part<ResidualLayer>>);

impl Level {
    /// `c_in` holds the channels that flow into each residual block.
    fn new(config: &UNet2DConfig, kind: BlockKind, c_in: &[usize], c_out: usize, b: &Builder) -> Self {
        let layer = |(idx, &c_in): (usize, &usize)| {
            Part::new(b, || ResidualLayer {
                resnet: Resnet::new(config, c_in, c_out, 1.0, None, &b.pp("resnets").pp(idx)),
                attention: kind.attention.then(|| {
                    let groups = Some(config.norm_num_groups);
                    Attention::new(config, c_out, groups, 1.0, &b.pp("attentions").pp(idx))
                }),
            })
        };
        Self(c_in.iter().enumerate().map(layer).collect())
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
            x = layer.forward(pass, &[&x])?;
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
    first: Part<ResidualLayer>,
    last: Part<Resnet>,
}

impl MidBlock {
    pub(crate) fn new(config: &UNet2DConfig, channels: usize, b: &Builder) -> Self {
        let scale = config.mid_block_scale_factor;
        let resnet =
            |idx: usize| Resnet::new(config, channels, channels, scale, None, &b.pp("resnets").pp(idx));
        // diffusers normalizes here by default only where the time embedding is added, not where it scales.
        let num_groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
            TimeScaleShift::Default | TimeScaleShift::DoubleNorm => Some(config.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        });
        let attention = || Attention::new(config, channels, num_groups, scale, &b.pp("attentions").pp(0));
        Self {
            first: Part::new(b, || ResidualLayer {
                resnet: resnet(0),
                attention: config.add_attention.then(attention),
            }),
            last: Part::new(b, || resnet(1)),
        }
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let x = self.first.forward(pass, &[x])?;
        self.last.forward(pass, &[&x])
    }
}

/// One level on the way up.
#[derive(Debug)]
pub(crate) struct UpBlock {
    level: Level,
    upsample: Option<Part<Upsample>>,
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
            upsample: (!is_last).then(|| Part::new(b, || Upsample::new(config, kind.resample, c_out, b))),
        }
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, mut x: Value, skips: &mut Vec<Value>) -> Result<Value> {
        for layer in &self.level.0 {
            x = match skips.pop() {
                Some(skip) => layer.forward(pass, &[&x, &skip])?,
                None => layer.forward(pass, &[&x])?,
            };
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(pass, &[&x]),
            None => Ok(x),
        }
    }
}
