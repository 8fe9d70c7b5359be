//! Convolution as a gather of patches and one matrix product.
//!
//! candle's own `conv2d` computes the same product within, but takes and gives NCHW, which costs two more passes,
//! and pads alike on all sides; its `conv_transpose2d` on a GPU is a loop for each output.
//! The gradient by x is a gather too: each pixel collects from the outputs that it went into, and nothing is
//! scattered, so that the order of all sums is fixed.
//! With a stride of 2 three in four of the patches of that gather are zeros; convolutions of a stride are few.

use candle_core::Tensor;

use super::gather::{Windows, windows};
use super::{add_bias, matmul, rows, sum_rows};
use crate::Result;
use crate::cpu::conv::ConvShape;

/// Elements of the patches that are in memory at a time: 1 GiB in f32.
const MAX_PATCHES: usize = 1 << 28;

/// The output, `[B, Ho, Wo, Cout]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let pixels = shape.out_height() * shape.out_width();
    let w = kernel_rows(shape, w)?.t()?;
    let y = by_samples(shape, pixels * w.dim(0)?, MAX_PATCHES, |part| {
        matmul(&patches(&part.of(x)?, shape, Windows::OfOutput)?, &w)
    })?;
    let y = add_bias(y, bias)?;
    let y = y.reshape((shape.batch, shape.out_height(), shape.out_width(), shape.c_out))?;
    match residual {
        Some(residual) => Ok((y + residual)?),
        None => Ok(y),
    }
}

/// The gradients by x, w and bias that are needed.
pub(crate) fn backward(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    [by_x, by_w, by_bias]: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    Ok([
        by_x.then(|| by_input(shape, w, grad, MAX_PATCHES)).transpose()?,
        by_w.then(|| by_weight(shape, x, grad, MAX_PATCHES)).transpose()?,
        by_bias.then(|| sum_rows(grad)).transpose()?,
    ])
}

fn by_input(shape: &ConvShape, w: &Tensor, grad: &Tensor, limit: usize) -> Result<Tensor> {
    // [kh kw Cout, Cin].
    let w = w.permute((2, 3, 0, 1))?.contiguous()?.reshape(((), shape.c_in))?;
    let pixels = shape.height * shape.width;
    let by_x = by_samples(shape, pixels * w.dim(0)?, limit, |part| {
        matmul(&patches(&part.of(grad)?, shape, Windows::OfInput)?, &w)
    })?;
    Ok(by_x.reshape((shape.batch, shape.height, shape.width, shape.c_in))?)
}

fn by_weight(shape: &ConvShape, x: &Tensor, grad: &Tensor, limit: usize) -> Result<Tensor> {
    let ConvShape { c_in, c_out, kernel: [kh, kw], .. } = *shape;
    let per_sample = shape.out_height() * shape.out_width() * kh * kw * c_in;
    let mut sum: Option<Tensor> = None;
    for part in parts(shape.batch, per_sample, limit) {
        let patches = patches(&part.of(x)?, shape, Windows::OfOutput)?;
        let product = matmul(&rows(&part.of(grad)?, c_out)?.t()?, &patches)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    let sum = sum.map_or_else(|| Tensor::zeros((c_out, kh, kw, c_in), x.dtype(), x.device()), Ok)?;
    Ok(sum.reshape((c_out, kh, kw, c_in))?.permute((0, 3, 1, 2))?.contiguous()?)
}

/// The kernel as `[Cout, kh kw Cin]`.
fn kernel_rows(shape: &ConvShape, w: &Tensor) -> Result<Tensor> {
    Ok(w.permute((0, 2, 3, 1))?.contiguous()?.reshape((shape.c_out, ()))?)
}

/// What each pixel sees, or is seen by, as the rows of a matrix.
fn patches(images: &Tensor, shape: &ConvShape, which: Windows) -> Result<Tensor> {
    let (batch, height, width, channels) = images.dims4()?;
    let images = images.contiguous()?;
    if shape.kernel == [1, 1] && shape.stride == 1 && shape.padding == [0; 4] {
        return rows(&images, channels);
    }
    let windows = windows(&images.reshape((batch, height * width, channels))?, shape, which)?;
    rows(&windows, shape.kernel[0] * shape.kernel[1] * channels)
}

/// Some of the samples of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: usize,
    count: usize,
}

impl Part {
    fn of(self, x: &Tensor) -> Result<Tensor> {
        Ok(x.narrow(0, self.first, self.count)?)
    }
}

/// The batch in parts of at most `limit` elements, each of at least one sample.
fn parts(batch: usize, per_sample: usize, limit: usize) -> Vec<Part> {
    let most = (limit / per_sample.max(1)).max(1);
    let starts = (0..batch).step_by(most);
    starts.map(|first| Part { first, count: most.min(batch - first) }).collect()
}

/// The rows that `f` gives for each part of the batch, one below the other.
fn by_samples(
    shape: &ConvShape,
    per_sample: usize,
    limit: usize,
    f: impl Fn(Part) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut results = parts(shape.batch, per_sample, limit).into_iter().map(f).collect::<Result<Vec<_>>>()?;
    match results.len() {
        1 => Ok(results.remove(0)),
        _ => Ok(Tensor::cat(&results, 0)?),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    /// A batch in parts gives what it gives at once.
    #[test]
    fn parts_of_a_batch_change_nothing() {
        let shape = ConvShape {
            batch: 3,
            height: 4,
            width: 5,
            c_in: 2,
            c_out: 3,
            kernel: [3, 3],
            stride: 1,
            padding: [1; 4],
        };
        let values = |dims: [usize; 4]| {
            let count = dims.iter().product::<usize>();
            let values: Vec<f64> = (0..count).map(|idx| (idx as f64 * 0.7).sin()).collect();
            Tensor::from_vec(values, dims.as_slice(), &Device::Cpu).unwrap()
        };
        let (x, w, grad) = (values([3, 4, 5, 2]), values([3, 2, 3, 3]), values([3, 4, 5, 3]));
        let difference = |f: &dyn Fn(usize) -> Tensor| {
            let difference = (f(1) - f(MAX_PATCHES)).unwrap().abs().unwrap().max_all().unwrap();
            difference.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
        };
        assert!(difference(&|limit| by_input(&shape, &w, &grad, limit).unwrap()) < 1e-13);
        assert!(difference(&|limit| by_weight(&shape, &x, &grad, limit).unwrap()) < 1e-13);
        assert_eq!(parts(5, 10, 20), [(0, 2), (2, 2), (4, 1)].map(|(first, count)| Part { first, count }));
    }
}
