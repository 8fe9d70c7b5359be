//! What is known of a sample: linear measurements, and the projection onto them.
//!
//! All zero-shot edits go through one projection (Song et al. 2023, "Consistency Models", algorithm 4, in the form
//! that needs no completion of M to an orthogonal matrix):
//!
//! ```text
//! R(x) = x + M^T (c - M x)        M M^T = I
//! ```
//!
//! M has orthonormal rows, and c = M x of the true sample are its known coordinates.
//! What a person has is an observation y = A x: a picture with holes, a gray, a small or a blurred one, or plain numbers.
//! The singular value decomposition A = U S V^T leads from one to the other: M = V^T and c = S^-1 U^T y,
//! over the singular values that are not too small to be trusted.

mod bayer;
mod blur;
mod cosine;
mod luma;
mod mask;
mod matrix;
mod patch_means;

use std::fmt::Debug;

use candle_core::Tensor;

use crate::error::{Error, Result};

pub use bayer::{BayerPattern, bayer_mask};
pub use blur::{Blur, gaussian_kernel};
pub use cosine::RandomCosines;
pub use luma::Luma;
pub use mask::{Mask, rectangle_mask, scattered_mask};
pub use matrix::{DEFAULT_RCOND, MatrixMeasurement};
pub use patch_means::PatchMeans;

/// A linear measurement of samples, and its orthonormal coordinates.
pub trait Measurement: Debug + Send + Sync {
    /// What a person sees of samples: y = A x.
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` or `[N, D]`; the result is `[N, ..]`, as the measurement says.
    ///
    /// # Errors
    /// When the samples do not have the shape that is measured.
    fn observe(&self, x: &Tensor) -> Result<Tensor>;

    /// The coordinates of what was observed: c = S^-1 U^T y.
    ///
    /// # Shapes
    /// `y`: as [`Measurement::observe`] gives it; the result is `[N, ..]`, as the measurement says.
    ///
    /// # Errors
    /// When the observation does not have its shape.
    fn coordinates(&self, y: &Tensor) -> Result<Tensor>;

    /// The coordinates of samples: c = M x.
    ///
    /// # Shapes
    /// `x`: as for [`Measurement::observe`]; the result as that of [`Measurement::coordinates`].
    ///
    /// # Errors
    /// When the samples do not have the shape that is measured.
    fn measure(&self, x: &Tensor) -> Result<Tensor>;

    /// The least sample with these coordinates: M^T c.
    ///
    /// # Shapes
    /// `c`: as [`Measurement::coordinates`] gives it; the result is `[N, C, H, W]` or `[N, D]`.
    ///
    /// # Errors
    /// When the coordinates do not have their shape.
    fn adjoint(&self, c: &Tensor) -> Result<Tensor>;

    /// The sample next to x that has the coordinates c: R(x) = x + M^T (c - M x).
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` or `[N, D]`; `c`: its coordinates; the result has the shape of `x`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn project(&self, x: &Tensor, c: &Tensor) -> Result<Tensor> {
        let missing = (c - self.measure(x)?)?;
        Ok((x + self.adjoint(&missing)?)?)
    }
}

/// A measurement together with what it gave.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    measurement: &'a dyn Measurement,
    coordinates: Tensor,
}

impl<'a> Known<'a> {
    /// What an observation says of the samples behind it.
    ///
    /// # Shapes
    /// `y`: as [`Measurement::observe`] gives it.
    ///
    /// # Errors
    /// When the observation does not have its shape.
    pub fn observed(measurement: &'a dyn Measurement, y: &Tensor) -> Result<Self> {
        Ok(Self { measurement, coordinates: measurement.coordinates(y)? })
    }

    /// What a measurement keeps of samples that are known in full.
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` or `[N, D]`.
    ///
    /// # Errors
    /// When the samples do not have the shape that is measured.
    pub fn of_samples(measurement: &'a dyn Measurement, x: &Tensor) -> Result<Self> {
        Ok(Self { measurement, coordinates: measurement.measure(x)? })
    }

    /// The coordinates.
    pub fn coordinates(&self) -> &Tensor {
        &self.coordinates
    }

    /// The least sample that agrees with what is known: where an edit starts, and what it would be without a model.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn least(&self) -> Result<Tensor> {
        self.measurement.adjoint(&self.coordinates)
    }

    /// The sample next to x that agrees with what is known.
    ///
    /// # Shapes
    /// `x`: `[N, C, H, W]` or `[N, D]`, as many as are known; the result has its shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn project(&self, x: &Tensor) -> Result<Tensor> {
        self.measurement.project(x, &self.coordinates)
    }
}

/// The batch of a tensor that must be `[N, ..shape]`.
fn check_shape(what: &str, x: &Tensor, shape: &[usize]) -> Result<usize> {
    match x.dims() {
        [num, rest @ ..] if rest == shape => Ok(*num),
        dims => Err(Error::Shape {
            what: what.to_owned(),
            expected: format!("[N, ..{shape:?}]"),
            got: dims.to_vec(),
        }),
    }
}

/// C, H and W of the samples of a model that makes images.
fn image_shape(shape: &[usize]) -> Result<(usize, usize, usize)> {
    match *shape {
        [channels, height, width] if channels * height * width > 0 => Ok((channels, height, width)),
        _ => Err(Error::Shape {
            what: "a sample of the model".into(),
            expected: "[C, H, W], an image".into(),
            got: shape.to_vec(),
        }),
    }
}
