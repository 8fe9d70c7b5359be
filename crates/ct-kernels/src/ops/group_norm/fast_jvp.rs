//! The forward-mode derivative of group normalization in f32, on vectors.
//!
//! With dots for tangents, v = x. + t. and means over the group:
//! x^. = rstd (v - mean(v) - x^ mean(v x^)),
//! u. = (x^. gamma + x^ gamma. + beta.) (1 + scale) + (x^ gamma + beta) scale. + shift.,
//! y. = u. activation'(u).

#![expect(unsafe_code, reason = "reads and writes strided vectors through pointers")]

use candle_core::Tensor;

use super::fast::{Coefficients, Sample, added, affine, normal};
use super::{Activation, GroupNorm, Sizes, Slices};
use crate::Result;
use crate::cpu;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::dispatch::choice;
use crate::cpu::simd::math::silu_slope;
use crate::cpu::simd::{Job, Simd};

/// The tangent of the output, from the inputs `s` and their tangents `dot`.
pub(super) fn jvp(
    config: &GroupNorm,
    sizes: Sizes,
    [s, dot]: [&Slices<'_, f32>; 2],
    stats: &Tensor,
    x: &Tensor,
) -> Result<Tensor> {
    let stats = cpu::read::<f32>(stats)?;
    let stats: &[f32] = &stats;
    let side = 2 * sizes.groups;
    let fill = |out: &mut [f32]| {
        let out = Shared::new(out);
        parallel::for_each(sizes.batch, |b| {
            let at = b * sizes.sample();
            // SAFETY: each task has its own sample of the output; x, its tangent and out hold a sample each.
            unsafe {
                choice().isa.invoke(Jvp {
                    config,
                    sample: Sample { sizes, x: s.x[at..].as_ptr() },
                    x_dot: dot.x[at..].as_ptr(),
                    s,
                    dot,
                    b,
                    stats: &stats[b * side..][..side],
                    out: out.part(at, sizes.sample()),
                });
            }
        });
    };
    // SAFETY: every sample is written, and none is read.
    let out = unsafe { cpu::overwritten(s.x.len(), fill) };
    cpu::tensor(out, x.dims())
}

/// One sample: x and `x_dot` hold it, `out` is written.
struct Jvp<'a> {
    config: &'a GroupNorm,
    sample: Sample,
    x_dot: *const f32,
    s: &'a Slices<'a, f32>,
    dot: &'a Slices<'a, f32>,
    b: usize,
    stats: &'a [f32],
    out: *mut f32,
}

impl Job for Jvp<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the job's contract.
        unsafe {
            let means = self.means::<S>();
            match self.config.activation {
                Activation::Identity => self.apply::<S>(
                    &means,
                    #[inline(always)]
                    |_, u_dot| u_dot,
                ),
                Activation::Silu => self.apply::<S>(
                    &means,
                    #[inline(always)]
                    |u, u_dot| S::mul(u_dot, silu_slope::<S>(u)),
                ),
            }
        }
    }
}

impl Jvp<'_> {
    /// The means of v and of v x^ over each group.
    #[inline(always)]
    unsafe fn means<S: Simd>(&self) -> [Vec<f64>; 2] {
        let (sizes, x, x_dot) = (self.sample.sizes, self.sample.x, self.x_dot);
        let normal = |c: usize| normal(self.s, sizes, self.b, self.stats, c);
        let coefficients =
            Coefficients::new(sizes.channels, |c| [normal(c).0, added(self.dot, sizes, self.b, c)]);
        let (mut s1, mut s2) = (vec![0.0f64; sizes.channels], vec![0.0f64; sizes.channels]);
        self.sample.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample.
                unsafe {
                    let [mean, t_dot] = coefficients.load::<S>(lanes);
                    let (mut sum1, mut sum2) = ([S::splat(0.0); 2], [S::splat(0.0); 2]);
                    for pixel in 0..pixels {
                        let at = offset + pixel * sizes.channels;
                        let v = S::add(lanes.load::<S>(x_dot.add(at)), t_dot);
                        let centred = S::sub(lanes.load::<S>(x.add(at)), mean);
                        let half = pixel % 2;
                        sum1[half] = S::add(sum1[half], v);
                        sum2[half] = S::fma(v, centred, sum2[half]);
                    }
                    lanes.add_to::<S>(S::add(sum1[0], sum1[1]), &mut s1[lanes.channel..]);
                    lanes.add_to::<S>(S::add(sum2[0], sum2[1]), &mut s2[lanes.channel..]);
                }
            },
        );
        [sizes.group_means(|c| s1[c]), sizes.group_means(|c| s2[c] * f64::from(normal(c).1))]
    }

    /// The factors of x., of x - mean, and a constant, so that u. is the sum of the three.
    #[expect(clippy::cast_possible_truncation, reason = "computed in f64, kept in f32")]
    fn factors(&self, [m1, m2]: &[Vec<f64>; 2], c: usize) -> [f32; 3] {
        let (s, dot, sizes) = (self.s, self.dot, self.sample.sizes);
        let group = c / sizes.per_group();
        let at = self.b * sizes.channels + c;
        let [scale_dot, shift_dot] =
            dot.modulation.map_or([0.0; 2], |(scale, shift)| [scale[at], shift[at]].map(f64::from));
        let scale = f64::from(s.modulation(sizes, self.b, c).0);
        let rstd = f64::from(normal(s, sizes, self.b, self.stats, c).1);
        let [gamma, beta] = [s.gamma[c], s.beta[c]].map(f64::from);
        let [gamma_dot, beta_dot] = [dot.gamma[c], dot.beta[c]].map(f64::from);
        let t_dot = f64::from(added(dot, sizes, self.b, c));
        let p = rstd * gamma * scale;
        let q = gamma_dot * scale + gamma * scale_dot - p * m2[group];
        let r = beta_dot * scale + beta * scale_dot + shift_dot + p * (t_dot - m1[group]);
        [p as f32, (q * rstd) as f32, r as f32]
    }

    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, means: &[Vec<f64>; 2], slope: impl Fn(S::V, S::V) -> S::V) {
        let (sizes, x, x_dot, out) = (self.sample.sizes, self.sample.x, self.x_dot, self.out);
        let coefficients = Coefficients::new(sizes.channels, |c| {
            let [p, q, r] = self.factors(means, c);
            let [a, d] = affine(self.s, sizes, self.b, self.stats, c);
            [p, q, r, normal(self.s, sizes, self.b, self.stats, c).0, a, d]
        });
        self.sample.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample.
                unsafe {
                    let [p, q, r, mean, a, d] = coefficients.load::<S>(lanes);
                    for pixel in 0..pixels {
                        let at = offset + pixel * sizes.channels;
                        let x = lanes.load::<S>(x.add(at));
                        let constant = S::fma(q, S::sub(x, mean), r);
                        let u_dot = S::fma(p, lanes.load::<S>(x_dot.add(at)), constant);
                        lanes.store::<S>(out.add(at), slope(S::fma(a, x, d), u_dot));
                    }
                }
            },
        );
    }
}
