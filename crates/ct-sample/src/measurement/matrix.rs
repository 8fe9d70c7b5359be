//! Any linear measurement, given as a matrix.
//!
//! A = U S V^T (singular value decomposition, in f64); M = the rows of V^T whose singular value is large enough,
//! c = S^-1 U^T y. Small singular values are dropped: they would make noise of the rounding of y.

use candle_core::{Device, Tensor};
use nalgebra::DMatrix;

use super::{Measurement, check_shape};
use crate::error::{Error, Result};

/// Singular values below this share of the largest are dropped, unless somebody says otherwise.
pub const DEFAULT_RCOND: f64 = 1e-3;

/// A measurement by a matrix: y = A x, of whole samples or of each channel.
#[derive(Debug, Clone)]
pub struct MatrixMeasurement {
    /// A^T, `[d, m]` f32.
    observe: Tensor,
    /// U S^-1, `[m, r]` f32: what observations are multiplied by.
    coordinates: Tensor,
    /// V, `[d, r]` f32: M^T.
    basis: Tensor,
    shape: Vec<usize>,
    /// How many vectors of length d one sample is.
    parts: usize,
}

impl MatrixMeasurement {
    /// The measurement of samples of the shape `shape` by the matrix `matrix`.
    ///
    /// # Shapes
    /// `matrix`: `[m, d]`, any float type, with d the number of values of a sample,
    /// or H W of an image: then every channel is measured on its own.
    ///
    /// # Errors
    /// [`Error::Shape`] when d fits neither, [`Error::Rank`] when no singular value is left,
    /// [`Error::Rcond`] when `rcond` is not in [0, 1), [`Error::Svd`] when the decomposition does not converge.
    pub fn new(matrix: &Tensor, shape: &[usize], rcond: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&rcond) {
            return Err(Error::Rcond { rcond });
        }
        let values: usize = shape.iter().product();
        let in_channel = if shape.len() == 3 { shape[1] * shape[2] } else { values };
        let &[rows, columns] = matrix.dims() else {
            return Err(Self::misfit(matrix, values, in_channel));
        };
        if rows == 0 || (columns != values && columns != in_channel) {
            return Err(Self::misfit(matrix, values, in_channel));
        }
        let entries = matrix.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let Svd { u, s, v, .. } = decompose(&DMatrix::from_row_slice(rows, columns, &entries), rcond)?;
        let device = matrix.device();
        let scaled = DMatrix::from_fn(u.nrows(), s.len(), |row, k| u[(row, k)] / s[k]);
        Ok(Self {
            observe: matrix.to_dtype(candle_core::DType::F32)?.t()?.contiguous()?,
            coordinates: tensor(&scaled, device)?,
            basis: tensor(&v, device)?,
            shape: shape.to_vec(),
            parts: values / columns,
        })
    }

    fn misfit(matrix: &Tensor, values: usize, in_channel: usize) -> Error {
        let channel = if in_channel == values {
            String::new()
        } else {
            format!(", or {in_channel} for a measurement of each channel")
        };
        Error::Shape {
            what: "the measurement matrix".into(),
            expected: format!(
                "[m, d] with m > 0 and d = {values}, the number of values of a sample{channel}"
            ),
            got: matrix.dims().to_vec(),
        }
    }

    /// How many coordinates are known of each vector: the rank, without what was dropped.
    pub fn rank(&self) -> usize {
        self.basis.dims()[1]
    }

    /// The product of the vectors of a batch with a matrix `[d, k]`: `[N, parts, k]`.
    fn times(&self, what: &str, x: &Tensor, matrix: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let num = check_shape(what, x, shape)?;
        let (d, k) = matrix.dims2()?;
        let rows = x.contiguous()?.reshape((num * self.parts, d))?;
        Ok(rows.matmul(&matrix.to_device(x.device())?)?.reshape((num, self.parts, k))?)
    }
}

impl Measurement for MatrixMeasurement {
    /// The numbers A x, `[N, 1 or C, m]`.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        self.times("a batch to be measured", x, &self.observe, &self.shape)
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        let shape = [self.parts, self.coordinates.dims()[0]];
        self.times("the measured numbers", y, &self.coordinates, &shape)
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.times("a batch to be measured", x, &self.basis, &self.shape)
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        let basis = self.basis.t()?.contiguous()?;
        let x = self.times("coordinates", c, &basis, &[self.parts, self.rank()])?;
        Ok(x.reshape([&[c.dims()[0]], &self.shape[..]].concat())?)
    }
}

/// A = U S V^T over the singular values that are kept, the largest first.
pub(super) struct Svd {
    pub(super) u: DMatrix<f64>,
    pub(super) s: Vec<f64>,
    pub(super) v: DMatrix<f64>,
}

/// The decomposition without the singular values at or below `rcond` times the largest.
pub(super) fn decompose(matrix: &DMatrix<f64>, rcond: f64) -> Result<Svd> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(Error::Svd);
    }
    // Zero iterations stand for no limit.
    let svd = matrix.clone().try_svd(true, true, f64::EPSILON, 0).ok_or(Error::Svd)?;
    let (Some(u), Some(v_t)) = (svd.u, svd.v_t) else { return Err(Error::Svd) };
    let mut order: Vec<usize> = (0..svd.singular_values.len()).collect();
    order.sort_by(|&a, &b| svd.singular_values[b].total_cmp(&svd.singular_values[a]));
    let largest = order.first().map_or(0.0, |&k| svd.singular_values[k]);
    order.retain(|&k| svd.singular_values[k] > (rcond * largest).max(f64::MIN_POSITIVE));
    if order.is_empty() {
        return Err(Error::Rank);
    }
    Ok(Svd {
        u: DMatrix::from_fn(u.nrows(), order.len(), |row, k| u[(row, order[k])]),
        s: order.iter().map(|&k| svd.singular_values[k]).collect(),
        v: DMatrix::from_fn(v_t.ncols(), order.len(), |row, k| v_t[(order[k], row)]),
    })
}

/// The matrix in f32.
#[expect(clippy::cast_possible_truncation, reason = "orthonormal columns, and what is measured in f32")]
pub(super) fn tensor(matrix: &DMatrix<f64>, device: &Device) -> Result<Tensor> {
    let (rows, columns) = matrix.shape();
    let values: Vec<f32> = (0..rows * columns).map(|i| matrix[(i / columns, i % columns)] as f32).collect();
    Ok(Tensor::from_vec(values, (rows, columns), device)?)
}
