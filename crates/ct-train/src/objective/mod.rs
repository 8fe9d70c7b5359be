//! What is learned: the noise levels of a sample, the target and the weight of the difference.
//!
//! Every recipe trains f towards itself at a smaller noise level, on the same noise
//! (Song et al. 2023, algorithm 3):
//!
//! ```text
//! loss = weight * d( f(x0 + sigma_hi z, sigma_hi), stop_gradient f'(x0 + sigma_lo z, sigma_lo) )
//! ```
//!
//! The recipes differ in how (`sigma_hi`, `sigma_lo`, weight) follow from one uniform number and the progress of the run,
//! and in whose weights f' has.

mod ct;
mod ect;
mod ict;

use ct_kernels::Metric;
use ct_model::NoiseRange;
use ct_schedule::pseudo_huber_c;

pub use ct::Ct;
pub use ect::Ect;
pub use ict::Ict;

use crate::{LossKind, Recipe, Result, TrainConfig};

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

/// How noise levels are drawn, what the target is and how the difference is measured and weighted.
pub trait Objective: Send + Sync + std::fmt::Debug {
    /// The noise levels and the weight of each sample at step `step`, from one number each, uniform in (0, 1).
    ///
    /// # Errors
    /// A schedule that leaves its range.
    fn pairs(&self, step: u64, u: &[f64]) -> Result<Vec<Pair>>;

    /// Whose weights the target is computed with at step `step`.
    fn target(&self, step: u64) -> Target;

    /// How the difference is measured at step `step`.
    fn metric(&self, step: u64) -> Metric;

    /// The state of the schedule at step `step`, in a few characters for a progress bar.
    fn describe(&self, step: u64) -> String;
}

/// Builds the objective that `config` asks for, for samples of `num_values` values.
///
/// # Errors
/// A setting out of its range.
pub(crate) fn build(
    config: &TrainConfig,
    range: NoiseRange,
    num_values: usize,
) -> Result<Box<dyn Objective>> {
    let metric = metric(config, num_values);
    Ok(match config.recipe {
        Recipe::Ct => Box::new(Ct::new(&config.ct, range, config.steps, metric)?),
        Recipe::Ict => Box::new(Ict::new(&config.ict, range, config.steps, metric)?),
        Recipe::Ect => Box::new(Ect::new(&config.ect, range, config.steps, metric)?),
    })
}

fn metric(config: &TrainConfig, num_values: usize) -> Metric {
    match config.loss {
        LossKind::L2 => Metric::L2,
        LossKind::L1 => Metric::L1,
        LossKind::PseudoHuber => {
            Metric::PseudoHuber { c: config.huber_c.unwrap_or_else(|| pseudo_huber_c(num_values)) }
        }
    }
}
