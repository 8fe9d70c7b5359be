//! The decay `mu` of the target network: `target <- mu target + (1 - mu) student`.
//!
//! Song et al. 2023 (arXiv 2303.01469), appendix C: `mu(k) = exp(s0 ln(mu0) / N(k))`.
//! The reference code (`create_ema_and_scales_fn`; in JAX `get_ema_scales_fn`) divides by `N(k) - 1` instead: `mu0^2` at the start
//! of a run with `s0 = 2`. The difference fades as `N` grows (1e-4 a tenth into the run). The paper is the default here;
//! [`TargetDecay::ct_openai_compat`] follows the code that trained the released weights.
//! Improved consistency training has `mu = 0`: the target is the student without gradient.

use crate::{Error, Result, check};

/// `mu` for a number of noise levels.
///
/// ```
/// use ct_schedule::TargetDecay;
///
/// let paper = TargetDecay::ct(0.9, 2)?;
/// assert!((paper.mu(2) - 0.9).abs() < 1e-15);
/// assert!((paper.mu(151) - 0.9986).abs() < 1e-4);
/// let code = TargetDecay::ct_openai_compat(0.9, 2)?;
/// assert!((code.mu(2) - 0.81).abs() < 1e-15);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Kind", into = "Kind")
)]
pub struct TargetDecay(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
enum Kind {
    Constant { mu: f64 },
    Ct { mu0: f64, s0: usize },
    CtOpenaiCompat { mu0: f64, s0: usize },
}

impl TargetDecay {
    /// The same decay at every step; 0 makes the target a copy of the student.
    ///
    /// # Errors
    /// If not `0 <= mu < 1`.
    pub fn constant(mu: f64) -> Result<Self> {
        Kind::Constant { mu }.try_into()
    }

    /// The paper's schedule, with `s0` of [`NumSigmas::ct`](crate::NumSigmas::ct).
    ///
    /// # Errors
    /// If not `0 < mu0 < 1`, or `s0` is below 2.
    pub fn ct(mu0: f64, s0: usize) -> Result<Self> {
        Kind::Ct { mu0, s0 }.try_into()
    }

    /// The schedule of the reference code, which divides by `N(k) - 1`.
    ///
    /// # Errors
    /// If not `0 < mu0 < 1`, or `s0` is below 2.
    pub fn ct_openai_compat(mu0: f64, s0: usize) -> Result<Self> {
        Kind::CtOpenaiCompat { mu0, s0 }.try_into()
    }

    /// `mu` when the grid has `num_sigmas` levels; fewer than 2 count as 2.
    pub fn mu(&self, num_sigmas: usize) -> f64 {
        let n = num_sigmas.max(2) as f64;
        match self.0 {
            Kind::Constant { mu } => mu,
            Kind::Ct { mu0, s0 } => (s0 as f64 * mu0.ln() / n).exp(),
            Kind::CtOpenaiCompat { mu0, s0 } => (s0 as f64 * mu0.ln() / (n - 1.0)).exp(),
        }
    }
}

impl TryFrom<Kind> for TargetDecay {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Constant { mu } => {
                check::below_one("mu", mu)?;
            }
            Kind::Ct { mu0, s0 } | Kind::CtOpenaiCompat { mu0, s0 } => {
                check::inside_unit("mu0", mu0)?;
                check::at_least("s0", "at least 2", 2, s0)?;
            }
        }
        Ok(Self(kind))
    }
}

#[cfg(feature = "serde")]
impl From<TargetDecay> for Kind {
    fn from(value: TargetDecay) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NumSigmas;

    #[test]
    fn code_and_paper_meet() {
        let paper = TargetDecay::ct(0.95, 2).unwrap();
        let code = TargetDecay::ct_openai_compat(0.95, 2).unwrap();
        assert!((code.mu(2) - 0.9025).abs() < 1e-15);
        let n = NumSigmas::ct(2, 150).unwrap().at(100, 1000);
        assert!((paper.mu(n) - code.mu(n)).abs() < 1e-4);
    }

    #[test]
    fn increasing_towards_one() {
        let decay = TargetDecay::ct(0.9, 2).unwrap();
        let mus: Vec<f64> = (2..200).map(|n| decay.mu(n)).collect();
        assert!(mus.is_sorted() && mus.iter().all(|mu| (0.9 - 1e-15..1.0).contains(mu)));
    }

    #[test]
    fn bad_arguments() {
        assert!(TargetDecay::constant(1.0).is_err() && TargetDecay::constant(-0.1).is_err());
        assert!(TargetDecay::ct(0.0, 2).is_err() && TargetDecay::ct(f64::NAN, 2).is_err());
        assert!(TargetDecay::ct(0.9, 1).is_err());
    }
}
