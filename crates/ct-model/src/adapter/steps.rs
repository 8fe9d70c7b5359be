//! The noise levels of a variance-preserving process, step by step.
//!
//! ```text
//! alpha_bar(t) = product of (1 - beta(s)), s = 0..t
//! sigma(t) = sqrt((1 - alpha_bar(t)) / alpha_bar(t))
//! ```
//!
//! Ho et al. 2020 (arXiv 2006.11239), equation 4; in terms of sigma, Song et al. 2020 (arXiv 2010.02502), section 4.3.
//! Between two steps t is linear in ln(sigma), as in diffusers.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseRange, Result};

/// How the variances of the steps grow, by the names of diffusers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly spaced.
    #[default]
    Linear,
    /// With evenly spaced roots.
    ScaledLinear,
    /// From a squared cosine (Nichol & Dhariwal 2021, arXiv 2102.09672, equation 17).
    SquaredcosCapV2,
    /// Along a logistic curve.
    Sigmoid,
    /// From Laplace's distribution of ln(SNR).
    Laplace,
    /// From exp(-12 t).
    Exp,
}

impl BetaSchedule {
    /// Every schedule, and what a file calls it.
    pub(crate) const NAMES: [(&str, Self); 6] = [
        ("linear", Self::Linear),
        ("scaled_linear", Self::ScaledLinear),
        ("squaredcos_cap_v2", Self::SquaredcosCapV2),
        ("sigmoid", Self::Sigmoid),
        ("laplace", Self::Laplace),
        ("exp", Self::Exp),
    ];
}

/// The steps of a variance-preserving process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseSteps {
    /// How many there are.
    pub num_train_timesteps: usize,
    /// How their variances grow.
    pub beta_schedule: BetaSchedule,
    /// The first variance, where the schedule has one.
    pub beta_start: f64,
    /// The last variance, where the schedule has one.
    pub beta_end: f64,
    /// The variances one by one, in the place of a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
}

impl Default for NoiseSteps {
    /// The defaults of diffusers' `DDPMScheduler`.
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            trained_betas: None,
        }
    }
}

impl NoiseSteps {
    /// sigma of every step, ascending.
    ///
    /// # Errors
    /// Variances that are not within (0, 1), or whose noise is nothing at first or infinite at last.
    pub fn sigmas(&self) -> Result<Vec<f64>> {
        Ok(self.table()?.log_sigmas.iter().map(|log_sigma| log_sigma.exp()).collect())
    }

    /// The noise levels.
    ///
    /// # Errors
    /// Variances that are not within (0, 1), or whose noise is nothing at first or infinite at last.
    pub(super) fn table(&self) -> Result<StepTable> {
        let num = self.num_train_timesteps;
        if num < 2 {
            return refuse("num_train_timesteps", &num, "must be at least 2");
        }
        let betas = match &self.trained_betas {
            Some(betas) if betas.len() != num => {
                let reason = format!("must be as many as num_train_timesteps, {num}");
                return refuse("trained_betas", &format!("{} numbers", betas.len()), &reason);
            }
            Some(betas) => betas.iter().map(|&beta| narrow(beta)).collect(),
            None => self.betas(),
        };
        if let Some(step) = betas.iter().position(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            let reason = "every step needs noise above 0 and below 1, and so that its sum stays finite";
            return refuse("beta", &format!("{} at step {step}", betas[step]), reason);
        }
        StepTable::new(&betas)
    }

    /// In f32, as diffusers: `1 - alpha_bar` keeps only a few of its digits at the first steps, and these are what models
    /// were trained with.
    fn betas(&self) -> Vec<f32> {
        let (start, end, num) = (self.beta_start, self.beta_end, self.num_train_timesteps);
        let square = |root: f32| root * root;
        match self.beta_schedule {
            BetaSchedule::Linear => evenly(narrow(start), narrow(end), num),
            BetaSchedule::ScaledLinear => {
                evenly(narrow(start.sqrt()), narrow(end.sqrt()), num).into_iter().map(square).collect()
            }
            BetaSchedule::Sigmoid => {
                let logistic = |u: f32| 1.0 / (1.0 + (-u).exp());
                let scaled = |u: f32| logistic(u) * narrow(end - start) + narrow(start);
                evenly(-6.0, 6.0, num).into_iter().map(scaled).collect()
            }
            BetaSchedule::SquaredcosCapV2 => {
                from_alpha_bar(num, |t| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2))
            }
            BetaSchedule::Laplace => from_alpha_bar(num, laplace),
            BetaSchedule::Exp => from_alpha_bar(num, |t| (-12.0 * t).exp()),
        }
    }
}

fn laplace(t: f64) -> f64 {
    let side = if t > 0.5 { -1.0 } else { 1.0 };
    let log_snr = -0.5 * side * (1.0 - 2.0 * (0.5 - t).abs() + 1e-6).ln();
    let snr = log_snr.exp();
    (snr / (1.0 + snr)).sqrt()
}

/// Evenly spaced, from both ends towards the middle, as PyTorch rounds them.
fn evenly(start: f32, end: f32, num: usize) -> Vec<f32> {
    let step = (end - start) / (num - 1) as f32;
    let at = |i: usize| {
        if i < num / 2 { start + step * i as f32 } else { end - step * (num - 1 - i) as f32 }
    };
    (0..num).map(at).collect()
}

