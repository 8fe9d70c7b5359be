//! Deterministic samplers for denoisers: the probability-flow ODE by Euler's and Heun's method.
//!
//! ```text
//! dx/d sigma = (x - D(x, sigma)) / sigma
//! ```
//!
//! (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 1.)
//! Only the start draws noise.
//! Estimates inside the loop are not clipped, which would bend the ODE; the result is, if the draw says so.

use candle_core::Tensor;
use ct_model::Denoiser;

use crate::{draw::Draw, error::Result, noise::NoiseSource, sigmas::check_ode_sigmas};

/// Euler's method, of order 1: one evaluation per step.
///
/// # Shapes
/// `sigmas`: the levels to visit, strictly descending from at most `sigma_max`; the last may be 0
/// (see [`ode_sigmas`](crate::ode_sigmas)). The result is `[n, C, H, W]` or `[n, D]` f32, at the last level.
///
/// # Errors
/// When the levels, the labels or the noise do not fit, or the model fails.
pub fn euler(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    let mut x = start(model, sigmas, noise, draw)?;
    for pair in sigmas.windows(2) {
        let slope = slope(model, &x, pair[0], draw)?;
        x = (x + (slope * (pair[1] - pair[0]))?)?;
    }
    draw.finish(x)
}

/// Heun's method, of order 2: two evaluations per step, one for a last step to 0.
///
/// # Shapes
/// As for [`euler`].
///
/// # Errors
/// As for [`euler`].
pub fn heun(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    let x = start(model, sigmas, noise, draw)?;
    draw.finish(heun_from(model, x, sigmas, draw)?)
}

/// Follows the ODE from `x` at the first level to the last, up or down, by Heun's method.
pub(crate) fn heun_from(model: &dyn Denoiser, x: Tensor, sigmas: &[f64], draw: &Draw<'_>) -> Result<Tensor> {
    let mut x = x;
    for pair in sigmas.windows(2) {
        let (sigma, sigma_next) = (pair[0], pair[1]);
        let slope_here = slope(model, &x, sigma, draw)?;
        let x_euler = (&x + (&slope_here * (sigma_next - sigma))?)?;
        if sigma_next == 0.0 {
            x = x_euler;
            break;
        }
        let slope_there = slope(model, &x_euler, sigma_next, draw)?;
        let mean = ((slope_here + slope_there)? * 0.5)?;
        x = (x + (mean * (sigma_next - sigma))?)?;
    }
    Ok(x)
}

/// Noise at the first level, after all is checked.
pub(crate) fn start(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    draw.check(model)?;
    check_ode_sigmas(sigmas, model.noise_range())?;
    let z = noise.noise(0, draw.samples.clone(), model.sample_shape(), model.device())?;
    Ok((z * sigmas[0])?)
}

/// (x - D(x, sigma)) / sigma.
fn slope(model: &dyn Denoiser, x: &Tensor, sigma: f64, draw: &Draw<'_>) -> Result<Tensor> {
    let denoised = model.denoise(x, sigma, draw.class_labels)?;
    Ok(((x - denoised)? / sigma)?)
}
