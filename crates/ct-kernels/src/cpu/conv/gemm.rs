//! The two matrix products that every kernel here comes down to.
//!
//! Both take their left operand as a *slab*: a matrix of `rows x channels`, stored as `[channels/16][rows][16]`.
//! One step along the channels then reads one float from each of a few neighbouring cache lines,
//! at addresses that differ by constants, and a transform writes whole lines.
//!
//! - [`row_product`]: `C[row][n] = sum_k A[row][k] B[k][n]`, with B (weights) in panels `[n/panel][k][panel]`.
//!   The tile of `Simd::ROWS x panel` sums stays in registers over the whole of `k`.
//! - [`column_product`]: `C[k][n] (+)= sum_row A[row][k] B[row][n]`, both operands slabs: gradients of weights.
//!
//! Each sum is taken in ascending order by one thread, whatever the tile it falls into,
//! so results do not depend on how the rows are divided.

#![expect(unsafe_code, reason = "the inner loops index raw memory")]

use crate::cpu::parallel;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// A matrix stored as `[columns/16][rows][16]`, for reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slab {
    /// Row 0 of block 0.
    pub(super) ptr: *const f32,
    /// Floats from one block of columns to the next.
    pub(super) block_stride: usize,
}

impl Slab {
    /// A slab of `rows` rows and `blocks` blocks of columns without gaps, at the start of `slice`.
    pub(super) fn new(slice: &[f32], rows: usize, blocks: usize) -> Self {
        debug_assert!(blocks * rows * BLOCK <= slice.len(), "{blocks} blocks of {rows} rows");
        Self { ptr: slice.as_ptr(), block_stride: rows * BLOCK }
    }
}

/// Where a product goes: element (row, column) is at `row * row_stride + column / 16 * block_stride + column % 16`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Element (0, 0).
    pub(super) ptr: *mut f32,
    /// Floats from row to row.
    pub(super) row_stride: usize,
    /// Floats from one block of 16 columns to the next.
    pub(super) block_stride: usize,
    /// Columns that exist; the products beyond, in the last block, are dropped.
    pub(super) columns: usize,
    /// Added to every row: as many floats as whole blocks of columns, or null for none.
    pub(super) bias: *const f32,
    /// Added element by element, laid out as the target, or null for nothing. It may be the target.
    pub(super) plus: *const f32,
}

/// Memory that will be read after a product: the product fetches it on the way, while memory is idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    ptr: *const f32,
    lines: usize,
}

impl Ahead {
    /// Nothing to fetch.
    pub(super) const NONE: Self = Self { ptr: std::ptr::null(), lines: 0 };

    pub(super) fn new(slice: &[f32]) -> Self {
        Self { ptr: slice.as_ptr(), lines: slice.len().div_ceil(BLOCK) }
    }

    /// One of `count` parts, for one of so many products.
    #[inline(always)]
    pub(super) fn part(self, index: usize, count: usize) -> Self {
        let lines = self.lines.div_ceil(count);
        Self { ptr: self.ptr.wrapping_add(index * lines * BLOCK), lines }
    }
}

