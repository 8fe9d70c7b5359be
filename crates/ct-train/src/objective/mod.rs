//! What is learned: the noise levels of a sample, the target and the weight of the difference.
//!
//! Every discrete recipe trains f towards itself at a smaller noise level, on the same noise
//! (Song et al. 2023, algorithms 2 and 3):
//!
//! ```text
//! loss = weight * d( f(x_hi, sigma_hi), stop_gradient f'(x_lo, sigma_lo) ),   x_hi = x0 + sigma_hi z
//! ```
//!
//! The recipes differ in how (`sigma_hi`, `sigma_lo`, weight) follow from one uniform number and the progress of the run,
//! in whose weights f' has, and in how `x_lo` is reached: on the same noise, or by the ODE of a teacher.
//! A denoiser has the clean sample for its target, and a continuous-time model the end of its own tangent.

mod cd;
mod ct;
mod diffusion;
mod ect;
mod ict;
mod scm;
mod tcm;

use std::sync::Arc;

use candle_core::Tensor;
use ct_kernels::{Metric, Value};
use ct_model::{ConsistencyModel, NoiseRange, Parameterization, Weights};
use ct_schedule::pseudo_huber_c;

pub use cd::Cd;
pub use ct::Ct;
pub use diffusion::Diffusion;
pub use ect::Ect;
pub use ict::Ict;
pub use scm::Scm;
pub use tcm::Tcm;

use crate::passes::{Examples, Training};
use crate::teacher::{Guided, Teacher};
use crate::{Error, LossKind, Recipe, Result, TrainConfig};

/// The noise levels of one sample, and how much its difference counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Noise level of the student.
    pub sigma_hi: f64,
    /// Noise level of the target; `None` when the target is the clean sample.
    pub sigma_lo: Option<f64>,
    /// Weight of the difference.
    pub weight: f64,
}

/// Whose weights the target is computed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The student's own, without a gradient.
    Student,
    /// An average of the student's, which decays by this factor after the step.
    Average {
        /// Decay mu(k).
        mu: f64,
    },
}

/// How the difference between what the student says and what it should say is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Difference {
    /// Value by value.
    Values(Metric),
    /// By the features of a network that sees as people do (LPIPS; Zhang et al. 2018).
    Perceptual,
}

impl Difference {
    /// The sum of squares.
    pub const SQUARES: Self = Self::Values(Metric::L2);
}

/// How noise levels are drawn, what the target is and how the difference is measured and weighted.
pub trait Objective: Send + Sync + std::fmt::Debug {
    /// The noise levels and the weight of each sample at step `step`, from one number each, uniform in (0, 1).
    ///
    /// # Errors
    /// A schedule that leaves its range.
    fn pairs(&self, step: u64, u: &[f64]) -> Result<Vec<Pair>>;

    /// Whose weights the target is computed with at step `step`.
    fn target_weights(&self, _step: u64) -> Target {
        Target::Student
    }

    /// What the student should say at step `step`, without a gradient; `weights` are those of
    /// [`target_weights`](Self::target_weights).
    ///
    /// # Shapes
    /// The result has the shape of the samples.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    fn target(
        &self,
        _step: u64,
        training: &Training<'_>,
        weights: &Weights,
        examples: &Examples,
    ) -> Result<Tensor> {
        training.target(weights, examples)
    }

    /// What the student says: its estimate of the clean sample, or whatever else the target is compared with.
    ///
    /// # Shapes
    /// The result has the shape of the samples.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    fn estimate(&self, training: &Training<'_>, student: &Weights, examples: &Examples) -> Result<Value> {
        training.estimate(student, examples)
    }

    /// How the difference is measured at step `step`.
    fn difference(&self, step: u64) -> Difference;

    /// The state of the schedule at step `step`, in a few characters for a progress bar.
    fn describe(&self, step: u64) -> String;

    /// The least noise that the model is trained at, where it is not the least of its range.
    fn trained_from_sigma(&self) -> Option<f64> {
        None
    }
}

/// What an objective is built from.
#[derive(Debug)]
pub(crate) struct Ingredients<'a> {
    pub(crate) config: &'a TrainConfig,
    pub(crate) range: NoiseRange,
    pub(crate) parameterization: Parameterization,
    pub(crate) num_values: usize,
    pub(crate) teacher: Option<&'a ConsistencyModel>,
}

/// Builds the objective that the settings ask for.
///
/// # Errors
/// A setting out of its range, or a teacher that is missing or does not suit the recipe.
pub(crate) fn build(from: &Ingredients<'_>) -> Result<Box<dyn Objective>> {
    let &Ingredients { config, range, num_values, .. } = from;
    let recipe = config.recipe;
    if !recipe.takes(from.parameterization) {
        return Err(Error::Parameterization { recipe, parameterization: from.parameterization });
    }
    let difference = difference_of(config, config.loss, num_values);
    let teacher = || from.teacher.ok_or(Error::NoTeacher { recipe });
    Ok(match recipe {
        Recipe::Diffusion => Box::new(Diffusion::new(&config.diffusion, range, num_values)?),
        Recipe::Ct => Box::new(Ct::new(&config.ct, range, config.steps, difference)?),
        Recipe::Ict => Box::new(Ict::new(&config.ict, range, config.steps, difference)?),
        Recipe::Ect => {
            let loss = config.ect.pretrain_loss.unwrap_or(config.loss);
            let pretrain = difference_of(config, loss, num_values);
            Box::new(Ect::new(&config.ect, range, config.steps, difference, pretrain)?)
        }
        Recipe::Cd => {
            let teacher = guided(teacher()?, config.cd.guidance)?;
            Box::new(Cd::new(&config.cd, range, teacher, difference)?)
        }
        Recipe::Sct => Box::new(Scm::training(&config.scm, range, config.steps, num_values)?),
        Recipe::Scd => {
            let teacher = guided(teacher()?, config.scm.guidance)?;
            Box::new(Scm::distillation(&config.scm, range, config.steps, num_values, teacher)?)
        }
        Recipe::Tcm => Box::new(Tcm::new(config, range, teacher()?.clone(), difference)?),
    })
}

#[expect(clippy::float_cmp, reason = "exactly 1 is the default, and means that there is no guidance")]
fn guided(model: &ConsistencyModel, scale: f64) -> Result<Arc<dyn Teacher>> {
    Ok(if scale == 1.0 { Arc::new(model.clone()) } else { Arc::new(Guided::new(model.clone(), scale)?) })
}

fn difference_of(config: &TrainConfig, loss: LossKind, num_values: usize) -> Difference {
    Difference::Values(match loss {
        LossKind::L2 => Metric::L2,
        LossKind::L1 => Metric::L1,
        LossKind::PseudoHuber => {
            Metric::PseudoHuber { c: config.huber_c.unwrap_or_else(|| pseudo_huber_c(num_values)) }
        }
        LossKind::Lpips => return Difference::Perceptual,
    })
}
