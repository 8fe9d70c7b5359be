//! The learning rate over training: linear warm-up times a decay.
//!
//! Consistency papers use a constant rate without warm-up (Song et al. 2023, table 3); EDM2 (arXiv 2312.02696, eq. 67)
//! and ECT on ImageNet-64 the inverse square root `lr / sqrt(max(k / k_ref, 1))`; the cosine is Loshchilov & Hutter 2016
//! (arXiv 1608.03983). EDM2 counts images where we count steps, and its warm-up starts at 0; ours starts at
//! `lr / warmup_steps`, so that no step is wasted.

use core::f64::consts::PI;

use crate::progress::fraction;
use crate::{Error, Result, check};

/// How the rate falls after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// Half a cosine from the end of warm-up to the end of training, down to `final_ratio` of the rate.
    Cosine {
        /// The last rate over the first, between 0 and 1.
        final_ratio: f64,
    },
    /// `1 / sqrt(step / ref_steps)` once that many steps have passed.
    InverseSqrt {
        /// Steps at the full rate.
        ref_steps: u64,
    },
}

/// The learning rate as a function of the step.
///
/// ```
/// use ct_schedule::{Decay, LearningRate};
///
/// let rate = LearningRate::new(0.1, 10, Decay::Cosine { final_ratio: 0.0 })?;
/// let rounded = [0, 4, 9, 10, 60, 110].map(|k| (rate.at(k, 110) * 1e6).round() / 1e6);
/// assert_eq!(rounded, [0.01, 0.05, 0.1, 0.1, 0.05, 0.0]);
///
/// let rate = LearningRate::new(0.01, 0, Decay::InverseSqrt { ref_steps: 100 })?;
/// assert_eq!([0, 100, 400].map(|k| rate.at(k, 1000)), [0.01, 0.01, 0.005]);
/// assert_eq!(LearningRate::constant(4e-4)?.at(123, 1000), 4e-4);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Fields", into = "Fields")
)]
pub struct LearningRate(Fields);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Fields {
    lr: f64,
    #[cfg_attr(feature = "serde", serde(default))]
    warmup_steps: u64,
    #[cfg_attr(feature = "serde", serde(default))]
    decay: Decay,
}

impl LearningRate {
    /// `lr` after a warm-up of `warmup_steps` (0 for none), then a decay.
    ///
    /// # Errors
    /// If `lr` is not positive and finite, `final_ratio` not between 0 and 1, or `ref_steps` 0.
    pub fn new(lr: f64, warmup_steps: u64, decay: Decay) -> Result<Self> {
        Fields { lr, warmup_steps, decay }.try_into()
    }

    /// The same rate at every step.
    ///
    /// # Errors
    /// If `lr` is not positive and finite.
    pub fn constant(lr: f64) -> Result<Self> {
        Self::new(lr, 0, Decay::Constant)
    }

    /// The rate of `step`, counted from 0, of `total_steps`.
    pub fn at(&self, step: u64, total_steps: u64) -> f64 {
        let Fields { lr, warmup_steps, decay } = self.0;
        lr * warmup(step, warmup_steps) * decay.factor(step, total_steps, warmup_steps)
    }
}

fn warmup(step: u64, warmup_steps: u64) -> f64 {
    fraction(step.saturating_add(1), warmup_steps)
}

impl Decay {
    fn factor(self, step: u64, total_steps: u64, warmup_steps: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine { .. } if step <= warmup_steps => 1.0,
            Self::Cosine { final_ratio } => {
                let done = fraction(step - warmup_steps, total_steps.saturating_sub(warmup_steps));
                final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + (PI * done).cos())
            }
            Self::InverseSqrt { ref_steps } => 1.0 / (step as f64 / ref_steps as f64).max(1.0).sqrt(),
        }
    }
}

impl TryFrom<Fields> for LearningRate {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        check::positive("lr", fields.lr)?;
        match fields.decay {
            Decay::Constant => {}
            Decay::Cosine { final_ratio } => {
                check::unit("final_ratio", final_ratio)?;
            }
            Decay::InverseSqrt { ref_steps } => {
                check::within("ref_steps", "at least 1", ref_steps > 0, ref_steps as f64)?;
            }
        }
        Ok(Self(fields))
    }
}

#[cfg(feature = "serde")]
impl From<LearningRate> for Fields {
    fn from(value: LearningRate) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        for decay in
            [Decay::Constant, Decay::Cosine { final_ratio: 0.1 }, Decay::InverseSqrt { ref_steps: 50 }]
        {
            let rate = LearningRate::new(1.0, 20, decay).unwrap();
            let rates: Vec<f64> = (0..=200).map(|k| rate.at(k, 200)).collect();
            assert!(rates[..20].is_sorted() && rates[20..].is_sorted_by(|a, b| a >= b), "{decay:?}");
            assert!(rates.iter().all(|r| *r > 0.0 && *r <= 1.0));
        }
    }

    #[test]
    fn cosine_ends_at_its_final_ratio() {
        let rate = LearningRate::new(2.0, 0, Decay::Cosine { final_ratio: 0.25 }).unwrap();
        assert!((rate.at(100, 100) - 0.5).abs() < 1e-15);
        assert!((rate.at(500, 100) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn bad_arguments() {
        assert!(LearningRate::constant(0.0).is_err() && LearningRate::constant(f64::NAN).is_err());
        assert!(LearningRate::new(1.0, 0, Decay::Cosine { final_ratio: 2.0 }).is_err());
        assert!(LearningRate::new(1.0, 0, Decay::InverseSqrt { ref_steps: 0 }).is_err());
    }
}
