//! Convolution the plain way: patches written out as rows of a matrix, then one product.
//!
//! Slow and large, but short; the kernels that replace it are tested against it, and f64, in which
//! gradients are checked, still runs on it.

use candle_core::Tensor;

use crate::Result;
use crate::cpu::{self, Real};
use crate::ops::{ConvShape, Place, add_bias, place};

const NAME: &str = "conv2d";

/// The output [B, Ho, Wo, Cout].
pub(crate) fn conv2d_forward(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    shape: &ConvShape,
) -> Result<Tensor> {
    let y = patches(x, shape)?.matmul(&kernel_rows(w, shape)?.t()?)?;
    let y = match b {
        Some(b) => add_bias(&y, b)?,
        None => y,
    };
    Ok(y.reshape((shape.batch, shape.height_out, shape.width_out, shape.channels_out))?)
}

/// The gradient by `x`, [B, H, W, Cin].
pub(crate) fn conv2d_by_input(w: &Tensor, grad: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let columns = grad_rows(grad, shape)?.matmul(&kernel_rows(w, shape)?)?;
    match place(NAME, &[grad])? {
        Place::CpuF32 => add_up_patches::<f32>(&columns, shape),
        Place::CpuF64 => add_up_patches::<f64>(&columns, shape),
    }
}

/// The gradient by `w`, [Cout, Cin, kh, kw].
pub(crate) fn conv2d_by_weight(x: &Tensor, grad: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let rows = grad_rows(grad, shape)?.t()?.matmul(&patches(x, shape)?)?;
    let ConvShape { channels_out, channels_in, kernel_height, kernel_width, .. } = *shape;
    let rows = rows.reshape((channels_out, kernel_height, kernel_width, channels_in))?;
    Ok(rows.permute((0, 3, 1, 2))?.contiguous()?)
}

fn grad_rows(grad: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let rows = shape.batch * shape.height_out * shape.width_out;
    Ok(grad.contiguous()?.reshape((rows, shape.channels_out))?)
}

/// The kernel as [Cout, kh kw Cin].
fn kernel_rows(w: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let patch = shape.kernel_height * shape.kernel_width * shape.channels_in;
    Ok(w.permute((0, 2, 3, 1))?.contiguous()?.reshape((shape.channels_out, patch))?)
}

/// What each output pixel sees, [B Ho Wo, kh kw Cin].
fn patches(x: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    match place(NAME, &[x])? {
        Place::CpuF32 => patches_cpu::<f32>(x, shape),
        Place::CpuF64 => patches_cpu::<f64>(x, shape),
    }
}

fn patches_cpu<T: Real>(x: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let s = *shape;
    let patch = s.kernel_height * s.kernel_width * s.channels_in;
    let pixels = s.height_out * s.width_out;
    let image = s.height * s.width * s.channels_in;
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let out = cpu::build(s.batch * pixels * patch, pixels * patch, |b, out| {
        let x = &elements[b * image..][..image];
        visit(&s, |at, from| {
            out[at..at + s.channels_in].copy_from_slice(&x[from..from + s.channels_in]);
        });
    });
    cpu::tensor(out, &[s.batch * pixels, patch])
}

/// The transpose of [`patches`]: every element of a patch is added to the pixel that it came from.
fn add_up_patches<T: Real>(columns: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let s = *shape;
    let patch = s.kernel_height * s.kernel_width * s.channels_in;
    let pixels = s.height_out * s.width_out;
    let image = s.height * s.width * s.channels_in;
    let elements = cpu::read::<T>(columns)?;
    let elements: &[T] = &elements;
    let out = cpu::build(s.batch * image, image, |b, out: &mut [T]| {
        let columns = &elements[b * pixels * patch..][..pixels * patch];
        visit(&s, |at, to| {
            let columns = &columns[at..at + s.channels_in];
            for (out, &column) in out[to..to + s.channels_in].iter_mut().zip(columns) {
                *out += column;
            }
        });
    });
    cpu::tensor(out, &[s.batch, s.height, s.width, s.channels_in])
}

/// Calls `f(at, pixel)` for every pixel under every patch of one image: where it is in the patches,
/// and where in the image.
fn visit(s: &ConvShape, mut f: impl FnMut(usize, usize)) {
    let mut at = 0;
    for y_out in 0..s.height_out {
        for x_out in 0..s.width_out {
            for ky in 0..s.kernel_height {
                for kx in 0..s.kernel_width {
                    // Outside of the image the subtraction wraps around, far beyond its size.
                    let y = (y_out * s.stride + ky).wrapping_sub(s.padding.top);
                    let x = (x_out * s.stride + kx).wrapping_sub(s.padding.left);
                    if y < s.height && x < s.width {
                        f(at, (y * s.width + x) * s.channels_in);
                    }
                    at += s.channels_in;
                }
            }
        }
    }
}
