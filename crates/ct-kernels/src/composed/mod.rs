//! Every operation as a composition of candle's own, which run on any device that candle has.
//!
//! There are kernels of ours for f32 and f64 on the CPU alone.
//! Tensors on a GPU, and tensors of bf16 or f16 anywhere, come here (decision 0013).
//! On the CPU `CT_KERNELS=composed` sends everything here, so that the tests of our kernels test this too.
//!
//! What all of it keeps to:
//! - Half types are computed in f32 and rounded once, at the end; matrix products add up in f32.
//! - Nothing is read back to the host, so that a GPU is never waited for; what the host knows is uploaded.
//! - Sums go over as many threads as there are outputs; where there are few outputs, they are taken in stages
//!   or as products with ones, and never with atomic additions, whose order changes from run to run.
//! - Operations are given what their kernels are given: shapes are checked before.

pub(crate) mod attention;
pub(crate) mod convolution;
pub(crate) mod curve;
pub(crate) mod distance;
pub(crate) mod elementwise;
pub(crate) mod gather;
pub(crate) mod group_norm;
pub(crate) mod linear;
pub(crate) mod normalize;
pub(crate) mod pool;
pub(crate) mod resample;
pub(crate) mod timestep;
pub(crate) mod update;

use candle_core::{D, DType, Device, Shape, Tensor};

use crate::Result;

/// Elements that one thread block adds up at once.
const STAGE: usize = 1024;

pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

/// The type that an operation on elements of type `dtype` computes in.
pub(crate) fn wide_dtype(dtype: DType) -> DType {
    if is_half(dtype) { DType::F32 } else { dtype }
}

/// `x` in the type that is computed in, contiguous.
pub(crate) fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(wide_dtype(x.dtype()))?.contiguous()?)
}

/// `x` in f64, contiguous.
pub(crate) fn double(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?.contiguous()?)
}

/// Numbers of the host beside `like`: on its device, rounded to `dtype`.
pub(crate) fn upload(
    values: Vec<f64>,
    shape: impl Into<Shape>,
    dtype: DType,
    like: &Tensor,
) -> Result<Tensor> {
    let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
    Ok(values.to_dtype(dtype)?.to_device(like.device())?)
}

/// The matrix product a b, of matrices or of batches of them.
///
/// candle's CPU has no product of bf16; there it is computed in f32, as a GPU computes it within.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if is_half(a.dtype()) && a.device().is_cpu() {
        let product = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
        return Ok(product.to_dtype(a.dtype())?);
    }
    Ok(a.matmul(b)?)
}

/// y + bias, for each row, where there is one.
pub(crate) fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => Ok(y.broadcast_add(bias)?),
        None => Ok(y),
    }
}

/// `x` as a matrix with rows of `length`.
pub(crate) fn rows(x: &Tensor, length: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.reshape((x.elem_count() / length.max(1), length))?)
}

/// The sum of all elements, a scalar, in stages.
pub(crate) fn total(x: &Tensor) -> Result<Tensor> {
    let flat = x.contiguous()?.flatten_all()?;
    let (len, num_rows) = (flat.elem_count(), flat.elem_count() / STAGE);
    if num_rows == 0 {
        return Ok(flat.sum_all()?);
    }
    let sums = total(&flat.narrow(0, 0, num_rows * STAGE)?.reshape((num_rows, STAGE))?.sum(D::Minus1)?)?;
    match len % STAGE {
        0 => Ok(sums),
        rest => Ok((sums + flat.narrow(0, num_rows * STAGE, rest)?.sum_all()?)?),
    }
}

/// The sum over all but the last dimension, as a product with ones, which reads rows as they lie: `[C]`.
pub(crate) fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    let x = rows(x, channels)?;
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    Ok(matmul(&ones, &x)?.reshape(channels)?)
}

/// The sum of each sample over all but the last dimension: `[B, .., C]` to `[B, C]`.
pub(crate) fn sum_pixels(x: &Tensor) -> Result<Tensor> {
    let (batch, channels) = (x.dims()[0], x.dims()[x.rank() - 1]);
    let pixels = x.elem_count() / (batch * channels).max(1);
    let x = x.contiguous()?.reshape((batch, pixels, channels))?;
    let ones = Tensor::ones((1, 1, pixels), x.dtype(), x.device())?.broadcast_as((batch, 1, pixels))?;
    Ok(matmul(&ones, &x)?.reshape((batch, channels))?)
}
