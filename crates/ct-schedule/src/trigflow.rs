//! `TrigFlow`: `x_t = cos t x0 + sin t z`, `z ~ N(0, sigma_data^2 I)`, `t` in `[0, pi/2)`.
//!
//! Lu & Song 2024 (arXiv 2410.11081), section 3: `f(x_t, t) = cos t x_t - sin t sigma_data F(x_t / sigma_data, t)`.
//! From EDM's `x = x0 + sigma z`: `t = arctan(sigma / sigma_data)` and `x_t = cos t x`.

use crate::{Coefficients, Result, check};

/// Angles, noise levels and coefficients of `TrigFlow` for one `sigma_data`.
///
/// ```
/// use ct_schedule::TrigFlow;
///
/// let flow = TrigFlow::new(0.5)?;
/// let t = flow.angle(80.0);
/// assert!((t - 1.56455).abs() < 1e-5);
/// assert!((flow.sigma(t) - 80.0).abs() < 1e-9);
/// assert!((flow.sigma(1.1) - 0.98238).abs() < 1e-5); // the middle point of two-step sampling
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrigFlow {
    sigma_data: f64,
}

impl TrigFlow {
    /// # Errors
    /// If `sigma_data` is not positive and finite.
    pub fn new(sigma_data: f64) -> Result<Self> {
        check::positive("sigma_data", sigma_data)?;
        Ok(Self { sigma_data })
    }

    /// The angle of a noise level: `arctan(sigma / sigma_data)`.
    pub fn angle(&self, sigma: f64) -> f64 {
        angle(sigma, self.sigma_data)
    }

    /// The noise level of an angle: `sigma_data tan t`.
    pub fn sigma(&self, t: f64) -> f64 {
        self.sigma_data * t.tan()
    }

    /// The factor from EDM's noisy sample to `x_t`: `cos t`.
    pub fn scale(&self, t: f64) -> f64 {
        t.cos()
    }

    /// The coefficients at an angle, for `x_t`: `(cos t, -sin t sigma_data, 1 / sigma_data, t)`.
    ///
    /// ```
    /// # use ct_schedule::TrigFlow;
    /// let c = TrigFlow::new(0.5)?.coefficients(0.0);
    /// assert_eq!((c.c_skip, c.c_out, c.c_in, c.c_noise), (1.0, -0.0, 2.0, 0.0));
    /// # Ok::<(), ct_schedule::Error>(())
    /// ```
    pub fn coefficients(&self, t: f64) -> Coefficients {
        Coefficients {
            c_skip: t.cos(),
            c_out: -t.sin() * self.sigma_data,
            c_in: 1.0 / self.sigma_data,
            c_noise: t,
        }
    }
}

pub(crate) fn angle(sigma: f64, sigma_data: f64) -> f64 {
    (sigma / sigma_data).atan()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preconditioning;

    #[test]
    fn agrees_with_the_parameterization_in_sigma() {
        let (flow, p) = (TrigFlow::new(0.5).unwrap(), Preconditioning::trigflow(0.5).unwrap());
        for sigma in [0.002, 0.3, 2.0, 80.0] {
            let t = flow.angle(sigma);
            let (by_angle, by_sigma) = (flow.coefficients(t), p.coefficients(sigma));
            // f(x_t, t) with x_t = cos t x.
            assert!((by_angle.c_skip * flow.scale(t) - by_sigma.c_skip).abs() < 1e-14);
            assert!((by_angle.c_in * flow.scale(t) - by_sigma.c_in).abs() < 1e-14);
            assert!((by_angle.c_out - by_sigma.c_out).abs() < 1e-14);
        }
    }

    #[test]
    fn bad_arguments() {
        assert!(TrigFlow::new(0.0).is_err());
    }
}
