//! Pixels brought to length 1, or to root mean square 1, over their channels; in f64.

use candle_core::{D, Tensor};

use super::double;
use crate::Result;

/// Smaller than the square of any f32 that is not zero.
const TINY: f64 = 1e-300;

/// gain x / (|x| + eps).
pub(crate) fn channels(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = double(x)?;
    let inverse = (length(&wide)? + eps)?.recip()?;
    Ok(wide.broadcast_mul(&inverse)?.broadcast_mul(&double(gain)?)?.to_dtype(x.dtype())?)
}

/// The derivative of [`channels`] times `v`: forward with the gain behind it, backward with the gain before it.
pub(crate) fn channels_slope(
    x: &Tensor,
    gain: &Tensor,
    eps: f64,
    v: &Tensor,
    is_backward: bool,
) -> Result<Tensor> {
    let (wide, gain) = (double(x)?, double(gain)?);
    let v = if is_backward { double(v)?.broadcast_mul(&gain)? } else { double(v)? };
    let length = length(&wide)?;
    let inverse = (&length + eps)?.recip()?;
    let dot = (&wide * &v)?.sum_keepdim(D::Minus1)?;
    // A pixel of zeros has no direction, and its dot is zero.
    let along = (dot / ((&length * (&length + eps)?)? + TINY)?)?;
    let projected = (v - wide.broadcast_mul(&along)?)?.broadcast_mul(&inverse)?;
    let slope = if is_backward { projected } else { projected.broadcast_mul(&gain)? };
    Ok(slope.to_dtype(x.dtype())?)
}

fn length(x: &Tensor) -> Result<Tensor> {
    Ok(x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
}

/// x / sqrt(mean(x^2) + eps).
pub(crate) fn pixels(x: &Tensor, eps: f64) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let wide = double(x)?;
    Ok(wide.broadcast_mul(&inverse_size(&wide, eps)?)?.to_dtype(x.dtype())?)
}

/// The derivative of [`pixels`], which is symmetric, times `v`.
pub(crate) fn pixels_slope(x: &Tensor, eps: f64, v: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let (wide, v) = (double(x)?, double(v)?);
    let r = inverse_size(&wide, eps)?;
    let along = ((&wide * &v)?.mean_keepdim(D::Minus1)? * r.sqr()?)?;
    let slope = (v - wide.broadcast_mul(&along)?)?.broadcast_mul(&r)?;
    Ok(slope.to_dtype(x.dtype())?)
}

fn inverse_size(x: &Tensor, eps: f64) -> Result<Tensor> {
    Ok((x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?)
}
