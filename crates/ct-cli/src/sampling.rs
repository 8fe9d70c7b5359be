//! Drawing from a model.

use candle_core::Tensor;
use ct_model::Denoiser;
use ct_model::folder::Card;
use ct_sample::{
    Draw, Guided, NoiseRange, NoiseSource, Result, default_sigmas, euler, heun, in_batches, multistep,
    ode_sigmas,
};
use ct_train::Recipe;

/// Steps of the ODE where nobody says otherwise.
const ODE_STEPS: usize = 18;

/// How a model is turned into a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sampler {
    /// Estimate, add noise, estimate again: for consistency models.
    Multistep,
    /// Follow the ODE by Heun's method: for denoisers.
    Heun,
    /// Follow the ODE by Euler's method: for denoisers.
    Euler,
}

impl Sampler {
    /// What suits the model: denoisers follow the ODE.
    pub(crate) fn of(card: &Card) -> Self {
        Self::of_recipe(card.recipe.as_deref() == Some(Recipe::Diffusion.name()))
    }

    /// What suits a model that is a denoiser or not.
    pub(crate) fn of_recipe(makes_denoiser: bool) -> Self {
        if makes_denoiser { Self::Heun } else { Self::Multistep }
    }

    /// Steps where nobody says otherwise.
    pub(crate) fn default_steps(self) -> usize {
        match self {
            Self::Multistep => 1,
            Self::Heun | Self::Euler => ODE_STEPS,
        }
    }

    /// Noise levels for this many steps.
    pub(crate) fn sigmas(self, range: NoiseRange, steps: usize) -> Result<Vec<f64>> {
        match self {
            Self::Multistep => default_sigmas(range, steps),
            Self::Heun | Self::Euler => ode_sigmas(range, steps),
        }
    }

    /// Evaluations of the network for each sample.
    pub(crate) fn evaluations(self, sigmas: &[f64]) -> usize {
        match self {
            Self::Multistep => sigmas.len(),
            Self::Euler => sigmas.len() - 1,
            Self::Heun => (2 * (sigmas.len() - 1)).saturating_sub(usize::from(sigmas.last() == Some(&0.0))),
        }
    }
}

/// What to draw from a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Number of samples.
    pub(crate) num: usize,
    /// How they are drawn.
    pub(crate) sampler: Sampler,
    /// Noise levels, descending.
    pub(crate) sigmas: &'a [f64],
    /// One class for each sample, for a model with classes.
    pub(crate) class_labels: Option<&'a [u32]>,
    /// How far estimates are led towards the class, if they are.
    pub(crate) guidance: Option<f64>,
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
    let guided = request.guidance.map(|scale| Guided::new(model, scale)).transpose()?;
    let model = guided.as_ref().map_or(model, |guided| guided as &dyn Denoiser);
    let draw = Draw { samples: 0..request.num, class_labels: request.class_labels, clip: request.clip };
    let sample = match request.sampler {
        Sampler::Multistep => multistep,
        Sampler::Heun => heun,
        Sampler::Euler => euler,
    };
    in_batches(&draw, request.batch_size, &mut |part| sample(model, request.sigmas, noise, part), progress)
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
