//! The curriculum `N(k)`: how many noise levels the grid has at step `k` of `K`.
//!
//! - CT, Song et al. 2023 (arXiv 2303.01469), appendix C:
//!   `N(k) = ceil(sqrt(k/K ((s1+1)^2 - s0^2) + s0^2) - 1) + 1`, from `s0` to `s1 + 1`.
//! - iCT, Song & Dhariwal 2023 (arXiv 2310.14189), section 3.4:
//!   `N(k) = min(s0 2^floor(k/K'), s1) + 1` with `K' = floor(K / (log2 floor(s1/s0) + 1))`, from `s0 + 1` to `s1 + 1`.
//!
//! The reference code agrees with both. Some reimplementations of CT have `s1^2` for `(s1+1)^2` and end one level short.

use crate::progress::fraction;
use crate::{Error, Result, check};

/// The number of noise levels over training.
///
/// ```
/// use ct_schedule::NumSigmas;
///
/// let ct = NumSigmas::ct(2, 150)?;
/// assert_eq!([0, 10, 100, 500, 1000].map(|k| ct.at(k, 1000)), [2, 16, 48, 107, 151]);
/// let ict = NumSigmas::ict(10, 1280)?;
/// assert_eq!([0, 100, 300, 700, 800].map(|k| ict.at(k, 800)), [11, 21, 81, 1281, 1281]);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Kind", into = "Kind")
)]
pub struct NumSigmas(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
enum Kind {
    Constant { num_sigmas: usize },
    Ct { s0: usize, s1: usize },
    Ict { s0: usize, s1: usize },
}

impl NumSigmas {
    /// The same number at every step, as in consistency distillation (18 for CIFAR-10, 40 for ImageNet-64).
    ///
    /// # Errors
    /// If `num_sigmas` is below 2.
    pub fn constant(num_sigmas: usize) -> Result<Self> {
        Kind::Constant { num_sigmas }.try_into()
    }

    /// Consistency training: from `s0` to `s1 + 1` levels. The paper has (2, 150) and (2, 200).
    ///
    /// # Errors
    /// If `s0` is below 2 or `s1` below `s0`.
    pub fn ct(s0: usize, s1: usize) -> Result<Self> {
        Kind::Ct { s0, s1 }.try_into()
    }

    /// Improved consistency training: doublings from `s0 + 1` to `s1 + 1` levels. The paper has (10, 1280).
    ///
    /// # Errors
    /// If `s0` is 0 or `s1` below `s0`.
    pub fn ict(s0: usize, s1: usize) -> Result<Self> {
        Kind::Ict { s0, s1 }.try_into()
    }

    /// `N(step)` of a run of `total_steps`; steps past the end count as the end.
    pub fn at(&self, step: u64, total_steps: u64) -> usize {
        match self.0 {
            Kind::Constant { num_sigmas } => num_sigmas,
            Kind::Ct { s0, s1 } => ct(s0, s1, fraction(step, total_steps)),
            Kind::Ict { s0, s1 } => ict(s0, s1, step.min(total_steps), total_steps),
        }
    }

    /// The largest number of levels, reached at the end.
    pub fn last(&self) -> usize {
        match self.0 {
            Kind::Constant { num_sigmas } => num_sigmas,
            Kind::Ct { s1, .. } | Kind::Ict { s1, .. } => s1 + 1,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2 and s1 + 1")]
fn ct(s0: usize, s1: usize, progress: f64) -> usize {
    let (first, last) = (s0 as f64, s1 as f64 + 1.0);
    let (first2, last2) = (first * first, last * last);
    ((progress * (last2 - first2) + first2).sqrt() - 1.0).ceil() as usize + 1
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of steps of the run")]
fn ict(s0: usize, s1: usize, step: u64, total_steps: u64) -> usize {
    let stages = ((s1 / s0) as f64).log2() + 1.0;
    let stage_steps = ((total_steps as f64 / stages).floor() as u64).max(1);
    let doublings = u32::try_from(step / stage_steps).unwrap_or(u32::MAX);
    let doubled = 2_usize.checked_pow(doublings).and_then(|factor| factor.checked_mul(s0));
    doubled.map_or(s1, |n| n.min(s1)) + 1
}

impl TryFrom<Kind> for NumSigmas {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Constant { num_sigmas } => {
                check::at_least("num_sigmas", "at least 2", 2, num_sigmas)?;
            }
            Kind::Ct { s0, s1 } => {
                check::at_least("s0", "at least 2", 2, s0)?;
                check::at_least("s1", "at least s0", s0, s1)?;
            }
            Kind::Ict { s0, s1 } => {
                check::at_least("s0", "at least 1", 1, s0)?;
                check::at_least("s1", "at least s0", s0, s1)?;
            }
        }
        Ok(Self(kind))
    }
}

#[cfg(feature = "serde")]
impl From<NumSigmas> for Kind {
    fn from(value: NumSigmas) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotone_and_ending_where_they_must() {
        const TOTAL: u64 = 12_345;
        for schedule in [
            NumSigmas::ct(2, 150),
            NumSigmas::ct(2, 200),
            NumSigmas::ict(10, 1280),
            NumSigmas::ict(10, 1000),
            NumSigmas::ict(3, 3),
            NumSigmas::constant(18),
        ] {
            let schedule = schedule.unwrap();
            let numbers: Vec<usize> = (0..=TOTAL).map(|k| schedule.at(k, TOTAL)).collect();
            assert!(numbers.is_sorted(), "{schedule:?}");
            assert_eq!(*numbers.last().unwrap(), schedule.last(), "{schedule:?}");
            assert_eq!(schedule.at(2 * TOTAL, TOTAL), schedule.last());
        }
    }

    #[test]
    fn ict_passes_through_eight_stages() {
        let schedule = NumSigmas::ict(10, 1280).unwrap();
        let mut numbers: Vec<usize> = (0..400_000).step_by(1000).map(|k| schedule.at(k, 400_000)).collect();
        numbers.dedup();
        assert_eq!(numbers, [11, 21, 41, 81, 161, 321, 641, 1281]);
    }

    #[test]
    fn degenerate_runs() {
        assert_eq!(NumSigmas::ct(2, 150).unwrap().at(0, 0), 151);
        assert_eq!(NumSigmas::ict(10, 1280).unwrap().at(2, 2), 41);
        assert_eq!(NumSigmas::ict(1, 1 << 40).unwrap().at(100, 100), (1 << 40) + 1);
    }

    #[test]
    fn bad_arguments() {
        assert!(NumSigmas::constant(1).is_err());
        assert!(NumSigmas::ct(1, 150).is_err() && NumSigmas::ct(5, 4).is_err());
        let error = NumSigmas::ict(0, 4).unwrap_err();
        assert_eq!(error.to_string(), "s0 must be at least 1, got 0");
    }
}
