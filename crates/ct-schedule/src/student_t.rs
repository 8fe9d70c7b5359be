//! Noise levels whose logarithm follows a truncated Student t distribution.
//!
//! TCM (arXiv 2410.14895), section 4: `ln sigma = p_mean + p_std x`, `x` with density proportional to
//! `(1 + x^2/df)^(-(df+1)/2)`, restricted to `[sigma_min, sigma_max]`; the second stage has `df = 0.01`, `p_std = 0.2`.
//!
//! With `x = sqrt(df) sinh y` the density of `y` is proportional to `cosh(y)^-df`, which is smooth however heavy the tails
//! are. It is integrated by Gauss-Legendre panels once, and inverted by Newton's iteration inside one panel.

use crate::{Error, Result, check};

/// Nodes and weights of eight-point Gauss-Legendre quadrature on [-1, 1], one of each symmetric pair.
const GAUSS_LEGENDRE: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];
/// Width of a panel in units of the width of `cosh(y)^-df`: eight points then reach full precision.
const PANEL: f64 = 0.5;

/// A Student t distribution of `ln sigma` restricted to `[sigma_min, sigma_max]`.
///
/// ```
/// use ct_schedule::TruncatedStudentT;
///
/// // Second stage of TCM: half of the mass lies below sigma = 1.23 although the interval reaches to 80.
/// let tcm = TruncatedStudentT::new(0.0, 0.2, 0.01, 1.0, 80.0)?;
/// assert_eq!((tcm.sigma_at(0.0), tcm.sigma_at(1.0)), (1.0, 80.0)); // bit-exact
/// let rounded = [0.25, 0.5, 0.75].map(|u| (tcm.sigma_at(u) * 1e3).round() / 1e3);
/// assert_eq!(rounded, [1.043, 1.221, 2.524]);
/// # Ok::<(), ct_schedule::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Fields", into = "Fields")
)]
pub struct TruncatedStudentT {
    fields: Fields,
    /// `y` at the lower end and the width of a panel.
    y_min: f64,
    width: f64,
    /// The integral up to the end of each panel.
    cumulative: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Fields {
    p_mean: f64,
    p_std: f64,
    df: f64,
    sigma_min: f64,
    sigma_max: f64,
}

impl TruncatedStudentT {
    /// Location `p_mean` and scale `p_std` of `ln sigma`, and `df` degrees of freedom.
    ///
    /// # Errors
    /// If `p_mean` is not finite, `p_std` not positive and finite, `df` not between 1e-6 and 1000 (use a lognormal above),
    /// not `0 < sigma_min < sigma_max`, or if the interval has no mass.
    pub fn new(p_mean: f64, p_std: f64, df: f64, sigma_min: f64, sigma_max: f64) -> Result<Self> {
        Fields { p_mean, p_std, df, sigma_min, sigma_max }.try_into()
    }

    /// The level below which a draw falls with probability `u`; exactly the ends at 0 and 1.
    pub fn sigma_at(&self, u: f64) -> f64 {
        let f = &self.fields;
        if u <= 0.0 {
            return f.sigma_min;
        }
        if u >= 1.0 {
            return f.sigma_max;
        }
        f.sigma(self.quantile(u)).clamp(f.sigma_min, f.sigma_max)
    }

    fn quantile(&self, u: f64) -> f64 {
        let last = self.cumulative.len() - 1;
        let target = u * self.cumulative[last];
        let panel = self.cumulative.partition_point(|c| *c <= target).min(last);
        let before = if panel == 0 { 0.0 } else { self.cumulative[panel - 1] };
        let start = self.y_min + panel as f64 * self.width;
        let share = (target - before) / (self.cumulative[panel] - before);
        solve(self.fields.df, start, self.width, target - before, share)
    }
}

/// The `y` in a panel up to which the integral from its start is `target`; `share` is the part of the panel's integral.
fn solve(df: f64, start: f64, width: f64, target: f64, share: f64) -> f64 {
    const MAX_ITERATIONS: usize = 50;
    let (mut lo, mut hi) = (start, start + width);
    let mut y = start + share * width;
    for _ in 0..MAX_ITERATIONS {
        let excess = integral(df, start, y) - target;
        if excess > 0.0 {
            hi = y;
        } else {
            lo = y;
        }
        let newton = y - excess / density(df, y);
        let next = if lo <= newton && newton <= hi { newton } else { f64::midpoint(lo, hi) };
        if (next - y).abs() <= f64::EPSILON * (1.0 + y.abs()) {
            return next;
        }
        y = next;
    }
    y
}

fn density(df: f64, y: f64) -> f64 {
    y.cosh().powf(-df)
}

/// The integral of the density over one panel or a part of it.
fn integral(df: f64, a: f64, b: f64) -> f64 {
    let (middle, half) = (f64::midpoint(a, b), 0.5 * (b - a));
    let pair = |(node, weight): (f64, f64)| {
        weight * (density(df, middle - half * node) + density(df, middle + half * node))
    };
    half * GAUSS_LEGENDRE.into_iter().map(pair).sum::<f64>()
}

impl Fields {
    fn validate(&self) -> Result<()> {
        check::finite("p_mean", self.p_mean)?;
        check::positive("p_std", self.p_std)?;
        check::within("df", "between 1e-6 and 1000", (1e-6..=1000.0).contains(&self.df), self.df)?;
        check::noise_range(self.sigma_min, self.sigma_max)
    }

