//! Averages of the weights that nobody kept, put together from some that were stored
//! (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", arXiv 2312.02696,
//! section 3.2 and appendix C).
//!
//! A power-function average after `t` updates weighs the weights at time `s` by
//! `p(s) = (gamma + 1) s^gamma / t^(gamma + 1)` for `s <= t`.
//! Stored averages with the profiles `p_i` are combined with the coefficients `c_i` that minimize
//! `integral of (p - sum_i c_i p_i)^2`, so they solve `sum_j <p_i, p_j> c_j = <p_i, p>`.
//! In closed form, for `t_a <= t_b`,
//!
//! ```text
//! |p|^2                    = (gamma + 1)^2 / ((2 gamma + 1) t)
//! <p_a, p_b> / |p_a| |p_b| = sqrt((2 gamma_a + 1) (2 gamma_b + 1)) / (gamma_a + gamma_b + 1) (t_a / t_b)^(gamma_b + 1/2)
//! ```
//!
//! A profile ends with a step down at `t`, so `t` should be that of a stored average: no combination has a step elsewhere.
//! The reference solves for the inner products themselves; here every profile is first divided by its norm,
//! which leaves the solution as it is and makes the system one of cosines.

use crate::{Error, Result, check, power_gamma};

/// A pivot that is smaller belongs to a profile that the ones before make up already; rounding is about 1e-16.
const LEAST_PIVOT: f64 = 1e-13;

/// The weights that a power-function average is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerProfile {
    step: f64,
    gamma: f64,
}

impl PowerProfile {
    /// The average of relative width `sigma_rel` after `step` updates.
    ///
    /// # Errors
    /// If `step` is 0, or not `0 < sigma_rel < 1/sqrt(12)`.
    pub fn new(step: u64, sigma_rel: f64) -> Result<Self> {
        let step = check::positive("step", step as f64)?;
        Ok(Self { step, gamma: power_gamma(sigma_rel)? })
    }

    /// Its norm: the root of the integral of its square.
    fn norm(self) -> f64 {
        (self.gamma + 1.0) / ((2.0 * self.gamma + 1.0) * self.step).sqrt()
    }

    /// The cosine of the angle between two profiles.
    fn cosine(self, other: Self) -> f64 {
        let (first, last) = if self.step <= other.step { (self, other) } else { (other, self) };
        let (a, b) = (2.0 * first.gamma + 1.0, 2.0 * last.gamma + 1.0);
        2.0 * (a * b).sqrt() / (a + b) * (first.step / last.step).powf(0.5 * b)
    }
}

/// How stored averages are combined to one that was not kept.
///
/// ```
/// use ct_schedule::{PosthocEma, PowerProfile};
///
/// // Two widths, each stored eight times; wanted is a third one at the end.
/// let mut stored = Vec::new();
/// for step in (1..=8).map(|i| i * 1000) {
///     stored.push(PowerProfile::new(step, 0.05)?);
///     stored.push(PowerProfile::new(step, 0.1)?);
/// }
/// let ema = PosthocEma::solve(&stored, PowerProfile::new(8000, 0.075)?)?;
/// let shown: Vec<String> = ema.coefficients()[12..].iter().map(|c| format!("{c:.3}")).collect();
/// println!("{shown:?}, residual {:.4}", ema.residual());
/// assert_eq!(shown, ["0.040", "-0.102", "0.292", "0.786"]);
/// assert_eq!(format!("{:.4}", ema.residual()), "0.0125");
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PosthocEma {
    coefficients: Vec<f64>,
    residual: f64,
}

impl PosthocEma {
    /// The combination of `stored` that is nearest to `wanted`.
    ///
    /// # Errors
    /// If nothing is stored.
    pub fn solve(stored: &[PowerProfile], wanted: PowerProfile) -> Result<Self> {
        if stored.is_empty() {
            return Err(Error::OutOfRange { name: "stored profiles", expected: "at least one", got: 0.0 });
        }
        let cosines: Vec<Vec<f64>> =
            stored.iter().map(|a| stored.iter().map(|b| a.cosine(*b)).collect()).collect();
        let right: Vec<f64> = stored.iter().map(|a| a.cosine(wanted)).collect();
        let solution = solve(&cosines, &right);
        let explained: f64 = solution.iter().zip(&right).map(|(x, b)| x * b).sum();
        let norm = wanted.norm();
        let coefficients = solution.iter().zip(stored).map(|(x, a)| x * norm / a.norm()).collect();
        Ok(Self { coefficients, residual: (1.0 - explained).max(0.0).sqrt() })
    }

