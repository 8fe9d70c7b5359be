//! The levels of the UNet: down, middle, up.
//!
//! Levels with a skip path carry the image beside the activations: on the way down it is made smaller and added to them,
//! on the way up an image is read from them and added to the one from below
//! (Karras et al. 2020, "Analyzing and improving the image quality of `StyleGAN`", figure 7).

use ct_kernels::{self as ops, Value};

use super::attention::Attention;
use super::config::{BlockKind, TimeScaleShift, UNet2DConfig};
use super::level::{Level, ResidualLayer, check_groups, quarter, skip_resnet};
use super::resample::{Downsample, Upsample};
use super::resnet::{Resample, Resnet, ResnetSpec};
use crate::act::Act;
use crate::layers::{Conv, Norm, Start};
use crate::part::{Part, Pass};
use crate::{Builder, Result};

/// Channels of the image on a skip path: diffusers has no other.
pub(crate) const SKIP_CHANNELS: usize = 3;

/// What flows through the levels.
pub(crate) struct Flow {
    /// The activations.
    pub(crate) x: Value,
    /// Those that the way up will want.
    pub(crate) skips: Vec<Value>,
    /// The image of the skip path.
    pub(crate) image: Option<Value>,
}

/// What a level on the way down ends with.
#[derive(Debug)]
enum DownEnd {
    Nothing,
    Resample(Downsample),
    Skip { resnet: Part<Resnet>, conv: Conv },
}

impl DownEnd {
    fn new(config: &UNet2DConfig, kind: BlockKind, channels: usize, b: &Builder) -> Result<Self> {
        if !kind.skip {
            return Ok(Self::Resample(Downsample::new(config, kind.resample, channels, b)));
        }
        check_groups(quarter(channels), channels)?;
        let spec = ResnetSpec {
            resample: Some(Resample::FirDown),
            has_shortcut: true,
            ..skip_resnet(channels, channels)
        };
        Ok(Self::Skip {
            resnet: Part::new(b, || Resnet::new(config, &spec, &b.pp("resnet_down"))),
            conv: Conv::pointwise(SKIP_CHANNELS, channels, &b.pp("skip_conv")),
        })
    }
}

/// One level on the way down.
#[derive(Debug)]
pub(crate) struct DownBlock {
    level: Level,
    end: DownEnd,
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
    ) -> Result<Self> {
        let mut inputs = vec![c_out; config.layers_per_block];
        inputs[0] = c_in;
        let spec = |&c_in: &usize| {
            if kind.skip { skip_resnet(c_in, c_out) } else { ResnetSpec::plain(config, c_in, c_out) }
        };
        let specs: Vec<ResnetSpec> = inputs.iter().map(spec).collect();
        Ok(Self {
            level: Level::new(config, kind, &specs, false, b)?,
            end: if is_last { DownEnd::Nothing } else { DownEnd::new(config, kind, c_out, b)? },
            channels: c_out,
        })
    }

    /// Channels of each activation that the way up will want.
    pub(crate) fn skip_channels(&self) -> Vec<usize> {
        vec![self.channels; self.level.0.len() + usize::from(!matches!(self.end, DownEnd::Nothing))]
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, flow: &mut Flow) -> Result<()> {
        for layer in &self.level.0 {
            flow.x = layer.forward(pass, &[&flow.x])?;
            flow.skips.push(flow.x.clone());
        }
        match &self.end {
            DownEnd::Nothing => return Ok(()),
            DownEnd::Resample(downsample) => flow.x = downsample.forward(pass, &flow.x)?,
            DownEnd::Skip { resnet, conv } => {
                flow.x = resnet.forward(pass, &[&flow.x])?;
                if let Some(image) = &mut flow.image {
                    *image = ops::fir_down2x(image)?;
                    flow.x = conv.forward_residual(pass.weights, image, &flow.x)?;
                }
            }
        }
        flow.skips.push(flow.x.clone());
        Ok(())
    }
}

/// The middle: residual block, attention, residual block.
#[derive(Debug)]
pub(crate) struct MidBlock {
    first: Part<ResidualLayer>,
    last: Part<Resnet>,
}

