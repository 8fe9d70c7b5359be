//! Gathering the patches that output pixels see into slabs, and scattering them back.

#![expect(unsafe_code, reason = "runs the copies compiled for the instruction set in use")]

use super::super::ConvShape;
use crate::cpu::parallel;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// The matrix of patches of a batch: `rows` output pixels x `[ky][kx][c_in]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    shape: ConvShape,
    out: [usize; 2],
}

/// An output pixel.
#[derive(Clone, Copy, Debug)]
struct Pixel {
    image: usize,
    y: usize,
    x: usize,
}

/// Consecutive inputs of one row of a patch that are inside the image.
struct Run {
    /// Where they are in the patch.
    at: usize,
    len: usize,
    /// Where they are in the images.
    source: usize,
}

impl Patches {
    pub(super) fn new(shape: &ConvShape) -> Self {
        Self { shape: *shape, out: [shape.out_height(), shape.out_width()] }
    }

    /// The single output pixels of `shape`, without their surroundings.
    pub(super) fn pixels(shape: &ConvShape) -> Self {
        Self::new(&ConvShape {
            batch: shape.batch,
            height: shape.out_height(),
            width: shape.out_width(),
            c_in: shape.c_out,
            c_out: shape.c_out,
            kernel: [1, 1],
            stride: 1,
            padding: [0; 4],
        })
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

    fn pixel(&self, row: usize) -> Pixel {
        let (x, rest) = (row % self.out[1], row / self.out[1]);
        Pixel { image: rest / self.out[0], y: rest % self.out[0], x }
    }

    /// Moves to the next output pixel.
    #[inline(always)]
    fn advance(&self, pixel: &mut Pixel) {
        pixel.x += 1;
        if pixel.x == self.out[1] {
            pixel.x = 0;
            pixel.y += 1;
            if pixel.y == self.out[0] {
                pixel.y = 0;
                pixel.image += 1;
            }
        }
    }

    /// Where the patch of a pixel begins in the input, which may be before its image does.
    #[inline(always)]
    fn corner(&self, pixel: Pixel) -> [isize; 2] {
        let s = &self.shape;
        [
            (pixel.y * s.stride).cast_signed() - s.padding[0].cast_signed(),
            (pixel.x * s.stride).cast_signed() - s.padding[2].cast_signed(),
        ]
    }

    /// The rows of a patch, as far as they are inside the image.
    #[inline(always)]
    fn runs(&self, pixel: Pixel) -> impl Iterator<Item = Run> {
        let s = self.shape;
        let [top, left] = self.corner(pixel);
        let first = (-left).max(0).cast_unsigned();
        let end = (s.width.cast_signed() - left).clamp(0, s.kernel[1].cast_signed()).cast_unsigned();
        (0..s.kernel[0]).filter_map(move |ky| {
            let y = top + ky.cast_signed();
            let inside = (0..s.height.cast_signed()).contains(&y) && first < end;
            inside.then(|| {
                let x = (left + first.cast_signed()).cast_unsigned();
                Run {
                    at: (ky * s.kernel[1] + first) * s.c_in,
                    len: (end - first) * s.c_in,
                    source: ((pixel.image * s.height + y.cast_unsigned()) * s.width + x) * s.c_in,
                }
            })
        })
    }

    /// About the inputs that the patches of `rows` pixels from `first` on need; a hint of what to fetch early.
    pub(super) fn inputs_near<'a>(&self, x: &'a [f32], first: usize, rows: usize) -> &'a [f32] {
        parallel::stretch(x, self.rows(), first, rows)
    }

    /// Floats of working memory that [`Patches::gather`] wants.
    pub(super) fn line_len(&self) -> usize {
        self.padded_len() + BLOCK
    }

    /// Gathers the patches of `rows` pixels from `first` on into a slab `[padded_len/16][rows][16]`.
    pub(super) fn gather(
        &self,
        isa: Isa,
        x: &[f32],
        first: usize,
        rows: usize,
        line: &mut [f32],
        slab: &mut [f32],
    ) {
        let job = Gather { patches: self, x, first, rows, line, slab };
        // SAFETY: the job is safe code, and asks nothing of its arguments.
        unsafe { isa.invoke(job) }
    }
}

