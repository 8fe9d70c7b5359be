//! From a picture back to the noise that a model makes it of.
//!
//! A denoiser gives the ODE, which runs both ways (Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based
//! Generative Models", section 2; Song et al. 2021, "Score-Based Generative Modeling", section 4.3):
//! from the picture, taken to be at `sigma_min`, up to `sigma_max`.
//! A consistency model gives only where a path ends, so its noise is searched for:
//!
//! ```text
//! minimize  |f(sigma_max z, sigma_max) - y|^2   over  |z|^2 = D
//! ```
//!
//! by Adam, with z brought back to the sphere on which noise lies after each step.

use candle_core::{DType, Tensor};
use ct_kernels::{self as ops, AdamWStep, Metric, Tape};
use ct_model::{ConsistencyModel, Denoiser};

use crate::{
    draw::Draw,
    error::{Error, Result},
    noise::NoiseSource,
    ode::heun_from,
    sigmas::default_sigmas,
};

/// The noise of samples along the ODE of a denoiser, by Heun's method.
///
/// # Shapes
/// `x`: `[n, C, H, W]` or `[n, D]` f32; the result has its shape, in units of `sigma_max`.
///
/// # Errors
/// When the labels or the samples do not fit, the number of steps is 0, or the model fails.
pub fn invert_ode(model: &dyn Denoiser, x: &Tensor, num_steps: usize, draw: &Draw<'_>) -> Result<Tensor> {
    draw.check(model)?;
    let range = model.noise_range();
    let mut sigmas = default_sigmas(range, num_steps)?;
    if num_steps == 2 {
        // The middle of two-step sampling is no place on the way.
        sigmas[1] = default_sigmas(range, 4)?[2];
    }
    sigmas.push(range.sigma_min);
    sigmas.reverse();
    Ok((heun_from(model, x.clone(), &sigmas, draw)? / range.sigma_max)?)
}

/// How the noise behind a sample of a consistency model is searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InversionConfig {
    /// Steps of Adam.
    pub num_steps: usize,
    /// Its learning rate at the start; it falls to zero along half a cosine.
    pub lr: f64,
}

impl Default for InversionConfig {
    fn default() -> Self {
        Self { num_steps: 300, lr: 0.05 }
    }
}

/// The noise from which a consistency model comes closest to samples in one step.
///
/// `progress` hears the number of steps that are done, and the mean square of what is left.
///
/// # Shapes
/// `y`: `[n, C, H, W]` or `[n, D]` f32; the result has its shape, in units of `sigma_max`.
///
/// # Errors
/// When the labels, the samples or the noise do not fit, a setting is out of its range, or the model fails.
pub fn invert(
    model: &ConsistencyModel,
    y: &Tensor,
    config: &InversionConfig,
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<Tensor> {
    draw.check(model)?;
    if config.num_steps == 0 {
        return Err(Error::Zero { what: "the number of steps" });
    }
    if !(config.lr > 0.0 && config.lr.is_finite()) {
        return Err(Error::Setting { what: "lr", value: config.lr, range: "a finite number above 0" });
    }
    let shape = [&[draw.num_samples()], model.sample_shape()].concat();
    if y.dims() != shape {
        return Err(Error::Shape {
            what: "the samples to invert".into(),
            expected: format!("{shape:?}"),
            got: y.dims().to_vec(),
        });
    }
    let mut z = noise.noise(0, draw.samples.clone(), model.sample_shape(), model.device())?;
    let (m, v) = (z.zeros_like()?, z.zeros_like()?);
    let weights = vec![1.0; shape[0]];
    for step in 0..config.num_steps {
        let tape = Tape::new();
        let leaf = tape.leaf(&z);
        let sigma_max = model.noise_range().sigma_max;
        let x_hat = ops::scale(&leaf, sigma_max).map_err(candle_core::Error::wrap)?;
        let f_x = model.f_value(&x_hat, &vec![sigma_max; shape[0]], draw.class_labels)?;
        let gradient = (|| {
            // The mean over the batch, times its size: every sample is searched for on its own.
            let loss = ops::distance(&f_x, y, Metric::L2, &weights)?;
            let gradient = tape.backward(&loss)?.leaf(0).cloned();
            gradient.map(|gradient| gradient.affine(shape[0] as f64, 0.0)).transpose().map_err(Into::into)
        })()
        .map_err(|error: ct_kernels::Error| candle_core::Error::wrap(error))?;
        let Some(gradient) = gradient else { break };
        let share = step as f64 / config.num_steps as f64;
        let lr = config.lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        let update = AdamWStep { lr, weight_decay: 0.0, step: step as u64 + 1, ..AdamWStep::default() };
        ops::adamw_step(&z, &m, &v, &gradient, &update).map_err(candle_core::Error::wrap)?;
        z = onto_sphere(&z)?;
        let left = (f_x.tensor() - y)?.sqr()?.mean_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        progress(step + 1, left);
    }
    Ok(z)
}

/// Noise of the length that noise has: |z|^2 = D.
fn onto_sphere(z: &Tensor) -> Result<Tensor> {
    let flat = z.flatten_from(1)?;
    let length = flat.sqr()?.mean_keepdim(1)?.sqrt()?.clamp(f32::MIN_POSITIVE, f32::MAX)?;
    Ok(flat.broadcast_div(&length)?.reshape(z.dims())?)
}
