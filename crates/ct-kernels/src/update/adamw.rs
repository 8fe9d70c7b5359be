//! AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2), as
//! `torch.optim.AdamW` computes it.

use candle_core::Tensor;

use super::{check_moments, for_each_moment};
use crate::{Error, Result, composed};

const NAME: &str = "adamw_step";

/// The settings of one step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The parameter is first multiplied by `1 - lr weight_decay`.
    pub weight_decay: f64,
    /// Number of this step; the first is 1.
    pub step: u64,
}

impl Default for AdamWStep {
    /// The defaults of PyTorch, first step.
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2, step: 1 }
    }
}

/// One step of AdamW, in place.
///
/// # Shapes
/// `param`, the moments `m` and `v`, and `grad`: contiguous f32 tensors of one shape.
///
/// # Errors
/// When shapes, element types or layouts do not fit, tensors share memory, or the step is 0.
pub fn adamw_step(param: &Tensor, m: &Tensor, v: &Tensor, grad: &Tensor, config: &AdamWStep) -> Result<()> {
    if config.step == 0 {
        return Err(Error::setting(NAME, "steps are counted from 1, got 0"));
    }
    let step = config.step as f64;
    let keep = narrow(1.0 - config.lr * config.weight_decay);
    let (beta2, rest1, rest2) =
        (narrow(config.beta2), narrow(1.0 - config.beta1), narrow(1.0 - config.beta2));
    let step_size = narrow(config.lr / (1.0 - config.beta1.powf(step)));
    let correction = narrow((1.0 - config.beta2.powf(step)).sqrt());
    let eps = narrow(config.eps);
    if check_moments(NAME, [param, m, v], grad)? {
        let [rest1, beta2, rest2, keep, step_size, correction, eps] =
            [rest1, beta2, rest2, keep, step_size, correction, eps].map(f64::from);
        let step = composed::update::AdamW { rest1, beta2, rest2, keep, step_size, correction, eps };
        return step.step(param, [m, v], grad).map_err(|error| error.during(NAME));
    }
    for_each_moment(
        NAME,
        [param, m, v],
        grad,
        #[inline(always)]
        |block| {
            let moments = block.m.iter_mut().zip(block.v);
            for ((param, (m, v)), &grad) in block.param.iter_mut().zip(moments).zip(block.grad) {
                *m += rest1 * (grad - *m);
                *v = beta2 * *v + rest2 * (grad * grad);
                *param = keep * *param - step_size * (*m / (v.sqrt() / correction + eps));
            }
        },
    )
}

/// Settings are prepared in f64 and applied in f32.
#[expect(clippy::cast_possible_truncation, reason = "a factor near 1 or below")]
pub(super) fn narrow(x: f64) -> f32 {
    x as f32
}
