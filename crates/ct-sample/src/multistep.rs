//! One-step and multistep consistency sampling (Song et al. 2023, "Consistency Models", algorithm 1).
//!
//! ```text
//! x <- f(sigma_0 z_0, sigma_0)
//! for tau = sigma_1, sigma_2, ...:  x <- f(x + sqrt(tau^2 - sigma_min^2) z_j, tau)
//! ```
//!
//! diffusers' `CMStochasticIterativeScheduler` makes the same steps.
//! It adds noise of scale zero after the last evaluation; here the last evaluation simply ends the loop.

use candle_core::Tensor;
use ct_model::Denoiser;

use crate::{
    draw::Draw,
    error::{Error, Result},
    noise::NoiseSource,
    sigmas::check_sigmas,
};

/// Samples with a single evaluation at `sigma_max`.
///
/// # Shapes
/// The result is `[n, C, H, W]` or `[n, D]` f32, on the model's device.
///
/// # Errors
/// When the labels or the noise do not fit, or the model fails.
pub fn one_step(model: &dyn Denoiser, noise: &dyn NoiseSource, draw: &Draw<'_>) -> Result<Tensor> {
    multistep(model, &[model.noise_range().sigma_max], noise, draw)
}

/// Samples with one evaluation per noise level.
///
/// # Shapes
/// `sigmas`: strictly descending, each in (`sigma_min`, `sigma_max`]; the result is `[n, C, H, W]` or `[n, D]` f32.
///
/// # Errors
/// When the levels, the labels or the noise do not fit, or the model fails.
pub fn multistep(
    model: &dyn Denoiser,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    let shape = [&[draw.num_samples()], model.sample_shape()].concat();
    let origin = Tensor::zeros(shape, candle_core::DType::F32, model.device())?;
    multistep_from(model, &origin, sigmas, noise, draw, &mut Ok)
}

/// Multistep sampling that starts around `start` and passes every estimate through `project`.
///
/// This is the loop of zero-shot editing (algorithm 4 of the paper): the first input is
/// start + `sigma_0` `z_0`, and `project` puts back what is known after each evaluation.
///
/// # Shapes
/// `start`: `[n, C, H, W]` or `[n, D]` f32 on the model's device; `project` keeps the shape; the result has it.
///
/// # Errors
/// When the levels, the labels, the start or the noise do not fit, or the model or `project` fails.
pub fn multistep_from(
    model: &dyn Denoiser,
    start: &Tensor,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
    project: &mut dyn FnMut(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    draw.check(model)?;
    check_sigmas(sigmas, model.noise_range())?;
    check_start(model, start, draw)?;
    let sigma_min = model.noise_range().sigma_min;
    let mut x = start.clone();
    for (step, &sigma) in sigmas.iter().enumerate() {
        // What is left of the noise after an evaluation has the scale sigma_min; the start has none.
        let scale = if step == 0 { sigma } else { (sigma * sigma - sigma_min * sigma_min).sqrt() };
        let z = noise.noise(step, draw.samples.clone(), model.sample_shape(), model.device())?;
        let x_hat = (x + (z * scale)?)?;
        x = project(draw.denoise(model, &x_hat, sigma)?)?;
    }
    Ok(x)
}

/// Multistep sampling that takes only a part of its noise anew: `gamma` = 1 is [`multistep`], 0 draws none after the start.
///
/// ```text
/// z <- gamma z_j + sqrt(1 - gamma^2) e ,   e = (x_hat - f(x_hat, sigma)) / sqrt(sigma^2 - sigma_min^2)
/// ```
///
/// e is the noise that the estimate before has left out, as in DDIM (Song et al. 2021, arXiv 2010.02502) and the
/// gamma-sampling of CTM (Kim et al. 2024, arXiv 2310.02279); those have a jump to any level, here it ends at `sigma_min`.
/// Samples vary less from run to run with small gamma, and spread further than the data where
/// estimate and noise go together: a Gaussian of variance v by up to a factor of 2 at a level that equals its deviation.
///
/// # Shapes
/// As for [`multistep`].
///
/// # Errors
/// As for [`multistep`], and [`Error::Setting`] when `gamma` is not in [0, 1].
pub fn multistep_with_gamma(
    model: &dyn Denoiser,
    sigmas: &[f64],
    gamma: f64,
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&gamma) {
        return Err(Error::Setting { what: "gamma", value: gamma, range: "a number from 0 to 1" });
    }
    draw.check(model)?;
    check_sigmas(sigmas, model.noise_range())?;
    let above_min = |sigma: f64| (sigma * sigma - model.noise_range().sigma_min.powi(2)).sqrt();
    let fresh = |step| noise.noise(step, draw.samples.clone(), model.sample_shape(), model.device());
    let mut x_hat = (fresh(0)? * sigmas[0])?;
    let mut x = draw.denoise(model, &x_hat, sigmas[0])?;
    for (step, pair) in sigmas.windows(2).enumerate() {
        let left_out = ((&x_hat - &x)? / above_min(pair[0]))?;
        let kept = (left_out * (1.0 - gamma * gamma).sqrt())?;
        let z = if gamma > 0.0 { (kept + (fresh(step + 1)? * gamma)?)? } else { kept };
        x_hat = (x + (z * above_min(pair[1]))?)?;
        x = draw.denoise(model, &x_hat, pair[1])?;
    }
    Ok(x)
}

/// Whether `start` is a batch of the model's samples.
fn check_start(model: &dyn Denoiser, start: &Tensor, draw: &Draw<'_>) -> Result<()> {
    let expected = [&[draw.num_samples()], model.sample_shape()].concat();
    if start.dims() == expected {
        return Ok(());
    }
    Err(Error::Shape { what: "start".into(), expected: format!("{expected:?}"), got: start.dims().to_vec() })
}
