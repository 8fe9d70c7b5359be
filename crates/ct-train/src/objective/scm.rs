//! Continuous-time consistency models, sCT and sCD (Lu & Song 2024, arXiv 2410.11081, section 4 and algorithm 1).
//!
//! In `TrigFlow`, with `x_t = cos t x0 + sin t sd z` and the network F(`x_t` / sd, t):
//!
//! ```text
//! g    = -cos^2 t (sd F - v) - r (cos t sin t x_t + sd J)
//! J    = derivative of F along (cos t sin t v / sd, cos t sin t), by forward-mode differentiation
//! v    = cos t sd z - sin t x0 for sCT, sd F_teacher(x_t / sd, t) for sCD
//! loss = |F - stop_gradient(F + g / (|g| + c))|^2 / D
//! ```
//!
//! r rises from 0 to 1 over the warm-up. The factor cos t in g already holds the prior weight 1 / (sd tan t):
//! reference codes that weight by 1 / sigma once more are wrong, and unstable.
//! The norm of g is Euclidean in the paper, and a root of a mean square in some codes; both are here.

use std::sync::Arc;

use candle_core::{D, DType, Tensor};
use ct_kernels::Value;
use ct_model::{NoiseRange, Weights};
use ct_schedule::{Coefficients, Preconditioning, TrigFlow, TruncatedLognormal, tangent_warmup};

use super::{Difference, Objective, Pair};
use crate::passes::{Examples, Training};
use crate::recipe::{ScmConfig, TangentNorm};
use crate::teacher::{Teacher, scale_rows};
use crate::{Error, Result};

/// Continuous-time consistency training, or distillation where there is a teacher.
#[derive(Debug)]
pub struct Scm {
    config: ScmConfig,
    sigma: TruncatedLognormal,
    range: NoiseRange,
    teacher: Option<Arc<dyn Teacher>>,
    num_values: usize,
    pretrain_steps: u64,
}

impl Scm {
    /// Training without a teacher (sCT).
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn training(config: &ScmConfig, range: NoiseRange, steps: u64, num_values: usize) -> Result<Self> {
        let sigma = TruncatedLognormal::new(config.p_mean, config.p_std, range.sigma_min, range.sigma_max)?;
        let pretrain_steps = share_of(config.pretrain, steps);
        Ok(Self { config: config.clone(), sigma, range, teacher: None, num_values, pretrain_steps })
    }

    /// Distillation of a denoiser (sCD).
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn distillation(
        config: &ScmConfig,
        range: NoiseRange,
        steps: u64,
        num_values: usize,
        teacher: Arc<dyn Teacher>,
    ) -> Result<Self> {
        // The teacher is what a denoising part of the run would lead to.
        let training = Self::training(config, range, steps, num_values)?;
        Ok(Self { teacher: Some(teacher), pretrain_steps: 0, ..training })
    }

    /// r at step `step`; `None` while only a denoiser is trained.
    fn warmup(&self, step: u64) -> Option<f64> {
        let into = step.checked_sub(self.pretrain_steps)?;
        Some(tangent_warmup(into, self.config.tangent_warmup_steps))
    }

    fn angles(&self, examples: &Examples) -> Result<Angles> {
        Angles::new(&examples.sigma_hi(), self.range.sigma_data)
    }

    /// sd F of the ODE that the student is to follow, at `x_t`: `[B, ..]`.
    fn velocity(&self, examples: &Examples, angles: &Angles, x_t: &Tensor) -> Result<Tensor> {
        let sd = self.range.sigma_data;
        let Some(teacher) = &self.teacher else {
            let noise = scale_rows(&examples.noise, &angles.of(|t| t.cos() * sd))?;
            return Ok((noise - scale_rows(&examples.x0, &angles.of(f64::sin))?)?);
        };
        // D = cos t x_t - sin t sd F.
        let sigma = examples.sigma_hi();
        let denoised = teacher.denoise(&examples.at(&sigma)?, &sigma, examples.labels.as_deref())?;
        let difference = (scale_rows(x_t, &angles.of(f64::cos))? - denoised)?;
        scale_rows(&difference, &angles.of(|t| t.sin().recip()))
    }

    /// F and the tangent g, not yet brought to size.
    fn tangent(
        &self,
        training: &Training<'_>,
        weights: &Weights,
        examples: &Examples,
        warmup: f64,
    ) -> Result<(Tensor, Tensor)> {
        let (sd, angles) = (self.range.sigma_data, self.angles(examples)?);
        let x_t = scale_rows(&examples.at(&examples.sigma_hi())?, &angles.of(f64::cos))?;
        let v = self.velocity(examples, &angles, &x_t)?;

        let along = angles.of(|t| t.cos() * t.sin());
        let x = Value::dual((&x_t / sd)?, (scale_rows(&v, &along)? / sd)?)?;
        let slope: Vec<f64> = along.iter().zip(&angles.c_noise_slope).map(|(a, b)| a * b).collect();
        let c_noise = Value::dual(column(&angles.c_noise, &x_t)?, column(&slope, &x_t)?)?;
        let output = training.raw(weights, examples, &x, &c_noise)?;
        let f = output.tensor().clone();
        let jvp = output.tangent().map_or_else(|| f.zeros_like(), |jvp| Ok(jvp.clone()))?;

        let to_velocity = scale_rows(&((&f * sd)? - v)?, &angles.of(|t| -t.cos().powi(2)))?;
        let through_network = (scale_rows(&x_t, &along)? + (jvp * sd)?)?;
        let g = (to_velocity - (through_network * warmup)?)?;
        Ok((f, g))
    }
}