/// `target = a * b (+ bias)` for `rows` rows of a slab with `k` columns.
///
/// # Safety
/// - Compiled for, and run on, a CPU with `S` (that is, called from a [`Job`]).
/// - `a` is readable for `rows` rows and `k.div_ceil(16)` blocks; `b` holds the panels of `columns.div_ceil(16)` blocks
///   of columns, each with `k` rows.
/// - `target` is writable at every (row, column), and nothing else accesses it meanwhile.
#[inline(always)]
pub(super) unsafe fn row_product<S: Simd>(
    a: Slab,
    rows: usize,
    k: usize,
    b: *const f32,
    target: Target,
    ahead: Ahead,
) {
    debug_assert!(k > 0 && rows > 0 && target.columns > 0);
    // A row's last block may be cut off; blocks of one row, or rows of one block, must not overlap.
    debug_assert!(target.block_stride >= BLOCK && target.row_stride >= target.columns.min(BLOCK));
    debug_assert!(k <= BLOCK || a.block_stride >= rows * BLOCK);
    let groups = rows.div_ceil(S::ROWS);
    let (short, longer) = (rows / groups, rows % groups);
    let n_blocks = target.columns.div_ceil(BLOCK);
    let tiles = n_blocks.div_ceil(S::COLUMN_BLOCKS) * groups;
    let ahead_step = if ahead.lines == 0 { 0 } else { ahead.lines.div_ceil(tiles * k.div_ceil(BLOCK)) };
    let mut ahead = ahead.ptr;
    let mut block = 0;
    while block < n_blocks {
        let blocks = (n_blocks - block).min(S::COLUMN_BLOCKS);
        let mut row = 0;
        for group in 0..groups {
            let count = short + usize::from(group < longer);
            // SAFETY: the offsets stay inside the ranges that the caller vouches for:
            // row + count <= rows, block + blocks <= n_blocks.
            unsafe {
                let tile = RowArgs {
                    a: a.ptr.add(row * BLOCK),
                    a_block_stride: a.block_stride,
                    k,
                    ahead,
                    ahead_step,
                    b: b.add(block * BLOCK * k),
                    c: target.ptr.add(row * target.row_stride + block * target.block_stride),
                    c_row_stride: target.row_stride,
                    c_block_stride: target.block_stride,
                    columns: (target.columns - block * BLOCK).min(blocks * BLOCK),
                    bias: if target.bias.is_null() { target.bias } else { target.bias.add(block * BLOCK) },
                    plus: if target.plus.is_null() {
                        target.plus
                    } else {
                        target.plus.add(row * target.row_stride + block * target.block_stride)
                    },
                };
                // Vectors per row of the tile: one or two in all instruction sets.
                if blocks * BLOCK / S::LANES == 2 {
                    row_tile::<S, 2>(count, tile);
                } else {
                    row_tile::<S, 1>(count, tile);
                }
            }
            row += count;
            ahead = ahead.wrapping_add(k.div_ceil(BLOCK) * ahead_step * BLOCK);
        }
        block += blocks;
    }
}

#[derive(Clone, Copy)]
struct RowArgs {
    a: *const f32,
    a_block_stride: usize,
    k: usize,
    ahead: *const f32,
    /// Cache lines to fetch per block of `k`.
    ahead_step: usize,
    b: *const f32,
    c: *mut f32,
    c_row_stride: usize,
    c_block_stride: usize,
    columns: usize,
    bias: *const f32,
    plus: *const f32,
}

/// One accumulator tile of `M` rows and `N` vectors.
struct RowTile<const M: usize, const N: usize>(RowArgs);

/// Picks the tile by its number of rows, which must be a constant for the sums to live in registers.
///
/// # Safety
/// As [`row_product`].
#[inline(always)]
unsafe fn row_tile<S: Simd, const N: usize>(rows: usize, args: RowArgs) {
    debug_assert!((1..=S::ROWS).contains(&rows));
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => S::invoke(RowTile::<1, N>(args)),
            2 => S::invoke(RowTile::<2, N>(args)),
            3 => S::invoke(RowTile::<3, N>(args)),
            4 => S::invoke(RowTile::<4, N>(args)),
            5 => S::invoke(RowTile::<5, N>(args)),
            6 => S::invoke(RowTile::<6, N>(args)),
            7 => S::invoke(RowTile::<7, N>(args)),
            8 => S::invoke(RowTile::<8, N>(args)),
            9 => S::invoke(RowTile::<9, N>(args)),
            10 => S::invoke(RowTile::<10, N>(args)),
            11 => S::invoke(RowTile::<11, N>(args)),
            12 => S::invoke(RowTile::<12, N>(args)),
            13 => S::invoke(RowTile::<13, N>(args)),
            _ => S::invoke(RowTile::<14, N>(args)),
        }
    }
}

