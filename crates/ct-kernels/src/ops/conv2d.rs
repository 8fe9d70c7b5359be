//! Two-dimensional convolution.

use candle_core::Tensor;

use super::linear::sum_rows;
use super::{check_dims, image_dims, place, sum_of};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, reference};

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

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) height_out: usize,
    pub(crate) width_out: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

/// Cross-correlation of images with a kernel, as deep learning calls a convolution.
///
/// # Shapes
/// `x`: [B, H, W, Cin]; `w`: [Cout, Cin, kh, kw]; `b`: [Cout];
/// result: [B, Ho, Wo, Cout] with Ho = (H + top + bottom - kh) / stride + 1, Wo likewise.
///
/// # Errors
/// When shapes do not fit, or the stride is zero.
pub fn conv2d(x: &Value, w: &Value, b: Option<&Value>, config: &Conv2d) -> Result<Value> {
    let op = Convolution(*config);
    match b {
        Some(b) => apply(op, &[x, w, b]),
        None => apply(op, &[x, w]),
    }
}

struct Convolution(Conv2d);

impl Convolution {
    fn shape(&self, x: &[usize], w: &[usize]) -> Result<ConvShape> {
        let Conv2d { stride, padding } = self.0;
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
        let size_out = |size: usize, kernel: usize| {
            (kernel > 0).then_some(())?;
            Some(size.checked_sub(kernel)? / stride + 1)
        };
        let (Some(height_out), Some(width_out)) = (
            size_out(height + padding.top + padding.bottom, kernel_height),
            size_out(width + padding.left + padding.right, kernel_width),
        ) else {
            let expected = format!("at least as large as the kernel {w:?} with {padding:?}");
            return Err(Error::shape(NAME, "x", expected, x));
        };
        Ok(ConvShape {
            batch,
            height,
            width,
            channels_in,
            channels_out,
            kernel_height,
            kernel_width,
            height_out,
            width_out,
            stride,
            padding,
        })
    }
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (x, w) = (inputs[0], inputs[1]);
        place(NAME, inputs)?;
        image_dims(NAME, "x", x, "[B, H, W, Cin]")?;
        let shape = self.shape(x.dims(), w.dims())?;
        if let Some(b) = inputs.get(2) {
            check_dims(NAME, "b", b, &[shape.channels_out])?;
        }
        let output = reference::conv2d_forward(x, w, inputs.get(2).copied(), &shape)?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (ctx.input(0)?, ctx.input(1)?);
        let shape = self.shape(x.dims(), w.dims())?;
        let by_x = if ctx.needs(0) { Some(reference::conv2d_by_input(w, grad, &shape)?) } else { None };
        let by_w = if ctx.needs(1) { Some(reference::conv2d_by_weight(x, grad, &shape)?) } else { None };
        let mut grads = vec![by_x, by_w];
        if ctx.num_inputs() == 3 {
            grads.push(if ctx.needs(2) { Some(sum_rows(grad)?) } else { None });
        }
        Ok(grads)
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let by_x = tangents[0].map(|x| self.forward(&[x, ctx.input(1)?])).transpose()?;
        let by_w = tangents[1].map(|w| self.forward(&[ctx.input(0)?, w])).transpose()?;
        let by_b = match tangents.get(2) {
            Some(Some(b)) => Some(b.broadcast_as(ctx.output_dims())?.contiguous()?),
            _ => None,
        };
        sum_of(NAME, vec![by_x.map(|(y, _)| y), by_w.map(|(y, _)| y), by_b])
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}
