//! Inception-v3 in the variant of the Fréchet Inception Distance (Heusel et al. 2017; Szegedy et al. 2016):
//! the network whose pooled values FID is computed from.
//!
//! The weights are those of the PyTorch package `pytorch-fid`, which come from TensorFlow.
//! Three things differ from the Inception-v3 of torchvision: averages over 3 x 3 pixels leave out what lies beyond the
//! edge, the last block takes maxima in their place, and batch normalization (eps 1e-3) is of other weights.
//! Images are brought to 299 x 299 pixels by bilinear interpolation between pixel centres, without smoothing when they
//! shrink, as that package does. The features are the 2048 values after the last block, averaged over the pixels.
//!
//! Numbers of channels and sizes of kernels are read off the weights.

use candle_core::{Device, Tensor};
use ct_kernels::{Conv2d, Padding, Value, conv2d, max_pool2d, relu};
use rayon::prelude::*;

use super::weights::Weights;
use crate::error::Result;

/// Height and width that the network sees.
const SIDE: usize = 299;
/// Added to the variance of batch normalization.
const EPS: f64 = 1e-3;

/// Inception-v3, pooled.
#[derive(Debug, Clone)]
pub struct Inception {
    stem: Vec<Conv>,
    blocks: Vec<Block>,
    dim: usize,
}

/// A convolution with its batch normalization folded in, and a rectified output.
#[derive(Debug, Clone)]
struct Conv {
    w: Value,
    b: Value,
    config: Conv2d,
}

/// Branches over the same input, side by side in the output.
#[derive(Debug, Clone)]
struct Block(Vec<Branch>);

/// Pooling if there is some, convolutions one after the other, and at the end perhaps two side by side.
#[derive(Debug, Clone)]
struct Branch {
    pool: Option<Pool>,
    chain: Vec<Conv>,
    fork: Vec<Conv>,
}

/// What becomes of 3 x 3 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// The mean of those that exist.
    Mean,
    /// The largest of those that exist.
    Max,
    /// The largest, of every second pixel, inside the picture alone.
    Halving,
}

impl Inception {
    /// The network of a file with the names of `pytorch-fid`.
    pub(crate) fn from_weights(weights: &Weights) -> Result<Self> {
        let conv = |name: &str, stride, is_same| Conv::from_weights(weights, name, stride, is_same);
        let stem = vec![
            conv("Conv2d_1a_3x3", 2, false)?,
            conv("Conv2d_2a_3x3", 1, false)?,
            conv("Conv2d_2b_3x3", 1, true)?,
            conv("Conv2d_3b_1x1", 1, true)?,
            conv("Conv2d_4a_3x3", 1, false)?,
        ];
        let mut blocks = Vec::new();
        for name in ["Mixed_5b", "Mixed_5c", "Mixed_5d"] {
            blocks.push(Block::new(
                weights,
                name,
                None,
                &[
                    &["branch1x1"],
                    &["branch5x5_1", "branch5x5_2"],
                    &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
                ],
            )?);
        }
        blocks.push(Block::halving(
            weights,
            "Mixed_6a",
            &[&["branch3x3"], &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]],
        )?);
        for name in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"] {
            blocks.push(Block::new(
                weights,
                name,
                None,
                &[
                    &["branch1x1"],
                    &["branch7x7_1", "branch7x7_2", "branch7x7_3"],
                    &[
                        "branch7x7dbl_1",
                        "branch7x7dbl_2",
                        "branch7x7dbl_3",
                        "branch7x7dbl_4",
                        "branch7x7dbl_5",
                    ],
                ],
            )?);
        }
        blocks.push(Block::halving(
            weights,
            "Mixed_7a",
            &[
                &["branch3x3_1", "branch3x3_2"],
                &["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"],
            ],
        )?);
        for (name, pool) in [("Mixed_7b", Pool::Mean), ("Mixed_7c", Pool::Max)] {
            blocks.push(Block::new(
                weights,
                name,
                Some(pool),
                &[
                    &["branch1x1"],
                    &["branch3x3_1", "branch3x3_2a | branch3x3_2b"],
                    &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a | branch3x3dbl_3b"],
                ],
            )?);
        }
        let dim = blocks.last().map_or(0, Block::channels_out);
        Ok(Self { stem, blocks, dim })
    }

    /// Number of features: 2048 with the published weights.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The features of images.
    ///
    /// # Shapes
    /// `x`: `[B, C, H, W]` in [-1, 1], C = 1 or 3; result: `[B, dim]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = x.dims4()?;
        let x = x.broadcast_as((batch, 3, height, width))?;
        let x = resize(&x.permute((0, 2, 3, 1))?.contiguous()?, SIDE)?;
        let (narrow, wide) = self.stem.split_at(3);
        let run_all = |convs: &[Conv], x: Value| convs.iter().try_fold(x, |x, conv| conv.run(&x));
        let x = max_pool2d(&run_all(narrow, Value::from(x))?, 3, 2)?;
        let mut x = max_pool2d(&run_all(wide, x)?, 3, 2)?;
        for block in &self.blocks {
            x = block.run(&x)?;
        }
        Ok(x.tensor().flatten(1, 2)?.mean(1)?)
    }
}