    /// The factor of each stored average, in the order in which they were given.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// How far the combined profile is from the wanted one, in terms of the norm of the latter:
    /// 0 if it is met, 1 if nothing of it is. Below about 1e-7 it is all rounding.
    pub fn residual(&self) -> f64 {
        self.residual
    }
}

/// The solution of `matrix x = right`, for a symmetric matrix without negative eigenvalues whose diagonal is 1.
///
/// Cholesky's decomposition, the largest pivot first and of equal ones that with the largest right side:
/// a wanted profile that is stored is taken alone. Rows that follow from the ones before are left out.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut pivots: Vec<f64> = (0..n).map(|i| matrix[i][i]).collect();
    let mut order: Vec<usize> = Vec::with_capacity(n);
    // Row `k` of the transposed factor, and the right side after forward substitution.
    let (mut factor, mut forward): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
    loop {
        let left = (0..n).filter(|i| !order.contains(i));
        let key = |i: usize| (pivots[i], right[i].abs());
        let Some(next) = left.max_by(|&i, &j| {
            let (a, b) = (key(i), key(j));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        }) else {
            break;
        };
        if pivots[next] < LEAST_PIVOT {
            break;
        }
        let root = pivots[next].sqrt();
        let before = |i: usize| factor.iter().map(|row: &Vec<f64>| row[next] * row[i]).sum::<f64>();
        let row: Vec<f64> = (0..n).map(|i| (matrix[next][i] - before(i)) / root).collect();
        let known: f64 = factor.iter().zip(&forward).map(|(row, y)| row[next] * y).sum();
        forward.push((right[next] - known) / root);
        for (pivot, entry) in pivots.iter_mut().zip(&row) {
            *pivot -= entry * entry;
        }
        factor.push(row);
        order.push(next);
    }
    let mut x = vec![0.0; n];
    for (k, &i) in order.iter().enumerate().rev() {
        let known: f64 = order[k + 1..].iter().map(|&j| factor[k][j] * x[j]).sum();
        x[i] = (forward[k] - known) / factor[k][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmaProfile;

    const STEPS: u64 = 2000;
    const WIDTHS: [f64; 2] = [0.05, 0.1];

    /// Steps and widths of snapshots, `every` steps apart.
    fn snapshots(every: u64) -> Vec<(u64, f64)> {
        (1..=STEPS / every).flat_map(|i| WIDTHS.map(|width| (i * every, width))).collect()
    }

    fn solve_for(snapshots: &[(u64, f64)], step: u64, sigma_rel: f64) -> PosthocEma {
        let profile = |(step, width): (u64, f64)| PowerProfile::new(step, width).unwrap();
        let stored: Vec<PowerProfile> = snapshots.iter().copied().map(profile).collect();
        PosthocEma::solve(&stored, profile((step, sigma_rel))).unwrap()
    }

    /// The average after each step of a history, as training keeps it.
    fn averages(history: &[f64], sigma_rel: f64) -> Vec<f64> {
        let profile = EmaProfile::power(sigma_rel).unwrap();
        let mut average = 0.0;
        let after = history.iter().zip(1..).map(|(weight, update)| {
            let beta = profile.beta(update, 1);
            average = beta * average + (1.0 - beta) * weight;
            average
        });
        after.collect()
    }

    /// A weight that drifts and wanders: a random walk from a congruential generator, on a slope.
    fn history() -> Vec<f64> {
        let (mut state, mut weight) = (1u64, 5.0);
        let moves = (0..STEPS).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            weight += (state >> 40) as f64 / f64::from(1 << 24) - 0.5 + 0.01;
            weight
        });
        moves.collect()
    }

    #[test]
    fn a_stored_average_is_taken_as_it_is() {
        let snapshots = snapshots(250);
        for (wanted, &(step, sigma_rel)) in snapshots.iter().enumerate() {
            let ema = solve_for(&snapshots, step, sigma_rel);
            for (idx, &c) in ema.coefficients().iter().enumerate() {
                let expected = if idx == wanted { 1.0 } else { 0.0 };
                // Rounding of a system whose condition is below 1e3.
                assert!((c - expected).abs() < 1e-12, "snapshot {wanted}, coefficient {idx}: {c}");
            }
            assert!(ema.residual() < 1e-7);
        }
    }

    #[test]
    fn cosines_are_those_of_the_integrals() {
        // Midpoints of intervals that the ends of the profiles fall between.
        const INTERVALS: u32 = 100_000;
        let profiles = [(700, 0.05), (1000, 0.2), (1000, 0.1)].map(|(t, s)| PowerProfile::new(t, s).unwrap());
        let value = |p: PowerProfile, s: f64| {
            if s > p.step { 0.0 } else { (p.gamma + 1.0) * (s / p.step).powf(p.gamma) / p.step }
        };
        let integral = |a: PowerProfile, b: PowerProfile| -> f64 {
            let width = 1000.0 / f64::from(INTERVALS);
            let at = |i: u32| (f64::from(i) + 0.5) * width;
            (0..INTERVALS).map(|i| value(a, at(i)) * value(b, at(i)) * width).sum()
        };
        for a in profiles {
            assert!((integral(a, a).sqrt() / a.norm() - 1.0).abs() < 1e-6);
            for b in profiles {
                let expected = integral(a, b) / (a.norm() * b.norm());
                assert!((a.cosine(b) - expected).abs() < 1e-6, "{a:?}, {b:?}");
            }
        }
    }

    #[test]
    fn a_width_that_was_not_kept_is_reconstructed() {
        let history = history();
        let kept = WIDTHS.map(|width| averages(&history, width));
        let spread = history.iter().fold(0.0f64, |max, weight| max.max((weight - history[0]).abs()));
        let at = |averages: &[f64], step: u64| averages[usize::try_from(step).unwrap() - 1];
        let error = |every: u64, step: u64, sigma_rel: f64| {
            let snapshots = snapshots(every);
            let stored: Vec<f64> =
                snapshots.iter().map(|&(step, width)| at(&kept[usize::from(width > 0.07)], step)).collect();
            let ema = solve_for(&snapshots, step, sigma_rel);
            let got: f64 = ema.coefficients().iter().zip(&stored).map(|(c, average)| c * average).sum();
            (got - at(&averages(&history, sigma_rel), step)).abs() / spread
        };
        // In units of the way that the weight went; the last two end before the last snapshot.
        for (step, sigma_rel) in [(STEPS, 0.07), (STEPS, 0.15), (STEPS, 0.03), (1600, 0.12), (1650, 0.075)] {
            let fine = error(50, step, sigma_rel);
            assert!(fine < 0.01, "sigma_rel {sigma_rel} at {step}: {fine}");
        }
        // With fewer snapshots it gets worse.
        assert!(error(500, STEPS, 0.2) > 4.0 * error(50, STEPS, 0.2));
    }

    #[test]
    fn the_residual_says_what_cannot_be_made() {
        let snapshots = snapshots(250);
        assert!(solve_for(&snapshots, STEPS, 0.075).residual() < 0.02);
        assert!(solve_for(&snapshots, STEPS, 0.01).residual() > 0.3);
        assert!(solve_for(&snapshots, 2 * STEPS, 0.05).residual() > 0.99);
        // The same snapshot twice adds nothing, and does no harm.
        let twice: Vec<_> = snapshots.iter().chain(&snapshots).copied().collect();
        let (once, twice) = (solve_for(&snapshots, STEPS, 0.075), solve_for(&twice, STEPS, 0.075));
        assert!((once.residual() - twice.residual()).abs() < 1e-6);
    }

    #[test]
    fn bad_arguments() {
        assert!(PowerProfile::new(0, 0.1).is_err() && PowerProfile::new(10, 0.3).is_err());
        assert!(PosthocEma::solve(&[], PowerProfile::new(10, 0.1).unwrap()).is_err());
    }
}
