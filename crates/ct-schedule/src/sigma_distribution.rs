//! A continuous distribution of noise levels, as a configuration names it.

use crate::{Lognormal, TruncatedLognormal, TruncatedStudentT};

/// One of the continuous distributions of noise levels.
///
/// ```
/// use ct_schedule::{Lognormal, SigmaDistribution};
///
/// let ect = SigmaDistribution::Lognormal(Lognormal::new(-1.1, 2.0)?);
/// assert!((ect.sigma_at(0.5) - 0.33287).abs() < 1e-5);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case")
)]
pub enum SigmaDistribution {
    /// EDM, ECT, sCM.
    Lognormal(Lognormal),
    /// First stage of TCM.
    TruncatedLognormal(TruncatedLognormal),
    /// Second stage of TCM.
    TruncatedStudentT(TruncatedStudentT),
}

impl SigmaDistribution {
    /// The level below which a draw falls with probability `u` in (0, 1).
    pub fn sigma_at(&self, u: f64) -> f64 {
        match self {
            Self::Lognormal(d) => d.sigma_at(u),
            Self::TruncatedLognormal(d) => d.sigma_at(u),
            Self::TruncatedStudentT(d) => d.sigma_at(u),
        }
    }
}
