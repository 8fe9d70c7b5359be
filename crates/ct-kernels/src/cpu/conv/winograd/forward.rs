//! Forward pass, fused: a block of tiles goes through all three stages while it is in the cache.
//!
//! For each block: transform the inputs of all channels to the 36 points (V);
//! then, for 32 output channels at a time, 36 products with the transformed weights (M = V U) and the output transform.

#![expect(unsafe_code, reason = "transforms address pixels through pointers")]

use super::super::gemm::{Ahead, Slab, Target, row_product};
use super::super::{Addends, ConvShape};
use super::tiles::Tiling;
use super::transform::{INS, output_2d};
use super::weights::{self, Axes, Points};
use super::{Inputs, chunk_blocks, slab_stride};
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
    debug_assert!(super::applies(s));
    if super::has_few_tiles(s) {
        return forward_few(isa, s, x, w, plus, y);
    }
    let mut u = Scratch::take(INS * weights::point_stride(s.c_in, s.c_out));
    weights::transform(isa, Axes::forward(s.c_in, s.c_out), w, u.slice_mut());
    let tiling = Tiling::new(s);
    let blocks = super::block_count(tiling.count());
    let (u, y) = (u.slice(), Shared::new(y));
    parallel::for_each(blocks, |i| {
        let (first, tiles) = parallel::part(tiling.count(), blocks, i);
        let chunk = chunk_blocks(s.c_in).min(s.c_out / BLOCK);
        let v_len = INS * slab_stride(s.c_in / BLOCK, tiles);
        let m_len = INS * slab_stride(chunk, tiles);
        let mut scratch = Scratch::take(v_len + m_len + s.c_in + s.c_out);
        let (v, rest) = scratch.slice_mut().split_at_mut(v_len);
        let (m, rest) = rest.split_at_mut(m_len);
        let (zeros, sink) = rest.split_at_mut(s.c_in);
        zeros.fill(0.0);
        let block = Block {
            tiling,
            c_in: s.c_in,
            c_out: s.c_out,
            first,
            tiles,
            out_blocks: [0, s.c_out / BLOCK],
            chunk,
            x: x.as_ptr(),
            points: Points::Ready(u.as_ptr()),
            bias: plus.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            residual: plus.residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            y: y.get(),
            v: v.as_mut_ptr(),
            m: m.as_mut_ptr(),
            zeros: zeros.as_mut_ptr(),
            sink: sink.as_mut_ptr(),
            ahead: Ahead::new(parallel::stretch(x, tiling.count(), first + tiles, tiles)),
        };
        // SAFETY: the caller checked the lengths of x, w, bias and y; the scratch has the lengths that `Block` names;
        // blocks write different tiles of y.
        unsafe { isa.invoke(block) }
    });
}

/// As [`forward`], for few tiles and many channels: each task does all tiles for a part of the output channels,
/// and transforms the weights chunk by chunk, so that they come from memory once and never return to it.
fn forward_few(isa: Isa, s: &ConvShape, x: &[f32], w: &[f32], plus: Addends<'_>, y: &mut [f32]) {
    let tiling = Tiling::new(s);
    let (tiles, out_blocks) = (tiling.count(), s.c_out / BLOCK);
    let chunk = super::FEW_CHUNK.min(out_blocks);
    let chunks = out_blocks.div_ceil(chunk);
    let parts = rayon::current_num_threads().min(chunks);
    let y = Shared::new(y);
    parallel::for_each(parts, |part| {
        let (first_chunk, part_chunks) = parallel::part(chunks, parts, part);
        let v_len = INS * slab_stride(s.c_in / BLOCK, tiles);
        let m_len = INS * slab_stride(chunk, tiles);
        let u_len = INS * weights::point_stride(s.c_in, chunk * BLOCK);
        let mut scratch = Scratch::take(v_len + m_len + u_len + s.c_in + s.c_out);
        let (v, rest) = scratch.slice_mut().split_at_mut(v_len);
        let (m, rest) = rest.split_at_mut(m_len);
        let (u, rest) = rest.split_at_mut(u_len);
        let (zeros, sink) = rest.split_at_mut(s.c_in);
        zeros.fill(0.0);
        let block = Block {
            tiling,
            c_in: s.c_in,
            c_out: s.c_out,
            first: 0,
            tiles,
            out_blocks: [first_chunk * chunk, ((first_chunk + part_chunks) * chunk).min(out_blocks)],
            chunk,
            x: x.as_ptr(),
            points: Points::Made { w, panel: isa.panel(), u: u.as_mut_ptr() },
            bias: plus.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            residual: plus.residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            y: y.get(),
            v: v.as_mut_ptr(),
            m: m.as_mut_ptr(),
            zeros: zeros.as_mut_ptr(),
            sink: sink.as_mut_ptr(),
            ahead: Ahead::NONE,
        };
        // SAFETY: as in `forward`; parts write different channels of y.
        unsafe { isa.invoke(block) }
    });
}