    fn y(&self, sigma: f64) -> f64 {
        ((sigma.ln() - self.p_mean) / self.p_std / self.df.sqrt()).asinh()
    }

    fn sigma(&self, y: f64) -> f64 {
        (self.p_mean + self.p_std * self.df.sqrt() * y.sinh()).exp()
    }
}

impl TryFrom<Fields> for TruncatedStudentT {
    type Error = Error;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "|y| < 800, so fewer than 1e6 panels"
    )]
    fn try_from(fields: Fields) -> Result<Self> {
        fields.validate()?;
        let (y_min, y_max) = (fields.y(fields.sigma_min), fields.y(fields.sigma_max));
        let panels = ((y_max - y_min) / PANEL * fields.df.sqrt().max(1.0)).ceil().max(1.0);
        let width = (y_max - y_min) / panels;
        let mut sum = 0.0;
        let cumulative = (0..panels as usize)
            .map(|i| {
                let start = y_min + i as f64 * width;
                sum += integral(fields.df, start, start + width);
                sum
            })
            .collect();
        if sum < f64::MIN_POSITIVE {
            let Fields { sigma_min, sigma_max, .. } = fields;
            return Err(Error::NoMass { distribution: "student-t", sigma_min, sigma_max });
        }
        Ok(Self { fields, y_min, width, cumulative })
    }
}

#[cfg(feature = "serde")]
impl From<TruncatedStudentT> for Fields {
    fn from(value: TruncatedStudentT) -> Self {
        value.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distribution functions in closed form: Cauchy for `df = 1`, and `df = 2`.
    fn cdf(df: f64, x: f64) -> f64 {
        if df < 1.5 { x.atan() / core::f64::consts::PI } else { 0.5 * x / (2.0 + x * x).sqrt() }
    }

    #[test]
    fn agrees_with_closed_forms() {
        for df in [1.0, 2.0] {
            let (p_mean, p_std, lo, hi) = (-0.3, 0.7, 0.002, 80.0);
            let d = TruncatedStudentT::new(p_mean, p_std, df, lo, hi).unwrap();
            let f = |sigma: f64| cdf(df, (sigma.ln() - p_mean) / p_std);
            for i in 1..100 {
                let u = f64::from(i) / 100.0;
                let got = (f(d.sigma_at(u)) - f(lo)) / (f(hi) - f(lo));
                assert!((got - u).abs() < 1e-13, "df {df}, u {u}: {got}");
            }
        }
    }

    #[test]
    fn many_degrees_of_freedom_are_nearly_normal() {
        let t = TruncatedStudentT::new(-1.1, 2.0, 1000.0, 0.002, 80.0).unwrap();
        let normal = crate::TruncatedLognormal::new(-1.1, 2.0, 0.002, 80.0).unwrap();
        for u in [0.05, 0.3, 0.5, 0.8, 0.95] {
            // Quantiles differ by about x^3 / (4 df) standard deviations.
            assert!((t.sigma_at(u) / normal.sigma_at(u)).ln().abs() < 5e-3);
        }
    }

    #[test]
    fn ascends_inside_the_interval() {
        for df in [1e-6, 0.01, 0.5, 30.0, 1000.0] {
            let d = TruncatedStudentT::new(0.0, 0.2, df, 1.0, 80.0).unwrap();
            let sigmas: Vec<f64> = (0..=1000).map(|i| d.sigma_at(f64::from(i) / 1000.0)).collect();
            assert!(sigmas.is_sorted_by(|a, b| a <= b) && sigmas.iter().all(|s| (1.0..=80.0).contains(s)));
        }
    }

    #[test]
    fn bad_arguments() {
        assert!(TruncatedStudentT::new(0.0, 0.2, 0.0, 1.0, 80.0).is_err());
        assert!(TruncatedStudentT::new(0.0, -1.0, 1.0, 1.0, 80.0).is_err());
        let no_mass = TruncatedStudentT::new(-1e4, 0.2, 1000.0, 1.0, 80.0);
        assert!(matches!(no_mass, Err(Error::NoMass { .. })));
    }
}
