//! Skip parameterization: f(x, sigma) = `c_skip` x + `c_out` F(`c_in` x, `c_noise`).
//!
//! One definition serves consistency models (boundary at `sigma_min`), EDM denoisers (boundary at 0) and `TrigFlow`;
//! they differ in their coefficients alone, which are the same in training and sampling.
//! The reference code of ECT trains with the boundary at 0 and samples with another; we do not.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ct_kernels::{self as ops, Value};
use ct_schedule::{Coefficients, Preconditioning};

use crate::{
    Conditions, Denoiser, Error, Network, NoiseRange, Parameterization, Params, Precision, Result, Weights,
};

/// f(x, sigma) as a differentiable function of the weights.
///
/// # Shapes
/// `x: [B, C, H, W]` or `[B, D]`, noisy; `sigma` and the labels hold one entry for each sample; the result has the shape of `x`.
///
/// # Errors
/// A shape, a label or a sigma (below the boundary, 0, not finite) that the network does not take.
pub fn consistency_function(
    network: &dyn Network,
    weights: &Weights,
    preconditioning: &Preconditioning,
    x: &Value,
    sigma: &[f64],
    conditions: &Conditions<'_>,
) -> Result<Value> {
    if x.dims().first() != Some(&sigma.len()) {
        return Err(Error::Shape {
            what: "noisy samples, one for each sigma",
            expected: vec![sigma.len()],
            got: x.dims().to_vec(),
        });
    }
    let sigma_min = preconditioning.boundary();
    let takes = |sigma: f64| (sigma_min.max(f64::MIN_POSITIVE)..f64::INFINITY).contains(&sigma);
    if let Some(&sigma) = sigma.iter().find(|&&sigma| !takes(sigma)) {
        return Err(Error::Sigma { sigma, sigma_min });
    }
    let c: Vec<Coefficients> = sigma.iter().map(|&sigma| preconditioning.coefficients(sigma)).collect();
    let column = |of: fn(&Coefficients) -> f64| c.iter().map(of).collect::<Vec<_>>();

    let c_noise = Tensor::new(column(|c| c.c_noise), x.tensor().device())?.to_dtype(x.tensor().dtype())?;
    let scaled = ops::scale_samples(x, &column(|c| c.c_in))?;
    let output = network.forward(weights, &conditions.input(&scaled, &Value::from(c_noise)))?;
    if output.dims() != x.dims() {
        let (expected, got) = (x.dims().to_vec(), output.dims().to_vec());
        return Err(Error::Shape {
            what: "output of the network, which must estimate a clean sample",
            expected,
            got,
        });
    }
    Ok(ops::add(
        &ops::scale_samples(x, &column(|c| c.c_skip))?,
        &ops::scale_samples(&output, &column(|c| c.c_out))?,
    )?)
}

/// A network, its weights and the range of noise that it was trained for.
#[derive(Clone, Debug)]
pub struct ConsistencyModel {
    network: Arc<dyn Network>,
    params: Params,
    range: NoiseRange,
    parameterization: Parameterization,
    preconditioning: Preconditioning,
    has_null_label: bool,
    precision: Precision,
    device: Device,
}

impl ConsistencyModel {
    /// Puts the parts of a consistency model together.
    ///
    /// # Errors
    /// Numbers that no model can have, such as a `sigma_min` above `sigma_max`.
    pub fn new(network: Arc<dyn Network>, params: Params, range: NoiseRange) -> Result<Self> {
        Self::with_parameterization(network, params, range, Parameterization::Consistency)
    }

    /// Puts the parts of a model together whose network is used as `parameterization` says.
    ///
    /// # Errors
    /// Numbers that no model can have, such as a `sigma_min` above `sigma_max`, or a network that cannot be used so.
    pub fn with_parameterization(
        network: Arc<dyn Network>,
        params: Params,
        range: NoiseRange,
        parameterization: Parameterization,
    ) -> Result<Self> {
        range.validate()?;
        parameterization.check_network(&*network, &range)?;
        let preconditioning = parameterization.preconditioning(&range)?;
        let device = params.device().clone();
        let (has_null_label, precision) = (false, Precision::default());
        Ok(Self {
            network,
            params,
            range,
            parameterization,
            preconditioning,
            has_null_label,
            precision,
            device,
        })
    }

    /// The same model, whose network's last label stands for no class in particular
    /// (Ho & Salimans 2022, "Classifier-Free Diffusion Guidance").
    #[must_use]
    pub fn with_null_label(self, has_null_label: bool) -> Self {
        Self { has_null_label, ..self }
    }

    /// The same model, whose network computes in `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The network without its numbers.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// The numbers.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How the network's output becomes an estimate.
    pub fn parameterization(&self) -> Parameterization {
        self.parameterization
    }

    /// f(x, sigma) with a sigma for each sample.
    ///
    /// # Shapes
    /// `x: [B, C, H, W]` or `[B, D]`; the result has the same shape.
    ///
    /// # Errors
    /// A shape, a label or a sigma that the network does not take.
    pub fn f(&self, x: &Tensor, sigma: &[f64], class_labels: Option<&[u32]>) -> Result<Tensor> {
        Ok(self.f_value(&Value::from(x), sigma, class_labels)?.into_tensor())
    }

    /// f(x, sigma) as a differentiable function of x; the weights are constants.
    ///
    /// # Shapes
    /// As for [`ConsistencyModel::f`].
    ///
    /// # Errors
    /// As for [`ConsistencyModel::f`].
    pub fn f_value(&self, x: &Value, sigma: &[f64], class_labels: Option<&[u32]>) -> Result<Value> {
        consistency_function(
            &*self.network,
            &self.weights(),
            &self.preconditioning,
            x,
            sigma,
            &Conditions { class_labels, ..Conditions::default() },
        )
    }

    /// The raw network F on an input that is already scaled.
    ///
    /// # Shapes
    /// `sample: [B, C, H, W]` or `[B, D]`; `timestep: [B]`, what the network is fed; the result has the shape of `sample`.
    ///
    /// # Errors
    /// A shape or a label that the network does not take.
    pub fn raw(&self, sample: &Tensor, timestep: &Tensor, class_labels: Option<&[u32]>) -> Result<Tensor> {
        let (x, c_noise) = (Value::from(sample), Value::from(timestep));
        let conditions = Conditions { class_labels, ..Conditions::default() };
        Ok(self.network.forward(&self.weights(), &conditions.input(&x, &c_noise))?.tensor().clone())
    }

    fn weights(&self) -> Weights {
        self.params.constants().with_precision(self.precision)
    }
}

impl Denoiser for ConsistencyModel {
    fn denoise(&self, x: &Tensor, sigma: f64, class_labels: Option<&[u32]>) -> candle_core::Result<Tensor> {
        let batch = x.dims().first().copied().unwrap_or(0);
        self.f(x, &vec![sigma; batch], class_labels).map_err(candle_core::Error::wrap)
    }

    fn sample_shape(&self) -> &[usize] {
        self.network.sample_shape()
    }

    fn noise_range(&self) -> NoiseRange {
        self.range
    }

    fn num_classes(&self) -> Option<usize> {
        self.network.num_classes().map(|labels| labels - usize::from(self.has_null_label))
    }

    fn null_label(&self) -> Option<u32> {
        let last = self.network.num_classes().filter(|_| self.has_null_label)?.checked_sub(1)?;
        u32::try_from(last).ok()
    }

    fn device(&self) -> &Device {
        &self.device
    }
}
