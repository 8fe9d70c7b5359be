//! From a noise level `sigma_hi` to the lower one it is compared with.
//!
//! ECT, Geng et al. 2024 (arXiv 2406.14548), section 3.2:
//! `sigma_lo = sigma_hi max(0, 1 - n(sigma_hi) / q^a)`, `n(s) = 1 + k sigmoid(-b s)`, `a = stage + 1`;
//! the constant mapping has `n = 1`.
//! The paper counts stages from 1 (`a = ceil(iteration / d)`), the code from 0: the same values.
//!
//! TCM (arXiv 2410.14895) limits the ratio: `1/q^a` becomes `max(1/q^a, 1 - ratio_limit)` with 0.999 for CIFAR-10 and
//! 0.9961 for ImageNet-64. Its code also keeps `sigma_lo` at 1e-6 or more; here it reaches 0, where the target is the data.

use crate::{EctPhase, Error, Result, check};

/// The mapping from `sigma_hi` to `sigma_lo`.
///
/// ```
/// use ct_schedule::{EctMapping, EctPhase};
///
/// let mapping = EctMapping::sigmoid(256.0)?; // k = 8, b = 1
/// let ratio = |s: f64| (mapping.sigma_lo(s, EctPhase::Stage(0)) / s * 1e4).round() / 1e4;
/// assert_eq!([0.01, 0.5, 1.0, 10.0].map(ratio), [0.9805, 0.9843, 0.9877, 0.9961]);
/// assert_eq!(mapping.sigma_lo(1.0, EctPhase::Denoising), 0.0);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Kind", into = "Kind")
)]
pub struct EctMapping(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
enum Kind {
    Sigmoid {
        q: f64,
        #[cfg_attr(feature = "serde", serde(default = "default_k"))]
        k: f64,
        #[cfg_attr(feature = "serde", serde(default = "default_b"))]
        b: f64,
        #[cfg_attr(feature = "serde", serde(default = "default_ratio_limit"))]
        ratio_limit: f64,
    },
    Constant {
        q: f64,
        #[cfg_attr(feature = "serde", serde(default = "default_ratio_limit"))]
        ratio_limit: f64,
    },
}

fn default_k() -> f64 {
    8.0
}

fn default_b() -> f64 {
    1.0
}

/// No limit.
fn default_ratio_limit() -> f64 {
    1.0
}

impl EctMapping {
    /// The sigmoid mapping with the paper's `k = 8`, `b = 1`. The paper has `q = 2` (CIFAR-10) and 4 (ImageNet-64).
    ///
    /// # Errors
    /// If `q` is not above 1 and finite.
    pub fn sigmoid(q: f64) -> Result<Self> {
        Self::sigmoid_with(q, default_k(), default_b())
    }

    /// The sigmoid mapping.
    ///
    /// # Errors
    /// If `q` is not above 1, or `k` or `b` is negative; all must be finite.
    pub fn sigmoid_with(q: f64, k: f64, b: f64) -> Result<Self> {
        Kind::Sigmoid { q, k, b, ratio_limit: default_ratio_limit() }.try_into()
    }

    /// The constant mapping `sigma_lo = sigma_hi (1 - 1/q^a)`.
    ///
    /// ```
    /// # use ct_schedule::{EctMapping, EctPhase};
    /// let mapping = EctMapping::constant(4.0)?;
    /// assert_eq!([0, 1, 2].map(|s| mapping.sigma_lo(1.0, EctPhase::Stage(s))), [0.75, 0.9375, 0.984375]);
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `q` is not above 1 and finite.
    pub fn constant(q: f64) -> Result<Self> {
        Kind::Constant { q, ratio_limit: default_ratio_limit() }.try_into()
    }

    /// The same mapping with `1 - 1/q^a` held at or below `limit`.
    ///
    /// ```
    /// # use ct_schedule::{EctMapping, EctPhase};
    /// let mapping = EctMapping::constant(2.0)?.with_ratio_limit(0.75)?;
    /// assert_eq!([0, 1, 2].map(|s| mapping.sigma_lo(1.0, EctPhase::Stage(s))), [0.5, 0.75, 0.75]);
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `limit` is not between 0 and 1.
    pub fn with_ratio_limit(self, limit: f64) -> Result<Self> {
        match self.0 {
            Kind::Sigmoid { q, k, b, .. } => Kind::Sigmoid { q, k, b, ratio_limit: limit },
            Kind::Constant { q, .. } => Kind::Constant { q, ratio_limit: limit },
        }
        .try_into()
    }

    /// The lower level, in `[0, sigma_hi)` unless rounding closes the gap; 0 means that the target is the data itself.
    pub fn sigma_lo(&self, sigma_hi: f64, phase: EctPhase) -> f64 {
        let EctPhase::Stage(stage) = phase else {
            return 0.0;
        };
        let gap = match self.0 {
            Kind::Sigmoid { q, k, b, ratio_limit } => {
                decay(q, stage, ratio_limit) * (1.0 + k * sigmoid(-b * sigma_hi))
            }
            Kind::Constant { q, ratio_limit } => decay(q, stage, ratio_limit),
        };
        sigma_hi * (1.0 - gap).max(0.0)
    }
}

/// `1/q^a`, limited.
fn decay(q: f64, stage: u32, ratio_limit: f64) -> f64 {
    q.powf(-(f64::from(stage) + 1.0)).max(1.0 - ratio_limit)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl TryFrom<Kind> for EctMapping {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        let (Kind::Sigmoid { q, ratio_limit, .. } | Kind::Constant { q, ratio_limit }) = kind;
        check::above_one("q", q)?;
        check::unit("ratio_limit", ratio_limit)?;
        if let Kind::Sigmoid { k, b, .. } = kind {
            check::non_negative("k", k)?;
            check::non_negative("b", b)?;
        }
        Ok(Self(kind))
    }
}

#[cfg(feature = "serde")]
impl From<EctMapping> for Kind {
    fn from(value: EctMapping) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "clamped to 0")]
    fn first_stage_denoises_below_ln_7() {
        let mapping = EctMapping::sigmoid(2.0).unwrap();
        assert_eq!(mapping.sigma_lo(1.94, EctPhase::Stage(0)), 0.0);
        assert!(mapping.sigma_lo(1.95, EctPhase::Stage(0)) > 0.0);
    }

    #[test]
    fn same_gap_for_q_2_4_and_256() {
        for sigma in [0.01, 0.5, 1.0, 10.0, 80.0] {
            let ratio = |q, stage| EctMapping::sigmoid(q).unwrap().sigma_lo(sigma, EctPhase::Stage(stage));
            assert!((ratio(256.0, 0) - ratio(2.0, 7)).abs() < 1e-13);
            assert!((ratio(256.0, 0) - ratio(4.0, 3)).abs() < 1e-13);
        }
    }

    #[test]
    fn levels_rise_with_the_stage() {
        let mapping = EctMapping::sigmoid(4.0).unwrap();
        for sigma in [0.002, 0.3, 5.0, 80.0] {
            let levels: Vec<f64> = (0..12).map(|s| mapping.sigma_lo(sigma, EctPhase::Stage(s))).collect();
            assert!(levels.is_sorted() && levels.iter().all(|s| (0.0..sigma).contains(s)));
        }
    }

    #[test]
    fn bad_arguments() {
        assert!(EctMapping::sigmoid(1.0).is_err() && EctMapping::constant(f64::INFINITY).is_err());
        assert!(EctMapping::sigmoid_with(2.0, -1.0, 1.0).is_err());
        assert!(EctMapping::sigmoid(2.0).unwrap().with_ratio_limit(1.1).is_err());
    }
}
