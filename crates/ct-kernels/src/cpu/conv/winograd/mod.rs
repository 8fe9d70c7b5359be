//! 3 x 3 convolution of stride 1 by Winograd's F(4 x 4, 3 x 3), which needs a quarter of the multiplications.
//!
//! - [`transform`]: the linear maps, with their formulas.
//! - [`tiles`]: which pixels a tile reads and writes.
//! - [`weights`]: the weights' side.
//! - [`forward`], [`backward`]: the passes, block by block of tiles.

#![expect(unsafe_code, reason = "transforms address pixels through pointers")]

mod backward;
mod forward;
mod tiles;
mod transform;
mod weights;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::ConvShape;
use crate::cpu::simd::{BLOCK, Simd};
use tiles::Tiling;
use transform::input_2d;

/// Blocks of channels that the products and the transforms after them work on at a time.
///
/// A chunk is made from all of the other side's `channels`, which are read again for each chunk:
/// with many of them, which do not fit the second-level cache, larger chunks pay.
fn chunk_blocks(channels: usize) -> usize {
    if channels < 192 { 2 } else { 4 }
}

/// Whether this shape can, and should, go through Winograd.
pub(super) fn applies(s: &ConvShape) -> bool {
    let (height, width) = (s.out_height(), s.out_width());
    let products = 36 * height.div_ceil(4) * width.div_ceil(4);
    s.kernel == [3, 3]
        && s.stride == 1
        && s.c_in.is_multiple_of(BLOCK)
        && s.c_out.is_multiple_of(BLOCK)
        // Nearly empty tiles cost more than they save.
        && 3 * products <= 2 * 9 * height * width
}

/// Blocks of channels that are worked on at a time where there are few tiles.
const FEW_CHUNK: usize = 2;

/// Whether the weights at the points weigh more than everything that is done with them.
fn has_few_tiles(s: &ConvShape) -> bool {
    const FEW_TILES: usize = 128;
    const MANY_WEIGHTS: usize = 64 * 64;
    s.batch * s.out_height().div_ceil(4) * s.out_width().div_ceil(4) <= FEW_TILES
        && s.c_in * s.c_out >= MANY_WEIGHTS
}

/// Floats from one point's slab to the next; the odd cache line avoids conflicts in the cache.
fn slab_stride(blocks: usize, tiles: usize) -> usize {
    (blocks * tiles + 1) * BLOCK
}

/// Into how many blocks to divide `tiles`.
///
/// Blocks of 40 to 70 tiles are long enough to reuse the weights, and short enough for the second-level cache;
/// measured times are flat around the optimum.
fn block_count(tiles: usize) -> usize {
    let count = tiles.div_ceil(70);
    // An even number of blocks suits two threads, and hardly matters to more.
    if count > 1 { count.next_multiple_of(2) } else { tiles.div_ceil(28).min(2) }
}

/// The inputs of a range of tiles.
struct Inputs<'a> {
    tiling: &'a Tiling,
    first: usize,
    tiles: usize,
    x: *const f32,
    channels: usize,
    /// As many zeros as channels, to read outside the image.
    zeros: *mut f32,
}

impl Inputs<'_> {
    /// Transforms `blocks` blocks of channels, from `block` on, into 36 slabs `v`.
    ///
    /// # Safety
    /// Called from a job for `S`; `x` holds the tiling's inputs, and `v` 36 slabs of `blocks` blocks and as many rows
    /// as tiles, [`slab_stride`] apart.
    #[inline(always)]
    unsafe fn to_points<S: Simd>(&self, block: usize, blocks: usize, v: *mut f32) {
        debug_assert!(
            (block + blocks) * BLOCK <= self.channels && self.first + self.tiles <= self.tiling.count()
        );
        let stride = slab_stride(blocks, self.tiles);
        for index in 0..self.tiles {
            // SAFETY: the tile is one of the tiling's, and the channels are in range; `x` is only read.
            unsafe {
                let tile = self.tiling.tile(self.first + index);
                let pixels = self.tiling.inputs(tile, self.x.cast_mut(), self.channels, self.zeros);
                for lane in (0..blocks * BLOCK).step_by(S::LANES) {
                    let v = v.add(lane / BLOCK * self.tiles * BLOCK + index * BLOCK + lane % BLOCK);
                    let channel = block * BLOCK + lane;
                    input_2d::<S>(
                        #[inline(always)]
                        |i, j| S::load(pixels[i * 6 + j].add(channel)),
                        #[inline(always)]
                        |i, j, value| S::store(v.add((i * 6 + j) * stride), value),
                    );
                }
            }
        }
    }
}
