//! Lognormal noise levels: `ln sigma ~ N(p_mean, p_std^2)`, as they are or truncated.
//!
//! Karras et al. 2022 (arXiv 2206.00364), table 1, with (-1.2, 1.2); ECT (arXiv 2406.14548) with (-1.1, 2.0);
//! sCM (arXiv 2410.11081), section 5.1, as `ln(sigma_data tan t)` with (-1.0, 1.4).
//! TCM (arXiv 2410.14895) truncates to `[0.002, 80]`.

use crate::normal::normal_mass;
use crate::{Error, Result, check, inverse_normal_cdf, normal_cdf};

/// A lognormal distribution of noise levels.
///
/// ```
/// use ct_schedule::Lognormal;
///
/// let ect = Lognormal::new(-1.1, 2.0)?;
/// assert!((ect.sigma(0.0) - 0.33287).abs() < 1e-5); // exp(-1.1), the median
/// assert!((ect.sigma_at(0.975) - 16.776).abs() < 1e-3); // exp(-1.1 + 2 * 1.96)
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "LognormalFields", into = "LognormalFields")
)]
pub struct Lognormal {
    p_mean: f64,
    p_std: f64,
}

impl Lognormal {
    /// # Errors
    /// If `p_mean` is not finite, or `p_std` not positive and finite.
    pub fn new(p_mean: f64, p_std: f64) -> Result<Self> {
        check::finite("p_mean", p_mean)?;
        check::positive("p_std", p_std)?;
        Ok(Self { p_mean, p_std })
    }

    /// The level of a standard normal: `exp(p_mean + p_std z)`.
    pub fn sigma(&self, z: f64) -> f64 {
        (self.p_mean + self.p_std * z).exp()
    }

    /// The level below which a draw falls with probability `u`.
    pub fn sigma_at(&self, u: f64) -> f64 {
        self.sigma(inverse_normal_cdf(u))
    }
}

/// A lognormal distribution restricted to `[sigma_min, sigma_max]`.
///
/// ```
/// use ct_schedule::TruncatedLognormal;
///
/// let tcm = TruncatedLognormal::new(-1.1, 2.0, 0.002, 80.0)?;
/// assert_eq!((tcm.sigma_at(0.0), tcm.sigma_at(1.0)), (0.002, 80.0)); // bit-exact
/// assert!((tcm.sigma_at(0.5) - 0.33472).abs() < 1e-5);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "TruncatedFields", into = "TruncatedFields")
)]
pub struct TruncatedLognormal {
    lognormal: Lognormal,
    sigma_min: f64,
    sigma_max: f64,
}

impl TruncatedLognormal {
    /// # Errors
    /// As [`Lognormal::new`]; if not `0 < sigma_min < sigma_max`; if the interval has no mass.
    pub fn new(p_mean: f64, p_std: f64, sigma_min: f64, sigma_max: f64) -> Result<Self> {
        let lognormal = Lognormal::new(p_mean, p_std)?;
        check::noise_range(sigma_min, sigma_max)?;
        let truncated = Self { lognormal, sigma_min, sigma_max };
        let (a, b) = truncated.bounds();
        if normal_mass(a, b) < f64::MIN_POSITIVE {
            return Err(Error::NoMass { distribution: "lognormal", sigma_min, sigma_max });
        }
        Ok(truncated)
    }

    /// The level below which a draw falls with probability `u`; exactly the ends at 0 and 1.
    pub fn sigma_at(&self, u: f64) -> f64 {
        if u <= 0.0 {
            return self.sigma_min;
        }
        if u >= 1.0 {
            return self.sigma_max;
        }
        let (a, b) = self.bounds();
        // The half line with more mass is mirrored to the left, where Phi loses no digits.
        let z = if a + b > 0.0 { -quantile_between(-b, -a, 1.0 - u) } else { quantile_between(a, b, u) };
        self.lognormal.sigma(z).clamp(self.sigma_min, self.sigma_max)
    }

