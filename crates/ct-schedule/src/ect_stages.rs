//! The stages of ECT over training, and a phase of plain denoising before them.
//!
//! ECT (arXiv 2406.14548), section 3.2, tunes a pretrained diffusion model through stages of equal length (8 for
//! CIFAR-10). Without such a model, the same loss with `sigma_lo = 0` is diffusion pretraining: the paper calls diffusion
//! models the special case of consistency models with that gap. So a run from scratch spends a fraction of its steps there.

use crate::{Error, Result, check};

/// What a step trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EctPhase {
    /// `sigma_lo = 0`: the target is the data.
    Denoising,
    /// Consistency at this stage, counted from 0.
    Stage(u32),
}

/// A phase of denoising, then stages of equal length.
///
/// ```
/// use ct_schedule::{EctPhase::{Denoising, Stage}, EctStages};
///
/// let paper = EctStages::new(0.0, 8)?;
/// assert_eq!([0, 24_999, 25_000, 199_999].map(|k| paper.at(k, 200_000)), [Stage(0), Stage(0), Stage(1), Stage(7)]);
/// let scratch = EctStages::new(0.5, 4)?;
/// assert_eq!([0, 499, 500, 625, 1000].map(|k| scratch.at(k, 1000)), [Denoising, Denoising, Stage(0), Stage(1), Stage(3)]);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Fields", into = "Fields")
)]
pub struct EctStages(Fields);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Fields {
    /// Part of training, from its start, that denoises.
    #[cfg_attr(feature = "serde", serde(default))]
    denoising_fraction: f64,
    num_stages: u32,
}

impl EctStages {
    /// # Errors
    /// If not `0 <= denoising_fraction <= 1`, or `num_stages` is 0.
    pub fn new(denoising_fraction: f64, num_stages: u32) -> Result<Self> {
        Fields { denoising_fraction, num_stages }.try_into()
    }

    /// What `step` of `total_steps` trains; steps past the end count as the end.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most total_steps, num_stages"
    )]
    pub fn at(&self, step: u64, total_steps: u64) -> EctPhase {
        let Fields { denoising_fraction, num_stages } = self.0;
        let first = (denoising_fraction * total_steps as f64).round() as u64;
        if step < first {
            return EctPhase::Denoising;
        }
        let length = total_steps.saturating_sub(first).max(1);
        let stage = u128::from(step - first) * u128::from(num_stages) / u128::from(length);
        EctPhase::Stage(stage.min(u128::from(num_stages - 1)) as u32)
    }
}

impl TryFrom<Fields> for EctStages {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        check::unit("denoising_fraction", fields.denoising_fraction)?;
        check::within("num_stages", "at least 1", fields.num_stages > 0, f64::from(fields.num_stages))?;
        Ok(Self(fields))
    }
}

#[cfg(feature = "serde")]
impl From<EctStages> for Fields {
    fn from(value: EctStages) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_equal_length() {
        let stages = EctStages::new(0.2, 4).unwrap();
        let count = |phase| (0..1000).filter(|k| stages.at(*k, 1000) == phase).count();
        assert_eq!(count(EctPhase::Denoising), 200);
        assert!((0..4).all(|s| count(EctPhase::Stage(s)) == 200));
    }

    #[test]
    fn degenerate_runs() {
        assert_eq!(EctStages::new(0.0, 3).unwrap().at(0, 0), EctPhase::Stage(0));
        assert_eq!(EctStages::new(1.0, 3).unwrap().at(9, 10), EctPhase::Denoising);
        assert_eq!(EctStages::new(0.0, 3).unwrap().at(u64::MAX, u64::MAX), EctPhase::Stage(2));
        assert!(EctStages::new(0.0, 0).is_err() && EctStages::new(1.5, 1).is_err());
    }
}
