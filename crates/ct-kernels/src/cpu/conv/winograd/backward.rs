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
//! Where there are more threads than strands, each strand is divided once more, by input channels,
//! which changes no sum; each part then makes its own `dM`.

#![expect(unsafe_code, reason = "transforms address pixels through pointers")]

use super::super::gemm::{Ahead, Slab, Sums, Target, column_product, row_product};
use super::super::{ConvShape, Gradients};
use super::tiles::Tiling;
use super::transform::{INS, input_transposed_2d, output_transposed_2d};
use super::weights::{self, Axes, Points};
use super::{Inputs, chunk_blocks, slab_stride};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// Most floats that all strands' `dU` may take together, unless two take more.
/// More strands would spread over more threads, but cost traffic through memory; see `parts`.
const PARTIAL_FLOATS: usize = 3 << 19;

/// Number of strands: a function of the shape only.
fn strand_count(s: &ConvShape) -> usize {
    let most = (PARTIAL_FLOATS / (INS * weights::point_stride(s.c_in, s.c_out))).clamp(2, 16);
    s.batch.min(most)
}

/// The gradients that are wanted; see [`super::super::backward`].
pub(in super::super) fn backward(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    out: Gradients<'_>,
) {
    debug_assert!(super::applies(s));
    debug_assert!(out.dx_plus.is_none());
    if super::has_few_tiles(s) {
        return backward_few(isa, s, x, w, dy, out);
    }
    let Gradients { dx, dw, db, .. } = out;
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
        let in_blocks = s.c_in / BLOCK;
        let chunk = chunk_blocks(s.c_out);
        let parts = rayon::current_num_threads().div_ceil(strands).min(in_blocks.div_ceil(chunk));
        parallel::for_each(strands * parts, |i| {
            let (strand, part) = (i / parts, i % parts);
            let (first_image, images) = parallel::part(s.batch, strands, strand);
            let (first_block, part_blocks) = parallel::part(in_blocks, parts, part);
            let per_image = tiling.per_image();
            let blocks = super::block_count(images * per_image);
            let most_tiles = (images * per_image).div_ceil(blocks);
            let m_len = INS * slab_stride(s.c_out / BLOCK, most_tiles);
            let v_len = INS * slab_stride(chunk.min(part_blocks), most_tiles);
            let mut scratch = Scratch::take(m_len + v_len + s.c_in.max(s.c_out) + s.c_in);
            let (m, rest) = scratch.slice_mut().split_at_mut(m_len);
            let (v, rest) = rest.split_at_mut(v_len);
            let (zeros, sink) = rest.split_at_mut(s.c_in.max(s.c_out));
            zeros.fill(0.0);
            let mut cleared = 0;
            for block in 0..blocks {
                let (start, tiles) = parallel::part(images * per_image, blocks, block);
                // Images whose first tile is in this block: nothing was added to them yet.
                let until = (start + tiles).div_ceil(per_image);
                if let Some(dx) = dx.filter(|_| until > cleared) {
                    let pixels = s.height * s.width;
                    // SAFETY: `until <= images`, dx has the length of x, and this task owns these channels of these images.
                    unsafe {
                        let pixels_cleared = (until - cleared) * pixels;
                        let start = (first_image + cleared) * pixels * s.c_in;
                        let dx = dx.part(start, pixels_cleared * s.c_in).add(first_block * BLOCK);
                        clear(dx, pixels_cleared, s.c_in, part_blocks * BLOCK);
                    }
                    cleared = until;
                }
                let job = Block {
                    tiling,
                    c_in: s.c_in,
                    c_out: s.c_out,
                    first: first_image * per_image + start,
                    tiles,
                    in_blocks: [first_block, first_block + part_blocks],
                    chunk,
                    x: x.as_ptr(),
                    points: Points::Ready(u.as_ptr()),
                    dy: dy.as_ptr(),
                    dx: dx.map_or(std::ptr::null_mut(), Shared::get),
                    du: if wants_dw {
                        // SAFETY: one set of matrices per strand; the parts of a strand write different rows of them.
                        unsafe { du.part(strand * part_stride, part_stride) }
                    } else {
                        std::ptr::null_mut()
                    },
                    db: if part == 0 {
                        // SAFETY: one row of sums per strand, which its first part writes.
                        unsafe { db.part(strand * s.c_out, s.c_out) }
                    } else {
                        std::ptr::null_mut()
                    },
                    dw: None,
                    accumulate: block > 0,
                    m: m.as_mut_ptr(),
                    v: v.as_mut_ptr(),
                    zeros: zeros.as_mut_ptr(),
                    sink: sink.as_mut_ptr(),
                    ahead: [x, dy].map(|t| {
                        let next = first_image * per_image + start + tiles;
                        Ahead::new(parallel::stretch(t, tiling.count(), next, tiles))
                    }),
                };
                // SAFETY: the caller checked the lengths of all tensors; the scratch has the lengths that `Block` names;
                // tasks write different channels of different images, and different parts of the sums.
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

/// As [`backward`], for few tiles and many channels: each task does all tiles for a part of the input channels.
///
/// It transforms the weights chunk by chunk, and each chunk's gradients back at once: matrices at the points are
/// four times as large as weights, and would cost more to send through memory than to multiply.
fn backward_few(isa: Isa, s: &ConvShape, x: &[f32], w: &[f32], dy: &[f32], out: Gradients<'_>) {
    let Gradients { dx, dw, mut db, .. } = out;
    let tiling = Tiling::new(s);
    let (tiles, in_blocks) = (tiling.count(), s.c_in / BLOCK);
    let chunk = super::FEW_CHUNK.min(in_blocks);
    let chunks = in_blocks.div_ceil(chunk);
    let parts = rayon::current_num_threads().min(chunks);
    if let Some(db) = db.as_deref_mut() {
        db.fill(0.0);
    }
    let (dx, dw, db) = (dx.map(Shared::new), dw.map(Shared::new), db.map(Shared::new));
    parallel::for_each(parts, |part| {
        let (first_chunk, part_chunks) = parallel::part(chunks, parts, part);
        let first_block = first_chunk * chunk;
        let last_block = ((first_chunk + part_chunks) * chunk).min(in_blocks);
        let m_len = INS * slab_stride(s.c_out / BLOCK, tiles);
        let v_len = INS * slab_stride(chunk, tiles);
        let u_len = INS * weights::point_stride(chunk * BLOCK, s.c_out);
        let mut scratch = Scratch::take(m_len + v_len + 2 * u_len + s.c_in.max(s.c_out) + s.c_in);
        let (m, rest) = scratch.slice_mut().split_at_mut(m_len);
        let (v, rest) = rest.split_at_mut(v_len);
        let (u, rest) = rest.split_at_mut(u_len);
        let (du, rest) = rest.split_at_mut(u_len);
        let (zeros, sink) = rest.split_at_mut(s.c_in.max(s.c_out));
        zeros.fill(0.0);
        if let Some(dx) = dx {
            let pixels = s.batch * s.height * s.width;
            // SAFETY: dx has the length of x, and this task owns these channels of it.
            unsafe {
                let dx = dx.part(0, pixels * s.c_in).add(first_block * BLOCK);
                clear(dx, pixels, s.c_in, (last_block - first_block) * BLOCK);
            }
        }
        let job = Block {
            tiling,
            c_in: s.c_in,
            c_out: s.c_out,
            first: 0,
            tiles,
            in_blocks: [first_block, last_block],
            chunk,
            x: x.as_ptr(),
            points: Points::Made { w, panel: isa.panel(), u: u.as_mut_ptr() },
            dy: dy.as_ptr(),
            dx: dx.map_or(std::ptr::null_mut(), Shared::get),
            du: if dw.is_some() { du.as_mut_ptr() } else { std::ptr::null_mut() },
            db: db.filter(|_| part == 0).map_or(std::ptr::null_mut(), Shared::get),
            dw,
            accumulate: false,
            m: m.as_mut_ptr(),
            v: v.as_mut_ptr(),
            zeros: zeros.as_mut_ptr(),
            sink: sink.as_mut_ptr(),
            ahead: [Ahead::NONE; 2],
        };
        // SAFETY: as in `backward`; parts write different channels of dx and dw, and the first alone db.
        unsafe { isa.invoke(job) }
    });
}

/// Sets `channels` channels of `pixels` pixels to zero.
///
/// # Safety
/// `first` is writable for `pixels` rows of `stride` floats, but for the last `stride - channels`.
unsafe fn clear(first: *mut f32, pixels: usize, stride: usize, channels: usize) {
    if stride == channels {
        // SAFETY: passed on from the caller.
        unsafe { first.write_bytes(0, pixels * stride) }
    } else {
        for pixel in 0..pixels {
            // SAFETY: passed on from the caller.
            unsafe { first.add(pixel * stride).write_bytes(0, channels) }
        }
    }
}

/// A range of tiles of one strand, and of blocks of input channels, with working memory:
/// m: 36 slabs of `c_out`, v: 36 slabs of a chunk, zeros: the larger of `c_in` and `c_out`, sink: `c_in`.
/// `dx`, `du` and `db` are null where not wanted.
struct Block<'a> {
    tiling: Tiling,
    c_in: usize,
    c_out: usize,
    first: usize,
    tiles: usize,
    in_blocks: [usize; 2],
    /// Blocks of input channels that are worked on at a time.
    chunk: usize,
    x: *const f32,
    points: Points<'a>,
    dy: *const f32,
    dx: *mut f32,
    du: *mut f32,
    db: *mut f32,
    /// Where each chunk's gradients go from `du`, which then holds one chunk alone.
    dw: Option<Shared>,
    accumulate: bool,
    m: *mut f32,
    v: *mut f32,
    zeros: *mut f32,
    sink: *mut f32,
    /// About the inputs and the gradients of the next block.
    ahead: [Ahead; 2],
}

impl Job for Block<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        debug_assert!(self.tiles > 0 && self.first + self.tiles <= self.tiling.count());
        debug_assert!(self.in_blocks[0] <= self.in_blocks[1] && self.in_blocks[1] * BLOCK <= self.c_in);
        // SAFETY: the job's contract.
        unsafe {
            self.outputs_to_points::<S>();
            let axes = Axes::backward(self.c_in, self.c_out);
            let slab_block = self.tiles * BLOCK;
            let m_stride = slab_stride(self.c_out / BLOCK, self.tiles);
            let [mut block, end] = self.in_blocks;
            let products = (end - block).div_ceil(self.chunk) * INS;
            let mut product = 0;
            while block < end && !(self.dx.is_null() && self.du.is_null()) {
                let blocks = (end - block).min(self.chunk);
                let (u, u_stride) = if self.dx.is_null() {
                    (std::ptr::null(), 0)
                } else {
                    self.points.chunk::<S>(axes, block, blocks)
                };
                let (du, du_stride) = if self.dw.is_some() || self.du.is_null() {
                    (self.du, weights::point_stride(blocks * BLOCK, self.c_out))
                } else {
                    let du = self.du.add(block * BLOCK * self.c_out);
                    (du, weights::point_stride(self.c_in, self.c_out))
                };
                let v_stride = slab_stride(blocks, self.tiles);
                if !self.du.is_null() {
                    let inputs = Inputs {
                        tiling: &self.tiling,
                        first: self.first,
                        tiles: self.tiles,
                        x: self.x,
                        channels: self.c_in,
                        zeros: self.zeros,
                    };
                    inputs.to_points::<S>(block, blocks, self.v);
                }
                for point in 0..INS {
                    let m = Slab { ptr: self.m.add(point * m_stride), block_stride: slab_block };
                    let v = self.v.add(point * v_stride);
                    if !self.du.is_null() {
                        let du = du.add(point * du_stride);
                        let v = Slab { ptr: v, block_stride: slab_block };
                        let du = Sums { ptr: du, row_stride: self.c_out, accumulate: self.accumulate };
                        column_product::<S>(v, blocks, m, self.c_out / BLOCK, self.tiles, du);
                    }
                    if !self.dx.is_null() {
                        let v = Target {
                            ptr: v,
                            row_stride: BLOCK,
                            block_stride: slab_block,
                            columns: blocks * BLOCK,
                            bias: std::ptr::null(),
                            plus: std::ptr::null(),
                        };
                        let u = u.add(point * u_stride);
                        let ahead = self.ahead[product % 2].part(product / 2, products / 2);
                        row_product::<S>(m, self.tiles, self.c_out, u, v, ahead);
                        product += 1;
                    }
                }
                if let Some(dw) = self.dw {
                    let (sizes, rows) = ([self.c_in, self.c_out], [block * BLOCK, blocks * BLOCK]);
                    weights::gradient_of_chunk::<S>(sizes, du, du_stride, rows, dw.get());
                }
                if !self.dx.is_null() {
                    self.points_to_inputs::<S>(block, blocks, v_stride);
                }
                block += blocks;
            }
        }
    }
}

impl Block<'_> {
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
                    let mut sum = S::splat(0.0);
                    output_transposed_2d::<S>(
                        #[inline(always)]
                        |i, j| {
                            let value = S::load(pixels[i * 4 + j].add(lane));
                            sum = S::add(sum, value);
                            value
                        },
                        #[inline(always)]
                        |i, j, v| S::store(m.add((i * 6 + j) * stride), v),
                    );
                    if !self.db.is_null() {
                        let db = self.db.add(lane);
                        S::store(db, S::add(S::load(db), sum));
                    }
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
                        #[inline(always)]
                        |i, j| S::load(v.add((i * 6 + j) * stride)),
                        #[inline(always)]
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
