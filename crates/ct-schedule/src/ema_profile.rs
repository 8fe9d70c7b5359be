//! How fast the average of the weights forgets: `average <- beta average + (1 - beta) weights`.
//!
//! | profile | `beta` at update `k = 1, 2, ...` |
//! |---|---|
//! | constant | `beta` |
//! | warmed up | `min(beta, k / (9 + k))` (TensorFlow's `ExponentialMovingAverage`: `(1 + n) / (10 + n)`, `n = k - 1`) |
//! | half-life | `0.5^(batch / h)`, `h = min(half_life, rampup_ratio (k - 1) batch)` (EDM training loop, ratio 0.05) |
//! | power function | `(1 - 1/k)^(gamma + 1)` (EDM2, arXiv 2312.02696, section 3.1) |
//!
//! The width of a power-function profile relative to training time is
//! `sigma_rel = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3)))`.

use crate::{Error, Result, check};

/// The largest relative width, `1/sqrt(12)`: that of `gamma = 0`, the plain mean of all weights so far.
const MAX_SIGMA_REL: f64 = 0.288_675_134_594_812_9;

/// The decay of an average of the weights over training.
///
/// ```
/// use ct_schedule::EmaProfile;
///
/// let constant = EmaProfile::constant(0.9999)?;
/// assert_eq!(constant.beta(1, 128), 0.9999);
/// let warmed_up = EmaProfile::warmed_up(0.9999)?;
/// assert_eq!([1, 11, 1_000_000].map(|k| warmed_up.beta(k, 128)), [0.1, 0.55, 0.9999]);
/// let half_life = EmaProfile::half_life(500_000.0)?; // in images
/// assert!((half_life.beta(1, 512) - 0.99929046).abs() < 1e-8);
/// let power = EmaProfile::power(0.1)?;
/// assert_eq!(power.beta(1, 128), 0.0); // the first update takes the weights
/// assert!((power.beta(1000, 128) - 0.992090).abs() < 1e-6);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Kind", into = "Kind")
)]
pub struct EmaProfile(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
enum Kind {
    Constant {
        beta: f64,
    },
    WarmedUp {
        beta: f64,
    },
    HalfLife {
        half_life_imgs: f64,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        rampup_ratio: Option<f64>,
    },
    Power {
        sigma_rel: f64,
    },
}

impl EmaProfile {
    /// The same `beta` at every update.
    ///
    /// # Errors
    /// If not `0 <= beta < 1`.
    pub fn constant(beta: f64) -> Result<Self> {
        Kind::Constant { beta }.try_into()
    }

    /// `beta`, approached from below so that the first weights do not linger.
    ///
    /// # Errors
    /// If not `0 <= beta < 1`.
    pub fn warmed_up(beta: f64) -> Result<Self> {
        Kind::WarmedUp { beta }.try_into()
    }

    /// Half of the average is older than this many training images.
    ///
    /// # Errors
    /// If `half_life_imgs` is not positive and finite.
    pub fn half_life(half_life_imgs: f64) -> Result<Self> {
        Kind::HalfLife { half_life_imgs, rampup_ratio: None }.try_into()
    }

    /// A half-life of at most `rampup_ratio` times the images seen so far (0.05 in EDM).
    ///
    /// # Errors
    /// If an argument is not positive and finite.
    pub fn half_life_ramped(half_life_imgs: f64, rampup_ratio: f64) -> Result<Self> {
        Kind::HalfLife { half_life_imgs, rampup_ratio: Some(rampup_ratio) }.try_into()
    }

    /// A power-function profile of this relative width (0.05 and 0.1 in EDM2).
    ///
    /// # Errors
    /// If not `0 < sigma_rel < 1/sqrt(12)`.
    pub fn power(sigma_rel: f64) -> Result<Self> {
        Kind::Power { sigma_rel }.try_into()
    }

    /// The relative width of a power-function profile; other profiles have none.
    pub fn sigma_rel(&self) -> Option<f64> {
        match self.0 {
            Kind::Power { sigma_rel } => Some(sigma_rel),
            _ => None,
        }
    }

    /// `beta` of update number `update`, counted from 1, after batches of `batch_size` samples.
    pub fn beta(&self, update: u64, batch_size: u64) -> f64 {
        let (k, batch) = (update.max(1) as f64, batch_size.max(1) as f64);
        match self.0 {
            Kind::Constant { beta } => beta,
            Kind::WarmedUp { beta } => beta.min(k / (9.0 + k)),
            Kind::HalfLife { half_life_imgs, rampup_ratio } => {
                let seen = (k - 1.0) * batch;
                let half_life = rampup_ratio.map_or(half_life_imgs, |ratio| half_life_imgs.min(ratio * seen));
                0.5_f64.powf(batch / half_life)
            }
            Kind::Power { sigma_rel } => (1.0 - 1.0 / k).powf(gamma(sigma_rel) + 1.0),
        }
    }
}

/// The exponent `gamma` of the power-function profile of relative width `sigma_rel`.
///
/// ```
/// let gamma = [0.05, 0.1].map(|s| (ct_schedule::power_gamma(s).unwrap() * 100.0).round() / 100.0);
/// assert_eq!(gamma, [16.97, 6.94]);
/// ```
///
/// # Errors
/// If not `0 < sigma_rel < 1/sqrt(12)`.
pub fn power_gamma(sigma_rel: f64) -> Result<f64> {
    check_sigma_rel(sigma_rel).map(gamma)
}

/// The relative width of the power-function profile with exponent `gamma`.
///
/// ```
/// let sigma_rel = ct_schedule::power_sigma_rel(6.94).unwrap();
/// assert!((sigma_rel - 0.1).abs() < 1e-4);
/// ```
///
/// # Errors
/// If `gamma` is negative or not finite.
pub fn power_sigma_rel(gamma: f64) -> Result<f64> {
    check::non_negative("gamma", gamma)?;
    Ok(((gamma + 1.0) / (gamma + 3.0)).sqrt() / (gamma + 2.0))
}

/// The positive root of `(g + 2)^2 (g + 3) - (g + 1) / sigma_rel^2`.
///
/// The cubic is convex for positive `g`, and `1/sigma_rel` is above the root: Newton's iteration descends to it.
fn gamma(sigma_rel: f64) -> f64 {
    const MAX_ITERATIONS: usize = 60;
    let inverse_variance = sigma_rel.powi(-2);
    let mut g = 1.0 / sigma_rel;
    for _ in 0..MAX_ITERATIONS {
        let value = (g + 2.0) * (g + 2.0) * (g + 3.0) - (g + 1.0) * inverse_variance;
        let slope = (g + 2.0) * (3.0 * g + 8.0) - inverse_variance;
        let next = (g - value / slope).max(0.0);
        if next >= g {
            break;
        }
        g = next;
    }
    g
}

fn check_sigma_rel(sigma_rel: f64) -> Result<f64> {
    let ok = sigma_rel > 1e-6 && sigma_rel < MAX_SIGMA_REL;
    check::within("sigma_rel", "above 1e-6 and below 1/sqrt(12) = 0.2887", ok, sigma_rel)
}

impl TryFrom<Kind> for EmaProfile {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Constant { beta } | Kind::WarmedUp { beta } => {
                check::below_one("beta", beta)?;
            }
            Kind::HalfLife { half_life_imgs, rampup_ratio } => {
                check::positive("half_life_imgs", half_life_imgs)?;
                check::positive("rampup_ratio", rampup_ratio.unwrap_or(1.0))?;
            }
            Kind::Power { sigma_rel } => {
                check_sigma_rel(sigma_rel)?;
            }
        }
        Ok(Self(kind))
    }
}