/// A range of tiles and of blocks of output channels, with working memory: v: 36 slabs of `c_in`, m: 36 slabs of a chunk, zeros: `c_in`, sink: `c_out`.
struct Block<'a> {
    tiling: Tiling,
    c_in: usize,
    c_out: usize,
    first: usize,
    tiles: usize,
    out_blocks: [usize; 2],
    /// Blocks of output channels that are worked on at a time.
    chunk: usize,
    x: *const f32,
    points: Points<'a>,
    bias: *const f32,
    residual: *const f32,
    y: *mut f32,
    v: *mut f32,
    m: *mut f32,
    zeros: *mut f32,
    sink: *mut f32,
    /// About the inputs of the next block.
    ahead: Ahead,
}

impl Job for Block<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        debug_assert!(self.tiles > 0 && self.first + self.tiles <= self.tiling.count());
        // SAFETY: the job's contract.
        unsafe {
            let inputs = Inputs {
                tiling: &self.tiling,
                first: self.first,
                tiles: self.tiles,
                x: self.x,
                channels: self.c_in,
                zeros: self.zeros,
            };
            inputs.to_points::<S>(0, self.c_in / BLOCK, self.v);
            let axes = Axes::forward(self.c_in, self.c_out);
            let slab_block = self.tiles * BLOCK;
            let v_stride = slab_stride(self.c_in / BLOCK, self.tiles);
            let [first_block, end] = self.out_blocks;
            let products = (end - first_block).div_ceil(self.chunk) * INS;
            let mut block = first_block;
            while block < end {
                let blocks = (end - block).min(self.chunk);
                let (u, point_stride) = self.points.chunk::<S>(axes, block, blocks);
                let m_stride = slab_stride(blocks, self.tiles);
                for point in 0..INS {
                    let v = Slab { ptr: self.v.add(point * v_stride), block_stride: slab_block };
                    let m = Target {
                        ptr: self.m.add(point * m_stride),
                        row_stride: BLOCK,
                        block_stride: slab_block,
                        columns: blocks * BLOCK,
                        bias: std::ptr::null(),
                        plus: std::ptr::null(),
                    };
                    let ahead = self.ahead.part((block - first_block) / self.chunk * INS + point, products);
                    row_product::<S>(v, self.tiles, self.c_in, u.add(point * point_stride), m, ahead);
                }
                self.outputs_from_points::<S>(block, blocks, m_stride);
                block += blocks;
            }
        }
    }
}

impl Block<'_> {
    /// M to outputs, for `blocks` blocks of channels from `block` on.
    #[inline(always)]
    unsafe fn outputs_from_points<S: Simd>(&self, block: usize, blocks: usize, m_stride: usize) {
        for index in 0..self.tiles {
            // SAFETY: the tile is one of the tiling's; its pixels and the bias have c_out channels;
            // m holds 36 slabs of `blocks` blocks.
            unsafe {
                let pixels =
                    self.tiling.outputs(self.tiling.tile(self.first + index), self.y, self.c_out, self.sink);
                for lane in (0..blocks * BLOCK).step_by(S::LANES) {
                    let m = self.m.add(lane / BLOCK * self.tiles * BLOCK + index * BLOCK + lane % BLOCK);
                    let channel = block * BLOCK + lane;
                    let bias =
                        if self.bias.is_null() { S::splat(0.0) } else { S::load(self.bias.add(channel)) };
                    output_2d::<S>(
                        #[inline(always)]
                        |i, j| S::load(m.add((i * 6 + j) * m_stride)),
                        #[inline(always)]
                        |i, j, v| {
                            let pixel = pixels[i * 4 + j];
                            let mut sum = S::add(v, bias);
                            if !self.residual.is_null() && !std::ptr::eq(pixel, self.sink) {
                                let at = pixel.offset_from(self.y).cast_unsigned() + channel;
                                sum = S::add(S::load(self.residual.add(at)), sum);
                            }
                            S::store(pixel.add(channel), sum);
                        },
                    );
                }
            }
        }
    }
}
