//! The linear maps of Winograd's F(4, 3), and their transposes.
//!
//! Four outputs of a three-tap correlation need six products instead of twelve:
//! `y = A^T [(G g) * (B^T d)]`, with `d` six inputs, `g` three weights, `*` element by element.
//! In two dimensions each map acts on columns, then on rows.
//! (Lavin and Gray 2015, arXiv:1509.09308; Barabasz et al. 2018, arXiv:1803.10986, on the choice of points.)
//!
//! The maps come from evaluating polynomials at 0, +-a, +-b and infinity.
//! We take `a = 1/sqrt(2)`, `b = sqrt(2)`: being reciprocal and close to 1, they keep the entries small,
//! and the rounding error at half of what the usual points 1 and 2 give, for the same number of operations.
//! With them:
//!
//! ```text
//!        |  1   0  -5/2  0   1   0 |        |  1            0          0   |
//!        |  0  -b   -2   a   1   0 |        | -2/3       -2/3 a     -1/3   |        | 1  1   1   1   1   0 |
//! B^T =  |  0   b   -2  -a   1   0 |   G =  | -2/3        2/3 a     -1/3   |  A^T = | 0  a  -a   b  -b   0 |
//!        |  0  -a  -1/2  b   1   0 |        |  1/6        1/6 b      1/3   |        | 0 1/2 1/2  2   2   0 |
//!        |  0   a  -1/2 -b   1   0 |        |  1/6       -1/6 b      1/3   |        | 0 a/2 -a/2 2b -2b  1 |
//!        |  0   1   0  -5/2  0   1 |        |  0            0          1   |
//! ```
//!
//! The gradients are the transposed maps: `dM = A dY A^T`, `dX = B dV B^T`, `dg = G^T dU G`.

#![expect(unsafe_code, reason = "vector operations need the CPU feature")]

use crate::cpu::simd::Simd;

/// Outputs along one side of a tile.
pub(super) const OUT: usize = 4;
/// Inputs along one side of a tile.
pub(super) const IN: usize = 6;
/// Inputs of a tile, and products per tile and pair of channels.
pub(super) const INS: usize = IN * IN;
/// Weights of a filter.
pub(super) const TAPS: usize = 9;

/// Evaluation points: a, b.
const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// A linear map in one dimension.
trait Map<const R: usize, const Q: usize> {
    /// The image of a vector, in each lane.
    ///
    /// # Safety
    /// The CPU has `S`, and the function is inlined where it is enabled.
    unsafe fn apply<S: Simd>(v: [S::V; R]) -> [S::V; Q];
}

// SAFETY of all functions here: only vector arithmetic, so they ask the caller for nothing but a CPU with `S`.

/// `B^T d`: inputs to the points.
struct Input;

impl Map<6, 6> for Input {
    #[inline(always)]
    unsafe fn apply<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let half = S::splat(0.5);
            let two = S::splat(2.0);
            let inner = S::sub(d[4], S::mul(two, d[2]));
            let inner_odd = S::sub(d[3], S::mul(two, d[1]));
            let outer = S::sub(d[4], S::mul(half, d[2]));
            let outer_odd = S::sub(d[3], S::mul(half, d[1]));
            let minus = S::splat(-2.5);
            [
                S::fma(minus, d[2], S::add(d[0], d[4])),
                S::fma(S::splat(A), inner_odd, inner),
                S::fma(S::splat(-A), inner_odd, inner),
                S::fma(S::splat(B), outer_odd, outer),
                S::fma(S::splat(-B), outer_odd, outer),
                S::fma(minus, d[3], S::add(d[1], d[5])),
            ]
        }
    }
}

/// `B v`: gradients at the points to gradients of the inputs.
struct InputTransposed;

impl Map<6, 6> for InputTransposed {
    #[inline(always)]
    unsafe fn apply<S: Simd>(v: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let inner = S::add(v[1], v[2]);
            let outer = S::add(v[3], v[4]);
            let inner_odd = S::mul(S::splat(A), S::sub(v[1], v[2]));
            let outer_odd = S::mul(S::splat(B), S::sub(v[3], v[4]));
            let minus_half = S::splat(-0.5);
            let minus_two = S::splat(-2.0);
            let minus = S::splat(-2.5);
            [
                v[0],
                S::fma(minus_two, inner_odd, S::fma(minus_half, outer_odd, v[5])),
                S::fma(minus_two, inner, S::fma(minus_half, outer, S::mul(minus, v[0]))),
                S::fma(minus, v[5], S::add(inner_odd, outer_odd)),
                S::add(v[0], S::add(inner, outer)),
                v[5],
            ]
        }
    }
}

/// `A^T m`: products at the points to outputs.
struct Output;

impl Map<6, 4> for Output {
    #[inline(always)]
    unsafe fn apply<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: see above.
        unsafe {
            let inner = S::add(m[1], m[2]);
            let outer = S::add(m[3], m[4]);
            let inner_odd = S::mul(S::splat(A), S::sub(m[1], m[2]));
            let outer_odd = S::mul(S::splat(B), S::sub(m[3], m[4]));
            let half = S::splat(0.5);
            let two = S::splat(2.0);
            [
                S::add(m[0], S::add(inner, outer)),
                S::add(inner_odd, outer_odd),
                S::fma(half, inner, S::mul(two, outer)),
                S::fma(half, inner_odd, S::fma(two, outer_odd, m[5])),
            ]
        }
    }
}

