//! Mean and covariance of a set of samples.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    samples::{Samples, check_pair},
};

/// Mean and covariance of a set of samples: all that the Fréchet distance sees of it.
///
/// ```
/// use ct_eval::{Moments, Samples};
///
/// let moments = Moments::of(&Samples::new(vec![1.0, 0.0, 3.0, 0.0], 2)?)?;
/// assert_eq!(moments.mean(), [2.0, 0.0]);
/// assert_eq!(moments.covariance(), [2.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), ct_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub(crate) mean: DVector<f64>,
    pub(crate) covariance: DMatrix<f64>,
}

impl Moments {
    /// The moments of a set; the covariance divides by N - 1.
    ///
    /// # Errors
    /// [`Error::TooFewSamples`] for less than two samples.
    pub fn of(samples: &Samples) -> Result<Self> {
        check_pair("a covariance", samples, samples, 2)?;
        let (num, dim) = (samples.len() as f64, samples.dim());
        let mut mean = DVector::<f64>::zeros(dim);
        for row in samples.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean /= num;
        // Column j holds value j of every sample, so that a covariance is the product of two columns.
        let centered = DMatrix::from_fn(samples.len(), dim, |i, j| f64::from(samples.row(i)[j]) - mean[j]);
        let columns: Vec<Vec<f64>> = (0..dim)
            .into_par_iter()
            .map(|j| (0..=j).map(|i| centered.column(i).dot(&centered.column(j)) / (num - 1.0)).collect())
            .collect();
        let covariance = DMatrix::from_fn(dim, dim, |i, j| columns[i.max(j)][i.min(j)]);
        Ok(Self { mean, covariance })
    }

    /// Moments that are known.
    ///
    /// # Shapes
    /// `mean`: `[D]`; `covariance`: `[D, D]`, row after row, of which the symmetric part is taken.
    ///
    /// # Errors
    /// [`Error::Ragged`] when the sizes do not fit, [`Error::NotFinite`] for a NaN or an infinity.
    pub fn new(mean: &[f64], covariance: &[f64]) -> Result<Self> {
        let dim = mean.len();
        if dim == 0 || covariance.len() != dim * dim {
            return Err(Error::Ragged { values: covariance.len(), dim });
        }
        if let Some(at) = mean.iter().chain(covariance).position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { sample: at / dim, position: at % dim });
        }
        let covariance = DMatrix::from_row_slice(dim, dim, covariance);
        let covariance = (&covariance + covariance.transpose()) * 0.5;
        Ok(Self { mean: DVector::from_row_slice(mean), covariance })
    }

    /// The mean, `[D]`.
    pub fn mean(&self) -> &[f64] {
        self.mean.as_slice()
    }

    /// The covariance, `[D, D]`; it is symmetric, so rows are columns.
    pub fn covariance(&self) -> &[f64] {
        self.covariance.as_slice()
    }

    /// Values per sample.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }
}
