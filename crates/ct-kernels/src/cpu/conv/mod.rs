//! Convolution and dense layers on the CPU: forward pass and gradients, on slices.
//!
//! Activations are NHWC, weights `[out][in][ky][kx]`. Four algorithms share the work:
//!
//! | module | shapes |
//! |---|---|
//! | [`winograd`] | 3 x 3, stride 1, channels in whole blocks of 16 |
//! | [`narrow`] | very few output channels, stride 1 |
//! | [`direct`] | everything else, 1 x 1 and dense layers included |
//!
//! Each is written once, over [`Simd`](crate::cpu::simd::Simd), and compiled for AVX-512, AVX2 and plain Rust.
//! Results have the same bits for any number of threads: sums are divided by shape, never by thread.
//!
//! Rounding, relative to the root mean square of the result, for unit normal inputs: direct about 3e-7, Winograd 1e-6.

#![expect(
    clippy::inline_always,
    reason = "a kernel's body must be compiled inside the function that enables its instructions"
)]

mod direct;
mod gemm;
mod narrow;
mod winograd;

#[cfg(test)]
mod tests;

#[cfg(test)]
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::dispatch::{Choice, choice};

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Rows and columns of the filter.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next, both ways.
    pub stride: usize,
    /// Zeros around the input: top, bottom, left, right.
    pub padding: [usize; 4],
}

impl ConvShape {
    /// Rows of an output image; 0 if the kernel does not fit.
    pub(crate) fn out_height(&self) -> usize {
        out_size(self.height + self.padding[0] + self.padding[1], self.kernel[0], self.stride)
    }

    /// Columns of an output image; 0 if the kernel does not fit.
    pub(crate) fn out_width(&self) -> usize {
        out_size(self.width + self.padding[2] + self.padding[3], self.kernel[1], self.stride)
    }

    /// Floats of the input.
    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.c_in
    }

    /// Floats of the output.
    pub(crate) fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.c_out
    }

    /// Floats of the weights.
    pub(crate) fn weight_len(&self) -> usize {
        self.c_out * self.c_in * self.kernel[0] * self.kernel[1]
    }
}

fn out_size(padded: usize, kernel: usize, stride: usize) -> usize {
    if padded < kernel || stride == 0 { 0 } else { (padded - kernel) / stride + 1 }
}

/// What is added to a convolution or a dense layer on its way to memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addends<'a> {
    /// One number for each output channel.
    pub bias: Option<&'a [f32]>,
    /// As large as the output: the other branch of a residual block.
    pub residual: Option<&'a [f32]>,
}

/// `y = conv(x, w) + bias + residual`.
///
/// # Shapes
/// x: [batch, height, width, `c_in`], w: [`c_out`, `c_in`, kernel], bias: [`c_out`],
/// y and residual: [batch, `out_height`, `out_width`, `c_out`]; y is overwritten.
///
/// # Panics
/// If a slice has not the length that the shape says: whoever calls checks shapes.
pub(crate) fn forward(s: &ConvShape, x: &[f32], w: &[f32], plus: Addends<'_>, y: &mut [f32]) {
    forward_with(choice(), s, x, w, plus, y);
}

fn forward_with(choice: Choice, s: &ConvShape, x: &[f32], w: &[f32], plus: Addends<'_>, y: &mut [f32]) {
    check_lengths(s, x, w, y);
    let Addends { bias, residual } = plus;
    assert!(bias.is_none_or(|b| b.len() == s.c_out), "bias has c_out floats");
    assert!(residual.is_none_or(|r| r.len() == y.len()), "the residual is as long as y");
    if y.is_empty() {
        return;
    }
    if x.is_empty() || w.is_empty() {
        for row in y.chunks_exact_mut(s.c_out) {
            match bias {
                Some(bias) => row.copy_from_slice(bias),
                None => row.fill(0.0),
            }
        }
        for (y, r) in y.iter_mut().zip(residual.unwrap_or_default()) {
            *y += r;
        }
    } else if narrow::applies(s) {
        narrow::forward(choice.isa, s, x, w, direct::View::Plain, plus, y);
    } else if !choice.strict && winograd::applies(s) {
        winograd::forward(choice.isa, s, x, w, plus, y);
    } else {
        direct::forward(choice.isa, s, x, w, plus, y);
    }
}

