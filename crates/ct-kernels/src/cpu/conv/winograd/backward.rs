//! Both gradients, in the transposed form, so that they share the transform of `dy`.
//!
//! For each block of tiles: `dM = A dY A^T` once, for all output channels. Then, for 32 input channels at a time,
//! `V = B^T x B` again (keeping it from the forward pass would take 2.25 times the memory of `x`),
//! the weights' products `dU += V^T dM`, the inputs' products `dV = dM U^T` in place of V, and `dx += B dV B^T`,
//! added tile by tile since neighbours overlap.
//!
//! The batch is divided into *strands*, runs of whole images whose number depends on the shape alone.
//! A strand is worked on by one thread, in order, with a `dU` of its own; the `dU` are added in order at the end.
//! So the gradients have the same bits for any number of threads.

#![expect(unsafe_code, reason = "transforms address pixels through pointers")]

use super::super::ConvShape;
use super::super::dispatch::Isa;
use super::super::gemm::{Slab, Target, column_product, row_product};
use super::super::parallel::{self, Shared};
use super::super::scratch::Scratch;
use super::super::simd::{BLOCK, Job, Simd};
use super::tiles::Tiling;
use super::transform::{INS, input_transposed_2d, output_transposed_2d};
use super::weights::{self, Axes};
use super::{CHUNK, slab_stride};

/// Most floats that all strands' `dU` may take together, unless two take more.
const PARTIAL_FLOATS: usize = 4 << 20;

/// Number of strands: a function of the shape only.
fn strand_count(s: &ConvShape) -> usize {
    let most = (PARTIAL_FLOATS / (INS * weights::point_stride(s.c_in, s.c_out))).clamp(2, 32);
    s.batch.min(most)
}

/// The gradients that are wanted; see [`super::super::backward`].
pub(in super::super) fn backward(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    debug_assert!(super::applies(s));
    let strands = strand_count(s);
    let point_stride = weights::point_stride(s.c_in, s.c_out);
    // Some of these are not needed by every call; one float stands in for them.
    let mut u = Scratch::take(if dx.is_some() { INS * point_stride } else { 1 });
    if dx.is_some() {
        weights::transform(isa, Axes::backward(s.c_in, s.c_out), w, u.slice_mut());
    }
    let part_stride = if dw.is_some() { INS * point_stride } else { 0 };
    let mut partials = Scratch::take((strands * part_stride).max(1));
    let mut bias_partials = Scratch::zeroed(strands * s.c_out);
    {
        let u = u.slice();
        let du = Shared::new(partials.slice_mut());
        let db = Shared::new(bias_partials.slice_mut());
        let wants_dw = dw.is_some();
        let dx = dx.map(Shared::new);
        let tiling = Tiling::new(s);
        parallel::for_each(strands, |i| {
            let (first_image, images) = parallel::part(s.batch, strands, i);
            let per_image = tiling.per_image();
            let blocks = super::block_count(images * per_image, s.c_out);
            let most_tiles = (images * per_image).div_ceil(blocks);
            let m_len = INS * slab_stride(s.c_out / BLOCK, most_tiles);
            let v_len = INS * slab_stride(CHUNK.min(s.c_in / BLOCK), most_tiles);
            let mut scratch = Scratch::take(m_len + v_len + s.c_in.max(s.c_out) + s.c_in);
            let (m, rest) = scratch.slice_mut().split_at_mut(m_len);
            let (v, rest) = rest.split_at_mut(v_len);
            let (zeros, sink) = rest.split_at_mut(s.c_in.max(s.c_out));
            zeros.fill(0.0);
            let mut done = 0;
            for block in 0..blocks {
                let (start, tiles) = parallel::part(images * per_image, blocks, block);
                let first = first_image * per_image + start;
                if let Some(dx) = &dx {
                    // Images whose first tile is in this block: nothing was added to them yet.
                    let until = (start + tiles).div_ceil(per_image);
                    let image_len = s.height * s.width * s.c_in;
                    // SAFETY: `until <= images`, dx has the length of x, and the strand owns its images.
                    unsafe {
                        let start = dx.get().add((first_image + done) * image_len);
                        start.write_bytes(0, (until - done) * image_len);
                    }
                    done = until;
                }
                let job = Block {
                    tiling,
                    c_in: s.c_in,
                    c_out: s.c_out,
                    first,
                    tiles,
                    x: x.as_ptr(),
                    u: u.as_ptr(),
                    dy: dy.as_ptr(),
                    dx: dx.map_or(std::ptr::null_mut(), Shared::get),
                    // SAFETY: one part and one row per strand.
                    du: if wants_dw { unsafe { du.get().add(i * part_stride) } } else { std::ptr::null_mut() },
                    // SAFETY: as above.
                    db: unsafe { db.get().add(i * s.c_out) },
                    accumulate: block > 0,
                    m: m.as_mut_ptr(),
                    v: v.as_mut_ptr(),
                    zeros: zeros.as_mut_ptr(),
                    sink: sink.as_mut_ptr(),
                };
                // SAFETY: the caller checked the lengths of all tensors; the scratch has the lengths that `Block` names;
                // strands write different images and parts.
                unsafe { isa.invoke(job) }
            }
        });
    }
    if let Some(dw) = dw {
        weights::gradient(isa, s.c_in, s.c_out, partials.slice(), strands, part_stride, dw);
    }
    if let Some(db) = db {
        super::super::sum_rows(&bias_partials.slice()[..strands * s.c_out], db);
    }
}