impl Objective for Scm {
    fn pairs(&self, _step: u64, u: &[f64]) -> Result<Vec<Pair>> {
        let weight = 1.0 / self.num_values as f64;
        let pair = |&u: &f64| Pair { sigma_hi: self.sigma.sigma_at(u), sigma_lo: None, weight };
        Ok(u.iter().map(pair).collect())
    }

    fn target(
        &self,
        step: u64,
        training: &Training<'_>,
        weights: &Weights,
        examples: &Examples,
    ) -> Result<Tensor> {
        let Some(warmup) = self.warmup(step) else {
            let angles = self.angles(examples)?;
            let x_t = scale_rows(&examples.at(&examples.sigma_hi())?, &angles.of(f64::cos))?;
            return Ok((self.velocity(examples, &angles, &x_t)? / self.range.sigma_data)?);
        };
        let (f, g) = self.tangent(training, weights, examples, warmup)?;
        Ok((f + normalized(&g, self.config.tangent_norm, self.config.tangent_c)?)?)
    }

    fn estimate(&self, training: &Training<'_>, student: &Weights, examples: &Examples) -> Result<Value> {
        let angles = self.angles(examples)?;
        let scale = angles.of(|t| t.cos() / self.range.sigma_data);
        let x = scale_rows(&examples.at(&examples.sigma_hi())?, &scale)?;
        let c_noise = column(&angles.c_noise, &x)?;
        training.raw(student, examples, &x.into(), &c_noise.into())
    }

    fn difference(&self, _step: u64) -> Difference {
        Difference::SQUARES
    }

    fn describe(&self, step: u64) -> String {
        match self.warmup(step) {
            None => "denoising".to_owned(),
            Some(warmup) => format!("tangent {warmup:.2}"),
        }
    }
}

/// The angles of a batch, and what the network is told of them.
struct Angles {
    t: Vec<f64>,
    c_noise: Vec<f64>,
    /// Derivative of `c_noise` by the angle.
    c_noise_slope: Vec<f64>,
}

impl Angles {
    fn new(sigma: &[f64], sigma_data: f64) -> Result<Self> {
        let (flow, told) = (TrigFlow::new(sigma_data)?, Preconditioning::trigflow(sigma_data)?);
        let t: Vec<f64> = sigma.iter().map(|&sigma| flow.angle(sigma)).collect();
        let told: Vec<Coefficients> = sigma.iter().map(|&sigma| told.coefficients(sigma)).collect();
        let c_noise: Vec<f64> = told.iter().map(|c| c.c_noise).collect();
        // The network is told a multiple of the angle.
        let c_noise_slope = c_noise.iter().zip(&t).map(|(c_noise, t)| c_noise / t).collect();
        Ok(Self { t, c_noise, c_noise_slope })
    }

    fn of(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        self.t.iter().map(|&t| f(t)).collect()
    }
}

/// g brought to size, each sample by itself.
///
/// # Shapes
/// `g`: `[B, ..]`; the result has the same shape.
pub(super) fn normalized(g: &Tensor, norm: TangentNorm, c: f64) -> Result<Tensor> {
    let squares = g.sqr()?.flatten_from(1)?;
    let size = match norm {
        TangentNorm::Clip => return Ok(g.clamp(-1.0, 1.0)?),
        TangentNorm::L2 => squares.sum(D::Minus1)?.sqrt()?,
        TangentNorm::Rms => squares.mean(D::Minus1)?.sqrt()?,
    };
    let size = size.to_dtype(DType::F64)?;
    // A GPU would have to be waited for; there the loss of the step tells.
    if g.device().is_cpu()
        && let Some(&norm) = size.to_vec1::<f64>()?.iter().find(|size| !size.is_finite())
    {
        return Err(Error::NonFiniteTangent { norm });
    }
    let mut column = vec![1; g.rank()];
    column[0] = size.dim(0)?;
    let factors = (size + c)?.recip()?.to_dtype(g.dtype())?.reshape(column)?;
    Ok(g.broadcast_mul(&factors)?)
}

/// One number for each sample, as a tensor like `like`.
fn column(values: &[f64], like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::new(values, like.device())?.to_dtype(like.dtype())?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share in [0, 1] of a number of steps"
)]
fn share_of(share: f64, steps: u64) -> u64 {
    (share * steps as f64).round() as u64
}
