//! Parallel loops over fixed blocks.
//!
//! What a block is depends on the shape alone, never on the number of threads, and blocks are
//! combined in order: so results have the same bits for any number of threads.

use rayon::prelude::*;

use super::simd::vectorized;
use super::{Real, overwritten};

/// Elements in a block of an elementwise loop: two operands and a result fit the first caches.
pub(crate) const BLOCK: usize = 16 * 1024;

/// A vector of `len` elements, made in parallel: `f(idx, chunk)` fills chunk number `idx`,
/// which has `chunk_len` elements (the last may have fewer) and starts as zeros.
#[inline]
pub(crate) fn build<T: Real>(len: usize, chunk_len: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let mut nothing: Vec<()> = vec![(); len.div_ceil(chunk_len.max(1))];
    build_with(len, chunk_len, &mut nothing, 1, |idx, chunk, _| f(idx, chunk))
}

/// [`build`], with a chunk of `side` to write to beside each chunk of the result.
#[inline]
pub(crate) fn build_with<T: Real, S: Send>(
    len: usize,
    chunk_len: usize,
    side: &mut [S],
    side_len: usize,
    f: impl Fn(usize, &mut [T], &mut [S]) + Sync,
) -> Vec<T> {
    let (chunk_len, side_len) = (chunk_len.max(1), side_len.max(1));
    assert_eq!(len.div_ceil(chunk_len), side.len().div_ceil(side_len), "a chunk has no side");
    let mut elements: Vec<T> = Vec::with_capacity(len);
    elements.spare_capacity_mut()[..len]
        .par_chunks_mut(chunk_len)
        .zip(side.par_chunks_mut(side_len))
        .enumerate()
        .for_each(|(idx, (chunk, side))| {
            // Zeros are written where the thread will work next, so they cost only cache.
            for element in &mut *chunk {
                element.write(T::ZERO);
            }
            #[expect(unsafe_code, reason = "a buffer is not written twice through memory")]
            // SAFETY: every element of the chunk was written just above.
            let chunk = unsafe { chunk.assume_init_mut() };
            vectorized(
                #[inline(always)]
                || f(idx, chunk, side),
            );
        });
    #[expect(unsafe_code, reason = "a buffer is not written twice through memory")]
    // SAFETY: the chunks cover the first `len` elements and all were written above: none is left out
    // by the zip, since `side` has as many chunks, as asserted.
    unsafe {
        elements.set_len(len);
    }
    elements
}

/// [`build`], for an `f` that overwrites its chunks: they are not cleared before.
///
/// # Safety
/// `f` writes every element of each chunk, and reads none before it has.
#[inline]
#[expect(unsafe_code, reason = "the caller answers for what `f` does")]
pub(crate) unsafe fn build_overwritten<T: Real>(
    len: usize,
    chunk_len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let fill = |out: &mut [T]| {
        out.par_chunks_mut(chunk_len.max(1)).enumerate().for_each(|(idx, chunk)| {
            vectorized(
                #[inline(always)]
                || f(idx, chunk),
            );
        });
    };
    // SAFETY: the chunks cover the elements, and `f` overwrites them, as the caller promises.
    unsafe { overwritten(len, fill) }
}

/// `f` of each element.
#[inline]
#[expect(unsafe_code, reason = "the result is not cleared before it is written")]
pub(crate) fn map<T: Real>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    // SAFETY: each chunk is as long as its part of x, and written element by element.
    unsafe {
        build_overwritten(
            x.len(),
            BLOCK,
            #[inline(always)]
            |idx, out| {
                let x = &x[idx * BLOCK..][..out.len()];
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f(x);
                }
            },
        )
    }
}

/// `f` of each pair of elements.
#[inline]
#[expect(unsafe_code, reason = "the result is not cleared before it is written")]
pub(crate) fn map2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    // SAFETY: each chunk is as long as its parts of x and y, and written element by element.
    unsafe {
        build_overwritten(
            x.len(),
            BLOCK,
            #[inline(always)]
            |idx, out| {
                let x = &x[idx * BLOCK..][..out.len()];
                let y = &y[idx * BLOCK..][..out.len()];
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = f(x, y);
                }
            },
        )
    }
}

/// Sum over `len` indices of what `f` returns for a range of them, in f64.
#[inline]
pub(crate) fn sum_blocks(len: usize, f: impl Fn(std::ops::Range<usize>) -> f64 + Sync) -> f64 {
    let partial: Vec<f64> = (0..len.div_ceil(BLOCK))
        .into_par_iter()
        .map(|idx| {
            let range = idx * BLOCK..len.min((idx + 1) * BLOCK);
            vectorized(
                #[inline(always)]
                || f(range),
            )
        })
        .collect();
    partial.iter().sum()
}

/// Sums of columns: `x` is [samples, rows, columns], the result [samples, columns].
pub(crate) fn fold_rows<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let samples = x.len() / (rows * columns).max(1);
    build(
        samples * columns,
        columns,
        #[inline(always)]
        |idx, out| {
            let x = &x[idx * rows * columns..][..rows * columns];
            for row in x.chunks_exact(columns) {
                for (out, &x) in out.iter_mut().zip(row) {
                    *out += x;
                }
            }
        },
    )
}
