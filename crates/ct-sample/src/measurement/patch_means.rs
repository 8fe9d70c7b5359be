//! A picture of which only a smaller one is known, each pixel the mean of a patch: super-resolution.
//!
//! M is one row per patch and channel, 1/p at each of its p^2 pixels, so c = p mean.
//! Song et al. complete this row to an orthogonal matrix of patches by QR; the projection needs no such matrix.

use candle_core::Tensor;

use super::{Measurement, check_shape, image_shape};
use crate::error::{Error, Result};

/// The picture with sides p times smaller.
#[derive(Debug, Clone)]
pub struct PatchMeans {
    factor: usize,
    shape: [usize; 3],
}

impl PatchMeans {
    /// The means of patches of `factor` x `factor` pixels.
    ///
    /// # Shapes
    /// `shape`: `[C, H, W]` of a sample.
    ///
    /// # Errors
    /// [`Error::Factor`] when the sides are not divisible by a factor of at least 2,
    /// [`Error::Shape`] when `shape` is not that of an image.
    pub fn new(factor: usize, shape: &[usize]) -> Result<Self> {
        let (channels, height, width) = image_shape(shape)?;
        if factor < 2 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            return Err(Error::Factor { factor, height, width });
        }
        Ok(Self { factor, shape: [channels, height, width] })
    }

    /// Shape of the small picture.
    pub fn small_shape(&self) -> [usize; 3] {
        let [channels, height, width] = self.shape;
        [channels, height / self.factor, width / self.factor]
    }

    /// Every value of a small picture over its patch.
    fn spread(&self, small: &Tensor) -> Result<Tensor> {
        check_shape("a batch of small pictures", small, &self.small_shape())?;
        let [channels, height, width] = self.shape;
        let [_, rows, columns] = self.small_shape();
        let num = small.dim(0)?;
        Ok(small
            .reshape((num * channels, rows, 1, columns, 1))?
            .broadcast_as((num * channels, rows, self.factor, columns, self.factor))?
            .contiguous()?
            .reshape((num, channels, height, width))?)
    }
}

impl Measurement for PatchMeans {
    /// The small picture, `[N, C, H/p, W/p]`.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        let num = check_shape("a batch of pictures", x, &self.shape)?;
        let [channels, rows, columns] = self.small_shape();
        let patches = x.reshape((num * channels, rows, self.factor, columns, self.factor))?;
        Ok(patches.mean(4)?.mean(2)?.reshape((num, channels, rows, columns))?)
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        check_shape("a batch of small pictures", y, &self.small_shape())?;
        Ok((y * self.factor as f64)?)
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.coordinates(&self.observe(x)?)
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        self.spread(&(c / self.factor as f64)?)
    }
}
