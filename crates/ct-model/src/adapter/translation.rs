//! What a network of another process is told and what it predicts, in the terms of EDM.
//!
//! With r = sqrt(sigma^2 + `sigma_data`^2), q = sqrt(1 + sigma^2) and u = x / r = `c_in` x, the network
//! `F'(u) = from_input * u + from_output * N(input * u, time)` makes the same estimate
//! `c_skip x + c_out F'` as the network N does in its own process:
//!
//! | N | estimate D | input | time | `from_input` | `from_output` |
//! |---|---|---|---|---|---|
//! | EDM, epsilon | `c_skip x + c_out N` | 1 | ln(sigma) / 4 | 0 | 1 |
//! | EDM, v | `c_skip x - c_out N` | 1 | ln(sigma) / 4 | 0 | -1 |
//! | VP, epsilon | `x - sigma N` | r / q | t(sigma) | sigma / sd | -r / sd |
//! | VP, v | `x / q^2 - sigma / q N` | r / q | t(sigma) | sigma (1 - sd^2) / (sd q^2) | -r / (sd q) |
//! | VP, sample | `N` | r / q | t(sigma) | -sd / sigma | r / (sigma sd) |
//!
//! Karras et al. 2022 (arXiv 2206.00364), table 1 and appendix C; v is that of Salimans & Ho 2022 (arXiv 2202.00512).

use serde::{Deserialize, Serialize};

use super::steps::{NoiseSteps, StepTable};
use crate::{Error, Result, TimeEmbedding, UNet2DConfig};

/// What a network predicts, by the names of diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The clean sample.
    Sample,
    /// A mixture of both.
    VPrediction,
}

impl Prediction {
    /// Every prediction, and what a file calls it.
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("epsilon", Self::Epsilon), ("sample", Self::Sample), ("v_prediction", Self::VPrediction)];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// How a network of another process is used as one with the coefficients of EDM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "process", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Translation {
    /// Karras et al. 2022: the network is told ln(sigma) / 4.
    Edm {
        /// `epsilon`, or `v_prediction` with the other sign.
        prediction_type: Prediction,
    },
    /// Ho et al. 2020: the network is told the step.
    VariancePreserving {
        /// What the network predicts.
        prediction_type: Prediction,
        /// The standard deviation of the data in the coefficients of EDM; the estimate does not depend on it.
        sigma_data: f64,
        /// The noise levels of the steps.
        steps: NoiseSteps,
    },
}

impl Translation {
    /// `sigma_data` of the coefficients that the translation is written for, if it is written for one.
    pub fn sigma_data(&self) -> Option<f64> {
        match self {
            Self::Edm { .. } => None,
            Self::VariancePreserving { sigma_data, .. } => Some(*sigma_data),
        }
    }

    /// The same estimate with the coefficients of another `sigma_data`, where it does not depend on it.
    #[must_use]
    pub fn with_sigma_data(mut self, to: f64) -> Self {
        if let Self::VariancePreserving { sigma_data, .. } = &mut self {
            *sigma_data = to;
        }
        self
    }

    /// What is needed to speak to the network that `unet` describes.
    pub(super) fn interpreter(&self, unet: &UNet2DConfig) -> Result<Interpreter> {
        let refuse = |field, value: String, reason: &str| {
            Err(Error::Config { field, value, reason: reason.to_owned() })
        };
        if unet.time_embedding_type == TimeEmbedding::Fourier {
            let reason = "it takes the logarithm of what it is told, which is no noise level here";
            return refuse("time_embedding_type", "fourier".to_owned(), reason);
        }
        let whole_steps = unet.time_embedding_type == TimeEmbedding::Learned;
        match self {
            Self::Edm { .. } if whole_steps => {
                let reason = "it takes whole time steps, and here it would be told ln(sigma) / 4";
                refuse("time_embedding_type", "learned".to_owned(), reason)
            }
            Self::Edm { prediction_type: Prediction::Sample } => {
                let reason = "with the coefficients of EDM it must be epsilon or v_prediction";
                refuse("prediction_type", "sample".to_owned(), reason)
            }
            Self::Edm { prediction_type } => {
                let sign = if *prediction_type == Prediction::Epsilon { 1.0 } else { -1.0 };
                Ok(Interpreter::Edm { sign })
            }
            Self::VariancePreserving { prediction_type, sigma_data, steps } => {
                let table = steps.table()?;
                let rows = unet.num_train_timesteps.unwrap_or(0);
                if whole_steps && rows < table.num_steps() {
                    let reason = format!("the scheduler has {} time steps", table.num_steps());
                    return refuse("num_train_timesteps", rows.to_string(), &reason);
                }
                let (prediction, sigma_data) = (*prediction_type, *sigma_data);
                Ok(Interpreter::VariancePreserving { prediction, sigma_data, table, whole_steps })
            }
        }
    }
}

