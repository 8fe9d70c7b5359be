//! Pictures of a run, always from the same noise.

use anyhow::Result;
use candle_core::Tensor;
use ct_data::Dataset;
use ct_model::{ConsistencyModel, Denoiser as _};
use ct_sample::SeededNoise;
use image::DynamicImage;

use crate::config::{Config, SampleConfig};
use crate::picture;
use crate::sampling::{self, Sampler};

/// Points of the data that lie below a plot.
const DATA_POINTS: usize = 4000;
/// Samples in a plot of points, at least: fewer do not show a shape.
const SAMPLE_POINTS: usize = 1000;

/// Draws pictures of the samples of a model, always from the same noise.
#[derive(Debug)]
pub(crate) struct Pictures {
    config: SampleConfig,
    sampler: Sampler,
    noise: SeededNoise,
    data: Option<Tensor>,
    clip: bool,
}

impl Pictures {
    /// Pictures for a run on `data`, with estimates of images clipped if `clip_denoised`.
    pub(crate) fn new(config: &Config, data: &Dataset, clip_denoised: bool) -> Result<Self> {
        let mut sample = config.sample.clone();
        let mut points = None;
        if data.sample_shape().len() == 1 {
            sample.num = sample.num.max(SAMPLE_POINTS);
            points = Some(data.tensor(&(0..data.len().min(DATA_POINTS)).collect::<Vec<_>>())?);
        }
        let sampler = Sampler::of_recipe(config.train.recipe.makes_denoiser());
        let noise = SeededNoise { seed: config.seed, first_index: 0 };
        let clip = clip_denoised && points.is_none();
        Ok(Self { config: sample, sampler, noise, data: points, clip })
    }

    /// Samples as the model is usually drawn from.
    pub(crate) fn usual(&self, model: &ConsistencyModel) -> Result<DynamicImage> {
        let sigmas = self.sampler.sigmas(model.noise_range(), self.sampler.default_steps())?;
        self.draw(model, &sigmas)
    }

    /// The pictures of a finished run, by the names of their files; none asks the model below the noise of its training.
    pub(crate) fn last(
        &self,
        model: &ConsistencyModel,
        trained_from_sigma: Option<f64>,
    ) -> Result<Vec<(&'static str, DynamicImage)>> {
        Ok(match self.sampler {
            Sampler::Multistep => {
                let mut two_steps = sampling::two_step_sigmas(model, self.config.two_step_sigma)?;
                two_steps[1] = two_steps[1].max(trained_from_sigma.unwrap_or(0.0));
                vec![("one-step.png", self.usual(model)?), ("two-step.png", self.draw(model, &two_steps)?)]
            }
            Sampler::Heun | Sampler::Euler | Sampler::Dpmpp2m => vec![("ode.png", self.usual(model)?)],
        })
    }

    /// As many samples as asked for, drawn as the model is usually drawn from.
    ///
    /// # Shapes
    /// The result is `[num, C, H, W]` or `[num, D]`.
    pub(crate) fn samples(&self, model: &ConsistencyModel, num: usize) -> Result<Tensor> {
        let sigmas = self.sampler.sigmas(model.noise_range(), self.sampler.default_steps())?;
        self.sample(model, num, &sigmas)
    }

    fn draw(&self, model: &ConsistencyModel, sigmas: &[f64]) -> Result<DynamicImage> {
        let samples = self.sample(model, self.config.num, sigmas)?;
        picture::picture(&samples, self.config.columns, self.data.as_ref())
    }

    fn sample(&self, model: &ConsistencyModel, num: usize, sigmas: &[f64]) -> Result<Tensor> {
        let class_labels = sampling::classes_in_turn(model, num);
        let request = sampling::Request {
            num,
            sampler: self.sampler,
            sigmas,
            class_labels: class_labels.as_deref(),
            guidance: None,
            gamma: None,
            clip: self.clip,
            batch_size: sampling::batch_size(model.sample_shape()),
        };
        Ok(sampling::draw(model, &self.noise, &request, &mut |_| ())?)
    }
}
