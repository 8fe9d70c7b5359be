//! The loss of a batch: f at one noise level against a target at a smaller one, on the same noise.
//!
//! Song et al. 2023, algorithms 2 and 3; what the recipes fill in is in [`objective`](crate::Objective).

use candle_core::{Device, Tensor};
use ct_kernels::{Metric, Value, distance};
use ct_model::{Dropout, Network, NoiseRange, Weights, consistency_function};

use crate::{Pair, Result};

/// Samples of a batch, with everything that was drawn for them.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Clean samples: `[B, C, H, W]` or `[B, D]`.
    pub x0: Tensor,
    /// Unit normal noise, as large.
    pub noise: Tensor,
    /// Noise levels and weight of each sample.
    pub pairs: Vec<Pair>,
    /// Label of each sample.
    pub labels: Option<Vec<u32>>,
    /// Number of each image, counted over the whole run: the key of its dropout masks.
    pub images: Vec<u64>,
}

impl Examples {
    /// The samples in `rows` alone.
    fn select(&self, rows: &[usize]) -> Result<Self> {
        if rows.len() == self.pairs.len() {
            return Ok(self.clone());
        }
        Ok(Self {
            x0: select_rows(&self.x0, rows)?,
            noise: select_rows(&self.noise, rows)?,
            pairs: rows.iter().map(|&row| self.pairs[row]).collect(),
            labels: self.labels.as_ref().map(|labels| rows.iter().map(|&row| labels[row]).collect()),
            images: rows.iter().map(|&row| self.images[row]).collect(),
        })
    }
}

/// The consistency function of a network in training: its dropout is on, with masks that belong to the images.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// Its range of noise.
    pub range: NoiseRange,
    /// Seed of the dropout masks.
    pub seed: u64,
}

impl Training<'_> {
    /// f(x0 + sigma z, sigma) with a sigma for each sample, and the same dropout masks in every call.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    pub fn f(&self, weights: &Weights, examples: &Examples, sigma: &[f64]) -> Result<Value> {
        let x = Value::from(add_noise(&examples.x0, &examples.noise, sigma)?);
        let labels = examples.labels.as_deref().filter(|_| self.network.num_classes().is_some());
        let dropout = Some(Dropout { seed: self.seed, images: &examples.images });
        Ok(consistency_function(self.network, weights, &self.range, &x, sigma, labels, dropout)?)
    }

    /// What the student should say, without a gradient: f at the smaller noise level, or the clean sample.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    pub fn target(&self, teacher: &Weights, examples: &Examples) -> Result<Tensor> {
        let noisy = |row: &usize| examples.pairs[*row].sigma_lo.is_some();
        let rows: Vec<usize> = (0..examples.pairs.len()).filter(noisy).collect();
        if rows.is_empty() {
            return Ok(examples.x0.clone());
        }
        let noisy = examples.select(&rows)?;
        let sigma_lo: Vec<f64> = noisy.pairs.iter().filter_map(|pair| pair.sigma_lo).collect();
        let f_lo = self.f(teacher, &noisy, &sigma_lo)?;
        replace_rows(&examples.x0, &rows, f_lo.tensor())
    }

    /// The weighted difference between the student and `target`, mean over the samples: a scalar.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    pub fn loss(
        &self,
        student: &Weights,
        examples: &Examples,
        target: &Tensor,
        metric: Metric,
    ) -> Result<Value> {
        let sigma_hi: Vec<f64> = examples.pairs.iter().map(|pair| pair.sigma_hi).collect();
        let weights: Vec<f64> = examples.pairs.iter().map(|pair| pair.weight).collect();
        let f_hi = self.f(student, examples, &sigma_hi)?;
        Ok(distance(&f_hi, target, metric, &weights)?)
    }
}

/// `x0 + sigma z`, with a sigma for each sample.
fn add_noise(x0: &Tensor, noise: &Tensor, sigma: &[f64]) -> Result<Tensor> {
    let mut shape = vec![1; x0.rank()];
    shape[0] = sigma.len();
    let sigma =
        Tensor::new(sigma, &Device::Cpu)?.to_dtype(x0.dtype())?.to_device(x0.device())?.reshape(shape)?;
    Ok((x0 + noise.broadcast_mul(&sigma)?)?)
}

fn select_rows(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let rows = rows.iter().map(|&row| x.narrow(0, row, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?)
}

/// `x` with some rows replaced by `with`.
fn replace_rows(x: &Tensor, rows: &[usize], with: &Tensor) -> Result<Tensor> {
    if rows.len() == x.dim(0)? {
        return Ok(with.clone());
    }
    let mut all = (0..x.dim(0)?).map(|row| x.narrow(0, row, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    for (idx, &row) in rows.iter().enumerate() {
        all[row] = with.narrow(0, idx, 1)?;
    }
    Ok(Tensor::cat(&all, 0)?)
}