#[cfg(feature = "serde")]
impl From<EmaProfile> for Kind {
    fn from(value: EmaProfile) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_inverts_sigma_rel() {
        for i in 1..1000 {
            let g = f64::from(i) * 0.1;
            let got = power_gamma(power_sigma_rel(g).unwrap()).unwrap();
            assert!((got / g - 1.0).abs() < 1e-8, "gamma {g}: {got}");
        }
    }

    #[test]
    fn power_profile_has_the_stated_width() {
        // Weights w_k of the average after K updates, and the spread of k / K under them.
        const UPDATES: u64 = 20_000;
        let profile = EmaProfile::power(0.1).unwrap();
        let (mut mean, mut square) = (0.0, 0.0);
        for k in 1..=UPDATES {
            let (beta, at) = (profile.beta(k, 1), k as f64 / UPDATES as f64);
            mean = beta * mean + (1.0 - beta) * at;
            square = beta * square + (1.0 - beta) * at * at;
        }
        // The continuous profile is met up to one update in 20 000.
        assert!(((square - mean * mean).sqrt() - 0.1).abs() < 1e-4);
    }

    #[test]
    fn ramped_half_life() {
        let profile = EmaProfile::half_life_ramped(1e6, 0.05).unwrap();
        assert!(profile.beta(1, 100).abs() < 1e-300);
        let betas: Vec<f64> = (1..1000).map(|k| profile.beta(k, 100)).collect();
        assert!(betas.is_sorted());
        let full = EmaProfile::half_life(1e6).unwrap().beta(1, 100);
        assert!((profile.beta(1_000_000, 100) - full).abs() < 1e-15);
    }

    #[test]
    fn bad_arguments() {
        assert!(EmaProfile::constant(1.0).is_err() && EmaProfile::warmed_up(-0.5).is_err());
        assert!(EmaProfile::half_life(0.0).is_err() && EmaProfile::half_life_ramped(1.0, 0.0).is_err());
        assert!(
            EmaProfile::power(0.3).is_err() && power_gamma(0.0).is_err() && power_sigma_rel(-1.0).is_err()
        );
    }
}
