//! How a network's output becomes an estimate of the clean sample.

use ct_schedule::Preconditioning;
use serde::{Deserialize, Serialize};

use crate::{Error, Network, NoiseRange, Result};

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

    /// Checks that a network can be used so with a model of this range.
    ///
    /// # Errors
    /// A network of another process ([`Network::translation`]) that would be told an angle, or whose translation is written
    /// for another `sigma_data`.
    pub fn check_network(self, network: &dyn Network, range: &NoiseRange) -> Result<()> {
        let Some(translation) = network.translation() else { return Ok(()) };
        if self == Self::Trigflow {
            return Err(Error::Config {
                field: "parameterization",
                value: self.to_string(),
                reason: format!(
                    "must be edm or consistency for a network that is {translation}: it cannot be told an angle"
                ),
            });
        }
        match translation.sigma_data() {
            Some(theirs) if (theirs / range.sigma_data - 1.0).abs() > 1e-9 => Err(Error::Config {
                field: "sigma_data",
                value: theirs.to_string(),
                reason: format!("must be {}, as the model has it", range.sigma_data),
            }),
            _ => Ok(()),
        }
    }

    /// Whether a network that was trained as `self` can go on being trained as `other`:
    /// it is told of the noise in the same way, and its output means the same.
    /// A network of another process has the parameterization EDM, so that it cannot go on in `TrigFlow`, whose angles it
    /// cannot be told.
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
