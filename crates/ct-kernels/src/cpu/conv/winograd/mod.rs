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
use super::simd::{BLOCK, Simd};
use tiles::Tiling;
use transform::{INS, input_2d};

/// Blocks of channels that the products and the transforms after them work on at a time.
const CHUNK: usize = 2;

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

/// Floats from one point's slab to the next; the odd cache line avoids conflicts in the cache.
fn slab_stride(blocks: usize, tiles: usize) -> usize {
    (blocks * tiles + 1) * BLOCK
}

/// Into how many blocks to divide `tiles`, so that a block's V fits the second-level cache.
fn block_count(tiles: usize, channels: usize) -> usize {
    const CACHE_FLOATS: usize = 160 * 1024;
    let largest = (CACHE_FLOATS / (INS * channels)).clamp(28, 70);
    let count = tiles.div_ceil(largest);
    // An even number of blocks suits two threads, and hardly matters to more.
    if count > 1 { count.next_multiple_of(2).min(tiles) } else { tiles.div_ceil(14).min(2) }
}

/// Transforms `blocks` blocks of channels, from `block` on, of the inputs of `tiles` tiles, into 36 slabs `v`.
///
/// # Safety
/// Called from a job for `S`; `x` holds the tiling's inputs with `channels` channels, `zeros` as many zeros,
/// and `v` 36 slabs of `blocks` blocks and `tiles` rows, [`slab_stride`] apart.
#[inline(always)]
unsafe fn inputs_to_points<S: Simd>(
    tiling: &Tiling,
    first: usize,
    tiles: usize,
    x: *const f32,
    channels: usize,
    block: usize,
    blocks: usize,
    zeros: *mut f32,
    v: *mut f32,
) {
    let stride = slab_stride(blocks, tiles);
    for index in 0..tiles {
        // SAFETY: the tile is one of the tiling's, and the channels are in range; `x` is only read.
        unsafe {
            let pixels = tiling.inputs(tiling.tile(first + index), x.cast_mut(), channels, zeros);
            for lane in (0..blocks * BLOCK).step_by(S::LANES) {
                let v = v.add(lane / BLOCK * tiles * BLOCK + index * BLOCK + lane % BLOCK);
                let channel = block * BLOCK + lane;
                input_2d::<S>(
                    |i, j| S::load(pixels[i * 6 + j].add(channel)),
                    |i, j, value| S::store(v.add((i * 6 + j) * stride), value),
                );
            }
        }
    }
}