    /// The ends, as standard normals.
    fn bounds(&self) -> (f64, f64) {
        let standardize = |sigma: f64| (sigma.ln() - self.lognormal.p_mean) / self.lognormal.p_std;
        (standardize(self.sigma_min), standardize(self.sigma_max))
    }
}

/// The quantile of a standard normal restricted to `[a, b]`.
fn quantile_between(a: f64, b: f64, u: f64) -> f64 {
    inverse_normal_cdf(normal_cdf(a) + u * (normal_cdf(b) - normal_cdf(a)))
}

#[cfg(feature = "serde")]
mod fields {
    use super::{Lognormal, TruncatedLognormal};
    use crate::{Error, Result};

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct LognormalFields {
        p_mean: f64,
        p_std: f64,
    }

    impl TryFrom<LognormalFields> for Lognormal {
        type Error = Error;

        fn try_from(f: LognormalFields) -> Result<Self> {
            Self::new(f.p_mean, f.p_std)
        }
    }

    impl From<Lognormal> for LognormalFields {
        fn from(Lognormal { p_mean, p_std }: Lognormal) -> Self {
            Self { p_mean, p_std }
        }
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct TruncatedFields {
        p_mean: f64,
        p_std: f64,
        sigma_min: f64,
        sigma_max: f64,
    }

    impl TryFrom<TruncatedFields> for TruncatedLognormal {
        type Error = Error;

        fn try_from(f: TruncatedFields) -> Result<Self> {
            Self::new(f.p_mean, f.p_std, f.sigma_min, f.sigma_max)
        }
    }

    impl From<TruncatedLognormal> for TruncatedFields {
        fn from(t: TruncatedLognormal) -> Self {
            let Lognormal { p_mean, p_std } = t.lognormal;
            Self { p_mean, p_std, sigma_min: t.sigma_min, sigma_max: t.sigma_max }
        }
    }
}

#[cfg(feature = "serde")]
use fields::{LognormalFields, TruncatedFields};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_drawing_agree() {
        let d = Lognormal::new(-1.1, 2.0).unwrap();
        for i in 1..100 {
            let u = f64::from(i) / 100.0;
            let z = inverse_normal_cdf(u);
            assert!((d.sigma(z) / d.sigma_at(u) - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn truncation_stays_inside_and_ascends() {
        // The last two lie 15 standard deviations above and below the mean.
        for (p_mean, p_std, lo, hi) in
            [(-1.1, 2.0, 0.002, 80.0), (0.0, 0.1, 4.5, 90.0), (0.0, 0.1, 0.01, 0.22)]
        {
            let d = TruncatedLognormal::new(p_mean, p_std, lo, hi).unwrap();
            let sigmas: Vec<f64> = (0..=100).map(|i| d.sigma_at(f64::from(i) / 100.0)).collect();
            assert!(sigmas.is_sorted_by(|a, b| a < b), "{sigmas:?}");
            assert!(sigmas.iter().all(|s| (lo..=hi).contains(s)));
        }
    }

    #[test]
    fn wide_truncation_changes_nothing() {
        let plain = Lognormal::new(-1.1, 2.0).unwrap();
        let wide = TruncatedLognormal::new(-1.1, 2.0, 1e-30, 1e30).unwrap();
        for u in [0.01, 0.3, 0.5, 0.9, 0.999] {
            assert!((plain.sigma_at(u) / wide.sigma_at(u) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn bad_arguments() {
        assert!(Lognormal::new(f64::NAN, 1.0).is_err() && Lognormal::new(0.0, 0.0).is_err());
        assert!(TruncatedLognormal::new(0.0, 1.0, 2.0, 1.0).is_err());
        let no_mass = TruncatedLognormal::new(0.0, 0.01, 10.0, 20.0);
        assert!(matches!(no_mass, Err(Error::NoMass { .. })));
    }
}
