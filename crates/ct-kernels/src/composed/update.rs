//! Updates in place: what is computed is copied over what was there.

use candle_core::{DType, Tensor};

use super::{double, total};
use crate::{Error, Result};

/// Fails unless a tensor can be updated in place, or take part in it: contiguous, of one of the types.
pub(crate) fn check(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    dtypes: &[DType],
) -> Result<()> {
    if !dtypes.contains(&tensor.dtype()) {
        let expected = if dtypes.len() == 1 { "f32" } else { "f32, f64, bf16 or f16" };
        return Err(Error::DType { op, expected, got: tensor.dtype() });
    }
    if tensor.is_contiguous() { Ok(()) } else { Err(Error::NotContiguous { op, argument }) }
}

/// x <- y, of one shape and type, in memory of their own.
pub(crate) fn assign(x: &Tensor, y: &Tensor) -> Result<()> {
    if x.elem_count() == 0 {
        return Ok(());
    }
    Ok(x.flatten_all()?.slice_set(&y.contiguous()?.flatten_all()?, 0, 0)?)
}

/// The sum of the squares of all elements, a scalar on the device, in f64.
pub(crate) fn sum_of_squares(x: &Tensor) -> Result<Tensor> {
    total(&double(x)?.sqr()?)
}

/// m <- m + `rest1` (grad - m); v <- `beta2` v + `rest2` grad^2; the new moments.
fn moments([m, v]: [&Tensor; 2], grad: &Tensor, rest1: f64, beta2: f64, rest2: f64) -> Result<[Tensor; 2]> {
    let new_m = (m + ((grad - m)? * rest1)?)?;
    let new_v = ((v * beta2)? + (grad.sqr()? * rest2)?)?;
    assign(m, &new_m)?;
    assign(v, &new_v)?;
    Ok([new_m, new_v])
}

/// The numbers of a step of AdamW.
pub(crate) struct AdamW {
    pub(crate) rest1: f64,
    pub(crate) beta2: f64,
    pub(crate) rest2: f64,
    /// What is left of the parameter after its decay.
    pub(crate) keep: f64,
    pub(crate) step_size: f64,
    /// Root of what the second moment lacks.
    pub(crate) correction: f64,
    pub(crate) eps: f64,
}

impl AdamW {
    pub(crate) fn step(&self, param: &Tensor, state: [&Tensor; 2], grad: &Tensor) -> Result<()> {
        let [m, v] = moments(state, grad, self.rest1, self.beta2, self.rest2)?;
        let below = v.sqrt()?.affine(1.0 / self.correction, self.eps)?;
        let moved = ((param * self.keep)? - ((m / below)? * self.step_size)?)?;
        assign(param, &moved)
    }
}

/// The numbers of a step of `RAdam`.
pub(crate) struct RAdam {
    pub(crate) rest1: f64,
    pub(crate) beta2: f64,
    pub(crate) rest2: f64,
    pub(crate) decay: f64,
    pub(crate) eps: f64,
    /// The step without adaptation.
    pub(crate) plain: f64,
    /// The step with it, where the variance is tractable.
    pub(crate) rectified: Option<f64>,
}

impl RAdam {
    pub(crate) fn step(&self, param: &Tensor, state: [&Tensor; 2], grad: &Tensor) -> Result<()> {
        let decayed = if self.decay == 0.0 { grad.clone() } else { (grad + (param * self.decay)?)? };
        let [m, v] = moments(state, &decayed, self.rest1, self.beta2, self.rest2)?;
        let step = match self.rectified {
            Some(step_size) => ((m / (v.sqrt()? + self.eps)?)? * step_size)?,
            None => (m * self.plain)?,
        };
        assign(param, &(param - step)?)
    }
}

/// avg <- beta avg + (1 - beta) param, as a step from the nearer of the two towards the other.
pub(crate) fn ema(avg: &Tensor, param: &Tensor, beta: f64) -> Result<()> {
    let moved = if beta < 0.5 {
        (param + ((avg - param)? * beta)?)?
    } else {
        (avg + ((param - avg)? * (1.0 - beta))?)?
    };
    assign(avg, &moved)
}
