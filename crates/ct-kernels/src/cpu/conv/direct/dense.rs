//! All gradients of a dense layer, or of a 1 x 1 convolution, in one pass over `x` and `dy`.
//!
//! `dx = dy W`, `dW = dy^T x`, `db = sum dy`: each block of rows serves all three while it is in the cache.

#![expect(unsafe_code, reason = "calls the matrix products, which take pointers")]

use super::super::gemm::{Ahead, Slab, Target};
use super::super::{ConvShape, Gradients, sum_rows};
use super::backward::{ColumnProduct, SumRows, strand_count};
use super::forward::{Product, block_rows};
use super::mirrored;
use super::patches::Patches;
use super::weights::{self, View};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::BLOCK;
use crate::cpu::simd::dispatch::Isa;

/// Whether each output pixel sees just one input pixel, at the same place.
pub(super) fn applies(s: &ConvShape) -> bool {
    s.kernel == [1, 1] && s.stride == 1 && s.padding == [0; 4]
}

/// The gradients that are wanted; see [`super::super::backward`].
pub(super) fn backward(isa: Isa, s: &ConvShape, x: &[f32], w: &[f32], dy: &[f32], out: Gradients<'_>) {
    let Gradients { dx, dx_plus, dw, db } = out;
    // The convolution from dy to dx: its weights' gradient is [out][in], in our order already.
    let Some(mirror) = mirrored(s) else { return };
    let (outputs, inputs) = (Patches::pixels(s), Patches::new(s));
    let (k, n) = (outputs.padded_len(), inputs.padded_len());
    let packed =
        if dx.is_some() { weights::pack_forward(isa, &mirror, w, View::Mirrored) } else { Scratch::take(1) };
    let total = outputs.rows();
    let strands = strand_count(total, k * n);
    let most_rows = block_rows(k.max(n), k.min(n));
    let mut partials = Scratch::take(if dw.is_some() { strands * k * n } else { 1 });
    let mut bias_partials = Scratch::zeroed(strands * s.c_out);
    {
        let (partials, bias_partials) =
            (Shared::new(partials.slice_mut()), Shared::new(bias_partials.slice_mut()));
        let (packed, dx) = (packed.slice(), dx.map(Shared::new));
        let (wants_dw, wants_db) = (dw.is_some(), db.is_some());
        parallel::for_each(strands, |i| {
            let (start, len) = parallel::part(total, strands, i);
            let mut scratch = Scratch::take(most_rows * (k + n) + outputs.line_len().max(inputs.line_len()));
            let (a, rest) = scratch.slice_mut().split_at_mut(most_rows * k);
            let (b, line) = rest.split_at_mut(most_rows * n);
            // SAFETY: one row of sums per strand.
            let sums = unsafe { bias_partials.slice(i * s.c_out, s.c_out) };
            for done in (0..len).step_by(most_rows) {
                let (first, rows) = (start + done, (len - done).min(most_rows));
                outputs.gather(isa, dy, first, rows, line, a);
                let a = Slab::new(a, rows, k / BLOCK);
                if wants_db {
                    let dy = &dy[first * s.c_out..(first + rows) * s.c_out];
                    // SAFETY: the job has no requirements.
                    unsafe { isa.invoke(SumRows { dy, sums: &mut *sums }) }
                }
                if wants_dw {
                    inputs.gather(isa, x, first, rows, line, b);
                    let product = ColumnProduct {
                        a,
                        k_blocks: k / BLOCK,
                        b: Slab::new(b, rows, n / BLOCK),
                        n_blocks: n / BLOCK,
                        rows,
                        // SAFETY: one part of k x n floats per strand.
                        c: unsafe { partials.part(i * k * n, k * n) },
                        accumulate: done > 0,
                    };
                    // SAFETY: both slabs were filled for `rows` rows, and the part is this strand's.
                    unsafe { isa.invoke(product) }
                }
                if let Some(dx) = dx {
                    debug_assert!(packed.len() >= s.c_out * s.c_in.next_multiple_of(BLOCK));
                    let product = Product {
                        a,
                        rows,
                        k: s.c_out,
                        b: packed.as_ptr(),
                        target: Target {
                            // SAFETY: dx has one row of c_in per pixel, and first + rows pixels at least.
                            ptr: unsafe { dx.part(first * s.c_in, rows * s.c_in) },
                            row_stride: s.c_in,
                            block_stride: BLOCK,
                            columns: s.c_in,
                            bias: std::ptr::null(),
                            plus: dx_plus.map_or(std::ptr::null(), |plus| plus[first * s.c_in..].as_ptr()),
                        },
                        ahead: Ahead::new(outputs.inputs_near(dy, first + rows, rows)),
                    };
                    // SAFETY: the slab was filled, the weights are packed for this product, and strands have their own rows.
                    unsafe { isa.invoke(product) }
                }
            }
        });
    }
    if let Some(dw) = dw {
        weights::unpack_gradient(&mirror, View::Mirrored, partials.slice_mut(), strands, k * n, n, dw);
    }
    if let Some(db) = db {
        sum_rows(&bias_partials.slice()[..strands * s.c_out], db);
    }
}
