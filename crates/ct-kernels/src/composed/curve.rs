//! GELU and Mish, in f64.

use candle_core::Tensor;

use super::double;
use crate::Result;

/// x Phi(x).
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let wide = double(x)?;
    Ok((&wide * normal_cdf(&wide)?)?.to_dtype(x.dtype())?)
}

/// The derivative of x Phi(x), times `v`.
pub(crate) fn gelu_slope(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let wide = double(x)?;
    let density = ((wide.sqr()? * -0.5)?.exp()? * (1.0 / std::f64::consts::TAU.sqrt()))?;
    let slope = (normal_cdf(&wide)? + (wide * density)?)?;
    Ok((slope * double(v)?)?.to_dtype(x.dtype())?)
}

fn normal_cdf(x: &Tensor) -> Result<Tensor> {
    Ok((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?)
}

/// w = e^x (e^x + 2), with which tanh(ln(1 + e^x)) = w / (w + 2), and e^x.
///
/// Above 30 the ratio is 1 to the last bit of f64.
fn mish_ratio(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = x.minimum(30.0)?.exp()?;
    Ok(((&n * (&n + 2.0)?)?, n))
}

/// x tanh(ln(1 + e^x)).
pub(crate) fn mish(x: &Tensor) -> Result<Tensor> {
    let wide = double(x)?;
    let (w, _) = mish_ratio(&wide)?;
    Ok((wide * (&w / (&w + 2.0)?)?)?.to_dtype(x.dtype())?)
}

/// The derivative of x tanh(ln(1 + e^x)), times `v`.
pub(crate) fn mish_slope(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let wide = double(x)?;
    let (w, n) = mish_ratio(&wide)?;
    let below = (&w + 2.0)?;
    // 1 - tanh^2, and the sigmoid, which is the slope of ln(1 + e^x).
    let inner = (((&w + 1.0)? * 4.0)? / below.sqr()?)?;
    let inner = (inner * (&n / (&n + 1.0)?)?)?;
    let slope = ((w / below)? + (wide * inner)?)?;
    Ok((slope * double(v)?)?.to_dtype(x.dtype())?)
}
