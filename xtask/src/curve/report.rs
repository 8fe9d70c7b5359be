//! What the curves say, in numbers.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde::Serialize;

/// The losses of one training, step by step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) losses: Vec<f64>,
}

impl Curve {
    /// The names of all curves, which are also those of their folders.
    pub(super) const NAMES: [&'static str; 4] = ["fast", "strict", "pytorch", "other-seed"];

    /// The mean of the last `count` losses, and the standard error of that mean.
    fn last(&self, count: usize) -> [f64; 2] {
        let last = &self.losses[self.losses.len().saturating_sub(count)..];
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        let squares = last.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>();
        [mean, (squares / (last.len() - 1).max(1) as f64 / last.len() as f64).sqrt()]
    }
}

/// How far two losses are apart at some steps, relative to the second.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) of: String,
    pub(super) from: String,
    /// Step and relative difference, at 1, 10, 100, ..
    pub(super) at: Vec<(usize, f64)>,
    /// The largest relative difference within the first ten steps.
    pub(super) most_in_first_10: f64,
    /// The relative difference of the means of the last hundred losses.
    pub(super) of_last_100: f64,
}

/// All curves and what they say.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) steps: usize,
    pub(super) curves: Vec<Curve>,
    /// Mean and standard error of the last hundred losses of each curve.
    pub(super) last_100: Vec<[f64; 2]>,
    pub(super) differences: Vec<Difference>,
}

impl Report {
    pub(super) fn new(fast: Curve, strict: Curve, pytorch: Curve, other_seed: Curve) -> Result<Self> {
        let steps = fast.losses.len();
        let pairs = [(&fast, &strict), (&fast, &pytorch), (&strict, &pytorch), (&fast, &other_seed)];
        for (_, curve) in pairs {
            ensure!(
                curve.losses.len() == steps && steps > 1,
                "{} has {} losses and {} has {steps}: one of them was cut short; train again",
                curve.name,
                curve.losses.len(),
                fast.name
            );
        }
        let differences = pairs.map(|(of, from)| difference(of, from)).into();
        let curves = vec![fast, strict, pytorch, other_seed];
        let last_100 = curves.iter().map(|curve| curve.last(100)).collect();
        Ok(Self { steps, curves, last_100, differences })
    }

    /// The numbers for the terminal.
    pub(super) fn table(&self) -> String {
        let mut text = String::from("\nmean of the last 100 losses\n");
        for (curve, [mean, error]) in self.curves.iter().zip(&self.last_100) {
            let _ = writeln!(text, "  {:10}  {mean:.5} +- {error:.5}", curve.name);
        }
        text += "\nrelative difference of the losses\n  ";
        let _ = write!(text, "{:21}", "at step");
        for (step, _) in self.differences.iter().flat_map(|difference| &difference.at).take(self.num_points())
        {
            let _ = write!(text, "{step:>10}");
        }
        text += "  last 100\n";
        for difference in &self.differences {
            let _ = write!(text, "  {:21}", format!("{} / {}", difference.of, difference.from));
            for (_, value) in &difference.at {
                let _ = write!(text, "{value:>10.1e}");
            }
            let _ = writeln!(text, "{:>+10.1e}", difference.of_last_100);
        }
        text
    }

    fn num_points(&self) -> usize {
        self.differences.first().map_or(0, |difference| difference.at.len())
    }
}

/// |a - b| / b, step by step.
pub(super) fn relative(of: &Curve, from: &Curve) -> Vec<f64> {
    of.losses.iter().zip(&from.losses).map(|(a, b)| (a - b).abs() / b.abs()).collect()
}

fn difference(of: &Curve, from: &Curve) -> Difference {
    let relative = relative(of, from);
    let powers = (0..).map(|power| 10usize.pow(power)).take_while(|&step| step <= relative.len());
    Difference {
        of: of.name.clone(),
        from: from.name.clone(),
        at: powers.map(|step| (step, relative[step - 1])).collect(),
        most_in_first_10: relative.iter().take(10).copied().fold(0.0, f64::max),
        of_last_100: of.last(100)[0] / from.last(100)[0] - 1.0,
    }
}

/// The mean over a window of `width` values that ends at each one, so that the first is not smoothed away.
pub(super) fn smooth(values: &[f64], width: usize) -> Vec<f64> {
    (0..values.len())
        .map(|end| {
            let window = &values[(end + 1).saturating_sub(width)..=end];
            window.iter().sum::<f64>() / window.len() as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, losses: &[f64]) -> Curve {
        Curve { name: name.to_owned(), losses: losses.to_vec() }
    }

    #[test]
    fn differences_are_taken_at_powers_of_ten() {
        let losses: Vec<f64> = (1..=100).map(f64::from).collect();
        let other: Vec<f64> = losses.iter().map(|loss| 2.0 * loss).collect();
        let difference = difference(&curve("a", &losses), &curve("b", &other));
        assert_eq!(difference.at, [(1, 0.5), (10, 0.5), (100, 0.5)]);
        assert!((difference.of_last_100 + 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_curve_cut_short_is_refused() {
        let whole = curve("whole", &[1.0, 2.0]);
        let short = curve("short", &[1.0]);
        let error = Report::new(whole.clone(), whole.clone(), short, whole).unwrap_err().to_string();
        assert!(error.contains("short has 1 losses"), "{error}");
    }

    #[test]
    fn smoothing_looks_back() {
        assert_eq!(smooth(&[1.0, 3.0, 5.0], 2), [1.0, 2.0, 4.0]);
    }
}
