//! Drawing from a model.

use candle_core::Tensor;
use ct_model::Denoiser;
use ct_sample::{Draw, NoiseSource, Result, default_sigmas, in_batches, multistep};

/// What to draw from a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Number of samples.
    pub(crate) num: usize,
    /// Noise levels, descending.
    pub(crate) sigmas: &'a [f64],
    /// One class for each sample, for a model with classes.
    pub(crate) class_labels: Option<&'a [u32]>,
    /// Whether estimates are clipped to [-1, 1].
    pub(crate) clip: bool,
    /// Samples that are made at once.
    pub(crate) batch_size: usize,
}

/// Draws samples. Sample `i` depends on the noise of sample `i` alone.
///
/// # Shapes
/// The result is `[num, C, H, W]` or `[num, D]`.
pub(crate) fn draw(
    model: &dyn Denoiser,
    noise: &dyn NoiseSource,
    request: &Request<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    let draw = Draw { samples: 0..request.num, class_labels: request.class_labels, clip: request.clip };
    in_batches(&draw, request.batch_size, &mut |part| multistep(model, request.sigmas, noise, part), progress)
}

/// A number of samples of this shape that are quick to make at once and need little memory.
pub(crate) fn batch_size(sample_shape: &[usize]) -> usize {
    const PIXELS: usize = 1 << 14;
    match sample_shape {
        [_, height, width] => (PIXELS / (height * width).max(1)).clamp(1, 64),
        _ => 1024,
    }
}

/// A class for each of `num` samples, all classes in turn, for a model that knows classes.
pub(crate) fn classes_in_turn(model: &dyn Denoiser, num: usize) -> Option<Vec<u32>> {
    let classes = u32::try_from(model.num_classes()?).unwrap_or(u32::MAX);
    Some((0..classes).cycle().take(num).collect())
}

/// Whether estimates of the model are clipped where nobody says otherwise: images are, vectors are not.
pub(crate) fn clips(model: &dyn Denoiser) -> bool {
    model.sample_shape().len() == 3
}

/// The noise levels of two-step sampling; `mid` is the second, if it is given.
pub(crate) fn two_step_sigmas(model: &dyn Denoiser, mid: Option<f64>) -> Result<Vec<f64>> {
    let mut sigmas = default_sigmas(model.noise_range(), 2)?;
    if let Some(mid) = mid {
        sigmas[1] = mid;
    }
    ct_sample::check_sigmas(&sigmas, model.noise_range())?;
    Ok(sigmas)
}