impl Block {
    /// A block that keeps the size of its input; its last branch pools, then has one convolution.
    fn new(weights: &Weights, block: &str, pool: Option<Pool>, branches: &[&[&str]]) -> Result<Self> {
        let mut all =
            branches.iter().map(|names| Branch::new(weights, block, names)).collect::<Result<Vec<_>>>()?;
        let pooled = Branch::new(weights, block, &["branch_pool"])?;
        all.push(Branch { pool: Some(pool.unwrap_or(Pool::Mean)), ..pooled });
        Ok(Self(all))
    }

    /// A block that halves its input: the last convolution of each branch does, and the branch that pools has none.
    fn halving(weights: &Weights, block: &str, branches: &[&[&str]]) -> Result<Self> {
        let mut all = Vec::new();
        for names in branches {
            let (last, before) = names.split_last().unwrap_or((&"", &[]));
            let mut branch = Branch::new(weights, block, before)?;
            branch.chain.push(Conv::from_weights(weights, &format!("{block}.{last}"), 2, false)?);
            all.push(branch);
        }
        all.push(Branch { pool: Some(Pool::Halving), chain: Vec::new(), fork: Vec::new() });
        Ok(Self(all))
    }

    /// Channels of the output of a block in which every branch ends with convolutions.
    fn channels_out(&self) -> usize {
        let of = |conv: &Conv| conv.b.dims()[0];
        let last = |branch: &Branch| match &branch.fork[..] {
            [] => branch.chain.last().map_or(0, of),
            fork => fork.iter().map(of).sum(),
        };
        self.0.iter().map(last).sum()
    }

    fn run(&self, x: &Value) -> Result<Value> {
        let outputs = self.0.iter().map(|branch| branch.run(x)).collect::<Result<Vec<_>>>()?;
        Ok(Value::from(Tensor::cat(&outputs.concat(), 3)?))
    }
}

impl Branch {
    /// Convolutions by their names, the last of which may be two, `a | b`.
    fn new(weights: &Weights, block: &str, names: &[&str]) -> Result<Self> {
        let conv = |name: &str| Conv::from_weights(weights, &format!("{block}.{name}"), 1, true);
        let mut branch = Self { pool: None, chain: Vec::new(), fork: Vec::new() };
        for name in names {
            match name.split_once(" | ") {
                Some((a, b)) => branch.fork = vec![conv(a)?, conv(b)?],
                None => branch.chain.push(conv(name)?),
            }
        }
        Ok(branch)
    }

