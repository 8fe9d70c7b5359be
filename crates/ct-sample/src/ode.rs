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
    integrate(model, sigmas, noise, draw, |x, sigma, sigma_next| {
        let slope = slope(model, x, sigma, draw)?;
        Ok((x + (slope * (sigma_next - sigma))?)?)
    })
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
    integrate(model, sigmas, noise, draw, |x, sigma, sigma_next| {
        let slope_here = slope(model, x, sigma, draw)?;
        let x_euler = (x + (&slope_here * (sigma_next - sigma))?)?;
        if sigma_next == 0.0 {
            return Ok(x_euler);
        }
        let slope_there = slope(model, &x_euler, sigma_next, draw)?;
        let mean = ((slope_here + slope_there)? * 0.5)?;
        Ok((x + (mean * (sigma_next - sigma))?)?)
    })
}

/// Starts from noise at the first level and steps from each level to the next.
fn integrate(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
    step: impl Fn(&Tensor, f64, f64) -> Result<Tensor>,
) -> Result<Tensor> {
    draw.check(model)?;
    check_ode_sigmas(sigmas, model.noise_range())?;
    let z = noise.noise(0, draw.samples.clone(), model.sample_shape(), model.device())?;
    let mut x = (z * sigmas[0])?;
    for pair in sigmas.windows(2) {
        x = step(&x, pair[0], pair[1])?;
    }
    draw.finish(x)
}

/// (x - D(x, sigma)) / sigma.
fn slope(model: &dyn Denoiser, x: &Tensor, sigma: f64, draw: &Draw<'_>) -> Result<Tensor> {
    let denoised = model.denoise(x, sigma, draw.class_labels)?;
    Ok(((x - denoised)? / sigma)?)
}
