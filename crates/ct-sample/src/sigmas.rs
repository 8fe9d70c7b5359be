//! Which noise levels a sampler visits.

use ct_model::NoiseRange;
use ct_schedule::KarrasGrid;

use crate::error::{Error, Result};

/// The middle level of two-step sampling, 0.821: the value in use for CIFAR-10 since
/// "Improved Techniques for Training Consistency Models" (Song & Dhariwal 2023).
pub const DEFAULT_MID_SIGMA: f64 = 0.821;

/// Noise levels for `num_steps` evaluations, descending from `sigma_max`.
///
/// One step is `[sigma_max]`; two are `[sigma_max, 0.821]`, or the middle of the grid where 0.821 is out of range;
/// more are a [`KarrasGrid`] with one level more, without its last, `sigma_min`.
///
/// ```
/// use ct_sample::{NoiseRange, default_sigmas};
///
/// let range = NoiseRange::default(); // 0.002 to 80
/// assert_eq!(default_sigmas(range, 1)?, [80.0]);
/// assert_eq!(default_sigmas(range, 2)?, [80.0, 0.821]);
/// assert_eq!(default_sigmas(range, 4)?.len(), 4);
/// # Ok::<(), ct_sample::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoSigmas`] for no step, [`Error::Grid`] for a range that holds no grid.
pub fn default_sigmas(range: NoiseRange, num_steps: usize) -> Result<Vec<f64>> {
    let mut sigmas = descending_grid(range, num_steps)?;
    if num_steps == 2 && range.sigma_min < DEFAULT_MID_SIGMA && DEFAULT_MID_SIGMA < range.sigma_max {
        sigmas[1] = DEFAULT_MID_SIGMA;
    }
    Ok(sigmas)
}

/// Noise levels for `num_steps` steps of an ODE solver: the grid from `sigma_max` to `sigma_min`, then 0.
///
/// # Errors
/// As for [`default_sigmas`].
pub fn ode_sigmas(range: NoiseRange, num_steps: usize) -> Result<Vec<f64>> {
    let mut sigmas = match num_steps {
        0 => return Err(Error::NoSigmas),
        1 => descending_grid(range, 1)?,
        _ => {
            let mut sigmas = descending_grid(range, num_steps - 1)?;
            sigmas.push(range.sigma_min);
            sigmas
        }
    };
    sigmas.push(0.0);
    Ok(sigmas)
}

/// Whether the levels descend strictly within (`sigma_min`, `sigma_max`].
///
/// # Errors
/// [`Error::NoSigmas`], [`Error::SigmaOutOfRange`] or [`Error::SigmaNotDescending`].
pub fn check_sigmas(sigmas: &[f64], range: NoiseRange) -> Result<()> {
    check_above(sigmas, range, range.sigma_min)
}

/// As [`check_sigmas`], but down to 0 inclusive: an ODE may end at `sigma_min` or at 0.
///
/// # Errors
/// As for [`check_sigmas`].
pub fn check_ode_sigmas(sigmas: &[f64], range: NoiseRange) -> Result<()> {
    let body = match sigmas {
        [body @ .., 0.0] => body,
        all => all,
    };
    check_above(body, range, 0.0)
}

/// Whether the levels descend strictly within (`lowest`, `sigma_max`].
fn check_above(sigmas: &[f64], range: NoiseRange, lowest: f64) -> Result<()> {
    if sigmas.is_empty() {
        return Err(Error::NoSigmas);
    }
    let mut previous = f64::INFINITY;
    for (step, &sigma) in sigmas.iter().enumerate() {
        if !(sigma > lowest && sigma <= range.sigma_max) {
            return Err(Error::SigmaOutOfRange {
                step,
                sigma,
                sigma_min: lowest,
                sigma_max: range.sigma_max,
            });
        }
        if sigma >= previous {
            return Err(Error::SigmaNotDescending { step, sigma, previous });
        }
        previous = sigma;
    }
    Ok(())
}

/// The first `num_steps` points of the descending rho-grid of `num_steps` + 1 points.
fn descending_grid(range: NoiseRange, num_steps: usize) -> Result<Vec<f64>> {
    if num_steps == 0 {
        return Err(Error::NoSigmas);
    }
    let NoiseRange { sigma_min, sigma_max, rho, .. } = range;
    let grid = KarrasGrid::new(num_steps + 1, sigma_min, sigma_max, rho)?;
    Ok(grid.sigmas().iter().rev().take(num_steps).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: NoiseRange = NoiseRange { sigma_min: 0.002, sigma_max: 80.0, sigma_data: 0.5, rho: 7.0 };

    #[test]
    fn defaults_pass_their_own_check() {
        for num_steps in 1..20 {
            let sigmas = default_sigmas(RANGE, num_steps).unwrap();
            assert_eq!(sigmas.len(), num_steps);
            assert_eq!(sigmas[0].to_bits(), 80f64.to_bits());
            check_sigmas(&sigmas, RANGE).unwrap();
            let sigmas = ode_sigmas(RANGE, num_steps).unwrap();
            assert_eq!(sigmas.len(), num_steps + 1);
            check_ode_sigmas(&sigmas, RANGE).unwrap();
        }
    }

    #[test]
    fn a_narrow_range_gets_the_middle_of_its_grid() {
        let narrow = NoiseRange { sigma_max: 0.5, ..RANGE };
        check_sigmas(&default_sigmas(narrow, 2).unwrap(), narrow).unwrap();
    }

    #[test]
    fn wrong_levels_are_refused() {
        assert!(matches!(check_sigmas(&[], RANGE), Err(Error::NoSigmas)));
        assert!(matches!(check_sigmas(&[80.1], RANGE), Err(Error::SigmaOutOfRange { step: 0, .. })));
        assert!(matches!(check_sigmas(&[80.0, 0.002], RANGE), Err(Error::SigmaOutOfRange { step: 1, .. })));
        assert!(matches!(check_sigmas(&[f64::NAN], RANGE), Err(Error::SigmaOutOfRange { .. })));
        assert!(matches!(check_sigmas(&[2.0, 2.0], RANGE), Err(Error::SigmaNotDescending { step: 1, .. })));
        assert!(matches!(check_ode_sigmas(&[80.0, 0.0, 0.0], RANGE), Err(Error::SigmaOutOfRange { .. })));
        assert!(matches!(check_ode_sigmas(&[0.0], RANGE), Err(Error::NoSigmas)));
        let empty = NoiseRange { sigma_max: 0.001, ..RANGE };
        assert!(matches!(default_sigmas(empty, 3), Err(Error::Grid(_))));
        assert!(matches!(default_sigmas(RANGE, 0), Err(Error::NoSigmas)));
    }
}