impl MidBlock {
    pub(crate) fn new(config: &UNet2DConfig, channels: usize, b: &Builder) -> Result<Self> {
        let scale = config.mid_block_scale_factor;
        let resnet_groups = config.num_groups_or_quarter(channels);
        check_groups(resnet_groups, channels)?;
        let spec = ResnetSpec {
            num_groups: [resnet_groups; 2],
            output_scale_factor: scale,
            ..ResnetSpec::plain(config, channels, channels)
        };
        let resnet = |idx: usize| Resnet::new(config, &spec, &b.pp("resnets").pp(idx));
        // diffusers normalizes here by default only where the time embedding is added, not where it scales.
        let num_groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
            TimeScaleShift::Default | TimeScaleShift::DoubleNorm => Some(resnet_groups),
            TimeScaleShift::ScaleShift => None,
        });
        let attention = || Attention::new(config, channels, num_groups, scale, &b.pp("attentions").pp(0));
        Ok(Self {
            first: Part::new(b, || ResidualLayer {
                resnet: resnet(0),
                attention: config.add_attention.then(attention),
            }),
            last: Part::new(b, || resnet(1)),
        })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, flow: &mut Flow) -> Result<()> {
        let x = self.first.forward(pass, &[&flow.x])?;
        flow.x = self.last.forward(pass, &[&x])?;
        Ok(())
    }
}

/// What a level on the way up ends with.
#[derive(Debug)]
enum UpEnd {
    Nothing,
    Resample(Part<Upsample>),
    Skip { norm: Norm, conv: Conv, resnet: Part<Resnet> },
}

impl UpEnd {
    fn new(config: &UNet2DConfig, kind: BlockKind, channels: usize, b: &Builder) -> Result<Self> {
        if !kind.skip {
            return Ok(Self::Resample(Part::new(b, || Upsample::new(config, kind.resample, channels, b))));
        }
        check_groups(quarter(channels), channels)?;
        let spec = ResnetSpec {
            resample: Some(Resample::FirUp),
            has_shortcut: true,
            ..skip_resnet(channels, channels)
        };
        Ok(Self::Skip {
            norm: Norm::new(channels, quarter(channels), config.norm_eps, Act::Silu, &b.pp("skip_norm")),
            conv: Conv::same(channels, SKIP_CHANNELS, Start::Zero, &b.pp("skip_conv")),
            resnet: Part::new(b, || Resnet::new(config, &spec, &b.pp("resnet_up"))),
        })
    }
}

/// One level on the way up.
#[derive(Debug)]
pub(crate) struct UpBlock {
    level: Level,
    end: UpEnd,
    has_skip_path: bool,
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
    ) -> Result<Self> {
        let previous = std::iter::once(c_in).chain(std::iter::repeat(c_out));
        let spec = |(x, &skip): (usize, &usize)| match kind {
            // diffusers takes a quarter of the second term alone here.
            BlockKind { skip: true, attention: true, .. } => ResnetSpec {
                num_groups: [(x + skip / 4).min(32), quarter(c_out)],
                ..skip_resnet(x + skip, c_out)
            },
            BlockKind { skip: true, .. } => skip_resnet(x + skip, c_out),
            BlockKind { .. } => ResnetSpec::plain(config, x + skip, c_out),
        };
        let specs: Vec<ResnetSpec> = previous.zip(skips.iter().rev()).map(spec).collect();
        Ok(Self {
            level: Level::new(config, kind, &specs, kind.skip, b)?,
            end: if is_last { UpEnd::Nothing } else { UpEnd::new(config, kind, c_out, b)? },
            has_skip_path: kind.skip,
        })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, flow: &mut Flow) -> Result<()> {
        for layer in &self.level.0 {
            flow.x = match flow.skips.pop() {
                Some(skip) => layer.forward(pass, &[&flow.x, &skip])?,
                None => layer.forward(pass, &[&flow.x])?,
            };
        }
        if self.has_skip_path {
            flow.image = flow.image.as_ref().map(ops::fir_up2x).transpose()?;
        }
        match &self.end {
            UpEnd::Nothing => {}
            UpEnd::Resample(upsample) => flow.x = upsample.forward(pass, &[&flow.x])?,
            UpEnd::Skip { norm, conv, resnet } => {
                let h = norm.forward(pass.weights, &flow.x)?;
                flow.image = Some(match &flow.image {
                    Some(image) => conv.forward_residual(pass.weights, &h, image)?,
                    None => conv.forward(pass.weights, &h)?,
                });
                flow.x = resnet.forward(pass, &[&flow.x])?;
            }
        }
        Ok(())
    }
}
