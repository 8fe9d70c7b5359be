//! Rectified Adam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond",
//! algorithm 2), as `torch.optim.RAdam` computes it.

use candle_core::Tensor;

use super::adamw::narrow;
use super::{check_moments, for_each_moment};
use crate::{Error, Result, composed};

const NAME: &str = "radam_step";

/// The settings of one step of `RAdam`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RAdamStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f64,
    /// Number of this step; the first is 1.
    pub step: u64,
}

impl Default for RAdamStep {
    /// The defaults of PyTorch, first step.
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 }
    }
}

impl RAdamStep {
    /// The factor that rectifies the variance of the adaptive step; `None` while the variance is
    /// intractable (`rho_t <= 5`), when the step is taken without adaptation.
    fn rectification(&self) -> Option<f64> {
        let (step, beta2_t) = (self.step as f64, self.beta2.powf(self.step as f64));
        let rho_inf = 2.0 / (1.0 - self.beta2) - 1.0;
        let rho = rho_inf - 2.0 * step * beta2_t / (1.0 - beta2_t);
        (rho > 5.0).then(|| {
            let ratio = ((rho - 4.0) * (rho - 2.0) * rho_inf) / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho);
            ratio.sqrt()
        })
    }
}

/// One step of `RAdam`, in place.
///
/// # Shapes
/// `param`, the moments `m` and `v`, and `grad`: contiguous f32 tensors of one shape.
///
/// # Errors
/// When shapes, element types or layouts do not fit, tensors share memory, or the step is 0.
pub fn radam_step(param: &Tensor, m: &Tensor, v: &Tensor, grad: &Tensor, config: &RAdamStep) -> Result<()> {
    if config.step == 0 {
        return Err(Error::setting(NAME, "steps are counted from 1, got 0"));
    }
    let step = config.step as f64;
    let (beta2, rest1, rest2) =
        (narrow(config.beta2), narrow(1.0 - config.beta1), narrow(1.0 - config.beta2));
    let (decay, eps) = (narrow(config.weight_decay), narrow(config.eps));
    let plain = config.lr / (1.0 - config.beta1.powf(step));
    let rectified =
        config.rectification().map(|factor| narrow(plain * factor * (1.0 - config.beta2.powf(step)).sqrt()));
    let plain = narrow(plain);
    if check_moments(NAME, [param, m, v], grad)? {
        let [rest1, beta2, rest2, decay, eps, plain] =
            [rest1, beta2, rest2, decay, eps, plain].map(f64::from);
        let rectified = rectified.map(f64::from);
        let step = composed::update::RAdam { rest1, beta2, rest2, decay, eps, plain, rectified };
        return step.step(param, [m, v], grad).map_err(|error| error.during(NAME));
    }
    for_each_moment(
        NAME,
        [param, m, v],
        grad,
        #[inline(always)]
        |block| {
            let moments = block.m.iter_mut().zip(&mut *block.v);
            for ((&mut param, (m, v)), &grad) in block.param.iter_mut().zip(moments).zip(block.grad) {
                let grad = grad + decay * param;
                *m += rest1 * (grad - *m);
                *v = beta2 * *v + rest2 * (grad * grad);
            }
            let moments = block.m.iter().zip(&*block.v);
            match rectified {
                Some(step_size) => {
                    for (param, (m, v)) in block.param.iter_mut().zip(moments) {
                        *param -= step_size * (m / (v.sqrt() + eps));
                    }
                }
                None => {
                    for (param, (m, _)) in block.param.iter_mut().zip(moments) {
                        *param -= plain * m;
                    }
                }
            }
        },
    )
}
