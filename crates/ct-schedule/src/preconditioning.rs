//! How a network becomes a denoiser or a consistency function:
//! `f(x, sigma) = c_skip x + c_out F(c_in x, c_noise)`.
//!
//! | | `c_skip` | `c_out` | boundary |
//! |---|---|---|---|
//! | consistency | `sd^2 / ((s - s_min)^2 + sd^2)` | `sd (s - s_min) / sqrt(s^2 + sd^2)` | `f(x, s_min) = x` |
//! | EDM | `sd^2 / (s^2 + sd^2)` | `sd s / sqrt(s^2 + sd^2)` | `f(x, 0) = x` |
//! | `TrigFlow` | as EDM | minus that of EDM | `f(x, 0) = x` |
//!
//! `c_in = 1 / sqrt(s^2 + sd^2)` for all three, with `s = sigma`, `sd = sigma_data`.
//!
//! Song et al. 2023 (arXiv 2303.01469), appendix C; Karras et al. 2022 (arXiv 2206.00364), table 1; Lu & Song 2024
//! (arXiv 2410.11081), section 3, whose `f(x_t, t) = cos t x_t - sin t sd F(x_t / sd, t)` is the third row when written for
//! `x = x_t / cos t` and `sigma = sd tan t`.
//!
//! Teachers and ECT in training use the EDM row. ECT's code switches to the shifted one (with 0.003) for evaluation only;
//! use one row for both.

use crate::trigflow::angle;
use crate::{Error, Result, check};

/// The four numbers of one noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Factor of the noisy sample in the output.
    pub c_skip: f64,
    /// Factor of the network in the output.
    pub c_out: f64,
    /// Factor of the noisy sample in the network's input.
    pub c_in: f64,
    /// What the network is told about the noise level.
    pub c_noise: f64,
}

