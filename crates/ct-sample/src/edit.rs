//! Zero-shot editing: sampling that keeps what is known.
//!
//! ```text
//! x <- M^T c
//! for tau = sigma_1, sigma_2, ...:  x <- R(f(x + s z_j, tau)) ,  s = sigma_1, then sqrt(tau^2 - sigma_min^2)
//! ```
//!
//! (Song et al. 2023, "Consistency Models", algorithm 4.)
//! Estimates are clipped before the projection R, and R has the last word: what is known is kept exactly.
//! The functions of openai's `cm` expect their caller to add the first noise, and its JAX notebook forgets it; here it is added.

use candle_core::Tensor;
use ct_model::Denoiser;

use crate::{
    draw::Draw,
    error::{Error, Result},
    measurement::Known,
    multistep::multistep_from,
    noise::NoiseSource,
};

/// Generates what is not known around what is.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use ct_sample::{Draw, Known, Mask, SeededNoise, default_sigmas, edit, rectangle_mask};
/// use ct_sample::testing::{Gaussian, GaussianConsistency};
///
/// let shape = [1, 4, 4];
/// let model = GaussianConsistency::new(Gaussian::isotropic(&shape, 0.2, 0.01)?);
/// let picture = Tensor::full(0.5f32, (1, 1, 4, 4), &Device::Cpu)?;
/// let mask = Mask::new(&rectangle_mask(&shape, 0, 0, 2, 4)?, &shape)?;
/// let known = Known::of_samples(&mask, &picture)?;
/// let sigmas = default_sigmas(model.gaussian().range, 10)?;
/// let noise = SeededNoise { seed: 0, first_index: 0 };
/// let edited = edit(&model, &known, &sigmas, &noise, &Draw::new(&model, 1))?;
/// assert_eq!(edited.get(0)?.get(0)?.get(0)?.to_vec1::<f32>()?[2..], [0.5, 0.5]);
/// # Ok::<(), ct_sample::Error>(())
/// ```
///
/// # Shapes
/// `known`: of as many samples as the draw has; `sigmas`: strictly descending, each in (`sigma_min`, `sigma_max`];
/// the result is `[n, C, H, W]` or `[n, D]` f32.
///
/// # Errors
/// When the levels, the labels, what is known or the noise do not fit, or the model fails.
pub fn edit(
    model: &dyn Denoiser,
    known: &Known<'_>,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    multistep_from(model, &known.least()?, sigmas, noise, draw, &mut |x| known.project(&x))
}

/// Makes pictures of the model's kind that follow others: of a stroke painting (Meng et al. 2022, "`SDEdit`"),
/// or variations of a picture. Noise of the first level is added, so this level says how far the result may go.
///
/// # Shapes
/// `guide`: `[n, C, H, W]` or `[n, D]` f32; `sigmas`: strictly descending, each in (`sigma_min`, `sigma_max`];
/// the result has the shape of `guide`.
///
/// # Errors
/// When the levels, the labels, the guide or the noise do not fit, or the model fails.
pub fn follow(
    model: &dyn Denoiser,
    guide: &Tensor,
    sigmas: &[f64],
    noise: &dyn NoiseSource,
    draw: &Draw<'_>,
) -> Result<Tensor> {
    multistep_from(model, guide, sigmas, noise, draw, &mut Ok)
}

/// Takes noise of the scale `sigma` out of samples: f(x, sigma), with no noise added.
///
/// # Shapes
/// `x`: `[n, C, H, W]` or `[n, D]` f32; the result has its shape.
///
/// # Errors
/// When the labels do not fit, `sigma` is out of the model's range, or the model fails.
pub fn denoise(model: &dyn Denoiser, x: &Tensor, sigma: f64, draw: &Draw<'_>) -> Result<Tensor> {
    draw.check(model)?;
    crate::sigmas::check_sigmas(&[sigma], model.noise_range())?;
    draw.denoise(model, x, sigma)
}

/// The scale of white noise in each image, estimated from what changes in both directions at once:
///
/// ```text
/// d = (x_00 - x_01 - x_10 + x_11) / 2 over blocks of 2 x 2 ,  sigma = median |d| / 0.6745
/// ```
///
/// (Donoho & Johnstone 1994, with the diagonal Haar coefficients.) Texture counts as noise, so small busy images
/// come out too high; large flat areas that are cut off at black or white come out too low.
///
/// # Shapes
/// `x`: `[N, C, H, W]`, H and W at least 2; the result is N numbers, in the units of `x`.
///
/// # Errors
/// [`Error::Shape`] when `x` is not a batch of images of that size.
pub fn estimate_sigma(x: &Tensor) -> Result<Vec<f64>> {
    let &[_, _, height, width] = x.dims() else { return Err(not_images(x)) };
    let (rows, columns) = (height / 2, width / 2);
    if rows * columns == 0 {
        return Err(not_images(x));
    }
    let x = x.narrow(2, 0, 2 * rows)?.narrow(3, 0, 2 * columns)?.contiguous()?;
    let blocks = x.reshape(((), rows, 2, columns, 2))?;
    let at = |i, j| blocks.narrow(2, i, 1)?.narrow(4, j, 1);
    let diagonal = (((at(0, 0)? - at(0, 1)?)? - at(1, 0)?)? + at(1, 1)?)?.affine(0.5, 0.0)?.abs()?;
    let per_image = diagonal.reshape((x.dim(0)?, ()))?.to_dtype(candle_core::DType::F64)?.to_vec2::<f64>()?;
    Ok(per_image.into_iter().map(|values| median(values) / MEDIAN_OF_NORMAL).collect())
}

/// The median of |z| for z ~ N(0, 1).
const MEDIAN_OF_NORMAL: f64 = 0.674_489_750_196_081_7;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[mid - 1], values[mid]) } else { values[mid] }
}

fn not_images(x: &Tensor) -> Error {
    Error::Shape {
        what: "noisy images".into(),
        expected: "[N, C, H, W] with H and W at least 2".into(),
        got: x.dims().to_vec(),
    }
}
