//! Products of the small dense matrices of attention, written so that the compiler vectorizes them.

use super::Real;

/// Columns of a tile of accumulators.
const LANES: usize = 16;
/// Rows of a tile; with the columns, what fits the registers.
const ROWS: usize = 4;

/// A matrix in memory: element (i, j) is `elements[i * row_step + j * column_step]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    elements: &'a [T],
    row_step: usize,
    column_step: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// Rows one after the other, each of `columns` elements.
    #[inline(always)]
    pub(crate) fn new(elements: &'a [T], columns: usize) -> Self {
        Self { elements, row_step: columns, column_step: 1 }
    }

    /// The same elements, rows and columns exchanged.
    #[inline(always)]
    pub(crate) fn transposed(self) -> Self {
        Self { row_step: self.column_step, column_step: self.row_step, ..self }
    }

    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> T {
        self.elements[i * self.row_step + j * self.column_step]
    }
}

/// a b, where a is m x k and b is k x n with dense rows.
#[inline(always)]
pub(crate) fn product<T: Real>(a: Matrix<'_, T>, b: &[T], [m, k, n]: [usize; 3]) -> Vec<T> {
    let mut out = vec![T::ZERO; m * n];
    let whole_rows = m - m % ROWS;
    for i in (0..whole_rows).step_by(ROWS) {
        rows_of_product::<T, ROWS>(a, b, i, [k, n], &mut out);
    }
    for i in whole_rows..m {
        rows_of_product::<T, 1>(a, b, i, [k, n], &mut out);
    }
    out
}

/// `R` rows of the product, from row `i` on.
#[inline(always)]
fn rows_of_product<T: Real, const R: usize>(
    a: Matrix<'_, T>,
    b: &[T],
    i: usize,
    [k, n]: [usize; 2],
    out: &mut [T],
) {
    let mut j = 0;
    while j + LANES <= n {
        tile::<T, R, LANES>(a, b, [i, j], [k, n], out);
        j += LANES;
    }
    while j + 4 <= n {
        tile::<T, R, 4>(a, b, [i, j], [k, n], out);
        j += 4;
    }
    while j < n {
        tile::<T, R, 1>(a, b, [i, j], [k, n], out);
        j += 1;
    }
}

/// `R` rows and `L` columns of the product, from (i, j) on.
#[inline(always)]
fn tile<T: Real, const R: usize, const L: usize>(
    a: Matrix<'_, T>,
    b: &[T],
    [i, j]: [usize; 2],
    [k, n]: [usize; 2],
    out: &mut [T],
) {
    let mut sums = [[T::ZERO; L]; R];
    for p in 0..k {
        let b = &b[p * n + j..][..L];
        for (r, sums) in sums.iter_mut().enumerate() {
            let a = a.at(i + r, p);
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        out[(i + r) * n + j..][..L].copy_from_slice(sums);
    }
}

/// The transpose of a matrix with dense rows.
#[inline(always)]
pub(crate) fn transpose<T: Real>(x: &[T], columns: usize) -> Vec<T> {
    let rows = x.len() / columns;
    let mut out = vec![T::ZERO; x.len()];
    for (r, row) in x.chunks_exact(columns).enumerate() {
        for (c, &x) in row.iter().enumerate() {
            out[c * rows + r] = x;
        }
    }
    out
}

/// Sum of the products of corresponding elements, in sixteen partial sums.
#[inline(always)]
pub(crate) fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    fold(x, y, T::ZERO, |sum, x, y| sum + x * y, |a, b| a + b)
}

/// The sum of all elements, in sixteen partial sums.
#[inline(always)]
pub(crate) fn sum<T: Real>(x: &[T]) -> T {
    fold(x, x, T::ZERO, |sum, x, _| sum + x, |a, b| a + b)
}

/// The largest element, unless one is NaN; minus infinity if there is none.
#[inline(always)]
pub(crate) fn largest<T: Real>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    fold(x, x, T::from_f64(f64::NEG_INFINITY), |max, x, _| larger(max, x), larger)
}

#[inline(always)]
fn fold<T: Real>(x: &[T], y: &[T], start: T, step: impl Fn(T, T, T) -> T, join: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (lane, (&x, &y)) in lanes.iter_mut().zip(xs.remainder().iter().zip(ys.remainder())) {
        *lane = step(*lane, x, y);
    }
    for (x, y) in xs.zip(ys) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane = step(*lane, x, y);
        }
    }
    lanes.into_iter().fold(start, join)
}