/// beta(i) = 1 - `alpha_bar`((i + 1) / num) / `alpha_bar`(i / num), at most 0.999.
fn from_alpha_bar(num: usize, alpha_bar: impl Fn(f64) -> f64) -> Vec<f32> {
    let at = |i: usize| alpha_bar(i as f64 / num as f64);
    (0..num).map(|i| narrow((1.0 - at(i + 1) / at(i)).min(0.999))).collect()
}

/// The range of noise of these steps, for a model with this `sigma_data`.
///
/// # Errors
/// Steps that no process has.
pub(crate) fn noise_range(steps: &NoiseSteps, sigma_data: f64) -> Result<NoiseRange> {
    let table = steps.table()?;
    let (sigma_min, sigma_max) = (table.sigma(0), table.sigma(table.num_steps() - 1));
    Ok(NoiseRange { sigma_min, sigma_max, sigma_data, ..NoiseRange::default() })
}

#[expect(clippy::cast_possible_truncation, reason = "diffusers has these in f32")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn refuse<T>(field: &'static str, value: &dyn std::fmt::Display, reason: &str) -> Result<T> {
    Err(Error::Config { field, value: value.to_string(), reason: reason.to_owned() })
}

/// ln(sigma) of every step, ascending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepTable {
    log_sigmas: Vec<f64>,
}

impl StepTable {
    fn new(betas: &[f32]) -> Result<Self> {
        let mut product = 1.0;
        let mut log_sigma = |beta: &f32| {
            product *= f64::from(1.0 - beta);
            let alpha_bar = narrow(product);
            0.5 * (f64::from(1.0 - alpha_bar) / f64::from(alpha_bar)).ln()
        };
        let log_sigmas: Vec<f64> = betas.iter().map(&mut log_sigma).collect();
        let (first, last) = (log_sigmas[0], log_sigmas[log_sigmas.len() - 1]);
        if !(first.is_finite() && last.is_finite() && first < last) {
            let value = format!("{} at step 0, {} at the last", betas[0], betas[betas.len() - 1]);
            let reason = "the noise of the first step must not vanish, and that of the last must be finite";
            return refuse("beta", &value, reason);
        }
        Ok(Self { log_sigmas })
    }

    /// How many steps there are.
    pub(super) fn num_steps(&self) -> usize {
        self.log_sigmas.len()
    }

    /// The noise level of a step; of the last one beyond it.
    pub(super) fn sigma(&self, step: usize) -> f64 {
        self.log_sigmas[step.min(self.log_sigmas.len() - 1)].exp()
    }

    /// The step that has this noise level, between two steps linear in ln(sigma); the nearer end outside of the table.
    pub(super) fn time(&self, log_sigma: f64) -> f64 {
        let above = self.log_sigmas.partition_point(|&level| level <= log_sigma);
        if above == 0 {
            return 0.0;
        }
        match self.log_sigmas[above - 1..] {
            [low, high, ..] => (above - 1) as f64 + (log_sigma - low) / (high - low),
            _ => (self.log_sigmas.len() - 1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!((got / expected - 1.0).abs() < 1e-6, "{got}, expected {expected}");
    }

    #[test]
    fn steps_have_the_noise_of_their_formula() {
        let table = NoiseSteps::default().table().unwrap();
        // alpha_bar(0) = 0.9999 as f32 has it.
        close(table.sigma(0), f64::from((1.0f32 - 0.9999) / 0.9999).sqrt());
        let product: f64 = (0..1000).map(|i| 1.0 - (1e-4 + f64::from(i) / 999.0 * (0.02 - 1e-4))).product();
        let sigma = ((1.0 - product) / product).sqrt();
        assert!((table.sigma(999) / sigma - 1.0).abs() < 1e-4, "{} {sigma}", table.sigma(999));
    }

    #[test]
    fn times_invert_the_table_and_stop_at_its_ends() {
        for (_, beta_schedule) in BetaSchedule::NAMES {
            let table = NoiseSteps { beta_schedule, ..NoiseSteps::default() }.table().unwrap();
            for step in [0, 1, 17, 500, 998, 999] {
                let time = table.time(table.log_sigmas[step]);
                assert!((time - step as f64).abs() < 1e-9, "{beta_schedule:?}: {time} for {step}");
            }
            let middle = f64::midpoint(table.log_sigmas[41], table.log_sigmas[42]);
            assert!((table.time(middle) - 41.5).abs() < 1e-9);
            let ends = (table.time(-100.0), table.time(100.0));
            assert!(ends.0.abs() < 1e-12 && (ends.1 - 999.0).abs() < 1e-12, "{ends:?}");
        }
    }

    #[test]
    fn steps_that_no_process_has_are_refused() {
        let message = |steps: NoiseSteps| steps.table().unwrap_err().to_string();
        let usual = NoiseSteps::default;
        assert!(message(NoiseSteps { num_train_timesteps: 1, ..usual() }).contains("at least 2"));
        let short = NoiseSteps { trained_betas: Some(vec![0.1; 3]), ..usual() };
        assert!(message(short).contains("trained_betas = 3 numbers"));
        let total = NoiseSteps { num_train_timesteps: 2, trained_betas: Some(vec![0.1, 1.0]), ..usual() };
        assert!(message(total).contains("1 at step 1"));
        let nothing = NoiseSteps { num_train_timesteps: 2, trained_betas: Some(vec![1e-9, 0.1]), ..usual() };
        assert!(message(nothing).contains("must not vanish"));
        assert!(message(NoiseSteps { beta_end: -0.02, ..usual() }).contains("above 0"));
    }
}