/// Offset of vector `j` of a row, in a layout that interrupts after each block.
#[inline(always)]
fn vector_offset<S: Simd>(j: usize, block_stride: usize) -> usize {
    j * S::LANES / BLOCK * block_stride + j * S::LANES % BLOCK
}

impl<const M: usize, const N: usize> Job for RowTile<M, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if M > S::ROWS {
            return; // Never called; keeps oversized tiles out of narrow instruction sets.
        }
        let args = self.0;
        // SAFETY: `row_product`'s contract, for the part that it carved out for this tile:
        // M rows of A over k columns, one panel of B, `columns` columns of C.
        unsafe {
            let mut sums = [[S::splat(0.0); N]; M];
            let mut a = args.a;
            let mut b = args.b;
            let mut left = args.k;
            let mut ahead = args.ahead;
            while left > 0 {
                let count = left.min(BLOCK);
                left -= count;
                for _ in 0..args.ahead_step {
                    S::prefetch(ahead);
                    ahead = ahead.wrapping_add(BLOCK);
                }
                for k in 0..count {
                    let mut row = [S::splat(0.0); N];
                    for (j, v) in row.iter_mut().enumerate() {
                        *v = S::load(b.add(j * S::LANES));
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = S::splat(*a.add(i * BLOCK + k));
                        for (sum, v) in sums.iter_mut().zip(row) {
                            *sum = S::fma(x, v, *sum);
                        }
                    }
                    b = b.add(N * S::LANES);
                }
                a = a.wrapping_add(args.a_block_stride);
            }
            if !args.bias.is_null() {
                for j in 0..N {
                    let bias = S::load(args.bias.add(j * S::LANES));
                    for sums in &mut sums {
                        sums[j] = S::add(sums[j], bias);
                    }
                }
            }
            if args.columns == N * S::LANES {
                for (i, sums) in sums.iter().enumerate() {
                    for (j, &sum) in sums.iter().enumerate() {
                        let offset = i * args.c_row_stride + vector_offset::<S>(j, args.c_block_stride);
                        let sum = if args.plus.is_null() {
                            sum
                        } else {
                            S::add(S::load(args.plus.add(offset)), sum)
                        };
                        S::store(args.c.add(offset), sum);
                    }
                }
            } else {
                store_ragged::<S, M, N>(&sums, args);
            }
        }
    }
}

/// Stores the columns that exist, of a tile whose last block is cut off.
///
/// # Safety
/// As [`row_product`].
#[inline(always)]
unsafe fn store_ragged<S: Simd, const M: usize, const N: usize>(sums: &[[S::V; N]; M], args: RowArgs) {
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let present = args.columns.saturating_sub(j * S::LANES).min(S::LANES);
            let offset = i * args.c_row_stride + vector_offset::<S>(j, args.c_block_stride);
            if present > 0 {
                // SAFETY: the first `present` lanes exist in C and in what is added.
                unsafe {
                    let sum = if args.plus.is_null() {
                        sum
                    } else {
                        S::add(S::load_part(args.plus.add(offset), present), sum)
                    };
                    S::store_part(args.c.add(offset), sum, present);
                }
            }
        }
    }
}

/// Where a column product goes: a row-major matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    /// Element (0, 0).
    pub(super) ptr: *mut f32,
    /// Floats from row to row.
    pub(super) row_stride: usize,
    /// Whether to add to what is there, rather than overwrite it.
    pub(super) accumulate: bool,
}

