//! How far one-step samples are from the data, beside how far held-out data is from it.
//!
//! Images are compared in pixels, so the figure is called `FD-pixels` and never FID.
//! Points are compared by the sliced Wasserstein distance and the squared maximum mean discrepancy.

use std::fmt;

use anyhow::Result;
use candle_core::Tensor;
use ct_data::Dataset;
use ct_eval::{Metric, Report, Samples, Settings, Space, evaluate};
use ct_model::{ConsistencyModel, Denoiser as _};
use ct_sample::SeededNoise;
use serde_json::{Value, json};

use crate::sampling::{self, Sampler};

/// Real images that are compared with; more make the figure hardly better and slow.
const MOST_IMAGES: usize = 10_000;
/// Real points; the distances are between all pairs.
const MOST_POINTS: usize = 4000;
/// Values of an image. Larger images are first halved: the work grows with the third power.
const MOST_VALUES: usize = 1024;

/// A comparison of one-step samples with data, beside that of held-out data.
#[derive(Debug)]
pub(crate) struct Score {
    model: Report,
    /// Held-out data in the place of samples: what a perfect model would have, if there is held-out data.
    floor: Option<Report>,
    /// What is added to the names of figures, such as the size of halved images.
    suffix: String,
}

/// Compares `num` samples of `model`, from noise of `seed`, with the data that it learned from.
pub(crate) fn score(
    model: &ConsistencyModel,
    sampler: Sampler,
    train: &Dataset,
    held_out: Option<&Dataset>,
    num: usize,
    seed: u64,
) -> Result<Score> {
    let is_image = train.sample_shape().len() == 3;
    let generated = halve(&usual_samples(model, sampler, num, seed)?)?;
    let most = if is_image { MOST_IMAGES } else { MOST_POINTS };
    let real = samples_of(train, most)?;
    let (metrics, space): (&[Metric], _) = if is_image {
        (&[Metric::Frechet], Space::Pixels)
    } else {
        (&[Metric::SlicedWasserstein, Metric::Mmd], Space::Points)
    };
    let settings = Settings { seed, ..Settings::default() };
    let compare = |with: &Samples, to: &Samples| evaluate(to, with, metrics, &space, &settings);

    let suffix = match *generated.dims() {
        [_, _, height, width] if train.sample_shape()[1..] != [height, width] => format!("-{height}x{width}"),
        _ => String::new(),
    };
    let generated = Samples::from_tensor(&generated)?;
    // Points are compared with held-out ones; held-out points with those of the training set.
    // Images are compared with the training set, as is usual; held-out images are too few for more than a floor.
    let held_out = held_out.map(|data| samples_of(data, most)).transpose()?;
    let floor = held_out.as_ref().map(|held_out| compare(held_out, &real)).transpose()?;
    let model = match held_out.as_ref().filter(|_| !is_image) {
        Some(held_out) => compare(&generated, held_out)?,
        None => compare(&generated, &real)?,
    };
    Ok(Score { model, floor, suffix })
}

fn usual_samples(model: &ConsistencyModel, sampler: Sampler, num: usize, seed: u64) -> Result<Tensor> {
    let class_labels = sampling::classes_in_turn(model, num);
    let request = sampling::Request {
        num,
        sampler,
        sigmas: &sampler.sigmas(model.noise_range(), sampler.default_steps())?,
        class_labels: class_labels.as_deref(),
        guidance: None,
        clip: sampling::clips(model),
        batch_size: sampling::batch_size(model.sample_shape()),
    };
    Ok(sampling::draw(model, &SeededNoise { seed, first_index: 0 }, &request, &mut |_| ())?)
}

/// At most `most` samples, evenly over the whole set.
fn samples_of(data: &Dataset, most: usize) -> Result<Samples> {
    let num = data.len().min(most);
    let indices: Vec<usize> = (0..num).map(|i| i * data.len() / num).collect();
    Ok(Samples::from_tensor(&halve(&data.tensor(&indices)?)?)?)
}

/// Images with at most [`MOST_VALUES`] values, halved by averaging as often as it takes.
fn halve(x: &Tensor) -> Result<Tensor> {
    match *x.dims() {
        [_, c, h, w] if c * h * w > MOST_VALUES && h % 2 == 0 && w % 2 == 0 => halve(&x.avg_pool2d(2)?),
        _ => Ok(x.clone()),
    }
}

impl Score {
    /// The figures, for `score.json`.
    pub(crate) fn to_json(&self) -> Value {
        let report = |report: &Report| {
            let figures: serde_json::Map<String, Value> = report
                .figures
                .iter()
                .map(|figure| (format!("{}{}", figure.name, self.suffix), figure.value.into()))
                .collect();
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
                "{label:<8}{}{} {:.4} ({num_generated} samples against {num_real} real)",
                figure.name, self.suffix, figure.value
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
