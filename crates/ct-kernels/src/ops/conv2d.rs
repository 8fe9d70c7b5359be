//! Two-dimensional convolution.

use candle_core::Tensor;

use super::linear::{push_forward, sum_rows};
use super::{Place, check_dims, place, sum_of};
use crate::cpu::conv::{self, Addends, ConvShape};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed, cpu, reference};

const NAME: &str = "conv2d";

/// How a convolution steps over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Step between two output pixels, the same each way; at least 1.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

impl Default for Conv2d {
    /// Stride 1, no padding.
    fn default() -> Self {
        Self { stride: 1, padding: Padding::default() }
    }
}

/// Rows and columns of zeros around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same number of rows or columns on every side.
    pub const fn all(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }
}

/// Cross-correlation of images with a kernel, as deep learning calls a convolution.
///
/// # Shapes
/// `x`: `[B, H, W, Cin]`; `w`: `[Cout, Cin, kh, kw]`; `b`: `[Cout]`;
/// result: [B, Ho, Wo, Cout] with Ho = (H + top + bottom - kh) / stride + 1, Wo likewise.
///
/// # Errors
/// When shapes do not fit, or the stride is zero.
pub fn conv2d(x: &Value, w: &Value, b: Option<&Value>, config: &Conv2d) -> Result<Value> {
    let op = Convolution { config: *config, has_residual: false };
    match b {
        Some(b) => apply(op, &[x, w, b]),
        None => apply(op, &[x, w]),
    }
}

/// [`conv2d`] plus `residual`, without a pass over memory for the sum.
///
/// # Shapes
/// As [`conv2d`]; `residual` as the result.
///
/// # Errors
/// When shapes do not fit, or the stride is zero.
pub fn conv2d_residual(x: &Value, w: &Value, b: &Value, residual: &Value, config: &Conv2d) -> Result<Value> {
    apply(Convolution { config: *config, has_residual: true }, &[x, w, b, residual])
}

/// Inputs x, w, then a bias and a residual where there is one.
struct Convolution {
    config: Conv2d,
    has_residual: bool,
}

impl Convolution {
    fn shape(&self, x: &[usize], w: &[usize]) -> Result<ConvShape> {
        let Conv2d { stride, padding } = self.config;
        if stride == 0 {
            return Err(Error::setting(NAME, "the stride must be at least 1, got 0"));
        }
        let &[batch, height, width, channels_in] = x else {
            return Err(Error::shape(NAME, "x", "[B, H, W, Cin]", x));
        };
        let &[channels_out, kernel_channels, kernel_height, kernel_width] = w else {
            return Err(Error::shape(NAME, "w", "[Cout, Cin, kh, kw]", w));
        };
        if kernel_channels != channels_in {
            let expected = format!("[Cout, {channels_in}, kh, kw], for x {x:?}");
            return Err(Error::shape(NAME, "w", expected, w));
        }
        let shape = ConvShape {
            batch,
            height,
            width,
            c_in: channels_in,
            c_out: channels_out,
            kernel: [kernel_height, kernel_width],
            stride,
            padding: [padding.top, padding.bottom, padding.left, padding.right],
        };
        if kernel_height * kernel_width == 0 || shape.out_height() * shape.out_width() == 0 {
            let expected = format!("at least as large as the kernel {w:?} with {padding:?}");
            return Err(Error::shape(NAME, "x", expected, x));
        }
        Ok(shape)
    }

    /// The convolution, with whatever is to be added to it.
    fn run(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let shape = self.shape(x.dims(), w.dims())?;
        if let Some(b) = bias {
            check_dims(NAME, "b", b, &[shape.c_out])?;
        }
        if let Some(residual) = residual {
            let dims = [shape.batch, shape.out_height(), shape.out_width(), shape.c_out];
            check_dims(NAME, "residual", residual, &dims)?;
        }
        match place(NAME, &[x, w])? {
            Place::CpuF32 => forward_f32(&shape, x, w, bias, residual),
            Place::CpuF64 => {
                let y = reference::conv2d_forward::<f64>(&shape, x, w, bias)?;
                sum_of(NAME, vec![residual.cloned(), Some(y)])
            }
            Place::Composed => composed::convolution::forward(&shape, x, w, bias, residual),
        }
    }
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        place(NAME, inputs)?;
        let output = self.run(inputs[0], inputs[1], inputs.get(2).copied(), inputs.get(3).copied())?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (ctx.input(0)?, ctx.input(1)?);
        let shape = self.shape(x.dims(), w.dims())?;
        let needs = [ctx.needs(0), ctx.needs(1), ctx.needs(2)];
        let mut grads = Vec::from(match place(NAME, &[x, grad])? {
            Place::CpuF32 => backward_f32(&shape, x, w, grad, needs),
            Place::CpuF64 => backward_f64(&shape, x, w, grad, needs),
            Place::Composed => composed::convolution::backward(&shape, x, w, grad, needs),
        }?);
        grads.truncate(ctx.num_inputs());
        if self.has_residual {
            grads.push(Some(grad.clone()));
        }
        Ok(grads)
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        push_forward(NAME, ctx, tangents, |x, w, b, residual| self.run(x, w, b, residual))
    }

    fn keeps(&self) -> Keeps {
        Keeps::first(2)
    }
}

#[expect(unsafe_code, reason = "the output is not cleared before it is written")]
fn forward_f32(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x, w) = (cpu::read(&x)?, cpu::read(&w)?);
    let bias = bias.as_ref().map(cpu::read).transpose()?;
    let residual = residual.as_ref().map(cpu::read).transpose()?;
    let plus = Addends { bias: bias.as_deref(), residual: residual.as_deref() };
    // SAFETY: the kernel overwrites all of y and reads none of it.
    let y = unsafe { cpu::overwritten(shape.output_len(), |y| conv::forward(shape, &x, &w, plus, y)) };
    cpu::tensor(y, &[shape.batch, shape.out_height(), shape.out_width(), shape.c_out])
}

/// The gradients by x, w and bias that are needed.
#[expect(unsafe_code, reason = "the gradients are not cleared before they are written")]
fn backward_f32(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    needs: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let (xc, wc, gc) = (x.contiguous()?, w.contiguous()?, grad.contiguous()?);
    let (xs, ws, gs) = (cpu::read(&xc)?, cpu::read(&wc)?, cpu::read(&gc)?);
    // SAFETY: the kernel overwrites all of the gradients that it is given.
    unsafe {
        cpu::overwritten_if_needed([x.dims(), w.dims(), &[shape.c_out]], needs, |[dx, dw, db]| {
            conv::backward(shape, &xs, &ws, &gs, dx, dw, db);
        })
    }
}

fn backward_f64(
    shape: &ConvShape,
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    [by_x, by_w, by_bias]: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    Ok([
        by_x.then(|| reference::conv2d_by_input::<f64>(shape, w, grad)).transpose()?,
        by_w.then(|| reference::conv2d_by_weight::<f64>(shape, x, grad)).transpose()?,
        by_bias.then(|| sum_rows(grad)).transpose()?,
    ])
}
