//! DPM-Solver++(2M) for denoisers: one evaluation per step, of order 2 by the estimate before.
//!
//! ```text
//! lambda = -ln sigma ,  h = lambda_next - lambda ,  r = h_before / h
//! D' = (1 + 1/(2r)) D - 1/(2r) D_before ,  x <- (sigma_next / sigma) x - (e^-h - 1) D'
//! ```
//!
//! (Lu et al. 2022, "DPM-Solver++", algorithm 2, for noise that is added and not mixed in.)
//! The first step has no estimate before it, and a last step to 0 gives D itself: both are of order 1.

use candle_core::Tensor;
use ct_model::Denoiser;

use crate::{draw::Draw, error::Result, noise::NoiseSource, ode::start};

/// DPM-Solver++(2M).
///
/// # Shapes
/// `sigmas`: the levels to visit, strictly descending from at most `sigma_max`; the last may be 0
/// (see [`ode_sigmas`](crate::ode_sigmas)). The result is `[n, C, H, W]` or `[n, D]` f32, at the last level.
///
/// # Errors
/// When the levels, the labels or the noise do not fit, or the model fails.
pub fn dpmpp_2m(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    let mut x = start(model, sigmas, noise, draw)?;
    // The estimate before, and how far it is away in lambda.
    let mut before: Option<(Tensor, f64)> = None;
    for pair in sigmas.windows(2) {
        let (sigma, sigma_next) = (pair[0], pair[1]);
        let denoised = model.denoise(&x, sigma, draw.class_labels)?;
        if sigma_next == 0.0 {
            x = denoised;
            break;
        }
        let h = (sigma / sigma_next).ln();
        let led = match &before {
            None => denoised.clone(),
            Some((denoised_before, h_before)) => {
                let share = h / (2.0 * h_before);
                ((&denoised * (1.0 + share))? - (denoised_before * share)?)?
            }
        };
        let ratio = sigma_next / sigma;
        x = ((x * ratio)? + (led * (1.0 - ratio))?)?;
        before = Some((denoised, h));
    }
    draw.finish(x)
}
