//! Test doubles with a known answer: models of a Gaussian, in closed form.
//!
//! For data x ~ N(mean, variance) (each value on its own) and noise of scale sigma:
//!
//! ```text
//! denoiser              D(x, sigma) = mean + variance / (variance + sigma^2) (x - mean)
//! flow of the ODE       x(s) = mean + sqrt((variance + s^2) / (variance + sigma^2)) (x - mean)
//! consistency function  f(x, sigma) = the flow from sigma to sigma_min
//! ```

use candle_core::{DType, Device, Tensor};
use ct_model::{Denoiser, NoiseRange};

use crate::error::{Error, Result};

/// A Gaussian whose values are independent, and the noise range of the model that plays it.
#[derive(Debug, Clone)]
pub struct Gaussian {
    /// Mean, in the shape of one sample.
    pub mean: Tensor,
    /// Variance, in the shape of one sample.
    pub variance: Tensor,
    /// Noise range of the model; 0.002 to 80 unless changed.
    pub range: NoiseRange,
}

impl Gaussian {
    /// A Gaussian of the given mean and variance.
    ///
    /// # Shapes
    /// Both: `[C, H, W]` or `[D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when they differ in shape.
    pub fn new(mean: &Tensor, variance: &Tensor) -> Result<Self> {
        if mean.dims() != variance.dims() {
            return Err(Error::Shape {
                what: "variance".into(),
                expected: format!("{:?}, as the mean", mean.dims()),
                got: variance.dims().to_vec(),
            });
        }
        let range = NoiseRange::default();
        Ok(Self { mean: mean.to_dtype(DType::F32)?, variance: variance.to_dtype(DType::F32)?, range })
    }

    /// A Gaussian with the same mean and variance everywhere, on the CPU.
    ///
    /// # Errors
    /// When the tensors cannot be made.
    pub fn isotropic(shape: &[usize], mean: f64, variance: f64) -> Result<Self> {
        let ones = Tensor::ones(shape, DType::F32, &Device::Cpu)?;
        Self::new(&(&ones * mean)?, &(&ones * variance)?)
    }

    /// Where the ODE takes x from one level to another.
    ///
    /// # Shapes
    /// `x`: `[B, ..]` at the level `from`; the result has its shape, at the level `to`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn flow(&self, x: &Tensor, from: f64, to: f64) -> candle_core::Result<Tensor> {
        let scale = ((&self.variance + to * to)? / (&self.variance + from * from)?)?.sqrt()?;
        self.shrink(x, &scale)
    }

    /// The mean of the clean sample, given x.
    fn posterior_mean(&self, x: &Tensor, sigma: f64) -> candle_core::Result<Tensor> {
        let scale = (&self.variance / (&self.variance + sigma * sigma)?)?;
        self.shrink(x, &scale)
    }

    /// mean + scale (x - mean).
    fn shrink(&self, x: &Tensor, scale: &Tensor) -> candle_core::Result<Tensor> {
        x.broadcast_sub(&self.mean)?.broadcast_mul(scale)?.broadcast_add(&self.mean)
    }
}

/// The exact denoiser of a Gaussian.
#[derive(Debug, Clone)]
pub struct GaussianDenoiser {
    gaussian: Gaussian,
}

impl GaussianDenoiser {
    /// The denoiser of this Gaussian.
    pub fn new(gaussian: Gaussian) -> Self {
        Self { gaussian }
    }

    /// The Gaussian.
    pub fn gaussian(&self) -> &Gaussian {
        &self.gaussian
    }
}

/// The exact consistency function of a Gaussian, which keeps noise of scale `sigma_min`: f(x, `sigma_min`) = x.
#[derive(Debug, Clone)]
pub struct GaussianConsistency {
    gaussian: Gaussian,
    num_classes: Option<usize>,
}

impl GaussianConsistency {
    /// The consistency function of this Gaussian, without classes.
    pub fn new(gaussian: Gaussian) -> Self {
        Self { gaussian, num_classes: None }
    }

    /// The same function, which takes class labels and ignores them.
    #[must_use]
    pub fn with_num_classes(mut self, num_classes: usize) -> Self {
        self.num_classes = Some(num_classes);
        self
    }

    /// The Gaussian.
    pub fn gaussian(&self) -> &Gaussian {
        &self.gaussian
    }
}

impl Denoiser for GaussianDenoiser {
    fn denoise(&self, x: &Tensor, sigma: f64, _class_labels: Option<&[u32]>) -> candle_core::Result<Tensor> {
        self.gaussian.posterior_mean(x, sigma)
    }
    fn sample_shape(&self) -> &[usize] {
        self.gaussian.mean.dims()
    }
    fn noise_range(&self) -> NoiseRange {
        self.gaussian.range
    }
    fn num_classes(&self) -> Option<usize> {
        None
    }
    fn device(&self) -> &Device {
        self.gaussian.mean.device()
    }
}

impl Denoiser for GaussianConsistency {
    fn denoise(&self, x: &Tensor, sigma: f64, _class_labels: Option<&[u32]>) -> candle_core::Result<Tensor> {
        self.gaussian.flow(x, sigma, self.gaussian.range.sigma_min)
    }
    fn sample_shape(&self) -> &[usize] {
        self.gaussian.mean.dims()
    }
    fn noise_range(&self) -> NoiseRange {
        self.gaussian.range
    }
    fn num_classes(&self) -> Option<usize> {
        self.num_classes
    }
    fn device(&self) -> &Device {
        self.gaussian.mean.device()
    }
}
