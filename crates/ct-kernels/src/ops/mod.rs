//! The operations, one file each.

mod add_channels;
mod arithmetic;
mod attention;
mod cast;
mod concat;
mod conv2d;
mod curve;
mod distance;
mod embedding;
mod fir;
mod group_norm;
mod layout;
mod linear;
mod max_pool;
mod narrow;
mod normalize_channels;
mod overflow;
mod pixel_norm;
mod reduce;
mod relu;
mod resample;
mod silu;
mod timestep;

pub use add_channels::add_channels;
pub use arithmetic::{add, dropout, mul, scale, scale_samples};
pub use attention::attention;
pub use cast::cast;
pub use concat::concat_channels;
pub use conv2d::{Conv2d, Padding, conv2d, conv2d_residual};
pub use curve::{gelu, mish};
pub use distance::{Metric, distance, distances};
pub use embedding::embedding;
pub use fir::{fir_down2x, fir_up2x};
pub use group_norm::{Activation, GroupNorm, group_norm, group_norm_added, group_norm_modulated};
pub use layout::{reshape, to_channels_first, to_channels_last};
pub use linear::{linear, linear_residual};
pub use max_pool::max_pool2d;
pub use narrow::narrow_channels;
pub use normalize_channels::normalize_channels;
pub use overflow::overflow_penalty;
pub use pixel_norm::pixel_norm;
pub use reduce::{mean_all, sum_all};
pub use relu::relu;
pub use resample::{avg_pool2x, upsample_nearest2x};
pub use silu::silu;
pub use timestep::{FourierEmbedding, PositionalEmbedding, fourier_embedding, positional_embedding};

pub(crate) use arithmetic::sum;
pub(crate) use linear::add_bias;

use candle_core::{DType, Tensor};

use crate::cpu::simd::dispatch::choice;
use crate::{Error, Result, composed};

/// Where, and in which precision, an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    CpuF32,
    CpuF64,
    /// Any device and floating-point type: by [`composed`](crate::composed) operations.
    Composed,
}

/// The place that all `tensors` share.
pub(crate) fn place(op: &'static str, tensors: &[&Tensor]) -> Result<Place> {
    let Some(first) = tensors.first() else {
        return Err(Error::setting(op, "needs at least one input"));
    };
    for tensor in tensors {
        if tensor.device().is_metal() {
            return Err(Error::Device { op, device: "Metal" });
        }
        if !tensor.device().same_device(first.device()) {
            return Err(Error::MixedDevices { op });
        }
        if tensor.dtype() != first.dtype() {
            let expected = first.dtype().as_str();
            return Err(Error::DType { op, expected, got: tensor.dtype() });
        }
    }
    match first.dtype() {
        DType::F32 if !is_composed(first) => Ok(Place::CpuF32),
        DType::F64 if !is_composed(first) => Ok(Place::CpuF64),
        DType::F32 | DType::F64 | DType::BF16 | DType::F16 => Ok(Place::Composed),
        got => Err(Error::DType { op, expected: "f32, f64, bf16 or f16", got }),
    }
}

/// Whether there are no kernels of ours for the device and type of a tensor, or none are wanted.
pub(crate) fn is_composed(tensor: &Tensor) -> bool {
    !tensor.device().is_cpu() || composed::is_half(tensor.dtype()) || choice().composed
}

/// Fails unless the tensor has exactly these dimensions.
pub(crate) fn check_dims(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<()> {
    if tensor.dims() == expected {
        Ok(())
    } else {
        Err(Error::shape(op, argument, format!("{expected:?}"), tensor.dims()))
    }
}

/// The four dimensions of an image batch.
pub(crate) fn image_dims(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    expected: &str,
) -> Result<(usize, usize, usize, usize)> {
    tensor.dims4().map_err(|_| Error::shape(op, argument, expected, tensor.dims()))
}

/// First dimension, product of those between, last dimension. `[B, C]` gives `(B, 1, C)`.
pub(crate) fn samples_rows_channels(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
) -> Result<(usize, usize, usize)> {
    match tensor.dims() {
        [samples, between @ .., channels] => Ok((*samples, between.iter().product(), *channels)),
        got => Err(Error::shape(op, argument, "[B, .., C]", got)),
    }
}

/// The sum of the terms that are there; an error if none is.
pub(crate) fn sum_of(op: &'static str, terms: Vec<Option<Tensor>>) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for term in terms.into_iter().flatten() {
        total = Some(match total {
            Some(total) => sum(&total, &term)?,
            None => term,
        });
    }
    total.ok_or(Error::Contract { op, reason: "no tangent to push forward".into() })
}
