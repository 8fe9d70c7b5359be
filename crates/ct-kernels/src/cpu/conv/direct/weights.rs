//! Packing of weights into the panels of the row product, and of gradients out of the column product.

use super::super::ConvShape;
use super::super::dispatch::Isa;
use super::super::simd::BLOCK;
use super::super::scratch::Scratch;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// How to look at weights `[out][in][taps]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum View {
    /// As they are.
    Plain,
    /// As those of the mirrored convolution: in and out swapped, taps reversed.
    Mirrored,
}

impl View {
    /// Where the weight of (output channel, input channel, tap) of a convolution of shape `s` is stored,
    /// if `s` is the shape that this view shows.
    pub(super) fn index(self, s: &ConvShape, out: usize, tap: usize, c: usize) -> usize {
        let taps = s.kernel[0] * s.kernel[1];
        match self {
            Self::Plain => (out * s.c_in + c) * taps + tap,
            Self::Mirrored => (c * s.c_out + out) * taps + (taps - 1 - tap),
        }
    }
}

/// A matrix of `rows x columns` in panels `[columns/panel][rows][panel]`, with zeros up to whole blocks both ways.
fn pack(isa: Isa, rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Scratch {
    let (padded_rows, padded_columns) = (rows.next_multiple_of(BLOCK), columns.next_multiple_of(BLOCK));
    let mut packed = Scratch::take(padded_rows * padded_columns);
    let fill = |panel: usize, to: &mut [f32]| {
        let first = panel * isa.panel();
        let width = to.len() / padded_rows;
        let present = width.min(columns - first);
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            if row < rows {
                for (lane, to) in to[..present].iter_mut().enumerate() {
                    *to = at(row, first + lane);
                }
                to[present..].fill(0.0);
            } else {
                to.fill(0.0);
            }
        }
    };
    let panels = packed.slice_mut()[..padded_rows * padded_columns].par_chunks_mut(padded_rows * isa.panel());
    if rows * columns < 1 << 14 {
        let chunk = padded_rows * isa.panel();
        for (panel, to) in packed.slice_mut()[..padded_rows * padded_columns].chunks_mut(chunk).enumerate() {
            fill(panel, to);
        }
    } else {
        panels.enumerate().for_each(|(panel, to)| fill(panel, to));
    }
    packed
}

/// Weights for `patches x W`: rows `[taps][in]`, columns `out`.
pub(super) fn pack_forward(isa: Isa, s: &ConvShape, w: &[f32], view: View) -> Scratch {
    let rows = s.kernel[0] * s.kernel[1] * s.c_in;
    pack(isa, rows, s.c_out, |k, out| w[view.index(s, out, k / s.c_in, k % s.c_in)])
}

/// Weights for `dy x W^T`: rows `out`, columns `[taps][in]`.
pub(super) fn pack_transposed(isa: Isa, s: &ConvShape, w: &[f32]) -> Scratch {
    let columns = s.kernel[0] * s.kernel[1] * s.c_in;
    pack(isa, s.c_out, columns, |out, k| w[View::Plain.index(s, out, k / s.c_in, k % s.c_in)])
}

/// Adds up partial gradients, each a matrix of `part_len` floats with rows `[taps][in]` and `stride` floats a row, into `dw`.
pub(super) fn unpack_gradient(s: &ConvShape, view: View, partials: &[f32], parts: usize, part_len: usize, stride: usize, dw: &mut [f32]) {
    let (first, others) = partials[..parts * part_len].split_at(part_len);
    for k in 0..s.kernel[0] * s.kernel[1] * s.c_in {
        for out in 0..s.c_out {
            let at = k * stride + out;
            let sum = others.iter().skip(at).step_by(part_len).fold(first[at], |sum, v| sum + v);
            dw[view.index(s, out, k / s.c_in, k % s.c_in)] = sum;
        }
    }
}
