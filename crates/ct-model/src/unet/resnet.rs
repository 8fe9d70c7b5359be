//! The residual block.

use ct_kernels::{self as ops, Value};

use super::config::UNet2DConfig;
use super::time_shift::TimeShift;
use crate::layers::{Conv, DropoutLayer, Norm, Start};
use crate::part::{Layer, Pass};
use crate::{Builder, Result};

/// A change of size inside a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    Down,
    Up,
    /// Through the filter (1, 3, 3, 1).
    FirDown,
    FirUp,
}

impl Resample {
    fn apply(self, x: &Value) -> Result<Value> {
        Ok(match self {
            Self::Down => ops::avg_pool2x(x)?,
            Self::Up => ops::upsample_nearest2x(x)?,
            Self::FirDown => ops::fir_down2x(x)?,
            Self::FirUp => ops::fir_up2x(x)?,
        })
    }
}

/// What makes one residual block unlike another of the same network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetSpec {
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    /// Groups of the first and of the second normalization.
    pub(crate) num_groups: [usize; 2],
    /// What the output is divided by.
    pub(crate) output_scale_factor: f64,
    pub(crate) resample: Option<Resample>,
    /// Whether the shortcut has a convolution even where it keeps the channels.
    pub(crate) has_shortcut: bool,
}

impl ResnetSpec {
    /// A block of a level without a skip path.
    pub(crate) fn plain(config: &UNet2DConfig, c_in: usize, c_out: usize) -> Self {
        Self {
            c_in,
            c_out,
            num_groups: [config.norm_num_groups; 2],
            output_scale_factor: 1.0,
            resample: None,
            has_shortcut: c_in != c_out,
        }
    }
}

/// Two normalized convolutions beside a shortcut, told of the noise level between them.
#[derive(Debug)]
pub(crate) struct Resnet {
    norm1: Norm,
    conv1: Conv,
    time_shift: TimeShift,
    norm2: Norm,
    dropout: DropoutLayer,
    conv2: Conv,
    conv_shortcut: Option<Conv>,
    resample: Option<Resample>,
    output_scale: f64,
}

impl Resnet {
    pub(crate) fn new(config: &UNet2DConfig, spec: &ResnetSpec, b: &Builder) -> Self {
        let &ResnetSpec { c_in, c_out, num_groups, .. } = spec;
        let norm = |channels, num_groups, name| {
            Norm::new(channels, num_groups, config.norm_eps, config.act(), &b.pp(name))
        };
        Self {
            norm1: norm(c_in, num_groups[0], "norm1"),
            conv1: Conv::same(c_in, c_out, Start::Random, &b.pp("conv1")),
            time_shift: TimeShift::new(config, c_out, &b.pp("time_emb_proj")),
            norm2: norm(c_out, num_groups[1], "norm2"),
            dropout: DropoutLayer::new(config.dropout, b),
            conv2: Conv::same(c_out, c_out, Start::Zero, &b.pp("conv2")),
            conv_shortcut: spec.has_shortcut.then(|| Conv::pointwise(c_in, c_out, &b.pp("conv_shortcut"))),
            resample: spec.resample,
            output_scale: spec.output_scale_factor.recip(),
        }
    }
}

impl Layer for Resnet {
    /// `x: [B, H, W, C_in]` to `[B, H', W', C_out]`.
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let w = pass.weights;
        let mut h = self.norm1.forward(w, x)?;
        let mut shortcut = x.clone();
        if let Some(resample) = self.resample {
            h = resample.apply(&h)?;
            shortcut = resample.apply(&shortcut)?;
        }
        h = self.conv1.forward(w, &h)?;
        h = self.time_shift.forward(pass, &self.norm2, &h)?;
        h = self.dropout.forward(h, pass.dropout)?;
        if let Some(conv) = &self.conv_shortcut {
            shortcut = conv.forward(w, &shortcut)?;
        }
        rescale(self.conv2.forward_residual(w, &h, &shortcut)?, self.output_scale)
    }
}

/// `x * scale`, without a pass over memory for the usual 1.
#[expect(clippy::float_cmp, reason = "exactly 1 is the usual setting, and means that there is nothing to do")]
pub(crate) fn rescale(x: Value, scale: f64) -> Result<Value> {
    if scale == 1.0 { Ok(x) } else { Ok(ops::scale(&x, scale)?) }
}
