//! Forward pass, fused: a block of tiles goes through all three stages while it is in the cache.
//!
//! For each block: transform the inputs of all channels to the 36 points (V);
//! then, for 32 output channels at a time, 36 products with the transformed weights (M = V U) and the output transform.
//! With few tiles and many channels a task does all tiles for a part of the output channels, and transforms the weights
//! chunk by chunk, so that they come from memory once and never return to it.

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
    let (tiling, out_blocks) = (Tiling::new(s), s.c_out / BLOCK);
    let few = super::has_few_tiles(s);
    let chunk = if few { super::FEW_CHUNK } else { chunk_blocks(s.c_in) }.min(out_blocks);
    let chunks = out_blocks.div_ceil(chunk);
    // Tasks divide the tiles; with few tiles the output channels, and then each makes the weights that it wants.
    let (blocks, parts) = if few {
        (1, rayon::current_num_threads().min(chunks))
    } else {
        (super::block_count(tiling.count()), 1)
    };
    let mut ready = Scratch::take(if few { 1 } else { INS * weights::point_stride(s.c_in, s.c_out) });
    if !few {
        weights::transform(isa, Axes::forward(s.c_in, s.c_out), w, ready.slice_mut());
    }
    let made_len = if few { INS * weights::point_stride(s.c_in, chunk * BLOCK) } else { 0 };
    let (ready, y) = (ready.slice(), Shared::new(y));
    parallel::for_each(blocks * parts, |i| {
        let (first, tiles) = parallel::part(tiling.count(), blocks, i / parts);
        let (first_chunk, part_chunks) = parallel::part(chunks, parts, i % parts);
        let v_len = INS * slab_stride(s.c_in / BLOCK, tiles);
        let m_len = INS * slab_stride(chunk, tiles);
        let mut scratch = Scratch::take(v_len + m_len + made_len + s.c_in + s.c_out);
        let (v, rest) = scratch.slice_mut().split_at_mut(v_len);
        let (m, rest) = rest.split_at_mut(m_len);
        let (made, rest) = rest.split_at_mut(made_len);
        let (zeros, sink) = rest.split_at_mut(s.c_in);
        zeros.fill(0.0);
        let block = Block {
            tiling,
            c_in: s.c_in,
            c_out: s.c_out,
            first,
            tiles,
            out_blocks: [first_chunk * chunk, ((first_chunk + part_chunks) * chunk).min(out_blocks)],
            chunk,
            x: x.as_ptr(),
            points: if few {
                Points::Made { w, panel: isa.panel(), u: made.as_mut_ptr() }
            } else {
                Points::Ready(ready.as_ptr())
            },
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
        // blocks write different tiles of y, and parts different channels.
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
