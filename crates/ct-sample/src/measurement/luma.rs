//! A colour picture of which only the gray one is known: colorization.
//!
//! M is one row per pixel, w / |w| with the weights w of gray; gray is w x, so c = gray / |w|.
//! Song et al. complete w / |w| to an orthogonal matrix of colours by QR; the projection needs no such matrix.

use candle_core::Tensor;

use super::{Measurement, check_shape, image_shape};
use crate::error::{Error, Result};

/// The gray version of colour pictures.
#[derive(Debug, Clone)]
pub struct Luma {
    weights: [f64; 3],
    shape: Vec<usize>,
}

impl Luma {
    /// Gray by the weights of ITU-R BT.601, of which gray pictures are commonly made.
    pub const BT601: [f64; 3] = [0.299, 0.587, 0.114];

    /// The gray version of samples of the shape `shape`, by weights of red, green and blue.
    ///
    /// # Shapes
    /// `shape`: `[3, H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the model does not make colour pictures.
    pub fn new(weights: [f64; 3], shape: &[usize]) -> Result<Self> {
        match image_shape(shape)? {
            (3, _, _) => Ok(Self { weights, shape: shape.to_vec() }),
            _ => Err(Error::Shape {
                what: "a sample of the model".into(),
                expected: "[3, H, W], a colour picture".into(),
                got: shape.to_vec(),
            }),
        }
    }

    fn norm(&self) -> f64 {
        self.weights.iter().map(|w| w * w).sum::<f64>().sqrt()
    }

    /// A colour, to multiply pictures by.
    fn colour(x: &Tensor, colour: [f64; 3]) -> Result<Tensor> {
        Ok(Tensor::new(&colour, x.device())?.to_dtype(x.dtype())?.reshape((1, 3, 1, 1))?)
    }
}

impl Measurement for Luma {
    /// The gray picture, `[N, 1, H, W]`.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        check_shape("a batch of colour pictures", x, &self.shape)?;
        Ok(x.broadcast_mul(&Self::colour(x, self.weights)?)?.sum_keepdim(1)?)
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        check_shape("a batch of gray pictures", y, &[1, self.shape[1], self.shape[2]])?;
        Ok((y / self.norm())?)
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.coordinates(&self.observe(x)?)
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        check_shape("coordinates", c, &[1, self.shape[1], self.shape[2]])?;
        let norm = self.norm();
        Ok(c.broadcast_mul(&Self::colour(c, self.weights.map(|w| w / norm))?)?)
    }
}
