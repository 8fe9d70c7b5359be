//! How a network's output becomes an estimate of the clean sample.

use ct_schedule::Preconditioning;
use serde::{Deserialize, Serialize};

use crate::{NoiseRange, Result};

/// How a network's output becomes an estimate of the clean sample; the coefficients are in [`Preconditioning`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameterization {
    /// f(x, `sigma_min`) = x exactly: consistency models (Song et al. 2023, appendix C).
    #[default]
    Consistency,
    /// The boundary is at 0: denoisers (Karras et al. 2022, table 1).
    Edm,
    /// The boundary is at 0 and the network is told the angle arctan(sigma / `sigma_data`):
    /// continuous-time consistency models and their teachers (Lu & Song 2024, section 3).
    Trigflow,
}

impl Parameterization {
    /// The coefficients for a model of this range.
    ///
    /// # Errors
    /// A `sigma_min` or `sigma_data` that no model can have.
    pub fn preconditioning(self, range: &NoiseRange) -> Result<Preconditioning> {
        Ok(match self {
            Self::Consistency => Preconditioning::consistency(range.sigma_min, range.sigma_data)?,
            Self::Edm => Preconditioning::edm(range.sigma_data)?,
            Self::Trigflow => Preconditioning::trigflow(range.sigma_data)?,
        })
    }

    /// Whether a network that was trained as `self` can go on being trained as `other`:
    /// it is told of the noise in the same way, and its output means the same.
    pub fn continues_as(self, other: Self) -> bool {
        (self == Self::Trigflow) == (other == Self::Trigflow)
    }
}

impl std::fmt::Display for Parameterization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Consistency => "consistency",
            Self::Edm => "edm",
            Self::Trigflow => "trigflow",
        })
    }
}
