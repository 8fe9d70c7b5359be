//! Gradients of the direct convolution.
//!
//! Sums over pixels are taken in strands, whose number depends on the shape alone, and the strands are added in order:
//! the same bits for any number of threads.

#![expect(unsafe_code, reason = "calls the matrix products, which take pointers")]

use super::super::gemm::{Ahead, Slab, Sums, Target, column_product};
use super::super::{Addends, ConvShape, Gradients, narrow, sum_rows};
use super::forward::{Product, block_rows, forward_view};
use super::patches::{Patches, ScatterAdd};
use super::weights::{self, View};
use super::{dense, mirrored};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// Most floats that the partial gradients of all strands may take together, unless two take more.
const PARTIAL_FLOATS: usize = 3 << 19;
/// A strand has about as many pixels at least.
const STRAND_ROWS: usize = 256;

/// The gradients that are wanted; see [`super::super::backward`].
pub(in super::super) fn backward(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    out: Gradients<'_>,
) {
    if dense::applies(s) {
        return dense::backward(isa, s, x, w, dy, out);
    }
    debug_assert!(out.dx_plus.is_none());
    let Gradients { dx, dw, db, .. } = out;
    let mirrored = mirrored(s);
    if let Some(dx) = dx {
        match mirrored {
            Some(m) if narrow::applies(&m) => {
                narrow::forward(isa, &m, dy, w, View::Mirrored, Addends::default(), dx);
            }
            Some(m) => forward_view(isa, &m, dy, w, View::Mirrored, Addends::default(), dx),
            None => scatter_input_gradient(isa, s, w, dy, dx),
        }
    }
    if let Some(dw) = dw {
        match mirrored {
            // Patches of the side with fewer channels are the smaller matrix.
            Some(m) if s.c_out < BLOCK && s.c_out < s.c_in => {
                weight_gradient(isa, &m, dy, x, View::Mirrored, dw);
            }
            _ => weight_gradient(isa, s, x, dy, View::Plain, dw),
        }
    }
    if let Some(db) = db {
        bias_gradient(isa, s.c_out, dy, db);
    }
}

/// Into how many strands to divide `rows`, for gradients of `floats` floats: a function of the shape only.
pub(super) fn strand_count(rows: usize, floats: usize) -> usize {
    (PARTIAL_FLOATS / floats).clamp(2, 16).min(rows.div_ceil(STRAND_ROWS))
}

/// `dw = patches(x)^T dy`, seen through `view`.
fn weight_gradient(isa: Isa, s: &ConvShape, x: &[f32], dy: &[f32], view: View, dw: &mut [f32]) {
    let (patches, pixels) = (Patches::new(s), Patches::pixels(s));
    let (k, n) = (patches.padded_len(), pixels.padded_len());
    let (total, most_rows) = (patches.rows(), block_rows(k, n));
    let strands = strand_count(total, k * n);
    let mut partials = Scratch::take(strands * k * n);
    let shared = Shared::new(partials.slice_mut());
    parallel::for_each(strands, |i| {
        let (start, len) = parallel::part(total, strands, i);
        let mut scratch = Scratch::take(most_rows * (k + n) + patches.line_len().max(pixels.line_len()));
        let (a, rest) = scratch.slice_mut().split_at_mut(most_rows * k);
        let (b, line) = rest.split_at_mut(most_rows * n);
        for done in (0..len).step_by(most_rows) {
            let rows = (len - done).min(most_rows);
            patches.gather(isa, x, start + done, rows, line, a);
            pixels.gather(isa, dy, start + done, rows, line, b);
            let product = ColumnProduct {
                a: Slab::new(a, rows, k / BLOCK),
                k_blocks: k / BLOCK,
                b: Slab::new(b, rows, n / BLOCK),
                n_blocks: n / BLOCK,
                rows,
                // SAFETY: one part of k x n floats per strand.
                c: unsafe { shared.part(i * k * n, k * n) },
                accumulate: done > 0,
            };
            // SAFETY: both slabs were just filled for `rows` rows, and the part is this strand's.
            unsafe { isa.invoke(product) }
        }
    });
    weights::unpack_gradient(s, view, partials.slice_mut(), strands, k * n, n, dw);
}

