//! Convolution the plain way: patches written out as rows of a matrix, then one product.
//!
//! Slow and large, but short; the kernels that replace it are tested against it, and f64, in which
//! gradients are checked, still runs on it.

use candle_core::Tensor;

use crate::Result;
use crate::cpu::conv::ConvShape;
use crate::cpu::{self, Real};
use crate::ops::add_bias;

/// The output [B, Ho, Wo, Cout].
pub(crate) fn conv2d_forward<T: Real>(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
) -> Result<Tensor> {
    let y = patches::<T>(x, shape)?.matmul(&kernel_rows(w, shape)?.t()?)?;
    let y = match b {
        Some(b) => add_bias(&y, b)?,
        None => y,
    };
    Ok(y.reshape((shape.batch, shape.out_height(), shape.out_width(), shape.c_out))?)
}

/// The gradient by `x`, [B, H, W, Cin].
pub(crate) fn conv2d_by_input<T: Real>(shape: &ConvShape, w: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let columns = grad_rows(grad, shape)?.matmul(&kernel_rows(w, shape)?)?;
    add_up_patches::<T>(&columns, shape)
}

/// The gradient by `w`, [Cout, Cin, kh, kw].
pub(crate) fn conv2d_by_weight<T: Real>(shape: &ConvShape, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let rows = grad_rows(grad, shape)?.t()?.matmul(&patches::<T>(x, shape)?)?;
    let ConvShape { c_out, c_in, kernel: [kh, kw], .. } = *shape;
    let rows = rows.reshape((c_out, kh, kw, c_in))?;
    Ok(rows.permute((0, 3, 1, 2))?.contiguous()?)
}

fn grad_rows(grad: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let rows = shape.batch * shape.out_height() * shape.out_width();
    Ok(grad.contiguous()?.reshape((rows, shape.c_out))?)
}

/// The kernel as [Cout, kh kw Cin].
fn kernel_rows(w: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    Ok(w.permute((0, 2, 3, 1))?.contiguous()?.reshape((shape.c_out, patch_len(shape)))?)
}

fn patch_len(shape: &ConvShape) -> usize {
    shape.kernel[0] * shape.kernel[1] * shape.c_in
}

/// What each output pixel sees, [B Ho Wo, kh kw Cin].
fn patches<T: Real>(x: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let s = *shape;
    let patch = patch_len(shape);
    let pixels = s.out_height() * s.out_width();
    let image = s.height * s.width * s.c_in;
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let out = cpu::build(s.batch * pixels * patch, pixels * patch, |b, out| {
        let x = &elements[b * image..][..image];
        visit(&s, |at, from| {
            out[at..at + s.c_in].copy_from_slice(&x[from..from + s.c_in]);
        });
    });
    cpu::tensor(out, &[s.batch * pixels, patch])
}

/// The transpose of [`patches`]: every element of a patch is added to the pixel that it came from.
fn add_up_patches<T: Real>(columns: &Tensor, shape: &ConvShape) -> Result<Tensor> {
    let s = *shape;
    let patch = patch_len(shape);
    let pixels = s.out_height() * s.out_width();
    let image = s.height * s.width * s.c_in;
    let elements = cpu::read::<T>(columns)?;
    let elements: &[T] = &elements;
    let out = cpu::build(s.batch * image, image, |b, out: &mut [T]| {
        let columns = &elements[b * pixels * patch..][..pixels * patch];
        visit(&s, |at, to| {
            let columns = &columns[at..at + s.c_in];
            for (out, &column) in out[to..to + s.c_in].iter_mut().zip(columns) {
                *out += column;
            }
        });
    });
    cpu::tensor(out, &[s.batch, s.height, s.width, s.c_in])
}

/// Calls `f(at, pixel)` for every pixel under every patch of one image: where it is in the patches,
/// and where in the image.
fn visit(s: &ConvShape, mut f: impl FnMut(usize, usize)) {
    let mut at = 0;
    for y_out in 0..s.out_height() {
        for x_out in 0..s.out_width() {
            for ky in 0..s.kernel[0] {
                for kx in 0..s.kernel[1] {
                    // Outside of the image the subtraction wraps around, far beyond its size.
                    let y = (y_out * s.stride + ky).wrapping_sub(s.padding[0]);
                    let x = (x_out * s.stride + kx).wrapping_sub(s.padding[2]);
                    if y < s.height && x < s.width {
                        f(at, (y * s.width + x) * s.c_in);
                    }
                    at += s.c_in;
                }
            }
        }
    }
}
