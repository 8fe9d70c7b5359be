//! A picture of samples beside the training images that are nearest to them.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ct_data::Dataset;
use ct_eval::{Samples, nearest};
use image::DynamicImage;

use crate::picture;

/// Samples that are shown, and neighbours of each.
const SAMPLES: usize = 8;
const NEIGHBOURS: usize = 7;

/// In each row a sample, then the nearest images of `train`, nearest first.
///
/// # Shapes
/// `samples`: `[N, C, H, W]` in [-1, 1]; `rows` and `real` are what the samples and all of `train` are compared by.
pub(crate) fn neighbours(
    samples: &Tensor,
    rows: &Samples,
    train: &Dataset,
    real: &Samples,
) -> Result<DynamicImage> {
    let num = SAMPLES.min(rows.len());
    let k = NEIGHBOURS.min(real.len());
    let shown = Samples::new(rows.rows().take(num).flatten().copied().collect(), rows.dim())?;
    let samples = samples.to_device(&Device::Cpu)?;
    let mut images = Vec::new();
    for (idx, found) in nearest(&shown, real, k)?.iter().enumerate() {
        images.push(samples.narrow(0, idx, 1)?);
        images.push(train.tensor(&found.iter().map(|neighbour| neighbour.index).collect::<Vec<_>>())?);
    }
    picture::picture(&Tensor::cat(&images, 0)?, 1 + k, None)
}
