//! Drawing from a model.

use candle_core::Tensor;
use ct_model::Denoiser;
use ct_model::folder::{Card, Loaded};
use ct_sample::{
    Draw, Guided, NoiseRange, NoiseSource, Result, check_ode_sigmas, check_sigmas, default_sigmas, dpmpp_2m,
    euler, heun, in_batches, multistep, multistep_with_gamma, ode_sigmas,
};
use ct_schedule::KarrasGrid;
use ct_train::Recipe;

use crate::mistake::mistake;

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
    /// Follow the ODE by DPM-Solver++(2M), one evaluation a step: for denoisers.
    Dpmpp2m,
}

impl Sampler {
    /// What suits the model: denoisers follow the ODE.
    pub(crate) fn of(card: &Card) -> Self {
        Self::of_recipe(is_denoiser(card))
    }

    /// What suits a model that is a denoiser or not.
    pub(crate) fn of_recipe(makes_denoiser: bool) -> Self {
        if makes_denoiser { Self::Heun } else { Self::Multistep }
    }

    /// Steps where nobody says otherwise.
    pub(crate) fn default_steps(self) -> usize {
        match self {
            Self::Multistep => 1,
            Self::Heun | Self::Euler | Self::Dpmpp2m => ODE_STEPS,
        }
    }

    /// Noise levels for this many steps.
    pub(crate) fn sigmas(self, range: NoiseRange, steps: usize) -> Result<Vec<f64>> {
        match self {
            Self::Multistep => default_sigmas(range, steps),
            Self::Heun | Self::Euler | Self::Dpmpp2m => ode_sigmas(range, steps),
        }
    }
}

/// Whether a model is a denoiser and no consistency model.
pub(crate) fn is_denoiser(card: &Card) -> bool {
    card.recipe.as_deref() == Some(Recipe::Diffusion.name())
}

/// Noise levels for this many steps: those that a search has found for the model, or the usual ones.
fn sigmas_of(card: &Card, sampler: Sampler, range: NoiseRange, steps: usize) -> Result<Vec<f64>> {
    match card.sigmas.get(&steps) {
        Some(found) if sampler == Sampler::Multistep => Ok(found.clone()),
        _ => sampler.sigmas(range, steps),
    }
}

/// Whether the model knows this class.
pub(crate) fn check_class(model: &dyn Denoiser, class: Option<u32>) -> anyhow::Result<()> {
    match (class, model.num_classes()) {
        (Some(class), None) => Err(mistake(format!("--class {class}: this model knows no classes"))),
        (Some(class), Some(classes)) if class as usize >= classes => {
            Err(mistake(format!("--class {class}: the model knows the classes 0 to {}", classes - 1)))
        }
        _ => Ok(()),
    }
}

/// How a model is to be sampled, as a person says it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SamplerArgs {
    /// How samples are drawn [default: multistep, and heun for a denoiser].
    #[arg(long, value_enum)]
    sampler: Option<Sampler>,
    /// Steps for each sample [default: 1, and 18 of an ODE].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    steps: Option<u16>,
    /// Noise levels, descending, in the place of --steps.
    #[arg(long, value_name = "S,S,..", value_delimiter = ',', conflicts_with = "steps")]
    sigmas: Vec<f64>,
    /// Noise levels by their number, as diffusers' `ConsistencyModelPipeline` takes them: 0 is the highest of the scheduler's
    /// `num_train_timesteps` levels.
    #[arg(long, value_name = "T,T,..", value_delimiter = ',', conflicts_with_all = ["steps", "sigmas"])]
    timesteps: Vec<usize>,
    /// How far samples are led towards their class, for a model trained with hidden labels; 1 is not at all.
    #[arg(long, value_name = "SCALE")]
    guidance: Option<f64>,
    /// Share of new noise between the steps of --sampler multistep: 1 takes it all anew, 0 none.
    #[arg(long, value_name = "GAMMA")]
    gamma: Option<f64>,
}

/// How a model is sampled.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) sampler: Sampler,
    /// Noise levels, descending.
    pub(crate) sigmas: Vec<f64>,
    pub(crate) guidance: Option<f64>,
    /// Share of new noise, if it is not all.
    pub(crate) gamma: Option<f64>,
}