/// A range of tiles of one strand, with working memory:
/// m: 36 slabs of `c_out`, v: 36 slabs of a chunk, zeros: the larger of `c_in` and `c_out`, sink: `c_in`.
/// `dx` and `du` are null where not wanted.
struct Block {
    tiling: Tiling,
    c_in: usize,
    c_out: usize,
    first: usize,
    tiles: usize,
    x: *const f32,
    u: *const f32,
    dy: *const f32,
    dx: *mut f32,
    du: *mut f32,
    db: *mut f32,
    accumulate: bool,
    m: *mut f32,
    v: *mut f32,
    zeros: *mut f32,
    sink: *mut f32,
}

impl Job for Block {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the job's contract.
        unsafe {
            self.outputs_to_points::<S>();
            let point_stride = weights::point_stride(self.c_in, self.c_out);
            let slab_block = self.tiles * BLOCK;
            let m_stride = slab_stride(self.c_out / BLOCK, self.tiles);
            let mut block = 0;
            while block < self.c_in / BLOCK && !(self.dx.is_null() && self.du.is_null()) {
                let blocks = (self.c_in / BLOCK - block).min(CHUNK);
                let v_stride = slab_stride(blocks, self.tiles);
                if !self.du.is_null() {
                    super::inputs_to_points::<S>(&self.tiling, self.first, self.tiles, self.x, self.c_in, block, blocks, self.zeros, self.v);
                }
                for point in 0..INS {
                    let m = Slab { ptr: self.m.add(point * m_stride), block_stride: slab_block };
                    let v = self.v.add(point * v_stride);
                    if !self.du.is_null() {
                        let du = self.du.add(point * point_stride + block * BLOCK * self.c_out);
                        let v = Slab { ptr: v, block_stride: slab_block };
                        column_product::<S>(v, blocks, m, self.c_out / BLOCK, self.tiles, du, self.c_out, self.accumulate);
                    }
                    if !self.dx.is_null() {
                        let v = Target {
                            ptr: v,
                            row_stride: BLOCK,
                            block_stride: slab_block,
                            columns: blocks * BLOCK,
                            bias: std::ptr::null(),
                        };
                        let u = self.u.add(point * point_stride + block * BLOCK * self.c_out);
                        row_product::<S>(m, self.tiles, self.c_out, u, v);
                    }
                }
                if !self.dx.is_null() {
                    self.points_to_inputs::<S>(block, blocks, v_stride);
                }
                block += blocks;
            }
        }
    }
}

impl Block {
    /// `dM = A dY A^T` for all output channels, and `db += sum dY` on the way.
    #[inline(always)]
    unsafe fn outputs_to_points<S: Simd>(&self) {
        let stride = slab_stride(self.c_out / BLOCK, self.tiles);
        for index in 0..self.tiles {
            // SAFETY: the tile is one of the tiling's; its pixels, and db, have c_out channels; dy is only read.
            unsafe {
                let tile = self.tiling.tile(self.first + index);
                let pixels = self.tiling.outputs(tile, self.dy.cast_mut(), self.c_out, self.zeros);
                for lane in (0..self.c_out).step_by(S::LANES) {
                    let m = self.m.add(lane / BLOCK * self.tiles * BLOCK + index * BLOCK + lane % BLOCK);
                    let mut sum = S::load(self.db.add(lane));
                    output_transposed_2d::<S>(
                        |i, j| {
                            let value = S::load(pixels[i * 4 + j].add(lane));
                            sum = S::add(sum, value);
                            value
                        },
                        |i, j, v| S::store(m.add((i * 6 + j) * stride), v),
                    );
                    S::store(self.db.add(lane), sum);
                }
            }
        }
    }

    /// `dx += B dV B^T` for `blocks` blocks of channels from `block` on.
    #[inline(always)]
    unsafe fn points_to_inputs<S: Simd>(&self, block: usize, blocks: usize, stride: usize) {
        for index in 0..self.tiles {
            // SAFETY: the tile is one of the tiling's, its image belongs to this strand; v holds 36 slabs of `blocks` blocks.
            unsafe {
                let tile = self.tiling.tile(self.first + index);
                let pixels = self.tiling.inputs(tile, self.dx, self.c_in, self.sink);
                for lane in (0..blocks * BLOCK).step_by(S::LANES) {
                    let v = self.v.add(lane / BLOCK * self.tiles * BLOCK + index * BLOCK + lane % BLOCK);
                    let channel = block * BLOCK + lane;
                    input_transposed_2d::<S>(
                        |i, j| S::load(v.add((i * 6 + j) * stride)),
                        |i, j, value| {
                            let pixel = pixels[i * 6 + j].add(channel);
                            S::store(pixel, S::add(S::load(pixel), value));
                        },
                    );
                }
            }
        }
    }
}
