//! A set of samples: N rows of D values.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};

/// N samples of D finite values each, row after row.
///
/// ```
/// use ct_eval::Samples;
///
/// let points = Samples::new(vec![0.0, 1.0, 2.0, 3.0], 2)?;
/// assert_eq!((points.len(), points.dim()), (2, 2));
/// assert_eq!(points.row(1), [2.0, 3.0]);
/// # Ok::<(), ct_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    values: Vec<f32>,
    dim: usize,
}

impl Samples {
    /// Samples of `dim` values each, from all values in a row.
    ///
    /// # Errors
    /// [`Error::Ragged`] when `dim` is 0 or does not divide the number of values,
    /// [`Error::NotFinite`] for a NaN or an infinity.
    pub fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Error::Ragged { values: values.len(), dim });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Error::NotFinite { sample: at / dim, position: at % dim }),
            None => Ok(Self { values, dim }),
        }
    }

    /// Samples from a tensor, each flattened.
    ///
    /// # Shapes
    /// `x`: `[N, ..]`, any float type, on any device.
    ///
    /// # Errors
    /// As for [`Samples::new`], or when the tensor cannot be read.
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        let dim = x.dims().iter().skip(1).product();
        Self::new(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, dim)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values per sample.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The values of one sample.
    ///
    /// # Panics
    /// When there is no such sample, as for a slice.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// The samples, in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    /// `len` samples from the one of index `start` on.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        let values = self.values[start * self.dim..(start + len) * self.dim].to_vec();
        Self { values, dim: self.dim }
    }

    /// The given samples, in the given order.
    pub(crate) fn select(&self, indices: &[u32]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index as usize)).copied().collect();
        Self { values, dim: self.dim }
    }
}

/// Whether both sets have samples of one size, and at least `needed` of them.
pub(crate) fn check_pair(measure: &'static str, x: &Samples, y: &Samples, needed: usize) -> Result<()> {
    if x.dim() != y.dim() {
        return Err(Error::Dimension { left: x.dim(), right: y.dim() });
    }
    let got = x.len().min(y.len());
    if got < needed { Err(Error::TooFewSamples { measure, needed, got }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_not_a_set_of_samples_is_refused() {
        assert!(matches!(Samples::new(vec![1.0; 5], 2), Err(Error::Ragged { values: 5, dim: 2 })));
        assert!(matches!(Samples::new(vec![], 0), Err(Error::Ragged { .. })));
        let with_nan = Samples::new(vec![0.0, 1.0, f32::NAN, 0.0], 2);
        assert!(matches!(with_nan, Err(Error::NotFinite { sample: 1, position: 0 })));
    }

    #[test]
    fn images_are_flattened() {
        let x = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap();
        let samples = Samples::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
        assert_eq!((samples.len(), samples.dim()), (2, 12));
        assert_eq!(samples.row(1)[0].to_bits(), 12f32.to_bits());
    }
}