/// The gradients of a loss with respect to x, w and bias, given that with respect to y; those that are wanted.
///
/// # Shapes
/// dy as y, dx as x, dw as w, db as bias in [`forward`]; dx, dw and db are overwritten.
///
/// # Panics
/// As [`forward`].
pub(crate) fn backward(
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    backward_with(choice(), s, x, w, dy, Gradients { dx, dx_plus: None, dw, db });
}

/// Where gradients go that are wanted.
#[derive(Debug)]
struct Gradients<'a> {
    dx: Option<&'a mut [f32]>,
    /// Added to dx; only dense layers can.
    dx_plus: Option<&'a [f32]>,
    dw: Option<&'a mut [f32]>,
    db: Option<&'a mut [f32]>,
}

fn backward_with(choice: Choice, s: &ConvShape, x: &[f32], w: &[f32], dy: &[f32], mut out: Gradients<'_>) {
    check_lengths(s, x, w, dy);
    let Gradients { dx, dx_plus, dw, db } = &out;
    assert!(dx.as_ref().is_none_or(|dx| dx.len() == x.len()), "dx is as long as x");
    assert!(dx_plus.is_none_or(|plus| plus.len() == x.len()), "what is added to dx is as long as x");
    assert!(dw.as_ref().is_none_or(|dw| dw.len() == w.len()), "dw is as long as w");
    assert!(db.as_ref().is_none_or(|db| db.len() == s.c_out), "db has c_out floats");
    if dy.is_empty() || x.is_empty() || w.is_empty() {
        if let (Some(dx), Some(plus)) = (&mut out.dx, out.dx_plus) {
            dx.copy_from_slice(plus);
        } else if let Some(dx) = &mut out.dx {
            dx.fill(0.0);
        }
        if let Some(dw) = out.dw {
            dw.fill(0.0);
        }
        if let Some(db) = out.db {
            sum_rows(dy, db);
        }
    } else if !choice.strict && winograd::applies(s) {
        winograd::backward(choice.isa, s, x, w, dy, out);
    } else {
        direct::backward(choice.isa, s, x, w, dy, out);
    }
}

fn check_lengths(s: &ConvShape, x: &[f32], w: &[f32], y: &[f32]) {
    assert_eq!(x.len(), s.input_len(), "x: batch x height x width x c_in");
    assert_eq!(w.len(), s.weight_len(), "w: c_out x c_in x kernel");
    assert_eq!(y.len(), s.output_len(), "y: batch x out_height x out_width x c_out");
}

/// `sums = sum of the rows`, in order.
fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += *v;
        }
    }
}

/// A dense layer as a convolution of one pixel per row.
fn dense(rows: usize, inputs: usize, outputs: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        height: rows,
        width: 1,
        c_in: inputs,
        c_out: outputs,
        kernel: [1, 1],
        stride: 1,
        padding: [0; 4],
    }
}

/// `y = x w^T + bias + residual`.
///
/// # Shapes
/// x: [rows, inputs], w: [outputs, inputs], bias: [outputs], y and residual: [rows, outputs]; y is overwritten.
///
/// # Panics
/// As [`forward`].
pub(crate) fn linear_forward(
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: &[f32],
    w: &[f32],
    plus: Addends<'_>,
    y: &mut [f32],
) {
    forward(&dense(rows, inputs, outputs), x, w, plus, y);
}

/// The gradients of a dense layer that are wanted, given `dy`; `dx_plus` is added to that with respect to x.
///
/// # Shapes
/// dy as y, dx and `dx_plus` as x, dw as w, db as bias in [`linear_forward`]; dx, dw and db are overwritten.
///
/// # Panics
/// As [`forward`].
pub(crate) fn linear_backward(
    [rows, inputs, outputs]: [usize; 3],
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx_plus: Option<&[f32]>,
    [dx, dw, db]: [Option<&mut [f32]>; 3],
) {
    let shape = dense(rows, inputs, outputs);
    backward_with(choice(), &shape, x, w, dy, Gradients { dx, dx_plus, dw, db });
}
