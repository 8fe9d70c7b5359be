//! How much a pair of noise levels counts in the loss.
//!
//! With `t = sigma_hi`, `r = sigma_lo`, `sd = sigma_data`:
//!
//! | weighting | formula | where |
//! |---|---|---|
//! | uniform | `1` | Song et al. 2023 (arXiv 2303.01469), all launch scripts |
//! | snr | `1/t^2` | reference code, `get_weightings` |
//! | snr-plus-one | `1/t^2 + 1` | reference code, `get_weightings` |
//! | truncated-snr | `max(1/t^2, 1)` | reference code, `get_weightings` |
//! | karras | `(t^2 + sd^2) / (t sd)^2 = 1/t^2 + 1/sd^2` | EDM; ECT `snrpk`; TCM `cout_sq` (it is `1/c_out^2`) |
//! | inverse-c-out | `sqrt(t^2 + sd^2) / (t sd)` | TCM `cout` |
//! | inverse-delta | `1/(t - r)` | iCT (arXiv 2310.14189), section 3.1; ECT (arXiv 2406.14548); TCM `default` |
//! | inverse-sqrt-delta | `1/sqrt(t - r)` | TCM `sqrt` |
//!
//! The paper writes the weight of a pair as `lambda(t_n)`, the lower level; the reference code evaluates it at the higher one,
//! and so do we. ECT's code uses `snrpk` for every data set, while its paper states `1/(t - r)`.

/// The weight of a pair of noise levels.
///
/// ```
/// use ct_schedule::Weighting;
///
/// let weight = |w: Weighting| w.weight(2.0, 1.5, 0.5);
/// assert_eq!(weight(Weighting::Uniform), 1.0);
/// assert_eq!(weight(Weighting::Snr), 0.25);
/// assert_eq!(weight(Weighting::SnrPlusOne), 1.25);
/// assert_eq!(weight(Weighting::TruncatedSnr), 1.0);
/// assert_eq!(weight(Weighting::Karras), 4.25);
/// assert!((weight(Weighting::InverseCOut) - 4.25_f64.sqrt()).abs() < 1e-15);
/// assert_eq!(weight(Weighting::InverseDelta), 2.0);
/// assert!((weight(Weighting::InverseSqrtDelta) - 2.0_f64.sqrt()).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Weighting {
    /// `1`.
    #[default]
    Uniform,
    /// `1/t^2`.
    Snr,
    /// `1/t^2 + 1`.
    SnrPlusOne,
    /// `max(1/t^2, 1)`.
    TruncatedSnr,
    /// `(t^2 + sd^2) / (t sd)^2`.
    #[cfg_attr(feature = "serde", serde(alias = "snrpk"))]
    Karras,
    /// `sqrt(t^2 + sd^2) / (t sd)`.
    InverseCOut,
    /// `1/(t - r)`.
    InverseDelta,
    /// `1/sqrt(t - r)`.
    InverseSqrtDelta,
}

impl Weighting {
    /// The weight for `sigma_hi > sigma_lo >= 0`; infinite where a denominator is 0.
    pub fn weight(self, sigma_hi: f64, sigma_lo: f64, sigma_data: f64) -> f64 {
        let snr = 1.0 / (sigma_hi * sigma_hi);
        let karras = snr + 1.0 / (sigma_data * sigma_data);
        match self {
            Self::Uniform => 1.0,
            Self::Snr => snr,
            Self::SnrPlusOne => snr + 1.0,
            Self::TruncatedSnr => snr.max(1.0),
            Self::Karras => karras,
            Self::InverseCOut => karras.sqrt(),
            Self::InverseDelta => 1.0 / (sigma_hi - sigma_lo),
            Self::InverseSqrtDelta => 1.0 / (sigma_hi - sigma_lo).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preconditioning;

    #[test]
    fn karras_is_the_inverse_square_of_c_out() {
        let edm = Preconditioning::edm(0.5).unwrap();
        for sigma in [0.002, 0.3, 1.0, 80.0] {
            let product = Weighting::Karras.weight(sigma, 0.0, 0.5) * edm.c_out(sigma).powi(2);
            assert!((product - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn truncation_acts_above_one() {
        assert!((Weighting::TruncatedSnr.weight(0.5, 0.1, 0.5) - 4.0).abs() < 1e-15);
        assert!((Weighting::TruncatedSnr.weight(5.0, 0.1, 0.5) - 1.0).abs() < 1e-15);
    }
}
