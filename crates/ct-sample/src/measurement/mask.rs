//! Some values are known, the others not: inpainting, outpainting, missing pixels, one coordinate of a vector.
//!
//! M picks the known values; the coordinates keep the shape of the samples, with 0 where nothing is known.
//! The projection copies: what is known stays as it is to the last bit.

use candle_core::{DType, Device, Tensor};
use ct_random::{Purpose, Stream};

use super::{Measurement, check_shape, image_shape};
use crate::error::{Error, Result};

/// The stream of missing pixels among those of editing.
const MISSING: u64 = 0;

/// Which values of a sample are known.
#[derive(Debug, Clone)]
pub struct Mask {
    /// `[1 or N, ..shape]` u8, 1 where a value is known.
    known: Tensor,
    shape: Vec<usize>,
}

impl Mask {
    /// A mask for samples of the shape `shape`: 1 (any number above 1/2) where a value is to be generated.
    ///
    /// # Shapes
    /// `generate`: `[1 or N, ..]`, with the sizes of `shape` or 1 in the place of C: one mask for all samples, or one each.
    ///
    /// # Errors
    /// [`Error::Shape`] when the sizes differ, [`Error::MaskAll`] and [`Error::MaskNothing`] for a mask
    /// that leaves nothing known or nothing to generate.
    pub fn new(generate: &Tensor, shape: &[usize]) -> Result<Self> {
        let misfit = || Error::Shape {
            what: "the mask".into(),
            expected: format!(
                "[1 or N, ..{shape:?}], with 1 in the place of the channels if all have the same"
            ),
            got: generate.dims().to_vec(),
        };
        let &[num, ref sizes @ ..] = generate.dims() else { return Err(misfit()) };
        let is_one_channel =
            shape.len() == 3 && sizes.len() == 3 && sizes[0] == 1 && sizes[1..] == shape[1..];
        if num == 0 || (sizes != shape && !is_one_channel) {
            return Err(misfit());
        }
        let known = generate.to_dtype(DType::F32)?.le(0.5)?;
        let per_mask = known.flatten_from(1)?.to_vec2::<u8>()?;
        for (index, values) in per_mask.iter().enumerate() {
            if values.iter().all(|&known| known == 0) {
                return Err(Error::MaskAll { index });
            }
            if values.iter().all(|&known| known == 1) {
                return Err(Error::MaskNothing { index });
            }
        }
        let known = known.broadcast_as([&[num], shape].concat())?.contiguous()?;
        Ok(Self { known, shape: shape.to_vec() })
    }

    /// Where values are known.
    ///
    /// # Shapes
    /// `[1 or N, ..shape]` u8, 1 where a value is known.
    pub fn known(&self) -> &Tensor {
        &self.known
    }

    /// The mask for a batch of this shape.
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        check_shape("a batch to be masked", x, &self.shape)?;
        let known = self.known.to_device(x.device())?;
        known.broadcast_as(x.dims()).map_err(|_| Error::Shape {
            what: "a batch to be masked".into(),
            expected: format!("{:?}, as many as there are masks", self.known.dims()),
            got: x.dims().to_vec(),
        })
    }
}

impl Measurement for Mask {
    /// The sample, with 0 (middle gray) where nothing is known.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.of(x)?.where_cond(x, &x.zeros_like()?)?)
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        self.observe(y)
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.observe(x)
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        self.observe(c)
    }

    fn project(&self, x: &Tensor, c: &Tensor) -> Result<Tensor> {
        Ok(self.of(x)?.where_cond(c, x)?)
    }
}

/// A mask with 1 in a rectangle, cut to the picture.
///
/// # Shapes
/// `shape`: `[C, H, W]`; the result is `[1, 1, H, W]` f32.
///
/// # Errors
/// [`Error::Shape`] when `shape` is not that of an image.
pub fn rectangle_mask(
    shape: &[usize],
    left: usize,
    top: usize,
    width: usize,
    height: usize,
) -> Result<Tensor> {
    let (_, rows, columns) = image_shape(shape)?;
    let inside = |at: usize, from: usize, len: usize| at >= from && at - from < len;
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| f32::from(inside(i / columns, top, height) && inside(i % columns, left, width)))
        .collect();
    Ok(Tensor::from_vec(values, (1, 1, rows, columns), &Device::Cpu)?)
}

/// A mask with 1 in a share of the pixels, drawn from a seed, each sample its own.
///
/// # Shapes
/// `shape`: `[C, H, W]`; the result is `[num, 1, H, W]` f32.
///
/// # Errors
/// [`Error::Share`] when the share is not between 0 and 1, [`Error::Shape`] when `shape` is not that of an image.
pub fn scattered_mask(shape: &[usize], num: usize, share: f64, seed: u64) -> Result<Tensor> {
    let (_, rows, columns) = image_shape(shape)?;
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::Share { what: "missing pixels", share });
    }
    let mut values = Vec::with_capacity(num * rows * columns);
    for sample in 0..num as u64 {
        let mut stream = Stream::new(seed, Purpose::Edit, MISSING, sample);
        values.extend((0..rows * columns).map(|_| f32::from(stream.uniform() < share)));
    }
    Ok(Tensor::from_vec(values, (num, 1, rows, columns), &Device::Cpu)?)
}
