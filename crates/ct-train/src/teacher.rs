//! What distillation learns from: a denoiser, followed along its probability-flow ODE.
//!
//! ```text
//! dx/d sigma = (x - D(x, sigma)) / sigma
//! ```
//!
//! Karras et al. 2022, algorithm 1; Song et al. 2023, algorithm 2. Every sample has noise levels of its own.
//! The teacher's coefficients have their boundary at 0, also where the student's have it at `sigma_min`.

use candle_core::{Device, Tensor};
use ct_model::{ConsistencyModel, Denoiser as _};

use crate::recipe::Solver;
use crate::{Error, Result};

/// A denoiser that distillation learns from.
pub trait Teacher: Send + Sync + std::fmt::Debug {
    /// D(x, sigma), with a sigma for each sample.
    ///
    /// # Shapes
    /// `x`: `[B, ..]`, noisy; `sigma` and the labels hold one entry for each sample; the result has the shape of `x`.
    ///
    /// # Errors
    /// A shape, a label or a sigma that the teacher does not take.
    fn denoise(&self, x: &Tensor, sigma: &[f64], class_labels: Option<&[u32]>) -> Result<Tensor>;

    /// The exact solution of the ODE from `sigma_hi` to `sigma_lo`, if the teacher knows it.
    ///
    /// # Errors
    /// A shape that the teacher does not take.
    fn solution(&self, _x: &Tensor, _sigma_hi: &[f64], _sigma_lo: &[f64]) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

impl Teacher for ConsistencyModel {
    fn denoise(&self, x: &Tensor, sigma: &[f64], class_labels: Option<&[u32]>) -> Result<Tensor> {
        Ok(self.f(x, sigma, class_labels)?)
    }
}

/// A teacher that is led away from its unconditional estimate:
/// D(x | null) + scale (D(x | class) - D(x | null)) (Ho & Salimans 2022).
#[derive(Debug)]
pub struct Guided {
    model: ConsistencyModel,
    scale: f64,
    null_label: u32,
}

impl Guided {
    /// Guides `model` by `scale`; 1 leaves it as it is.
    ///
    /// # Errors
    /// A model that was not trained to do without labels.
    pub fn new(model: ConsistencyModel, scale: f64) -> Result<Self> {
        let Some(null_label) = model.null_label() else {
            return Err(Error::Config {
                key: "guidance",
                value: scale.to_string(),
                range: "1, since the teacher was not trained with train.label_dropout",
            });
        };
        Ok(Self { model, scale, null_label })
    }
}

impl Teacher for Guided {
    fn denoise(&self, x: &Tensor, sigma: &[f64], class_labels: Option<&[u32]>) -> Result<Tensor> {
        let conditional = self.model.f(x, sigma, class_labels)?;
        let null = self.model.f(x, sigma, Some(&vec![self.null_label; sigma.len()]))?;
        Ok((&null + ((conditional - &null)? * self.scale)?)?)
    }
}

/// The exact denoiser of normally distributed data, alike in all directions: every quantity is known in closed form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianTeacher {
    /// Mean of every value.
    pub mean: f64,
    /// Standard deviation of every value.
    pub std: f64,
}

impl Teacher for GaussianTeacher {
    fn denoise(&self, x: &Tensor, sigma: &[f64], _class_labels: Option<&[u32]>) -> Result<Tensor> {
        let share = |sigma: &f64| self.std.powi(2) / (self.std.powi(2) + sigma.powi(2));
        self.scaled_about_mean(x, &sigma.iter().map(share).collect::<Vec<_>>())
    }

    fn solution(&self, x: &Tensor, sigma_hi: &[f64], sigma_lo: &[f64]) -> Result<Option<Tensor>> {
        let ratio = |(hi, lo): (&f64, &f64)| self.std.hypot(*lo) / self.std.hypot(*hi);
        let ratios: Vec<f64> = sigma_hi.iter().zip(sigma_lo).map(ratio).collect();
        Ok(Some(self.scaled_about_mean(x, &ratios)?))
    }
}

impl GaussianTeacher {
    fn scaled_about_mean(&self, x: &Tensor, factors: &[f64]) -> Result<Tensor> {
        Ok((scale_rows(&(x - self.mean)?, factors)? + self.mean)?)
    }
}

/// Follows `teacher` from `sigma_hi` to `sigma_lo`, in one step of `solver`.
///
/// # Shapes
/// `x_hi`: `[B, ..]`; the levels hold one entry for each sample, `sigma_lo` above 0; the result has the shape of `x_hi`.
///
/// # Errors
/// What the teacher does not take, or an exact solution that it does not know.
pub fn ode_step(
    teacher: &dyn Teacher,
    solver: Solver,
    x_hi: &Tensor,
    sigma_hi: &[f64],
    sigma_lo: &[f64],
    class_labels: Option<&[u32]>,
) -> Result<Tensor> {
    let slope = |x: &Tensor, sigma: &[f64]| -> Result<Tensor> {
        let inverse: Vec<f64> = sigma.iter().map(|sigma| sigma.recip()).collect();
        scale_rows(&(x - teacher.denoise(x, sigma, class_labels)?)?, &inverse)
    };
    let steps: Vec<f64> = sigma_lo.iter().zip(sigma_hi).map(|(lo, hi)| lo - hi).collect();
    match solver {
        Solver::Exact => teacher.solution(x_hi, sigma_hi, sigma_lo)?.ok_or(Error::Config {
            key: "train.cd.solver",
            value: "exact".to_owned(),
            range: "euler or heun: this teacher has no solution in closed form",
        }),
        Solver::Euler => Ok((x_hi + scale_rows(&slope(x_hi, sigma_hi)?, &steps)?)?),
        Solver::Heun => {
            let slope_hi = slope(x_hi, sigma_hi)?;
            let x_euler = (x_hi + scale_rows(&slope_hi, &steps)?)?;
            let slope_lo = slope(&x_euler, sigma_lo)?;
            let halves: Vec<f64> = steps.iter().map(|step| step / 2.0).collect();
            Ok((x_hi + scale_rows(&(slope_hi + slope_lo)?, &halves)?)?)
        }
    }
}

/// `x` with each sample multiplied by a factor of its own.
pub(crate) fn scale_rows(x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[0] = factors.len();
    let factors = Tensor::new(factors, &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?;
    Ok(x.broadcast_mul(&factors.reshape(shape)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(solver: Solver, step: f64) -> f64 {
        let teacher = GaussianTeacher { mean: 0.3, std: 0.5 };
        let x = Tensor::new(&[[1.0f64, -2.0], [0.4, 3.0]], &Device::Cpu).unwrap();
        let (hi, lo) = ([1.0, 2.0], [1.0 - step, 2.0 - step]);
        let exact = teacher.solution(&x, &hi, &lo).unwrap().unwrap();
        let got = ode_step(&teacher, solver, &x, &hi, &lo, None).unwrap();
        let difference = (got - exact).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn local_errors_have_the_order_of_the_solver() {
        // One step of a method of order p is wrong by step^(p + 1).
        for (solver, order) in [(Solver::Euler, 2.0), (Solver::Heun, 3.0)] {
            let measured = (error(solver, 0.02) / error(solver, 0.01)).log2();
            assert!((measured - order).abs() < 0.1, "{solver:?}: {measured}");
        }
        assert!(error(Solver::Exact, 0.5) < 1e-15);
    }
}
