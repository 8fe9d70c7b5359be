//! A colour picture of which every pixel has one colour: the mosaic of a camera's sensor, made whole by demosaicing.

use candle_core::{Device, Tensor};

use super::image_shape;
use crate::error::{Error, Result};

/// Which colour each pixel of a block of 2 x 2 has, row by row (Bayer, US patent 3,971,065).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BayerPattern {
    /// Red and green, then green and blue.
    #[default]
    Rggb,
    /// Blue and green, then green and red.
    Bggr,
    /// Green and red, then blue and green.
    Grbg,
    /// Green and blue, then red and green.
    Gbrg,
}

impl BayerPattern {
    /// Channel of the pixel at this place.
    fn channel(self, row: usize, column: usize) -> usize {
        let block = match self {
            Self::Rggb => [0, 1, 1, 2],
            Self::Bggr => [2, 1, 1, 0],
            Self::Grbg => [1, 0, 2, 1],
            Self::Gbrg => [1, 2, 0, 1],
        };
        block[row % 2 * 2 + column % 2]
    }
}

/// A mask with 1 where a pixel lacks a colour.
///
/// # Shapes
/// `shape`: `[3, H, W]`; the result is `[1, 3, H, W]` f32.
///
/// # Errors
/// [`Error::Shape`] when the model does not make colour pictures.
pub fn bayer_mask(pattern: BayerPattern, shape: &[usize]) -> Result<Tensor> {
    let (3, rows, columns) = image_shape(shape)? else {
        return Err(Error::Shape {
            what: "a sample of the model".into(),
            expected: "[3, H, W], a colour picture".into(),
            got: shape.to_vec(),
        });
    };
    let pixels = rows * columns;
    let lacks = |i: usize| pattern.channel(i % pixels / columns, i % columns) != i / pixels;
    let values: Vec<f32> = (0..3 * pixels).map(|i| f32::from(lacks(i))).collect();
    Ok(Tensor::from_vec(values, (1, 3, rows, columns), &Device::Cpu)?)
}