impl std::fmt::Display for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Edm { prediction_type } => {
                write!(f, "told ln(sigma) / 4, predicts {} of EDM", prediction_type.name())
            }
            Self::VariancePreserving { prediction_type, steps, .. } => {
                let num = steps.num_train_timesteps;
                write!(f, "told one of {num} steps, predicts {}", prediction_type.name())
            }
        }
    }
}

/// The factors of one noise level; see the table above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) input: f64,
    pub(super) time: f64,
    pub(super) from_input: f64,
    pub(super) from_output: f64,
}

/// Gives the factors of every noise level.
#[derive(Debug)]
pub(super) enum Interpreter {
    Edm { sign: f64 },
    VariancePreserving { prediction: Prediction, sigma_data: f64, table: StepTable, whole_steps: bool },
}

impl Interpreter {
    pub(super) fn terms(&self, log_sigma: f64) -> Terms {
        match self {
            Self::Edm { sign } => {
                Terms { input: 1.0, time: log_sigma / 4.0, from_input: 0.0, from_output: *sign }
            }
            Self::VariancePreserving { prediction, sigma_data, table, whole_steps } => {
                let time = table.time(log_sigma);
                let (sigma, sd) = (log_sigma.exp(), *sigma_data);
                let (r, q) = (sigma.hypot(sd), sigma.hypot(1.0));
                let (from_input, from_output) = match prediction {
                    Prediction::Epsilon => (sigma / sd, -r / sd),
                    Prediction::Sample => (-sd / sigma, r / (sigma * sd)),
                    Prediction::VPrediction => (sigma * (1.0 - sd * sd) / (sd * q * q), -r / (sd * q)),
                };
                let time = if *whole_steps { time.round() } else { time };
                Terms { input: r / q, time, from_input, from_output }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_schedule::Preconditioning;

    /// The estimate in EDM's coefficients is that of the process itself, whatever `sigma_data` is.
    #[test]
    fn estimates_are_those_of_the_process() {
        let unet = UNet2DConfig::default();
        for (_, prediction_type) in Prediction::NAMES {
            for sigma_data in [0.3, 0.5, 1.0, 2.0] {
                let steps = NoiseSteps::default();
                let translation = Translation::VariancePreserving { prediction_type, sigma_data, steps };
                let interpreter = translation.interpreter(&unet).unwrap();
                for sigma in [0.02f64, 0.7, 3.0, 90.0] {
                    let terms = interpreter.terms(sigma.ln());
                    let (x, output) = (1.3, -0.4);
                    let c = Preconditioning::edm(sigma_data).unwrap().coefficients(sigma);
                    let u = c.c_in * x;
                    let got = c.c_skip * x + c.c_out * (terms.from_input * u + terms.from_output * output);
                    let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
                    let x_vp = alpha * x;
                    let noise = sigma * alpha;
                    let expected = match prediction_type {
                        Prediction::Epsilon => (x_vp - noise * output) / alpha,
                        Prediction::Sample => output,
                        Prediction::VPrediction => alpha * x_vp - noise * output,
                    };
                    let error = (got - expected).abs();
                    assert!(error < 1e-10, "{prediction_type:?} {sigma_data} {sigma}: {got} {expected}");
                    assert!((terms.input * u - x_vp).abs() < 1e-12, "what the network is fed");
                }
            }
        }
    }

    #[test]
    fn networks_that_cannot_be_told_are_refused() {
        let message = |translation: &Translation, unet: UNet2DConfig| {
            translation.interpreter(&unet).map(|_| ()).unwrap_err().to_string()
        };
        let edm = |prediction_type| Translation::Edm { prediction_type };
        let with = |kind| UNet2DConfig { time_embedding_type: kind, ..UNet2DConfig::default() };
        assert!(message(&edm(Prediction::Epsilon), with(TimeEmbedding::Fourier)).contains("logarithm"));
        assert!(
            message(&edm(Prediction::Epsilon), with(TimeEmbedding::Learned)).contains("whole time steps")
        );
        assert!(
            message(&edm(Prediction::Sample), UNet2DConfig::default()).contains("prediction_type = sample")
        );
        let ddpm = Translation::VariancePreserving {
            prediction_type: Prediction::Epsilon,
            sigma_data: 0.5,
            steps: NoiseSteps::default(),
        };
        let few = UNet2DConfig { num_train_timesteps: Some(10), ..with(TimeEmbedding::Learned) };
        assert!(message(&ddpm, few).contains("num_train_timesteps = 10"));
        let enough = UNet2DConfig { num_train_timesteps: Some(1000), ..with(TimeEmbedding::Learned) };
        let time = ddpm.interpreter(&enough).unwrap().terms(0.123).time;
        assert!(time > 0.0 && time.fract().abs() < f64::EPSILON, "a whole step: {time}");
    }
}