/// The coefficients of a parameterization as functions of `sigma`.
///
/// ```
/// use ct_schedule::Preconditioning;
///
/// let consistency = Preconditioning::consistency(0.002, 0.5)?;
/// let c = consistency.coefficients(0.002);
/// assert_eq!((c.c_skip, c.c_out), (1.0, 0.0)); // bit-exact: f(x, sigma_min) = x
///
/// let edm = Preconditioning::edm(0.5)?;
/// let c = edm.coefficients(0.5);
/// assert!((c.c_skip - 0.5).abs() < 1e-15 && (c.c_out - 0.125_f64.sqrt()).abs() < 1e-15);
/// assert!((c.c_in - 2.0_f64.sqrt()).abs() < 1e-15 && (c.c_noise + 173.287).abs() < 1e-3);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Kind", into = "Kind")
)]
pub struct Preconditioning(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
enum Kind {
    Consistency { sigma_min: f64, sigma_data: f64 },
    Edm { sigma_data: f64 },
    Trigflow { sigma_data: f64 },
}

impl Preconditioning {
    /// Boundary at `sigma_min`: CT, CD, iCT.
    ///
    /// # Errors
    /// If `sigma_min` is negative, `sigma_data` is not positive, or one is not finite.
    pub fn consistency(sigma_min: f64, sigma_data: f64) -> Result<Self> {
        Kind::Consistency { sigma_min, sigma_data }.try_into()
    }

    /// Boundary at 0: EDM teachers, ECT.
    ///
    /// # Errors
    /// If `sigma_data` is not positive and finite.
    pub fn edm(sigma_data: f64) -> Result<Self> {
        Kind::Edm { sigma_data }.try_into()
    }

    /// sCM's network written for `x = x0 + sigma z`; `c_noise` is the angle. See also [`TrigFlow`](crate::TrigFlow).
    ///
    /// # Errors
    /// If `sigma_data` is not positive and finite.
    pub fn trigflow(sigma_data: f64) -> Result<Self> {
        Kind::Trigflow { sigma_data }.try_into()
    }

    /// Standard deviation of the data.
    pub fn sigma_data(&self) -> f64 {
        let (Kind::Consistency { sigma_data, .. } | Kind::Edm { sigma_data } | Kind::Trigflow { sigma_data }) =
            self.0;
        sigma_data
    }

    /// The level at which `f(x, sigma) = x`: `sigma_min` or 0.
    pub fn boundary(&self) -> f64 {
        if let Kind::Consistency { sigma_min, .. } = self.0 { sigma_min } else { 0.0 }
    }

    /// Factor of the noisy sample in the output.
    pub fn c_skip(&self, sigma: f64) -> f64 {
        let (shifted, sd) = (sigma - self.boundary(), self.sigma_data());
        sd * sd / (shifted * shifted + sd * sd)
    }

    /// Factor of the network in the output; negative for `TrigFlow`.
    pub fn c_out(&self, sigma: f64) -> f64 {
        let sd = self.sigma_data();
        let magnitude = sd * (sigma - self.boundary()) / (sigma * sigma + sd * sd).sqrt();
        if matches!(self.0, Kind::Trigflow { .. }) { -magnitude } else { magnitude }
    }

    /// Factor of the noisy sample in the network's input.
    pub fn c_in(&self, sigma: f64) -> f64 {
        let sd = self.sigma_data();
        1.0 / (sigma * sigma + sd * sd).sqrt()
    }

    /// What the network is told: [`c_noise`], or the angle for `TrigFlow`.
    pub fn c_noise(&self, sigma: f64) -> f64 {
        match self.0 {
            Kind::Trigflow { sigma_data } => angle(sigma, sigma_data),
            _ => c_noise(sigma),
        }
    }

    /// All four.
    pub fn coefficients(&self, sigma: f64) -> Coefficients {
        Coefficients {
            c_skip: self.c_skip(sigma),
            c_out: self.c_out(sigma),
            c_in: self.c_in(sigma),
            c_noise: self.c_noise(sigma),
        }
    }
}

/// `1000 ln(sigma) / 4`: what the published consistency models and diffusers' pipeline feed to the time embedding.
///
/// The reference code adds 1e-44 to `sigma`, which vanishes in f64 for any level in use; minus infinity at 0.
///
/// ```
/// assert!((ct_schedule::c_noise(80.0) - 1095.5067).abs() < 1e-4);
/// assert_eq!(ct_schedule::c_noise(1.0), 0.0);
/// ```
pub fn c_noise(sigma: f64) -> f64 {
    250.0 * sigma.ln()
}

/// `ln(sigma) / 4`: EDM, the JAX code of consistency models, ECT.
///
/// ```
/// assert!((ct_schedule::c_noise_edm(80.0) - 1.0955067).abs() < 1e-7);
/// ```
pub fn c_noise_edm(sigma: f64) -> f64 {
    0.25 * sigma.ln()
}

impl TryFrom<Kind> for Preconditioning {
    type Error = Error;

    fn try_from(kind: Kind) -> Result<Self> {
        let preconditioning = Self(kind);
        check::positive("sigma_data", preconditioning.sigma_data())?;
        check::non_negative("sigma_min", preconditioning.boundary())?;
        Ok(preconditioning)
    }
}

#[cfg(feature = "serde")]
impl From<Preconditioning> for Kind {
    fn from(value: Preconditioning) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGMAS: [f64; 7] = [0.002, 0.01, 0.3, 0.821, 1.526, 10.0, 80.0];

    #[test]
    fn boundary_is_exact() {
        for sigma_min in [0.002, 0.001, 0.003, 0.01, 0.1] {
            for sigma_data in [0.5, 0.4817, 1.0, 0.3] {
                let p = Preconditioning::consistency(sigma_min, sigma_data).unwrap();
                assert_eq!((p.c_skip(sigma_min), p.c_out(sigma_min)), (1.0, 0.0));
            }
        }
        for p in [Preconditioning::edm(0.5), Preconditioning::trigflow(0.5)] {
            let p = p.unwrap();
            assert_eq!((p.c_skip(0.0), p.c_out(0.0).abs()), (1.0, 0.0));
        }
    }

    #[test]
    fn edm_keeps_unit_variance() {
        // The network's input has variance 1, and so has the target of its output: (x0 - c_skip x) / c_out.
        let p = Preconditioning::edm(0.5).unwrap();
        for sigma in SIGMAS {
            let Coefficients { c_skip, c_out, c_in, .. } = p.coefficients(sigma);
            assert!((c_in * c_in * (0.25 + sigma * sigma) - 1.0).abs() < 1e-14);
            let target = (1.0 - c_skip).powi(2) * 0.25 + c_skip * c_skip * sigma * sigma;
            assert!((target / (c_out * c_out) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn trigflow_equals_its_definition() {
        let p = Preconditioning::trigflow(0.5).unwrap();
        for sigma in SIGMAS {
            let t = (sigma / 0.5).atan();
            let got = p.coefficients(sigma);
            let expected = [t.cos() * t.cos(), -t.sin() * 0.5, t.cos() / 0.5, t];
            for (a, b) in [got.c_skip, got.c_out, got.c_in, got.c_noise].into_iter().zip(expected) {
                assert!((a - b).abs() < 1e-12 * b.abs().max(1e-3), "sigma {sigma}: {a} {b}");
            }
        }
    }

    #[test]
    fn bad_arguments() {
        assert!(Preconditioning::consistency(-0.1, 0.5).is_err());
        assert!(Preconditioning::edm(0.0).is_err() && Preconditioning::trigflow(f64::NAN).is_err());
    }
}
