//! Distances between a prediction and a target, in f64.

use candle_core::{D, DType, Tensor};

use super::{double, upload};
use crate::{Metric, Result};

/// Smaller than any difference of two f32 that is not zero, even squared.
const TINY: f64 = 1e-300;

/// The distance of each sample: `[B]`, f64.
pub(crate) fn distances(prediction: &Tensor, target: &Tensor, metric: Metric) -> Result<Tensor> {
    let difference = difference(prediction, target)?;
    match metric {
        Metric::L1 => Ok(difference.abs()?.sum(D::Minus1)?),
        Metric::L2 => Ok(difference.sqr()?.sum(D::Minus1)?),
        Metric::PseudoHuber { c } => {
            // n / (sqrt(n + c^2) + c) is the same without cancellation.
            let squares = difference.sqr()?.sum(D::Minus1)?;
            let below = ((&squares + c * c)?.sqrt()? + c)?;
            Ok((squares / one_where_zero(&below)?)?)
        }
    }
}

/// prediction - target: `[B, n]`, f64.
fn difference(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    let batch = prediction.dims().first().copied().unwrap_or(1);
    let len = prediction.elem_count() / batch.max(1);
    Ok((double(prediction)?.reshape((batch, len))? - double(target)?.reshape((batch, len))?)?)
}

fn one_where_zero(x: &Tensor) -> Result<Tensor> {
    Ok((x + x.eq(&x.zeros_like()?)?.to_dtype(DType::F64)?)?)
}

/// The mean over the batch of the weighted distances, a scalar of the type of the prediction.
pub(crate) fn mean(distances: &Tensor, weights: &[f64], dtype: DType) -> Result<Tensor> {
    let count = weights.len();
    let weights = upload(weights.to_vec(), count, DType::F64, distances)?;
    Ok(((distances * weights)?.sum_all()? * (1.0 / count as f64))?.to_dtype(dtype)?)
}

/// d loss / d prediction, times `grad`, a scalar, if there is one.
pub(crate) fn slope(
    prediction: &Tensor,
    target: &Tensor,
    metric: Metric,
    weights: &[f64],
    distances: &Tensor,
    grad: Option<&Tensor>,
) -> Result<Tensor> {
    let count = weights.len();
    let shares = weights.iter().map(|weight| weight / count as f64).collect();
    let mut factors = upload(shares, count, DType::F64, prediction)?;
    if let Some(grad) = grad {
        factors = factors.broadcast_mul(&double(grad)?.reshape(1)?)?;
    }
    let difference = difference(prediction, target)?;
    let unit = match metric {
        // The sign, which is 0 for 0 and no number for what is none.
        Metric::L1 => (&difference / (difference.abs()? + TINY)?)?,
        Metric::L2 => (difference * 2.0)?,
        Metric::PseudoHuber { c } => {
            factors = (factors / one_where_zero(&(distances + c)?)?)?;
            difference
        }
    };
    let slope = unit.broadcast_mul(&factors.reshape((count, 1))?)?;
    Ok(slope.reshape(prediction.dims())?.to_dtype(prediction.dtype())?)
}
