//! Compressed sensing: far fewer numbers than there are pixels, each a mixture of all of them.
//!
//! M picks rows at random from C diag(s), with C the orthonormal cosine transform of the picture (DCT-II along rows and
//! columns of each channel) and s random signs: incoherent with pictures, exactly orthonormal, and no matrix to store
//! (Do et al. 2012, "Fast and Efficient Compressive Sensing Using Structurally Random Matrices").

use std::f64::consts::PI;

use candle_core::{Device, Tensor};
use ct_random::{Purpose, Stream};

use super::{Measurement, check_shape};
use crate::error::{Error, Result};

/// The streams of signs and of the choice of rows among those of editing.
const SIGNS: u64 = 1;
const ROWS: u64 = 2;

/// A random choice of coordinates in a random orthonormal basis.
#[derive(Debug, Clone)]
pub struct RandomCosines {
    /// `[..shape]` f32, 1 or -1.
    signs: Tensor,
    /// Positions of the measured coordinates, `[m]` u32, ascending.
    kept: Tensor,
    /// The cosine transforms of columns (H x H; 1 x 1 for vectors) and of rows (W x W).
    columns: Tensor,
    rows: Tensor,
    shape: Vec<usize>,
}

impl RandomCosines {
    /// A measurement of `share` of as many numbers as a sample has, drawn from a seed.
    ///
    /// # Shapes
    /// `shape`: `[C, H, W]` or `[D]`.
    ///
    /// # Errors
    /// [`Error::Share`] when the share is not between 0 and 1 or too small for one number,
    /// [`Error::Shape`] when the sample has another number of dimensions.
    pub fn new(share: f64, shape: &[usize], seed: u64) -> Result<Self> {
        let (height, width) = match *shape {
            [_, height, width] => (height, width),
            [dim] => (1, dim),
            _ => {
                return Err(Error::Shape {
                    what: "a sample of the model".into(),
                    expected: "[C, H, W] or [D]".into(),
                    got: shape.to_vec(),
                });
            }
        };
        let total: usize = shape.iter().product();
        let num = Self::count(share, total)?;
        let device = &Device::Cpu;
        let mut stream = Stream::new(seed, Purpose::Edit, SIGNS, 0);
        let signs: Vec<f32> = (0..total).map(|_| if stream.uniform() < 0.5 { -1.0 } else { 1.0 }).collect();
        Ok(Self {
            signs: Tensor::from_vec(signs, shape, device)?,
            kept: Tensor::new(choose(num, total, seed), device)?,
            columns: cosine_transform(height)?,
            rows: cosine_transform(width)?,
            shape: shape.to_vec(),
        })
    }

    /// How many numbers are measured.
    pub fn num_measured(&self) -> usize {
        self.kept.elem_count()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `total`")]
    fn count(share: f64, total: usize) -> Result<usize> {
        let num = if share > 0.0 && share < 1.0 { (share * total as f64).round() as usize } else { 0 };
        if num == 0 || num >= total {
            return Err(Error::Share { what: "numbers to measure", share });
        }
        Ok(num)
    }

    /// left X right of every channel, back in the shape of a batch.
    fn transform(&self, x: &Tensor, left: &Tensor, right: &Tensor) -> Result<Tensor> {
        let (height, width) = (self.columns.dims()[0], self.rows.dims()[0]);
        let channels = x.contiguous()?.reshape(((), height, width))?;
        let (left, right) = (left.to_device(x.device())?, right.to_device(x.device())?);
        let columns = left.broadcast_matmul(&channels)?;
        Ok(columns.broadcast_matmul(&right)?.reshape(x.dims())?)
    }
}

impl Measurement for RandomCosines {
    /// The measured numbers, `[N, m]`.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        let num = check_shape("a batch to be measured", x, &self.shape)?;
        let mixed = x.broadcast_mul(&self.signs.to_device(x.device())?)?;
        let all = self.transform(&mixed, &self.columns, &self.rows.t()?.contiguous()?)?;
        Ok(all.reshape((num, ()))?.index_select(&self.kept.to_device(x.device())?, 1)?)
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        check_shape("the measured numbers", y, &[self.num_measured()])?;
        Ok(y.clone())
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.observe(x)
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        let num = check_shape("coordinates", c, &[self.num_measured()])?;
        let total: usize = self.shape.iter().product();
        let kept = self.kept.to_device(c.device())?;
        let all = Tensor::zeros((num, total), c.dtype(), c.device())?.index_add(&kept, c, 1)?;
        let all = all.reshape([&[num], &self.shape[..]].concat())?;
        let mixed = self.transform(&all, &self.columns.t()?.contiguous()?, &self.rows)?;
        Ok(mixed.broadcast_mul(&self.signs.to_device(c.device())?)?)
    }
}

/// `num` of the positions below `total`, ascending: the first steps of a Fisher-Yates shuffle.
fn choose(num: usize, total: usize, seed: u64) -> Vec<u32> {
    let mut stream = Stream::new(seed, Purpose::Edit, ROWS, 0);
    let mut positions: Vec<u32> = (0u32..).take(total).collect();
    for at in 0..num {
        let left = u32::try_from(total - at).unwrap_or(u32::MAX);
        positions.swap(at, at + stream.below(left) as usize);
    }
    positions.truncate(num);
    positions.sort_unstable();
    positions
}

/// The orthonormal DCT-II of length n as a matrix, frequencies by row.
#[expect(clippy::cast_possible_truncation, reason = "cosines in f32")]
fn cosine_transform(n: usize) -> Result<Tensor> {
    let entry = |i: usize| {
        let (k, at) = ((i / n) as f64, (i % n) as f64);
        let scale = if k == 0.0 { 1.0 } else { 2.0 } / n as f64;
        (scale.sqrt() * (PI * k * (at + 0.5) / n as f64).cos()) as f32
    };
    Ok(Tensor::from_vec((0..n * n).map(entry).collect::<Vec<_>>(), (n, n), &Device::Cpu)?)
}
