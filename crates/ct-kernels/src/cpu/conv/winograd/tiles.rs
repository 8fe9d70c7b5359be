//! Where the tiles of an image are.
//!
//! Outputs are cut into tiles of 4 x 4; a tile reads the 6 x 6 inputs around it.
//! Pixels outside the image are addressed like the others, but lead to a spare row of channels
//! (zeros to read, a sink to write), so that the transforms have no branches.

#![expect(unsafe_code, reason = "computes addresses inside images")]

use super::super::ConvShape;
use super::transform::OUT;

/// The division of a batch of images into tiles, numbered image by image, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    across: usize,
    per_image: usize,
    input: [usize; 2],
    output: [usize; 2],
    pad_top: usize,
    pad_left: usize,
    images: usize,
}

/// A tile: its image, and the output pixel at its top left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) image: usize,
    top: usize,
    left: usize,
}

impl Tiling {
    pub(super) fn new(s: &ConvShape) -> Self {
        let output = [s.out_height(), s.out_width()];
        let across = output[1].div_ceil(OUT);
        Self {
            across,
            per_image: across * output[0].div_ceil(OUT),
            input: [s.height, s.width],
            output,
            pad_top: s.padding[0],
            pad_left: s.padding[2],
            images: s.batch,
        }
    }

    pub(super) fn per_image(&self) -> usize {
        self.per_image
    }

    pub(super) fn count(&self) -> usize {
        self.per_image * self.images
    }

    pub(super) fn tile(&self, index: usize) -> Tile {
        let (image, within) = (index / self.per_image, index % self.per_image);
        Tile { image, top: within / self.across * OUT, left: within % self.across * OUT }
    }

    /// The 36 input pixels of a tile, as pointers to their first channel.
    ///
    /// # Safety
    /// `x` points to a batch of inputs with `channels` channels.
    #[inline(always)]
    pub(super) unsafe fn inputs(
        &self,
        tile: Tile,
        x: *mut f32,
        channels: usize,
        outside: *mut f32,
    ) -> [*mut f32; 36] {
        debug_assert!(tile.image < self.images);
        // SAFETY: the image is one of the batch's.
        let image = unsafe { x.add(tile.image * self.input[0] * self.input[1] * channels) };
        let top = tile.top.wrapping_sub(self.pad_top);
        let left = tile.left.wrapping_sub(self.pad_left);
        patch::<6, 36>(image, self.input, top, left, channels, outside)
    }

    /// The 16 output pixels of a tile, as pointers to their first channel.
    ///
    /// # Safety
    /// `y` points to a batch of outputs with `channels` channels.
    #[inline(always)]
    pub(super) unsafe fn outputs(
        &self,
        tile: Tile,
        y: *mut f32,
        channels: usize,
        outside: *mut f32,
    ) -> [*mut f32; 16] {
        debug_assert!(tile.image < self.images);
        // SAFETY: the image is one of the batch's.
        let image = unsafe { y.add(tile.image * self.output[0] * self.output[1] * channels) };
        patch::<4, 16>(image, self.output, tile.top, tile.left, channels, outside)
    }
}

/// Pointers to the `SIDE x SIDE` pixels from (top, left) on; coordinates may wrap below zero.
#[inline(always)]
fn patch<const SIDE: usize, const AREA: usize>(
    image: *mut f32,
    [height, width]: [usize; 2],
    top: usize,
    left: usize,
    channels: usize,
    outside: *mut f32,
) -> [*mut f32; AREA] {
    let mut pixels = [outside; AREA];
    for i in 0..SIDE {
        let y = top.wrapping_add(i);
        for j in 0..SIDE {
            let x = left.wrapping_add(j);
            // Wrapping arithmetic: the pointer is used only if the pixel is in the image.
            let inside = image.wrapping_add(y.wrapping_mul(width).wrapping_add(x).wrapping_mul(channels));
            pixels[i * SIDE + j] = if y < height && x < width { inside } else { outside };
        }
    }
    pixels
}
