//! How far one-step samples are from the data, beside how far held-out data is from it.
//!
//! Images are compared in pixels, and in the features of a small network where one suits them; the figures are called
//! `FD-pixels` and `FD-digits` or `FD-fashion`, and never FID.
//! Points are compared by the sliced Wasserstein distance and the squared maximum mean discrepancy.

use std::fmt;

use anyhow::Result;
use candle_core::Tensor;
use ct_data::Dataset;
use ct_eval::{Metric, Report, Samples, Settings, evaluate};
use serde_json::{Value, json};

use crate::ruler::Ruler;

/// A comparison of one-step samples with data, beside that of held-out data.
#[derive(Debug)]
pub(crate) struct Score {
    model: Report,
    /// Held-out data in the place of samples: what a perfect model would have, if there is held-out data.
    floor: Option<Report>,
}

/// Compares the samples of a model with the data that it learned from; `seed` is that of the measures.
pub(crate) fn score(
    generated: &Tensor,
    train: &Dataset,
    held_out: Option<&Dataset>,
    seed: u64,
) -> Result<Score> {
    let is_image = train.sample_shape().len() == 3;
    let plain = Ruler::plain(train.sample_shape());
    let mut score = compare(&plain, generated, train, held_out, seed)?;
    if is_image && let Some(network) = Ruler::embedded(train.sample_shape())? {
        let more = compare(&network, generated, train, held_out, seed)?;
        score.model.figures.extend(more.model.figures);
        if let (Some(floor), Some(more)) = (&mut score.floor, more.floor) {
            floor.figures.extend(more.figures);
        }
    }
    Ok(score)
}

/// Compares samples with data in one space.
fn compare(
    ruler: &Ruler,
    generated: &Tensor,
    train: &Dataset,
    held_out: Option<&Dataset>,
    seed: u64,
) -> Result<Score> {
    let is_points = matches!(ruler, Ruler::Points);
    let rows_of = |data: &Dataset| ruler.rows_of_data(data, &mut |_| ());
    let metrics: &[Metric] =
        if is_points { &[Metric::SlicedWasserstein, Metric::Mmd] } else { &[Metric::Frechet] };
    let settings = Settings { seed, ..Settings::default() };
    let compare = |with: &Samples, to: &Samples| evaluate(to, with, metrics, &ruler.space(), &settings);

    let generated = ruler.rows(generated, &mut |_| ())?;
    let real = rows_of(train)?;
    // Points are compared with held-out ones; held-out points with those of the training set.
    // Images are compared with the training set, as is usual; held-out images are too few for more than a floor.
    let held_out = held_out.map(rows_of).transpose()?;
    let floor = held_out.as_ref().map(|held_out| compare(held_out, &real)).transpose()?;
    let model = compare(&generated, held_out.as_ref().filter(|_| is_points).unwrap_or(&real))?;
    Ok(Score { model, floor })
}

impl Score {
    /// The figures, for `score.json`.
    pub(crate) fn to_json(&self) -> Value {
        let report = |report: &Report| {
            let figures: serde_json::Map<String, Value> =
                report.figures.iter().map(|figure| (figure.name.clone(), figure.value.into())).collect();
            json!({ "num_samples": report.num_generated, "num_real": report.num_real, "figures": figures })
        };
        json!({ "one_step": report(&self.model), "held_out_data": self.floor.as_ref().map(report) })
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, figure) in self.model.figures.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let Report { num_generated, num_real, .. } = self.model;
            let label = if i == 0 { "score" } else { "" };
            write!(
                f,
                "{label:<8}{} {:.4} ({num_generated} samples against {num_real} real)",
                figure.name, figure.value
            )?;
            if let Some(floor) = &self.floor
                && let Some(figure) = floor.figures.get(i)
            {
                let Report { num_generated, num_real, .. } = *floor;
                write!(
                    f,
                    "; data against data {:.4} ({num_generated} held-out against {num_real})",
                    figure.value
                )?;
            }
        }
        Ok(())
    }
}
