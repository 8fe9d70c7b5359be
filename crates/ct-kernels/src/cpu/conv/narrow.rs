//! Convolution to very few output channels, such as the last of a network, which makes pixels.
//!
//! Vectors run along the input channels instead: an output is the sum over taps of a dot product,
//! added up across the vector once, at the end.

#![expect(unsafe_code, reason = "reads pixels through pointers")]

use super::direct::View;
use super::{Addends, ConvShape};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::Isa;
use crate::cpu::simd::{BLOCK, Job, Simd};

/// Output pixels of a row that are worked on at once, sharing the loads of weights.
const PIXELS: usize = 4;

/// Whether this shape goes this way.
pub(super) fn applies(s: &ConvShape) -> bool {
    s.c_out <= 4 && s.c_in.is_multiple_of(BLOCK) && s.stride == 1
}

/// `y = conv(x, w) + bias + residual`; see [`super::forward`].
pub(super) fn forward(
    isa: Isa,
    s: &ConvShape,
    x: &[f32],
    w: &[f32],
    view: View,
    plus: Addends<'_>,
    y: &mut [f32],
) {
    let taps = s.kernel[0] * s.kernel[1];
    // Weights as [out][taps][in], and a row of zeros for taps outside the image.
    let mut packed = Scratch::take(s.c_out * taps * s.c_in + s.c_in);
    let (weights, zeros) = packed.slice_mut().split_at_mut(s.c_out * taps * s.c_in);
    for (at, to) in weights.iter_mut().enumerate() {
        let (out, tap, c) = (at / s.c_in / taps, at / s.c_in % taps, at % s.c_in);
        *to = w[view.index(s, out, tap, c)];
    }
    zeros[..s.c_in].fill(0.0);
    let packed = packed.slice();
    let rows = s.batch * s.out_height();
    let tasks = rows.div_ceil(16);
    let y = Shared::new(y);
    parallel::for_each(tasks, |i| {
        let (first, rows) = parallel::part(rows, tasks, i);
        let job = Lines { s, x, w: packed.as_ptr(), plus, y, first, count: rows };
        // SAFETY: the caller checked the lengths; the weights are packed as `Lines` wants; tasks write different rows.
        unsafe { isa.invoke(job) }
    });
}

/// Some rows of output pixels.
struct Lines<'a> {
    s: &'a ConvShape,
    x: &'a [f32],
    w: *const f32,
    plus: Addends<'a>,
    y: Shared,
    first: usize,
    count: usize,
}

impl Job for Lines<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let s = self.s;
        let (height, width) = (s.out_height(), s.out_width());
        let zeros = self.w.wrapping_add(s.c_out * s.kernel[0] * s.kernel[1] * s.c_in);
        for row in self.first..self.first + self.count {
            let (image, top) = (row / height, row % height);
            for left in (0..width).step_by(PIXELS) {
                let count = PIXELS.min(width - left);
                for out in 0..s.c_out {
                    // SAFETY: the pixels are in the image or lead to zeros; weights and channels are in range.
                    unsafe {
                        let mut sums = [S::splat(0.0); PIXELS];
                        for ky in 0..s.kernel[0] {
                            let y = (top + ky).wrapping_sub(s.padding[0]);
                            if y >= s.height {
                                continue;
                            }
                            let (start, len) = ((image * s.height + y) * s.width * s.c_in, s.width * s.c_in);
                            debug_assert!(start + len <= self.x.len());
                            let line = self.x.as_ptr().add(start);
                            for kx in 0..s.kernel[1] {
                                let mut pixels = [zeros; PIXELS];
                                for (p, pixel) in pixels.iter_mut().enumerate() {
                                    let x = (left + p + kx).wrapping_sub(s.padding[2]);
                                    if x < s.width {
                                        *pixel = line.add(x * s.c_in);
                                    }
                                }
                                let tap = (out * s.kernel[0] + ky) * s.kernel[1] + kx;
                                let w = self.w.add(tap * s.c_in);
                                for c in (0..s.c_in).step_by(S::LANES) {
                                    let w = S::load(w.add(c));
                                    for (sum, pixel) in sums.iter_mut().zip(pixels) {
                                        *sum = S::fma(S::load(pixel.add(c)), w, *sum);
                                    }
                                }
                            }
                        }
                        let bias = self.plus.bias.map_or(0.0, |bias| bias[out]);
                        for (p, &sum) in sums[..count].iter().enumerate() {
                            let mut lanes = [0.0f32; BLOCK];
                            S::store(lanes.as_mut_ptr(), sum);
                            let at = ((image * height + top) * width + left + p) * s.c_out + out;
                            let residual = self.plus.residual.map_or(0.0, |residual| residual[at]);
                            *self.y.part(at, 1) = residual + (bias + add_up(lanes));
                        }
                    }
                }
            }
        }
    }
}

/// The sum of all lanes, pairwise.
#[inline(always)]
fn add_up(mut lanes: [f32; BLOCK]) -> f32 {
    let mut half = BLOCK / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}