impl Way {
    /// Evaluations of the network for each sample.
    pub(crate) fn evaluations(&self) -> usize {
        let steps = self.sigmas.len() - 1;
        match self.sampler {
            Sampler::Multistep => self.sigmas.len(),
            Sampler::Euler | Sampler::Dpmpp2m => steps,
            Sampler::Heun => (2 * steps).saturating_sub(usize::from(self.sigmas.last() == Some(&0.0))),
        }
    }
}

impl SamplerArgs {
    /// What was asked for, completed by what suits the model.
    pub(crate) fn way(&self, loaded: &Loaded) -> anyhow::Result<Way> {
        let (model, card) = (&loaded.model, &loaded.card);
        let (range, guidance, gamma) = (model.noise_range(), self.guidance, self.gamma);
        let sampler = self.sampler.unwrap_or_else(|| Sampler::of(card));
        if let Some(scale) = guidance {
            Guided::new(model, scale)?;
        }
        if let Some(gamma) = gamma {
            if sampler != Sampler::Multistep {
                return Err(mistake(format!(
                    "--gamma {gamma}: an ODE takes no new noise, so it has no share of it"
                )));
            }
            if !(0.0..=1.0).contains(&gamma) {
                return Err(mistake(format!("--gamma {gamma}: expected a number from 0 to 1")));
            }
        }
        let steps = self.steps.map_or(sampler.default_steps(), usize::from);
        let sigmas = match (&self.sigmas[..], &self.timesteps[..]) {
            ([], []) => sigmas_of(card, sampler, range, steps)?,
            ([], timesteps) => sigmas_at(timesteps, card.num_train_timesteps, range)?,
            (sigmas, _) => sigmas.to_vec(),
        };
        if sampler == Sampler::Multistep {
            check_sigmas(&sigmas, range)?;
            check_trained(card, &sigmas, range)?;
        } else {
            check_ode_sigmas(&sigmas, range)?;
        }
        Ok(Way { sampler, sigmas, guidance, gamma })
    }
}

/// The levels of these numbers on the scheduler's grid, the highest first.
fn sigmas_at(timesteps: &[usize], num_train_timesteps: usize, range: NoiseRange) -> anyhow::Result<Vec<f64>> {
    let NoiseRange { sigma_min, sigma_max, rho, .. } = range;
    let grid = KarrasGrid::new(num_train_timesteps, sigma_min, sigma_max, rho)?;
    let mut timesteps = timesteps.to_vec();
    timesteps.sort_unstable();
    let level = |&number: &usize| {
        grid.sigmas().iter().rev().nth(number).copied().ok_or_else(|| {
            mistake(format!(
                "--timesteps {number}: this model's scheduler has the numbers 0 to {}",
                num_train_timesteps.saturating_sub(1)
            ))
        })
    };
    timesteps.iter().map(level).collect()
}

/// Whether the model was trained at the noise levels that it is to be asked at.
pub(crate) fn check_trained(card: &Card, sigmas: &[f64], range: NoiseRange) -> anyhow::Result<()> {
    match (card.trained_from_sigma, sigmas.last()) {
        (Some(least), Some(&last)) if last < least => Err(mistake(format!(
            "the noise level {last} is below {least}, where this model was trained from (the second stage of TCM); name levels with --sigmas {},{least}",
            range.sigma_max
        ))),
        _ => Ok(()),
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
    /// Share of new noise between steps, if it is not all.
    pub(crate) gamma: Option<f64>,
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
    let sigmas = request.sigmas;
    let mut sample = |part: &Draw<'_>| match (request.sampler, request.gamma) {
        (Sampler::Multistep, None) => multistep(model, sigmas, noise, part),
        (Sampler::Multistep, Some(gamma)) => multistep_with_gamma(model, sigmas, gamma, noise, part),
        (Sampler::Heun, _) => heun(model, sigmas, noise, part),
        (Sampler::Euler, _) => euler(model, sigmas, noise, part),
        (Sampler::Dpmpp2m, _) => dpmpp_2m(model, sigmas, noise, part),
    };
    in_batches(&draw, request.batch_size, &mut sample, progress)
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
    check_sigmas(&sigmas, model.noise_range())?;
    Ok(sigmas)
}
