//! A penalty on predictions that leave the range of images.

use super::{Metric, distance};
use crate::{Error, Result, Value};

/// The mean over the batch of a weight times the mean over the sample of `max(|f| - 1, 0)^2`, a scalar.
///
/// It is the squared distance to the nearest image in [-1, 1], which is `f` clamped: the derivative of that distance
/// does not depend on how the nearest image moves, so the clamped prediction may be taken as a constant.
///
/// # Shapes
/// `f`: [B, ..]; `weights`: B numbers; result: [].
///
/// # Errors
/// When the number of weights is not that of samples.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use ct_kernels::{Tape, overflow_penalty};
///
/// let tape = Tape::new();
/// let f = tape.leaf(&Tensor::new(&[[0.5, -1.0], [3.0, -2.0]], &Device::Cpu)?);
/// let penalty = overflow_penalty(&f, &[1.0, 1.0])?;
/// // (0 + 0) / 2 of the first sample, (2^2 + 1^2) / 2 of the second.
/// assert_eq!(penalty.tensor().to_scalar::<f64>()?, 1.25);
/// let gradient = tape.backward(&penalty)?.take(0).unwrap();
/// assert_eq!(gradient.to_vec2::<f64>()?, [[0.0, 0.0], [1.0, -0.5]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn overflow_penalty(f: &Value, weights: &[f64]) -> Result<Value> {
    let [batch, sample @ ..] = f.dims() else {
        return Err(Error::shape("overflow_penalty", "f", "[B, ..]", f.dims()));
    };
    if *batch != weights.len() {
        let expected = format!("[{}, ..], as there are weights", weights.len());
        return Err(Error::shape("overflow_penalty", "f", expected, f.dims()));
    }
    let len = sample.iter().product::<usize>().max(1) as f64;
    let weights: Vec<f64> = weights.iter().map(|weight| weight / len).collect();
    distance(f, &f.tensor().clamp(-1.0, 1.0)?, Metric::L2, &weights)
}
