//! Gathering the patches that output pixels see into slabs, and scattering them back.

use super::super::ConvShape;
use super::super::simd::BLOCK;

/// The matrix of patches of a batch: `rows` output pixels x `[ky][kx][c_in]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    shape: ConvShape,
    out: [usize; 2],
}

/// The part of a patch that lies inside the image.
struct Window {
    image: usize,
    top: isize,
    left: isize,
    /// Taps along the row that are inside.
    columns: std::ops::Range<usize>,
}

impl Patches {
    pub(super) fn new(shape: &ConvShape) -> Self {
        Self { shape: *shape, out: [shape.out_height(), shape.out_width()] }
    }

    /// Output pixels of the whole batch.
    pub(super) fn rows(&self) -> usize {
        self.shape.batch * self.out[0] * self.out[1]
    }

    /// Values in a patch.
    pub(super) fn len(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1] * self.shape.c_in
    }

    /// Values in a patch, filled up to whole blocks.
    pub(super) fn padded_len(&self) -> usize {
        self.len().next_multiple_of(BLOCK)
    }

    fn window(&self, row: usize) -> Window {
        let s = &self.shape;
        let (x, rest) = (row % self.out[1], row / self.out[1]);
        let (y, image) = (rest % self.out[0], rest / self.out[0]);
        let left = (x * s.stride).cast_signed() - s.padding[2].cast_signed();
        let first = (-left).max(0).cast_unsigned();
        let end = (s.width.cast_signed() - left).clamp(0, s.kernel[1].cast_signed()).cast_unsigned();
        Window {
            image,
            top: (y * s.stride).cast_signed() - s.padding[0].cast_signed(),
            left,
            columns: first.min(end)..end,
        }
    }

    /// For each row of taps: its range within the patch, and where the inputs are, or `None` if outside the image.
    fn runs(&self, window: Window) -> impl Iterator<Item = (usize, usize, Option<usize>)> {
        let s = self.shape;
        let Window { image, top, left, columns } = window;
        (0..s.kernel[0]).map(move |ky| {
            let y = top + ky.cast_signed();
            let inside = (0..s.height.cast_signed()).contains(&y) && !columns.is_empty();
            let source = inside.then(|| {
                let x = (left + columns.start.cast_signed()).cast_unsigned();
                ((image * s.height + y.cast_unsigned()) * s.width + x) * s.c_in
            });
            (
                (ky * s.kernel[1] + columns.start) * s.c_in,
                columns.len() * s.c_in,
                source,
            )
        })
    }

    /// Gathers the patches of `rows` pixels from `first` on into a slab `[padded_len/16][rows][16]`.
    ///
    /// `line` is working memory of `padded_len` floats.
    pub(super) fn gather(&self, x: &[f32], first: usize, rows: usize, line: &mut [f32], slab: &mut [f32]) {
        let blocks = self.padded_len() / BLOCK;
        for row in 0..rows {
            let line = &mut line[..blocks * BLOCK];
            line.fill(0.0);
            for (at, len, source) in self.runs(self.window(first + row)) {
                if let Some(source) = source {
                    let (to, from) = (&mut line[at..at + len], &x[source..source + len]);
                    if len < BLOCK {
                        // A call to copy memory would cost more than these few floats.
                        for (to, from) in to.iter_mut().zip(from) {
                            *to = *from;
                        }
                    } else {
                        to.copy_from_slice(from);
                    }
                }
            }
            let (line, _) = line.as_chunks::<BLOCK>();
            let (slab, _) = slab.as_chunks_mut::<BLOCK>();
            for (block, chunk) in line.iter().enumerate() {
                slab[block * rows + row] = *chunk;
            }
        }
    }

    /// Adds patches, stored as rows of `stride` floats, to the images they came from.
    ///
    /// `dx` holds the images from `first_image` on.
    pub(super) fn scatter_add(&self, patches: &[f32], stride: usize, first: usize, rows: usize, dx: &mut [f32], first_image: usize) {
        let s = &self.shape;
        let skipped = first_image * s.height * s.width * s.c_in;
        for row in 0..rows {
            let patch = &patches[row * stride..];
            for (at, len, target) in self.runs(self.window(first + row)) {
                if let Some(target) = target {
                    let target = target - skipped;
                    for (to, from) in dx[target..target + len].iter_mut().zip(&patch[at..at + len]) {
                        *to += *from;
                    }
                }
            }
        }
    }
}
