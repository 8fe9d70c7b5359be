//! Halving and doubling the size between levels.

use ct_kernels::{self as ops, Conv2d, Padding, Value};

use super::config::{ResampleKind, UNet2DConfig};
use super::resnet::{Resample, Resnet, ResnetSpec};
use crate::layers::{Conv, Start};
use crate::part::{Layer, Part, Pass};
use crate::{Builder, Result};

/// Halves the size.
#[derive(Debug)]
pub(crate) enum Downsample {
    Conv(Conv),
    Resnet(Part<Resnet>),
}

impl Downsample {
    pub(crate) fn new(config: &UNet2DConfig, kind: ResampleKind, channels: usize, b: &Builder) -> Self {
        let b = b.pp("downsamplers").pp(0);
        match kind {
            ResampleKind::Conv => {
                let padding = match config.downsample_padding {
                    0 => Padding { top: 0, bottom: 1, left: 0, right: 1 },
                    size => Padding::all(size),
                };
                let conv = Conv2d { stride: 2, padding };
                Self::Conv(Conv::new(channels, channels, 3, conv, Start::Random, &b.pp("conv")))
            }
            ResampleKind::Resnet => {
                let spec = ResnetSpec {
                    resample: Some(Resample::Down),
                    ..ResnetSpec::plain(config, channels, channels)
                };
                let resnet = || Resnet::new(config, &spec, &b);
                Self::Resnet(Part::new(&b, resnet))
            }
        }
    }

    pub(crate) fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        match self {
            Self::Conv(conv) => conv.forward(pass.weights, x),
            Self::Resnet(resnet) => resnet.forward(pass, &[x]),
        }
    }
}

/// Doubles the size.
#[derive(Debug)]
pub(crate) enum Upsample {
    Conv(Conv),
    Resnet(Box<Resnet>),
}

impl Upsample {
    pub(crate) fn new(config: &UNet2DConfig, kind: ResampleKind, channels: usize, b: &Builder) -> Self {
        let b = b.pp("upsamplers").pp(0);
        match kind {
            ResampleKind::Conv => Self::Conv(Conv::same(channels, channels, Start::Random, &b.pp("conv"))),
            ResampleKind::Resnet => {
                let spec = ResnetSpec {
                    resample: Some(Resample::Up),
                    ..ResnetSpec::plain(config, channels, channels)
                };
                Self::Resnet(Box::new(Resnet::new(config, &spec, &b)))
            }
        }
    }
}

impl Layer for Upsample {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        match self {
            Self::Conv(conv) => conv.forward(pass.weights, &ops::upsample_nearest2x(x)?),
            Self::Resnet(resnet) => resnet.forward(pass, x),
        }
    }
}
