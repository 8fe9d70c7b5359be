//! Weights to the points, and their gradients back.

#![expect(unsafe_code, reason = "reads and writes strided arrays through pointers")]

use super::transform::{INS, TAPS, weight_2d, weight_transposed_2d};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// Floats from one point's matrix of transformed weights to the next.
///
/// The odd cache line keeps the 36 matrices from competing for the same sets of the cache.
pub(super) fn point_stride(c_in: usize, c_out: usize) -> usize {
    c_in * c_out + BLOCK
}

/// How a matrix is cut out of weights `[out][in][3][3]`: which channels run along its columns, which along its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes {
    columns: usize,
    column_stride: usize,
    rows: usize,
    row_stride: usize,
}

impl Axes {
    /// Columns are output channels, rows are input channels: for the forward product.
    pub(super) fn forward(c_in: usize, c_out: usize) -> Self {
        Self { columns: c_out, column_stride: c_in * TAPS, rows: c_in, row_stride: TAPS }
    }

    /// The transposed matrix, for the gradient of the input.
    pub(super) fn backward(c_in: usize, c_out: usize) -> Self {
        Self { columns: c_in, column_stride: TAPS, rows: c_out, row_stride: c_in * TAPS }
    }
}

/// Transforms weights `w`: [out, in, 3, 3] into 36 matrices, each in panels `[columns/panel][rows][panel]`.
pub(super) fn transform(isa: Isa, axes: Axes, w: &[f32], u: &mut [f32]) {
    let stride = point_stride(axes.columns, axes.rows);
    assert!(w.len() == axes.columns * axes.rows * TAPS && u.len() >= INS * stride);
    let column_blocks = axes.columns / BLOCK;
    let parts = (axes.rows / BLOCK).min(4);
    let u = Shared::new(u);
    parallel::for_each(column_blocks * parts, |i| {
        let (first_row, rows) = parallel::part(axes.rows, parts, i % parts);
        let job = Transform {
            axes,
            w,
            u: u.get(),
            stride,
            panel: isa.panel(),
            first_column: 0,
            block: i / parts,
            first_row,
            rows,
        };
        // SAFETY: the length of `u` was checked, and each task writes its own columns and rows of it.
        unsafe { isa.invoke(job) }
    });
}

/// Where the transformed weights of a chunk of columns come from.
#[derive(Clone, Copy)]
pub(super) enum Points<'a> {
    /// All of them were made before.
    Ready(*const f32),
    /// They are made when they are wanted, into memory for 36 matrices of one chunk.
    Made { w: &'a [f32], panel: usize, u: *mut f32 },
}

impl Points<'_> {
    /// The panels of `blocks` blocks of columns, from `block` on, and the floats from point to point.
    ///
    /// # Safety
    /// Called from a job for `S`; the weights, and the memory for what is made, fit the axes.
    #[inline(always)]
    pub(super) unsafe fn chunk<S: Simd>(
        self,
        axes: Axes,
        block: usize,
        blocks: usize,
    ) -> (*const f32, usize) {
        match self {
            // SAFETY: the block is one of the matrices'.
            Self::Ready(u) => unsafe {
                (u.add(block * BLOCK * axes.rows), point_stride(axes.columns, axes.rows))
            },
            Self::Made { w, panel, u } => {
                let stride = point_stride(blocks * BLOCK, axes.rows);
                for block_of_chunk in block..block + blocks {
                    // SAFETY: the memory has room for the chunk.
                    unsafe {
                        S::invoke(Transform {
                            axes,
                            w,
                            u,
                            stride,
                            panel,
                            first_column: block * BLOCK,
                            block: block_of_chunk,
                            first_row: 0,
                            rows: axes.rows,
                        });
                    }
                }
                (u.cast_const(), stride)
            }
        }
    }
}

/// One block of columns, for a range of rows.
struct Transform<'a> {
    axes: Axes,
    w: &'a [f32],
    u: *mut f32,
    stride: usize,
    panel: usize,
    /// Column that `u` begins with; it begins a panel.
    first_column: usize,
    block: usize,
    first_row: usize,
    rows: usize,
}

