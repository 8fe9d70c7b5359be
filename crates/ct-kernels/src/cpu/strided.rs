//! Products of small matrices that lie in memory with any stride: the heads of an attention.

#![expect(unsafe_code, reason = "reads and writes strided matrices through pointers")]
#![expect(
    clippy::inline_always,
    reason = "a kernel's body must be compiled inside the function that enables its instructions"
)]

use super::simd::{Job, Simd};

/// Most rows of a tile of sums; with two vectors a row they fit the registers of every instruction set.
const ROWS: usize = 6;

/// A matrix for reading: element (i, j) is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub(crate) ptr: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// Rows of floats, each dense.
#[derive(Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) ptr: P,
    /// Floats from row to row.
    pub(crate) stride: usize,
}

/// c = a b, where a is m x k, b is k x n, and n is whole vectors of `S`.
///
/// # Safety
/// Called from a [`Job`] for `S`; a and b are readable and c is writable for these sizes, and nothing else uses c meanwhile.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(
    a: Strided,
    b: Rows<*const f32>,
    c: Rows<*mut f32>,
    [m, k, n]: [usize; 3],
) {
    debug_assert!(n.is_multiple_of(S::LANES));
    let groups = m.div_ceil(ROWS);
    let mut column = 0;
    while column < n {
        let two = column + 2 * S::LANES <= n;
        for group in 0..groups {
            let first = group * m / groups;
            let count = (group + 1) * m / groups - first;
            // SAFETY: the tile lies in the matrices.
            unsafe {
                let tile = TileArgs {
                    a: Strided { ptr: a.ptr.add(first * a.row), ..a },
                    b: Rows { ptr: b.ptr.add(column), ..b },
                    c: Rows { ptr: c.ptr.add(first * c.stride + column), ..c },
                    k,
                };
                if two { tile_of::<S, 2>(count, tile) } else { tile_of::<S, 1>(count, tile) }
            }
        }
        column += if two { 2 * S::LANES } else { S::LANES };
    }
}

#[derive(Clone, Copy)]
struct TileArgs {
    a: Strided,
    b: Rows<*const f32>,
    c: Rows<*mut f32>,
    k: usize,
}

/// Picks the tile by its number of rows, which must be a constant for the sums to live in registers.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn tile_of<S: Simd, const N: usize>(rows: usize, args: TileArgs) {
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => S::invoke(Tile::<1, N>(args)),
            2 => S::invoke(Tile::<2, N>(args)),
            3 => S::invoke(Tile::<3, N>(args)),
            4 => S::invoke(Tile::<4, N>(args)),
            5 => S::invoke(Tile::<5, N>(args)),
            _ => S::invoke(Tile::<6, N>(args)),
        }
    }
}

/// `M` rows and `N` vectors of a product.
struct Tile<const M: usize, const N: usize>(TileArgs);

impl<const M: usize, const N: usize> Job for Tile<M, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let TileArgs { a, b, c, k } = self.0;
        // SAFETY: `product`'s contract, for the part that it carved out for this tile.
        unsafe {
            let mut sums = [[S::splat(0.0); N]; M];
            for p in 0..k {
                let mut row = [S::splat(0.0); N];
                for (j, v) in row.iter_mut().enumerate() {
                    *v = S::load(b.ptr.add(p * b.stride + j * S::LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*a.ptr.add(i * a.row + p * a.column));
                    for (sum, v) in sums.iter_mut().zip(row) {
                        *sum = S::fma(x, v, *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(c.ptr.add(i * c.stride + j * S::LANES), sum);
                }
            }
        }
    }
}
