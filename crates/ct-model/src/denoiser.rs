//! What samplers, edits and metrics need of a model.

use candle_core::{Device, Tensor};
use ct_schedule::{KarrasGrid, Preconditioning};
use serde::{Deserialize, Serialize};

/// The range of noise that a model was trained for, and the scale of its data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseRange {
    /// Standard deviation of the least noise; the boundary condition f(x, `sigma_min`) = x holds here.
    pub sigma_min: f64,
    /// Standard deviation of the noise that one-step sampling starts from.
    pub sigma_max: f64,
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// Exponent of the Karras grid.
    pub rho: f64,
}

impl NoiseRange {
    /// Checks that a model can have this range.
    ///
    /// # Errors
    /// A number that is not positive and finite, or a `sigma_min` that is not below `sigma_max`.
    pub fn validate(&self) -> crate::Result<()> {
        KarrasGrid::new(2, self.sigma_min, self.sigma_max, self.rho)?;
        Preconditioning::consistency(self.sigma_min, self.sigma_data)?;
        Ok(())
    }
}

impl Default for NoiseRange {
    /// The values of the published models (Song et al. 2023, appendix C).
    fn default() -> Self {
        Self { sigma_min: 0.002, sigma_max: 80.0, sigma_data: 0.5, rho: 7.0 }
    }
}

/// A model that estimates the clean sample from a noisy one: f(x, sigma) of a consistency model,
/// D(x, sigma) of a diffusion model, or an analytic stand-in.
pub trait Denoiser: Send + Sync {
    /// Estimates the clean samples.
    ///
    /// # Shapes
    /// `x: [B, C, H, W]` or `[B, D]`, noisy; the result has the same shape.
    /// `sigma` is the standard deviation of the noise in the whole batch; `class_labels`, one for each sample.
    ///
    /// # Errors
    /// A shape, a label or a sigma that the model does not take.
    fn denoise(&self, x: &Tensor, sigma: f64, class_labels: Option<&[u32]>) -> candle_core::Result<Tensor>;

    /// Shape of one sample, without the batch: `[C, H, W]` or `[D]`.
    fn sample_shape(&self) -> &[usize];

    /// The range of noise that the model was trained for.
    fn noise_range(&self) -> NoiseRange;

    /// How many classes the model knows, if any.
    fn num_classes(&self) -> Option<usize>;

    /// The label that stands for no class in particular, if the model was trained with one: what guidance needs.
    fn null_label(&self) -> Option<u32> {
        None
    }

    /// Where the model's weights are.
    fn device(&self) -> &Device;
}
