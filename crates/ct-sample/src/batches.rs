//! Many samples in batches that fit into memory.

use candle_core::Tensor;

use crate::{
    draw::Draw,
    error::{Error, Result},
};

/// Runs a sampler on consecutive parts of a draw and joins the results.
///
/// The noise of a sample does not depend on its batch, so neither does the result, as far as the model's own
/// arithmetic does not. `progress` hears how many samples are done after each batch.
///
/// ```
/// use ct_sample::{Draw, SeededNoise, in_batches, one_step};
/// use ct_sample::testing::{Gaussian, GaussianConsistency};
///
/// let model = GaussianConsistency::new(Gaussian::isotropic(&[2], 0.0, 1.0)?);
/// let noise = SeededNoise { seed: 0, first_index: 0 };
/// let mut seen = Vec::new();
/// let points = in_batches(
///     &Draw::new(&model, 10),
///     4,
///     &mut |part| one_step(&model, &noise, part),
///     &mut |done| seen.push(done),
/// )?;
/// assert_eq!(points.dims(), &[10, 2]);
/// assert_eq!(seen, [4, 8, 10]);
/// # Ok::<(), ct_sample::Error>(())
/// ```
///
/// # Errors
/// [`Error::Zero`] for an empty draw or batch, or what the sampler says.
pub fn in_batches(
    draw: &Draw<'_>,
    batch_size: usize,
    sample: &mut dyn FnMut(&Draw<'_>) -> Result<Tensor>,
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    if batch_size == 0 {
        return Err(Error::Zero { what: "the batch size" });
    }
    if draw.num_samples() == 0 {
        return Err(Error::Zero { what: "the number of samples" });
    }
    if let Some(labels) = draw.class_labels
        && labels.len() != draw.num_samples()
    {
        return Err(Error::LabelCount { labels: labels.len(), samples: draw.num_samples() });
    }
    let mut parts = Vec::with_capacity(draw.num_samples().div_ceil(batch_size));
    for part in draw.batches(batch_size) {
        parts.push(sample(&part)?);
        progress(part.samples.end - draw.samples.start);
    }
    Ok(Tensor::cat(&parts, 0)?)
}
