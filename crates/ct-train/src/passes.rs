//! The passes of a training step: f at one noise level and its target at a smaller one, on the same noise.
//!
//! Song et al. 2023, algorithms 2 and 3; what the recipes fill in is in [`objective`](crate::Objective).

use candle_core::Tensor;
use ct_kernels::{Value, linear};
use ct_model::{Conditions, Dropout, Network, Weights, consistency_function};
use ct_schedule::Preconditioning;

use crate::teacher::scale_rows;
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
    /// Label of each sample, if the network knows classes.
    pub labels: Option<Vec<u32>>,
    /// How each image was augmented, if some are: `[B, 9]`.
    pub augment_labels: Option<Tensor>,
    /// Number of each image, counted over the whole run: the key of its dropout masks.
    pub images: Vec<u64>,
}

impl Examples {
    /// The larger noise level of each sample.
    pub fn sigma_hi(&self) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair.sigma_hi).collect()
    }

    /// x0 + sigma z, with a sigma for each sample: every noise level has the same noise.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn at(&self, sigma: &[f64]) -> Result<Tensor> {
        Ok((&self.x0 + scale_rows(&self.noise, sigma)?)?)
    }

    /// The samples in `rows` alone.
    pub(crate) fn select(&self, rows: &[usize]) -> Result<Self> {
        if rows.len() == self.pairs.len() {
            return Ok(self.clone());
        }
        Ok(Self {
            x0: select_rows(&self.x0, rows)?,
            noise: select_rows(&self.noise, rows)?,
            pairs: rows.iter().map(|&row| self.pairs[row]).collect(),
            augment_labels: self.augment_labels.as_ref().map(|x| select_rows(x, rows)).transpose()?,
            labels: self.labels.as_ref().map(|labels| rows.iter().map(|&row| labels[row]).collect()),
            images: rows.iter().map(|&row| self.images[row]).collect(),
        })
    }
}

/// A network in training: its dropout is on, with masks that belong to the images.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// How its output becomes an estimate.
    pub preconditioning: Preconditioning,
    /// What embeds the labels of augmentation, if images are augmented: `[E, 9]`.
    pub augment_weight: Option<&'a Value>,
    /// Seed of the dropout masks.
    pub seed: u64,
}

impl Training<'_> {
    /// f(x, sigma) with a sigma for each sample, and the same dropout masks in every call.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    pub fn f(&self, weights: &Weights, examples: &Examples, x: &Tensor, sigma: &[f64]) -> Result<Value> {
        let extra = self.extra_embedding(examples)?;
        let conditions = self.conditions(examples, extra.as_ref());
        let (preconditioning, x) = (&self.preconditioning, Value::from(x));
        Ok(consistency_function(self.network, weights, preconditioning, &x, sigma, &conditions)?)
    }

    /// The network itself on an input that is already scaled, with the same dropout masks in every call.
    ///
    /// # Errors
    /// Shapes or labels that the network does not take.
    pub fn raw(&self, weights: &Weights, examples: &Examples, x: &Value, c_noise: &Value) -> Result<Value> {
        let extra = self.extra_embedding(examples)?;
        Ok(self.network.forward(weights, &self.conditions(examples, extra.as_ref()).input(x, c_noise))?)
    }

    fn conditions<'b>(&self, examples: &'b Examples, extra_embedding: Option<&'b Value>) -> Conditions<'b> {
        Conditions {
            class_labels: examples.labels.as_deref(),
            dropout: Some(Dropout { seed: self.seed, images: &examples.images }),
            extra_embedding,
        }
    }

    fn extra_embedding(&self, examples: &Examples) -> Result<Option<Value>> {
        let (Some(labels), Some(weight)) = (&examples.augment_labels, self.augment_weight) else {
            return Ok(None);
        };
        Ok(Some(linear(&Value::from(labels), weight, None)?))
    }

    /// What the student should say at the larger noise level, without a gradient:
    /// what `teacher` says at the smaller one, or the clean sample where there is none.
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
        let f_lo = self.f(teacher, &noisy, &noisy.at(&sigma_lo)?, &sigma_lo)?;
        replace_rows(&examples.x0, &rows, f_lo.tensor())
    }

    /// The student's estimate at the larger noise level, recorded if its weights are on a tape.
    ///
    /// # Errors
    /// Shapes, labels or noise levels that the network does not take.
    pub fn estimate(&self, student: &Weights, examples: &Examples) -> Result<Value> {
        let sigma_hi = examples.sigma_hi();
        self.f(student, examples, &examples.at(&sigma_hi)?, &sigma_hi)
    }
}

pub(crate) fn select_rows(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let rows = rows.iter().map(|&row| x.narrow(0, row, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?)
}

/// `x` with some rows replaced by `with`.
pub(crate) fn replace_rows(x: &Tensor, rows: &[usize], with: &Tensor) -> Result<Tensor> {
    if rows.len() == x.dim(0)? {
        return Ok(with.clone());
    }
    let mut all = (0..x.dim(0)?).map(|row| x.narrow(0, row, 1)).collect::<candle_core::Result<Vec<_>>>()?;
    for (idx, &row) in rows.iter().enumerate() {
        all[row] = with.narrow(0, idx, 1)?;
    }
    Ok(Tensor::cat(&all, 0)?)
}