/// `A y`: gradients of the outputs to gradients of the products.
struct OutputTransposed;

impl Map<4, 6> for OutputTransposed {
    #[inline(always)]
    unsafe fn apply<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let half = S::splat(0.5);
            let two = S::splat(2.0);
            let inner = S::fma(half, y[2], y[0]);
            let inner_odd = S::fma(half, y[3], y[1]);
            let outer = S::fma(two, y[2], y[0]);
            let outer_odd = S::fma(two, y[3], y[1]);
            [
                y[0],
                S::fma(S::splat(A), inner_odd, inner),
                S::fma(S::splat(-A), inner_odd, inner),
                S::fma(S::splat(B), outer_odd, outer),
                S::fma(S::splat(-B), outer_odd, outer),
                y[3],
            ]
        }
    }
}

/// `G g`: weights to the points.
struct Weight;

impl Map<3, 6> for Weight {
    #[inline(always)]
    unsafe fn apply<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let third = S::splat(1.0 / 3.0);
            let inner = S::fma(S::splat(-2.0 / 3.0), g[0], S::mul(S::splat(-1.0 / 3.0), g[2]));
            let outer = S::fma(S::splat(1.0 / 6.0), g[0], S::mul(third, g[2]));
            let inner_odd = S::mul(S::splat(-2.0 / 3.0 * A), g[1]);
            let outer_odd = S::mul(S::splat(B / 6.0), g[1]);
            [
                g[0],
                S::add(inner, inner_odd),
                S::sub(inner, inner_odd),
                S::add(outer, outer_odd),
                S::sub(outer, outer_odd),
                g[2],
            ]
        }
    }
}

/// `G^T u`: gradients at the points to gradients of the weights.
struct WeightTransposed;

impl Map<6, 3> for WeightTransposed {
    #[inline(always)]
    unsafe fn apply<S: Simd>(u: [S::V; 6]) -> [S::V; 3] {
        // SAFETY: see above.
        unsafe {
            let inner = S::mul(S::splat(-1.0 / 3.0), S::add(u[1], u[2]));
            let outer = S::mul(S::splat(1.0 / 6.0), S::add(u[3], u[4]));
            let inner_odd = S::mul(S::splat(-2.0 / 3.0 * A), S::sub(u[1], u[2]));
            let two = S::splat(2.0);
            [
                S::add(u[0], S::fma(two, inner, outer)),
                S::fma(S::splat(B / 6.0), S::sub(u[3], u[4]), inner_odd),
                S::add(u[5], S::fma(two, outer, inner)),
            ]
        }
    }
}

/// Applies a map to the columns of an `R x R` patch, then to the rows of what that gives: `Q x Q`.
///
/// `load(i, j)` reads element (row i, column j) of the patch, each once, and `store(i, j, v)` takes one of the result.
///
/// # Safety
/// The CPU has `S`, and the function is inlined where it is enabled.
#[inline(always)]
unsafe fn both_ways<S: Simd, M: Map<R, Q>, const R: usize, const Q: usize>(
    mut load: impl FnMut(usize, usize) -> S::V,
    mut store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: only vector arithmetic.
    let zero = unsafe { S::splat(0.0) };
    let mut half = [[zero; R]; Q];
    for j in 0..R {
        let mut column = [zero; R];
        for (i, v) in column.iter_mut().enumerate() {
            *v = load(i, j);
        }
        // SAFETY: passed on from the caller.
        for (row, v) in half.iter_mut().zip(unsafe { M::apply::<S>(column) }) {
            row[j] = v;
        }
    }
    for (i, row) in half.into_iter().enumerate() {
        // SAFETY: passed on from the caller.
        for (j, v) in unsafe { M::apply::<S>(row) }.into_iter().enumerate() {
            store(i, j, v);
        }
    }
}

/// `B^T d B`: a patch of inputs to the 36 points.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn input_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, Input, 6, 6>(load, store) }
}

/// `B v B^T`: gradients at the 36 points to gradients of the inputs.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn input_transposed_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, InputTransposed, 6, 6>(load, store) }
}

/// `A^T m A`: the 36 products to a tile of outputs.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn output_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, Output, 6, 4>(load, store) }
}

/// `A y A^T`: gradients of the outputs to gradients of the products.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn output_transposed_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, OutputTransposed, 4, 6>(load, store) }
}

/// `G g G^T`: a filter to the 36 points.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn weight_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, Weight, 3, 6>(load, store) }
}

/// `G^T u G`: gradients at the 36 points to gradients of the filter.
///
/// # Safety
/// As [`both_ways`], which explains `load` and `store`.
#[inline(always)]
pub(super) unsafe fn weight_transposed_2d<S: Simd>(
    load: impl FnMut(usize, usize) -> S::V,
    store: impl FnMut(usize, usize, S::V),
) {
    // SAFETY: passed on from the caller.
    unsafe { both_ways::<S, WeightTransposed, 6, 3>(load, store) }
}