impl Job for Transform<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let axes = self.axes;
        let first = self.block * BLOCK;
        let panel_start = first / self.panel * self.panel;
        let panel = self.panel.min(axes.columns - panel_start);
        let mut filters = [[0.0f32; BLOCK]; TAPS];
        for row in self.first_row..self.first_row + self.rows {
            for lane in 0..BLOCK {
                let start = (first + lane) * axes.column_stride + row * axes.row_stride;
                let filter = &self.w[start..start + TAPS];
                for (taps, &value) in filters.iter_mut().zip(filter) {
                    taps[lane] = value;
                }
            }
            let offset = (panel_start - self.first_column) * axes.rows + row * panel + (first - panel_start);
            debug_assert!(offset + BLOCK <= self.stride && row < axes.rows);
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: `lane + LANES <= 16`, and `offset + lane` lies in the panels of each of the 36 matrices.
                unsafe {
                    let u = self.u.add(offset + lane);
                    weight_2d::<S>(
                        #[inline(always)]
                        |i, j| S::load(filters[i * 3 + j].as_ptr().add(lane)),
                        #[inline(always)]
                        |i, j, v| S::store(u.add((i * 6 + j) * self.stride), v),
                    );
                }
            }
        }
    }
}

/// Sums partial gradients and transforms them into `dw`: [out, in, 3, 3].
///
/// `partials` holds `parts` times 36 matrices [in, out], each set `part_stride` floats after the one before.
pub(super) fn gradient(
    isa: Isa,
    c_in: usize,
    c_out: usize,
    partials: &[f32],
    parts: usize,
    part_stride: usize,
    dw: &mut [f32],
) {
    let stride = point_stride(c_in, c_out);
    assert!(
        dw.len() == c_in * c_out * TAPS
            && part_stride >= INS * stride
            && partials.len() >= parts * part_stride
    );
    let ranges = (c_in / BLOCK).min(4);
    let dw = Shared::new(dw);
    parallel::for_each(c_out / BLOCK * ranges, |i| {
        let (first_row, rows) = parallel::part(c_in, ranges, i % ranges);
        let job = Gradient {
            c_in,
            c_out,
            partials: partials.as_ptr(),
            parts,
            part_stride,
            stride,
            dw: dw.get(),
            block: i / ranges,
            first_row,
            rows,
            first_channel: 0,
        };
        // SAFETY: the lengths were checked, and each task writes its own channels of `dw`.
        unsafe { isa.invoke(job) }
    });
}

/// Transforms the gradient at the points of a chunk of `rows` input channels, from `first_row` on, into `dw`.
///
/// # Safety
/// Called from a job for `S`; `du` holds 36 matrices [rows, out], `stride` apart, and `dw` all weights,
/// of which nothing else writes these channels meanwhile.
#[inline(always)]
pub(super) unsafe fn gradient_of_chunk<S: Simd>(
    [c_in, c_out]: [usize; 2],
    du: *const f32,
    stride: usize,
    [first_row, rows]: [usize; 2],
    dw: *mut f32,
) {
    for block in 0..c_out / BLOCK {
        let (partials, parts, part_stride, first_channel) = (du, 1, 0, first_row);
        let job = Gradient {
            c_in,
            c_out,
            partials,
            parts,
            part_stride,
            stride,
            dw,
            block,
            first_row,
            rows,
            first_channel,
        };
        // SAFETY: passed on from the caller.
        unsafe { S::invoke(job) }
    }
}

/// One block of output channels, for a range of input channels.
struct Gradient {
    c_in: usize,
    c_out: usize,
    partials: *const f32,
    parts: usize,
    part_stride: usize,
    stride: usize,
    dw: *mut f32,
    block: usize,
    first_row: usize,
    rows: usize,
    /// Input channel that the partial gradients begin with.
    first_channel: usize,
}

impl Job for Gradient {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let first = self.block * BLOCK;
        debug_assert!(first + BLOCK <= self.c_out && self.first_row + self.rows <= self.c_in);
        let mut filters = [[0.0f32; BLOCK]; TAPS];
        for row in self.first_row..self.first_row + self.rows {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: `first + lane + LANES <= c_out` and `row < c_in`, so every offset is inside its matrix.
                unsafe {
                    let source = self.partials.add((row - self.first_channel) * self.c_out + first + lane);
                    let target = filters.as_mut_ptr().cast::<f32>().add(lane);
                    weight_transposed_2d::<S>(
                        #[inline(always)]
                        |i, j| {
                            let source = source.add((i * 6 + j) * self.stride);
                            let mut sum = S::load(source);
                            for part in 1..self.parts {
                                sum = S::add(sum, S::load(source.add(part * self.part_stride)));
                            }
                            sum
                        },
                        #[inline(always)]
                        |i, j, v| S::store(target.add((i * 3 + j) * BLOCK), v),
                    );
                }
            }
            for lane in 0..BLOCK {
                let start = ((first + lane) * self.c_in + row) * TAPS;
                for (tap, taps) in filters.iter().enumerate() {
                    // SAFETY: `dw` holds c_out x c_in filters of 9, and this task owns these.
                    unsafe { *self.dw.add(start + tap) = taps[lane] }
                }
            }
        }
    }
}
