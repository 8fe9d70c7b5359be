//! `y = patches(x) W + bias + residual`, a block of pixels at a time.

#![expect(unsafe_code, reason = "calls the matrix product, which takes pointers")]

use super::super::gemm::{Ahead, Slab, Target, row_product};
use super::super::{Addends, ConvShape};
use super::patches::Patches;
use super::weights::{self, View};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// `y = conv(x, w) + bias + residual`; see [`super::super::forward`].
pub(in super::super) fn forward(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    plus: Addends<'_>,
    y: &mut [f32],
) {
    forward_view(isa, s, x, w, View::Plain, plus, y);
}

/// As [`forward`], with the weights seen through `view`.
pub(super) fn forward_view(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    view: View,
    plus: Addends<'_>,
    y: &mut [f32],
) {
    let patches = Patches::new(s);
    let k = patches.padded_len();
    let packed = weights::pack_forward(isa, s, w, view);
    let mut padded_bias = Scratch::zeroed(s.c_out.next_multiple_of(BLOCK));
    if let Some(bias) = plus.bias {
        padded_bias.slice_mut()[..s.c_out].copy_from_slice(bias);
    }
    let (packed, padded_bias) = (packed.slice(), padded_bias.slice());
    let blocks = block_count(patches.rows(), k, s.c_out);
    let y = Shared::new(y);
    parallel::for_each(blocks, |i| {
        let (first, rows) = parallel::part(patches.rows(), blocks, i);
        let mut scratch = Scratch::take(rows * k + patches.line_len());
        let (slab, line) = scratch.slice_mut().split_at_mut(rows * k);
        patches.gather(isa, x, first, rows, line, slab);
        debug_assert!(packed.len() >= patches.len() * s.c_out.next_multiple_of(BLOCK));
        let product = Product {
            a: Slab::new(slab, rows, k / BLOCK),
            rows,
            k: patches.len(),
            b: packed.as_ptr(),
            target: Target {
                // SAFETY: y has one row of c_out per pixel, and first + rows pixels at least.
                ptr: unsafe { y.part(first * s.c_out, rows * s.c_out) },
                row_stride: s.c_out,
                block_stride: BLOCK,
                columns: s.c_out,
                bias: padded_bias.as_ptr(),
                plus: plus.residual.map_or(std::ptr::null(), |residual| residual[first * s.c_out..].as_ptr()),
            },
            ahead: Ahead::new(patches.inputs_near(x, first + rows, rows)),
        };
        // SAFETY: the slab was just filled, the weights are packed for this product, and each task has its own rows of y.
        unsafe { isa.invoke(product) }
    });
}

/// Into how many blocks to divide `rows`, for a product with a matrix of `k x n`.
fn block_count(rows: usize, k: usize, n: usize) -> usize {
    let count = rows.div_ceil(block_rows(k, n));
    // An even number suits two threads, and hardly matters to more.
    if count > 1 { count.next_multiple_of(2).min(rows) } else { count }
}

/// Rows of patches to work on at a time: as many as the first-level cache holds,
/// but enough to be worth reading a large matrix of weights or gradients for.
pub(super) fn block_rows(k: usize, n: usize) -> usize {
    const SLAB_FLOATS: usize = 8 << 10;
    const LARGE_MATRIX: usize = 64 << 10;
    (SLAB_FLOATS / k).clamp(if k * n > LARGE_MATRIX { 56 } else { 28 }, 112)
}

/// [`row_product`] as a job.
pub(super) struct Product {
    pub(super) a: Slab,
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) b: *const f32,
    pub(super) target: Target,
    pub(super) ahead: Ahead,
}

impl Job for Product {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: who makes the job answers for the contract of `row_product`.
        unsafe { row_product::<S>(self.a, self.rows, self.k, self.b, self.target, self.ahead) }
    }
}