/// The arguments of [`Patches::gather`].
struct Gather<'a> {
    patches: &'a Patches,
    x: &'a [f32],
    first: usize,
    rows: usize,
    line: &'a mut [f32],
    slab: &'a mut [f32],
}

impl Job for Gather<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if self.patches.shape.c_in.is_multiple_of(BLOCK) {
            self.whole_blocks();
        } else {
            self.odd_channels();
        }
    }
}

impl Gather<'_> {
    /// Channels come in whole blocks: they go straight to their place.
    #[inline(always)]
    fn whole_blocks(self) {
        let s = self.patches.shape;
        let (x, _) = self.x.as_chunks::<BLOCK>();
        let (slab, _) = self.slab.as_chunks_mut::<BLOCK>();
        let blocks = s.c_in / BLOCK;
        let mut pixel = self.patches.pixel(self.first);
        for row in 0..self.rows {
            let [top, left] = self.patches.corner(pixel);
            for tap in 0..s.kernel[0] * s.kernel[1] {
                let y = (top + (tap / s.kernel[1]).cast_signed()).cast_unsigned();
                let column = (left + (tap % s.kernel[1]).cast_signed()).cast_unsigned();
                let to = slab[tap * blocks * self.rows + row..].iter_mut().step_by(self.rows).take(blocks);
                if y < s.height && column < s.width {
                    let at = ((pixel.image * s.height + y) * s.width + column) * blocks;
                    for (to, from) in to.zip(&x[at..at + blocks]) {
                        *to = *from;
                    }
                } else {
                    for to in to {
                        *to = [0.0; BLOCK];
                    }
                }
            }
            self.patches.advance(&mut pixel);
        }
    }

    /// Any number of channels: a patch is put together in a line, then cut into blocks.
    #[inline(always)]
    fn odd_channels(self) {
        let (len, padded_len) = (self.patches.len(), self.patches.padded_len());
        let (slab, _) = self.slab.as_chunks_mut::<BLOCK>();
        let mut pixel = self.patches.pixel(self.first);
        for row in 0..self.rows {
            let mut present = 0;
            for run in self.patches.runs(pixel) {
                self.line[present..run.at].fill(0.0);
                present = run.at + run.len;
                copy_run(self.x, &run, self.line);
            }
            self.line[present..padded_len].fill(0.0);
            debug_assert!(present <= len);
            let (line, _) = self.line[..padded_len].as_chunks::<BLOCK>();
            for (to, from) in slab[row..].iter_mut().step_by(self.rows).zip(line) {
                *to = *from;
            }
            self.patches.advance(&mut pixel);
        }
    }
}

/// Copies a run to its place in `line`, and perhaps some more after it, which the caller overwrites.
#[inline(always)]
fn copy_run(x: &[f32], run: &Run, line: &mut [f32]) {
    let from = &x[run.source..];
    if run.len <= BLOCK
        && let Some(from) = from.first_chunk::<BLOCK>()
    {
        // Short runs are common (few channels); a fixed length spares the call to copy memory.
        if let Some(to) = line[run.at..].first_chunk_mut::<BLOCK>() {
            *to = *from;
            return;
        }
    }
    line[run.at..run.at + run.len].copy_from_slice(&from[..run.len]);
}

/// Adds patches to the images they came from.
pub(super) struct ScatterAdd<'a> {
    pub(super) to: &'a Patches,
    /// One patch after the other, `stride` floats apart.
    pub(super) patches: &'a [f32],
    pub(super) stride: usize,
    /// The output pixel of the first patch.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// The images from `first_image` on.
    pub(super) dx: &'a mut [f32],
    pub(super) first_image: usize,
}

impl Job for ScatterAdd<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let s = self.to.shape;
        let skipped = self.first_image * s.height * s.width * s.c_in;
        let mut pixel = self.to.pixel(self.first);
        for patch in self.patches.chunks_exact(self.stride).take(self.rows) {
            for run in self.to.runs(pixel) {
                let target = run.source - skipped;
                let to = &mut self.dx[target..target + run.len];
                for (to, from) in to.iter_mut().zip(&patch[run.at..run.at + run.len]) {
                    *to += *from;
                }
            }
            self.to.advance(&mut pixel);
        }
    }
}