/// [`column_product`] as a job; `c` has `16 n_blocks` floats a row.
pub(super) struct ColumnProduct {
    pub(super) a: Slab,
    pub(super) k_blocks: usize,
    pub(super) b: Slab,
    pub(super) n_blocks: usize,
    pub(super) rows: usize,
    pub(super) c: *mut f32,
    pub(super) accumulate: bool,
}

impl Job for ColumnProduct {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let sums = Sums { ptr: self.c, row_stride: self.n_blocks * BLOCK, accumulate: self.accumulate };
        // SAFETY: who makes the job answers for the contract of `column_product`.
        unsafe {
            column_product::<S>(self.a, self.k_blocks, self.b, self.n_blocks, self.rows, sums);
        }
    }
}

/// `dx = scatter(dy W^T)`: each patch of products is added where it came from, image by image.
fn scatter_input_gradient(isa: Isa, s: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (patches, pixels) = (Patches::new(s), Patches::pixels(s));
    let (columns, k) = (patches.len(), pixels.padded_len());
    let packed = weights::pack_transposed(isa, s, w);
    let packed = packed.slice();
    let (per_image, most_rows) = (s.out_height() * s.out_width(), block_rows(columns, k));
    let image_len = s.height * s.width * s.c_in;
    let images = Shared::new(dx);
    parallel::for_each(s.batch, |image| {
        // SAFETY: dx holds batch images, and each task has its own.
        let dx = unsafe { images.slice(image * image_len, image_len) };
        dx.fill(0.0);
        let mut scratch = Scratch::take(most_rows * (k + columns) + pixels.line_len());
        let (a, rest) = scratch.slice_mut().split_at_mut(most_rows * k);
        let (c, line) = rest.split_at_mut(most_rows * columns);
        for done in (0..per_image).step_by(most_rows) {
            let rows = (per_image - done).min(most_rows);
            let first = image * per_image + done;
            pixels.gather(isa, dy, first, rows, line, a);
            debug_assert!(
                packed.len() >= s.c_out * columns.next_multiple_of(BLOCK) && c.len() >= rows * columns
            );
            let product = Product {
                a: Slab::new(a, rows, k / BLOCK),
                rows,
                k: s.c_out,
                b: packed.as_ptr(),
                target: Target {
                    ptr: c.as_mut_ptr(),
                    row_stride: columns,
                    block_stride: BLOCK,
                    columns,
                    bias: std::ptr::null(),
                    plus: std::ptr::null(),
                },
                ahead: Ahead::NONE,
            };
            // SAFETY: the slab was just filled, the weights are packed for this product, and c has rows x columns floats.
            unsafe { isa.invoke(product) }
            let scatter = ScatterAdd {
                to: &patches,
                patches: c,
                stride: columns,
                first,
                rows,
                dx: &mut *dx,
                first_image: image,
            };
            // SAFETY: the job is safe code, and asks nothing of its arguments.
            unsafe { isa.invoke(scatter) }
        }
    });
}

/// `db = sum over pixels of dy`.
fn bias_gradient(isa: Isa, channels: usize, dy: &[f32], db: &mut [f32]) {
    let rows = dy.len() / channels;
    let strands = rows.div_ceil(256).min(32);
    let mut partials = Scratch::zeroed(strands * channels);
    let shared = Shared::new(partials.slice_mut());
    parallel::for_each(strands, |i| {
        let (first, rows) = parallel::part(rows, strands, i);
        let dy = &dy[first * channels..(first + rows) * channels];
        // SAFETY: one row of partial sums per strand.
        let sums = unsafe { shared.slice(i * channels, channels) };
        // SAFETY: the job has no requirements of its own.
        unsafe { isa.invoke(SumRows { dy, sums }) }
    });
    sum_rows(&partials.slice()[..strands * channels], db);
}

/// Adds all rows of `dy` to `sums`.
pub(super) struct SumRows<'a> {
    pub(super) dy: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl Job for SumRows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in self.dy.chunks_exact(self.sums.len()) {
            for (sum, v) in self.sums.iter_mut().zip(row) {
                *sum += *v;
            }
        }
    }
}