    /// The outputs that stand side by side.
    fn run(&self, x: &Value) -> Result<Vec<Tensor>> {
        let mut x = match self.pool {
            None => x.clone(),
            Some(Pool::Halving) => max_pool2d(x, 3, 2)?,
            Some(pool) => Value::from(pool_3x3(x.tensor(), pool)?),
        };
        for conv in &self.chain {
            x = conv.run(&x)?;
        }
        if self.fork.is_empty() {
            return Ok(vec![x.into_tensor()]);
        }
        self.fork.iter().map(|conv| Ok(conv.run(&x)?.into_tensor())).collect()
    }
}

impl Conv {
    /// A convolution whose output has the size of its input (`is_same`), or that stays inside it.
    fn from_weights(weights: &Weights, name: &str, stride: usize, is_same: bool) -> Result<Self> {
        let (w, b) = weights.folded(&format!("{name}.conv"), &format!("{name}.bn"), EPS)?;
        let [_, _, kernel_height, kernel_width] = weights.rank4(&w, &format!("{name}.conv"))?;
        let (rows, columns) = if is_same { (kernel_height / 2, kernel_width / 2) } else { (0, 0) };
        let padding = Padding { top: rows, bottom: rows, left: columns, right: columns };
        Ok(Self { w: Value::from(w), b: Value::from(b), config: Conv2d { stride, padding } })
    }

    fn run(&self, x: &Value) -> Result<Value> {
        Ok(relu(&conv2d(x, &self.w, Some(&self.b), &self.config)?)?)
    }
}

/// The mean or the largest of 3 x 3 pixels around each, of those that exist.
///
/// # Shapes
/// `x`: `[B, H, W, C]`; the result has its shape.
fn pool_3x3(x: &Tensor, pool: Pool) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let mut out = vec![0f32; values.len()];
    let near = |at: usize, len: usize| at.saturating_sub(1)..(at + 2).min(len);
    out.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(row, out)| {
        let (image, y) = (row / height, row % height);
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let (rows, columns) = (near(y, height), near(x, width));
            let count = (rows.len() * columns.len()) as f32;
            out.fill(if pool == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
            for (y, x) in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
                let start = ((image * height + y) * width + x) * channels;
                let pixel = out.iter_mut().zip(&values[start..start + channels]);
                match pool {
                    Pool::Max | Pool::Halving => pixel.for_each(|(out, value)| *out = out.max(*value)),
                    Pool::Mean => pixel.for_each(|(out, value)| *out += value / count),
                }
            }
        }
    });
    Ok(Tensor::from_vec(out, (batch, height, width, channels), &Device::Cpu)?)
}

/// Images of `side` x `side` pixels, by bilinear interpolation between the centres of pixels.
///
/// # Shapes
/// `x`: `[B, H, W, C]`; the result is `[B, side, side, C]`.
fn resize(x: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let (rows, columns) = (places(height, side), places(width, side));
    let mut out = vec![0f32; batch * side * side * channels];
    out.par_chunks_mut((side * channels).max(1)).enumerate().for_each(|(row, out)| {
        let (image, (above, below, down)) = (row / side, rows[row % side]);
        for (out, &(left, right, across)) in out.chunks_exact_mut(channels.max(1)).zip(&columns) {
            for (channel, out) in out.iter_mut().enumerate() {
                let at = |y: usize, x: usize| values[((image * height + y) * width + x) * channels + channel];
                let mix = |y: usize| at(y, left) * (1.0 - across) + at(y, right) * across;
                *out = mix(above) * (1.0 - down) + mix(below) * down;
            }
        }
    });
    Ok(Tensor::from_vec(out, (batch, side, side, channels), &Device::Cpu)?)
}

/// For each of `side` new pixels the two old ones that it lies between, and how far it is from the first to the second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place between 0 and `old`")]
fn places(old: usize, side: usize) -> Vec<(usize, usize, f32)> {
    (0..side)
        .map(|at| {
            let place = ((at as f64 + 0.5) * old as f64 / side as f64 - 0.5).max(0.0);
            let first = (place as usize).min(old.saturating_sub(1));
            (first, (first + 1).min(old.saturating_sub(1)), (place - first as f64) as f32)
        })
        .collect()
}