/// `c (+)= transpose(a) * b` for `rows` rows, `k_blocks` blocks of columns of `a` and `n_blocks` of `b`.
///
/// # Safety
/// - Called from a [`Job`] on a CPU with `S`.
/// - `a` and `b` are readable for `rows` rows and their blocks; `c` is writable for `16 k_blocks x 16 n_blocks`,
///   initialized if it accumulates, and nothing else accesses it meanwhile.
#[inline(always)]
pub(super) unsafe fn column_product<S: Simd>(
    a: Slab,
    k_blocks: usize,
    b: Slab,
    n_blocks: usize,
    rows: usize,
    c: Sums,
) {
    debug_assert!(c.row_stride >= n_blocks * BLOCK);
    debug_assert!(k_blocks <= 1 || a.block_stride >= rows * BLOCK);
    debug_assert!(n_blocks <= 1 || b.block_stride >= rows * BLOCK);
    let groups = BLOCK.div_ceil(S::COLUMN_ROWS);
    let mut block = 0;
    while block < n_blocks {
        let blocks = (n_blocks - block).min(S::COLUMN_BLOCKS);
        for k_block in 0..k_blocks {
            for group in 0..groups {
                let (first, count) = parallel::part(BLOCK, groups, group);
                // SAFETY: first + count <= 16, k_block < k_blocks and block + blocks <= n_blocks.
                unsafe {
                    let to = (k_block * BLOCK + first) * c.row_stride + block * BLOCK;
                    let tile = ColumnArgs {
                        a: a.ptr.add(k_block * a.block_stride + first),
                        b: b.ptr.add(block * b.block_stride),
                        b_block_stride: b.block_stride,
                        rows,
                        c: Sums { ptr: c.ptr.add(to), ..c },
                    };
                    if blocks * BLOCK / S::LANES == 2 {
                        column_tile::<S, 2>(count, tile);
                    } else {
                        column_tile::<S, 1>(count, tile);
                    }
                }
            }
        }
        block += blocks;
    }
}

/// Picks the tile by its number of rows, which must be a constant for the sums to live in registers.
///
/// # Safety
/// As [`column_product`].
#[inline(always)]
unsafe fn column_tile<S: Simd, const N: usize>(rows: usize, args: ColumnArgs) {
    debug_assert!((1..=S::COLUMN_ROWS).contains(&rows));
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => S::invoke(ColumnTile::<1, N>(args)),
            2 => S::invoke(ColumnTile::<2, N>(args)),
            3 => S::invoke(ColumnTile::<3, N>(args)),
            4 => S::invoke(ColumnTile::<4, N>(args)),
            5 => S::invoke(ColumnTile::<5, N>(args)),
            6 => S::invoke(ColumnTile::<6, N>(args)),
            7 => S::invoke(ColumnTile::<7, N>(args)),
            _ => S::invoke(ColumnTile::<8, N>(args)),
        }
    }
}

#[derive(Clone, Copy)]
struct ColumnArgs {
    a: *const f32,
    b: *const f32,
    b_block_stride: usize,
    rows: usize,
    c: Sums,
}

/// One accumulator tile of `M` rows and `N` vectors of the column product.
struct ColumnTile<const M: usize, const N: usize>(ColumnArgs);

impl<const M: usize, const N: usize> Job for ColumnTile<M, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if M > S::COLUMN_ROWS {
            return; // Never called; keeps oversized tiles out of narrow instruction sets.
        }
        let args = self.0;
        // SAFETY: `column_product`'s contract, for the part that it carved out for this tile.
        unsafe {
            let mut sums = [[S::splat(0.0); N]; M];
            if args.c.accumulate {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(args.c.ptr.add(i * args.c.row_stride + j * S::LANES));
                    }
                }
            }
            for row in 0..args.rows {
                let mut b = [S::splat(0.0); N];
                for (j, v) in b.iter_mut().enumerate() {
                    let offset = vector_offset::<S>(j, args.b_block_stride);
                    *v = S::load(args.b.add(row * BLOCK + offset));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*args.a.add(row * BLOCK + i));
                    for (sum, v) in sums.iter_mut().zip(b) {
                        *sum = S::fma(x, v, *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(args.c.ptr.add(i * args.c.row_stride + j * S::LANES), sum);
                }
            }
        }
    }
}
