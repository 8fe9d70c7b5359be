//! Packing of weights into the panels of the row product, and of gradients out of the column product.

#![expect(unsafe_code, reason = "several threads write one array, each its own channels")]

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::super::ConvShape;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::BLOCK;
use crate::cpu::simd::dispatch::Isa;

/// How to look at weights `[out][in][taps]`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum View {
    /// As they are.
    Plain,
    /// As those of the mirrored convolution: in and out swapped, taps reversed.
    Mirrored,
}

/// Where the weight of (output channel, input channel, tap) is: `base + out * .. + c * .. + tap * ..`.
#[derive(Clone, Copy, Debug)]
struct Strides {
    base: usize,
    out: usize,
    c: usize,
    tap: isize,
}

impl View {
    /// For a convolution of the shape that this view shows.
    fn strides(self, s: &ConvShape) -> Strides {
        let taps = s.kernel[0] * s.kernel[1];
        match self {
            Self::Plain => Strides { base: 0, out: s.c_in * taps, c: taps, tap: 1 },
            Self::Mirrored => Strides { base: taps - 1, out: taps, c: s.c_out * taps, tap: -1 },
        }
    }

    /// Where the weight is stored.
    pub(in super::super) fn index(self, s: &ConvShape, out: usize, tap: usize, c: usize) -> usize {
        self.strides(s).index(out, tap, c)
    }
}

impl Strides {
    #[inline(always)]
    fn index(self, out: usize, tap: usize, c: usize) -> usize {
        (self.base + out * self.out + c * self.c).wrapping_add_signed(tap.cast_signed() * self.tap)
    }
}

/// Matrices smaller than this are packed by one thread.
const PARALLEL_FROM: usize = 1 << 14;

/// A matrix in panels `[columns/panel][rows][panel]`, with zeros up to whole blocks of columns.
///
/// `fill(first, panel, width)` writes a panel's columns from `first` on, as rows of `width` floats, where there are any.
fn pack(
    isa: Isa,
    rows: usize,
    columns: usize,
    fill: impl Fn(usize, &mut [f32], usize) + Sync + Send,
) -> Scratch {
    let padded_columns = columns.next_multiple_of(BLOCK);
    let mut packed = Scratch::take(rows * padded_columns);
    let matrix = &mut packed.slice_mut()[..rows * padded_columns];
    let chunk = rows * isa.panel();
    let fill = |panel: usize, to: &mut [f32]| {
        let first = panel * isa.panel();
        let width = to.len() / rows;
        if columns - first < width {
            to.fill(0.0);
        }
        fill(first, to, width);
    };
    if rows * columns < PARALLEL_FROM {
        for (panel, to) in matrix.chunks_mut(chunk).enumerate() {
            fill(panel, to);
        }
    } else {
        matrix.par_chunks_mut(chunk).enumerate().for_each(|(panel, to)| fill(panel, to));
    }
    packed
}

/// Weights for `patches x W`: rows `[taps][in]`, columns `out`.
pub(super) fn pack_forward(isa: Isa, s: &ConvShape, w: &[f32], view: View) -> Scratch {
    let taps = s.kernel[0] * s.kernel[1];
    let strides = view.strides(s);
    pack(isa, taps * s.c_in, s.c_out, |first, to, width| {
        let present = width.min(s.c_out - first);
        for tap in 0..taps {
            let rows = to[tap * s.c_in * width..].chunks_exact_mut(width).take(s.c_in);
            for (c, row) in rows.enumerate() {
                let from = w[strides.index(first, tap, c)..].iter().step_by(strides.out);
                for (to, from) in row[..present].iter_mut().zip(from) {
                    *to = *from;
                }
            }
        }
    })
}

/// Weights for `dy x W^T`: rows `out`, columns `[taps][in]`.
pub(super) fn pack_transposed(isa: Isa, s: &ConvShape, w: &[f32]) -> Scratch {
    let columns = s.kernel[0] * s.kernel[1] * s.c_in;
    let strides = View::Plain.strides(s);
    pack(isa, s.c_out, columns, |first, to, width| {
        for lane in 0..width.min(columns - first) {
            let (tap, c) = ((first + lane) / s.c_in, (first + lane) % s.c_in);
            let from = w[strides.index(0, tap, c)..].iter().step_by(strides.out);
            for (to, from) in to[lane..].iter_mut().step_by(width).zip(from) {
                *to = *from;
            }
        }
    })
}

/// Adds up partial gradients into `dw`.
///
/// `partials` holds `parts` matrices of `part_len` floats, with rows `[taps][in]` of `stride` floats; their sum is left in the first.
pub(super) fn unpack_gradient(
    s: &ConvShape,
    view: View,
    partials: &mut [f32],
    parts: usize,
    part_len: usize,
    stride: usize,
    dw: &mut [f32],
) {
    let (sum, others) = partials[..parts * part_len].split_at_mut(part_len);
    if parts > 1 {
        const CHUNK: usize = 4096;
        let add = |(i, sum): (usize, &mut [f32])| {
            for part in others.chunks_exact(part_len) {
                for (sum, v) in sum.iter_mut().zip(&part[i * CHUNK..]) {
                    *sum += *v;
                }
            }
        };
        if part_len * parts < PARALLEL_FROM {
            sum.chunks_mut(CHUNK).enumerate().for_each(add);
        } else {
            sum.par_chunks_mut(CHUNK).enumerate().for_each(add);
        }
    }
    let sum = &*sum;
    let strides = view.strides(s);
    let taps = s.kernel[0] * s.kernel[1];
    if taps == 1 && strides.out == 1 && stride == s.c_out {
        dw.copy_from_slice(&sum[..dw.len()]);
        return;
    }
    let len = dw.len();
    let dw = Shared::new(dw);
    parallel::for_each(s.c_out.div_ceil(BLOCK), |block| {
        let first = block * BLOCK;
        let present = BLOCK.min(s.c_out - first);
        for c in 0..s.c_in {
            for tap in 0..taps {
                let row = &sum[(tap * s.c_in + c) * stride + first..][..present];
                for (lane, v) in row.iter().enumerate() {
                    let at = strides.index(first + lane, tap, c);
                    assert!(at < len);
                    // SAFETY: in range, and each task writes its own output channels.
                    unsafe { *dw.part(at, 1) = *v }
                }
            }
        }
    });
}
