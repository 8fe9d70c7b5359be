//! Element by element, and a vector per sample.

use candle_core::Tensor;

use super::{upload, wide, wide_dtype};
use crate::Result;

/// 1 / (1 + e^-x), of a type that is computed in.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// x sigmoid(x).
pub(crate) fn silu(x: &Tensor) -> Result<Tensor> {
    Ok(wide(x)?.silu()?.to_dtype(x.dtype())?)
}

/// The derivative of x sigmoid(x), times `v`.
pub(crate) fn silu_slope(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let wide_x = wide(x)?;
    let s = sigmoid(&wide_x)?;
    // s (1 + x (1 - s)); where s is zero, the bracket is finite.
    let bracket = ((wide_x * s.affine(-1.0, 1.0)?)? + 1.0)?;
    Ok(((s * bracket)? * wide(v)?)?.to_dtype(x.dtype())?)
}

/// max(x, 0); what is not a number stays so.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    where_positive(&x, &x)
}

/// `v` where `y` is above 0 or no number, and 0 elsewhere.
pub(crate) fn where_positive(y: &Tensor, v: &Tensor) -> Result<Tensor> {
    let zeros = y.zeros_like()?;
    Ok(y.contiguous()?.le(&zeros)?.where_cond(&zeros, &v.contiguous()?)?)
}

/// The tensor cut into as many equal parts as there are factors, each times its factor.
pub(crate) fn scale(x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    if let [factor] = factors {
        return Ok(wide(x)?.affine(*factor, 0.0)?.to_dtype(x.dtype())?);
    }
    let mut column = vec![1; x.rank()];
    column[0] = factors.len();
    let factors = upload(factors.to_vec(), column, wide_dtype(x.dtype()), x)?;
    Ok(wide(x)?.broadcast_mul(&factors)?.to_dtype(x.dtype())?)
}

/// `t[b, c]` beside every pixel of `x[b, .., c]`.
fn over_pixels(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; x.rank()];
    (dims[0], dims[x.rank() - 1]) = (t.dims()[0], t.dims()[1]);
    Ok(t.contiguous()?.reshape(dims)?)
}

/// `x[b, .., c] + t[b, c]`.
pub(crate) fn add_channels(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_add(&over_pixels(x, t)?)?)
}
