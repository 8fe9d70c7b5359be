//! How the embedding of the noise level enters a residual block: around its second normalization.
//!
//! With n = norm and e the embedding:
//! `Default`: n(x + t(e)); `ScaleShift`: n(x) (1 + s(e)) + b(e);
//! `DoubleNorm`: n(x) pnorm(s(e)) + pnorm(b(e)), pnorm(v) = v / sqrt(mean(v^2) + eps) over the channels
//! (Lu and Song 2024, arXiv 2410.11081, section 4.1).

use ct_kernels::{self as ops, Value};

use super::config::{TimeScaleShift, UNet2DConfig};
use crate::layers::{Linear, Norm, Start};
use crate::part::Pass;
use crate::{Builder, Result};

/// Keeps the derivative of the pixel normalization at or below 10, also at the shift's start from zero.
///
/// The paper names no value.
/// A small one would let the first step of training take a shift of zero to size 1.
const PIXEL_NORM_EPS: f64 = 1e-2;

/// The map from the embedding to what the second normalization is told.
#[derive(Debug)]
pub(crate) enum TimeShift {
    Added(Linear),
    Modulated {
        proj: Linear,
        channels: usize,
    },
    /// The scale begins around 1 and the shift at 0, so that at first the block does about what it does without either.
    DoubleNorm {
        scale: Linear,
        shift: Linear,
    },
}

impl TimeShift {
    pub(crate) fn new(config: &UNet2DConfig, channels: usize, b: &Builder) -> Self {
        let width = config.embedding_dim();
        match config.resnet_time_scale_shift {
            TimeScaleShift::Default => Self::Added(Linear::new(width, channels, Start::Random, b)),
            TimeScaleShift::ScaleShift => {
                Self::Modulated { proj: Linear::new(width, 2 * channels, Start::Random, b), channels }
            }
            TimeScaleShift::DoubleNorm => Self::DoubleNorm {
                scale: Linear::around_one(width, channels, &b.pp("scale")),
                shift: Linear::new(width, channels, Start::Zero, &b.pp("shift")),
            },
        }
    }

    /// `norm` of x, told of the noise level.
    pub(crate) fn forward(&self, pass: &Pass<'_>, norm: &Norm, x: &Value) -> Result<Value> {
        let (w, embedding) = (pass.weights, pass.embedding);
        match self {
            Self::Added(proj) => norm.forward_added(w, x, &proj.forward(w, embedding)?),
            Self::Modulated { proj, channels } => {
                let time = proj.forward(w, embedding)?;
                let scale = ops::narrow_channels(&time, 0, *channels)?;
                let shift = ops::narrow_channels(&time, *channels, *channels)?;
                norm.forward_modulated(w, x, &scale, &shift)
            }
            Self::DoubleNorm { scale, shift } => {
                let scale = ops::pixel_norm(&scale.forward(w, embedding)?, PIXEL_NORM_EPS)?;
                let shift = ops::pixel_norm(&shift.forward(w, embedding)?, PIXEL_NORM_EPS)?;
                // The normalization adds the 1 that is taken away here.
                let minus_one = scale.tensor().ones_like()?.neg()?;
                norm.forward_modulated(w, x, &ops::add(&scale, &Value::from(minus_one))?, &shift)
            }
        }
    }
}
