//! What was measured of one question by one side, over all rounds.

use std::collections::BTreeMap;

/// Values by setting; a side without a choice of settings has one, without a name.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Samples(BTreeMap<String, Vec<f64>>);

/// The answer of one side: the median under its best setting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Best {
    pub(super) median: f64,
    pub(super) setting: String,
    pub(super) runs: usize,
}

impl Samples {
    /// Values under one setting.
    pub(super) fn of(setting: &str, values: Vec<f64>) -> Self {
        Self(BTreeMap::from([(setting.to_owned(), values)]))
    }

    /// Adds another round.
    pub(super) fn extend(&mut self, other: Self) {
        for (setting, values) in other.0 {
            self.0.entry(setting).or_default().extend(values);
        }
    }

    /// The setting with the least median: less time and less memory are both better.
    pub(super) fn best(&self) -> Option<Best> {
        let medians = self.0.iter().filter_map(|(setting, values)| {
            Some(Best { median: median(values)?, setting: setting.clone(), runs: values.len() })
        });
        medians.min_by(|a, b| a.median.total_cmp(&b.median))
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_best_setting_answers_with_all_its_rounds() {
        let mut samples = Samples::of("contiguous", vec![10.0, 12.0]);
        samples.extend(Samples::of("channels_last", vec![9.0, 30.0, 40.0]));
        samples.extend(Samples::of("contiguous", vec![14.0]));
        let best = samples.best().unwrap();
        assert_eq!((best.median, best.setting.as_str(), best.runs), (12.0, "contiguous", 3));
        assert_eq!(Samples::default().best(), None);
    }
}
