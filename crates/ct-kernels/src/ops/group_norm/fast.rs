//! Group normalization in f32, on vectors.
//!
//! A sample is one task. Its pixels are taken in runs that fit the first-level cache, and a run one vector of channels
//! after the other, so that the coefficients of these channels stay in registers.
//! Sums are taken in f32 over a run, and over the runs in f64.

#![expect(unsafe_code, reason = "reads and writes strided vectors through pointers")]

use candle_core::Tensor;

use super::{Activation, GroupNorm, Sizes, Slices, parameter_gradients};
use crate::Result;
use crate::cpu;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::dispatch::choice;
use crate::cpu::simd::math::{silu, silu_slope};
use crate::cpu::simd::{BLOCK, Job, Simd};

/// Floats of one tensor in a run: three tensors of a run fit the first-level cache.
const RUN_FLOATS: usize = 2048;

/// Pixels in a run, a multiple of four.
fn run_len(channels: usize) -> usize {
    (RUN_FLOATS / channels / 4 * 4).max(4)
}

/// Output, and [B, 2, G]: the mean and the inverse standard deviation of each group, of x + t where there is a t.
pub(super) fn forward(
    config: &GroupNorm,
    sizes: Sizes,
    s: &Slices<'_, f32>,
    x: &Tensor,
) -> Result<(Tensor, Vec<Tensor>)> {
    let mut stats = vec![0.0; sizes.batch * 2 * sizes.groups];
    let all_stats = Shared::new(&mut stats);
    let fill = |out: &mut [f32]| {
        let out = Shared::new(out);
        parallel::for_each(sizes.batch, |b| {
            let at = b * sizes.sample();
            // SAFETY: each task has its own sample of the output and of the statistics; x and out hold a sample each.
            unsafe {
                let stats = all_stats.slice(b * 2 * sizes.groups, 2 * sizes.groups);
                let sample = Sample { sizes, x: s.x[at..].as_ptr() };
                choice().isa.invoke(Forward {
                    config,
                    sample,
                    s,
                    b,
                    stats,
                    out: out.part(at, sizes.sample()),
                });
            }
        });
    };
    // SAFETY: every sample is written, and none is read.
    let out = unsafe { cpu::overwritten(s.x.len(), fill) };
    Ok((cpu::tensor(out, x.dims())?, vec![cpu::tensor(stats, &[sizes.batch, 2, sizes.groups])?]))
}

/// The gradients by all inputs; `so_far` is added to that by x.
///
/// With S1 and S2 the sums over pixels of du and du x^, and k = gamma (1 + scale):
/// dx = rstd (k du - mean(k du) - x^ mean(k du x^)), means over the group; dt is the sum of dx over the pixels.
pub(super) fn backward(
    config: &GroupNorm,
    sizes: Sizes,
    s: &Slices<'_, f32>,
    stats: &Tensor,
    grad: &Tensor,
    x: &Tensor,
    so_far: Option<&Tensor>,
) -> Result<Vec<Option<Tensor>>> {
    let Sizes { batch, channels, groups, .. } = sizes;
    let grad = grad.contiguous()?;
    let so_far = so_far.map(Tensor::contiguous).transpose()?;
    let (grads, stats) = (cpu::read::<f32>(&grad)?, cpu::read::<f32>(stats)?);
    let so_far = so_far.as_ref().map(cpu::read::<f32>).transpose()?;
    // For each sample, S1 then S2.
    let mut sums = vec![0.0; batch * 2 * channels];
    let t_channels = if s.added.is_some() { channels } else { 0 };
    let mut by_t = vec![0.0; batch * t_channels];
    let (all_sums, all_by_t) = (Shared::new(&mut sums), Shared::new(&mut by_t));
    let fill = |out: &mut [f32]| {
        let out = Shared::new(out);
        parallel::for_each(batch, |b| {
            let at = b * sizes.sample();
            // SAFETY: each task has its own sample of each result; x, grad, so_far and out hold a sample each.
            unsafe {
                choice().isa.invoke(Backward {
                    config,
                    sample: Sample { sizes, x: s.x[at..].as_ptr() },
                    s,
                    b,
                    stats: &stats[b * 2 * groups..][..2 * groups],
                    grad: grads[at..].as_ptr(),
                    so_far: so_far.as_ref().map_or(std::ptr::null(), |so_far| so_far[at..].as_ptr()),
                    out: out.part(at, sizes.sample()),
                    sums: all_sums.slice(b * 2 * channels, 2 * channels),
                    by_t: all_by_t.slice(b * t_channels, t_channels),
                });
            }
        });
    };
    // SAFETY: every sample is written before it is read.
    let by_x = unsafe { cpu::overwritten(s.x.len(), fill) };
    let mut grads = vec![Some(cpu::tensor(by_x, x.dims())?)];
    grads.extend(parameter_gradients(s, sizes, &sums)?.into_iter().map(Some));
    if s.added.is_some() {
        grads.push(Some(cpu::tensor(by_t, &[batch, channels])?));
    }
    Ok(grads)
}

/// The input of one sample: [pixels, channels].
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) sizes: Sizes,
    pub(super) x: *const f32,
}

impl Sample {
    /// Calls `f` for each run of pixels and each vector of channels: the offset of the run's first element,
    /// the number of pixels, and the lanes.
    #[inline(always)]
    pub(super) fn for_each_run<S: Simd>(&self, mut f: impl FnMut(usize, usize, Lanes)) {
        let Sizes { pixels, channels, .. } = self.sizes;
        let run = run_len(channels);
        for first in (0..pixels).step_by(run) {
            let count = run.min(pixels - first);
            for channel in (0..channels).step_by(S::LANES) {
                let lanes = Lanes { channel, count: S::LANES.min(channels - channel) };
                f(first * channels + channel, count, lanes);
            }
        }
    }

    /// Adds to `totals`, for each channel, the sum over the pixels of x - centre, or of its square.
    #[inline(always)]
    unsafe fn add_moments<S: Simd>(&self, centre: &[f32], square: bool, totals: &mut [f64]) {
        let channels = self.sizes.channels;
        self.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample; `centre` has whole blocks of channels.
                unsafe {
                    let centre = S::load(centre.as_ptr().add(lanes.channel));
                    let mut sums = [S::splat(0.0); 4];
                    let x = self.x.add(offset);
                    let add = |sum: S::V, pixel: usize| {
                        let d = S::sub(lanes.load::<S>(x.add(pixel * channels)), centre);
                        if square { S::fma(d, d, sum) } else { S::add(d, sum) }
                    };
                    let fours = pixels / 4 * 4;
                    for four in (0..fours).step_by(4) {
                        for (idx, sum) in sums.iter_mut().enumerate() {
                            *sum = add(*sum, four + idx);
                        }
                    }
                    for pixel in fours..pixels {
                        sums[0] = add(sums[0], pixel);
                    }
                    let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                    lanes.add_to::<S>(sum, &mut totals[lanes.channel..]);
                }
            },
        );
    }
}

/// A vector's channels, of which the last may be missing.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    pub(super) channel: usize,
    count: usize,
}

impl Lanes {
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(self, p: *const f32) -> S::V {
        // SAFETY: the caller vouches for `count` floats.
        unsafe { if self.count == S::LANES { S::load(p) } else { S::load_part(p, self.count) } }
    }

    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(self, p: *mut f32, v: S::V) {
        // SAFETY: the caller vouches for `count` floats.
        unsafe { if self.count == S::LANES { S::store(p, v) } else { S::store_part(p, v, self.count) } }
    }

    /// Adds the lanes that exist to as many totals.
    #[inline(always)]
    pub(super) unsafe fn add_to<S: Simd>(self, v: S::V, totals: &mut [f64]) {
        let mut lanes = [0.0f32; BLOCK];
        // SAFETY: a vector fits a block.
        unsafe { S::store(lanes.as_mut_ptr(), v) }
        for (total, lane) in totals.iter_mut().zip(&lanes[..self.count]) {
            *total += f64::from(*lane);
        }
    }
}

/// Coefficients of each channel, in whole blocks of channels, so that a whole vector can be loaded at the last.
pub(super) struct Coefficients<const N: usize> {
    floats: Scratch,
    stride: usize,
}

impl<const N: usize> Coefficients<N> {
    pub(super) fn new(channels: usize, of: impl Fn(usize) -> [f32; N]) -> Self {
        let stride = channels.next_multiple_of(BLOCK);
        let mut floats = Scratch::zeroed(N * stride);
        let slice = floats.slice_mut();
        for channel in 0..channels {
            for (idx, value) in of(channel).into_iter().enumerate() {
                slice[idx * stride + channel] = value;
            }
        }
        Self { floats, stride }
    }

    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, lanes: Lanes) -> [S::V; N] {
        debug_assert!(lanes.channel + S::LANES <= self.stride);
        let first = self.floats.slice().as_ptr();
        // SAFETY: each row has whole blocks of channels, and a vector divides a block.
        std::array::from_fn(|idx| unsafe { S::load(first.add(idx * self.stride + lanes.channel)) })
    }
}

/// The map from x to u for one sample: u = a x + d.
pub(super) fn affine(s: &Slices<'_, f32>, sizes: Sizes, b: usize, stats: &[f32], channel: usize) -> [f32; 2] {
    let (mean, rstd) = stats.split_at(sizes.groups);
    let group = channel / sizes.per_group();
    let (scale, shift) = s.modulation(sizes, b, channel);
    let slope = rstd[group] * s.gamma[channel];
    let centre = mean[group] - added(s, sizes, b, channel);
    [slope * scale, (s.beta[channel] - centre * slope) * scale + shift]
}

/// The mean that is taken from x, and the inverse standard deviation, of a channel.
pub(super) fn normal(
    s: &Slices<'_, f32>,
    sizes: Sizes,
    b: usize,
    stats: &[f32],
    channel: usize,
) -> (f32, f32) {
    let (mean, rstd) = stats.split_at(sizes.groups);
    let group = channel / sizes.per_group();
    (mean[group] - added(s, sizes, b, channel), rstd[group])
}

/// t of a channel, or 0.
pub(super) fn added(s: &Slices<'_, f32>, sizes: Sizes, b: usize, channel: usize) -> f32 {
    s.added.map_or(0.0, |t| t[b * sizes.channels + channel])
}

/// One sample: x holds it, `out` is written.
struct Forward<'a> {
    config: &'a GroupNorm,
    sample: Sample,
    s: &'a Slices<'a, f32>,
    b: usize,
    stats: &'a mut [f32],
    out: *mut f32,
}

impl Job for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // SAFETY: the job's contract.
        unsafe {
            self.statistics::<S>();
            match self.config.activation {
                Activation::Identity => self.apply::<S>(
                    #[inline(always)]
                    |u| u,
                ),
                Activation::Silu => self.apply::<S>(
                    #[inline(always)]
                    |u| silu::<S>(u),
                ),
            }
        }
    }
}

impl Forward<'_> {
    /// Mean and inverse standard deviation of each group, in two passes.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "computed in f64, kept in f32")]
    unsafe fn statistics<S: Simd>(&mut self) {
        let (sample, s, b) = (self.sample, self.s, self.b);
        let sizes = sample.sizes;
        let Sizes { pixels, channels, groups, .. } = sizes;
        let mut totals = vec![0.0f64; channels];
        let mut centre = Scratch::zeroed(channels.next_multiple_of(BLOCK));
        // SAFETY: the job's contract; the centre has whole blocks.
        unsafe { sample.add_moments::<S>(centre.slice(), false, &mut totals) }
        let t = |c: usize| f64::from(added(s, sizes, b, c));
        let means = sizes.group_means(|c| totals[c] + t(c) * pixels as f64);
        for (c, centre) in centre.slice_mut()[..channels].iter_mut().enumerate() {
            *centre = (means[c / sizes.per_group()] - t(c)) as f32;
        }
        totals.fill(0.0);
        // SAFETY: as above.
        unsafe { sample.add_moments::<S>(centre.slice(), true, &mut totals) }
        let variances = sizes.group_means(|c| totals[c]);
        let (mean, rstd) = self.stats.split_at_mut(groups);
        for g in 0..groups {
            // The centre was rounded to f32; without t, what that took from the mean is put back here.
            let off = if s.added.is_some() { 0.0 } else { means[g] - f64::from(means[g] as f32) };
            mean[g] = means[g] as f32;
            rstd[g] = (1.0 / (variances[g] - off * off + self.config.eps).sqrt()) as f32;
        }
    }

    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, activation: impl Fn(S::V) -> S::V) {
        let (sizes, x, out) = (self.sample.sizes, self.sample.x, self.out);
        let affine = Coefficients::new(sizes.channels, |c| affine(self.s, sizes, self.b, self.stats, c));
        self.sample.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample.
                unsafe {
                    let [a, d] = affine.load::<S>(lanes);
                    for pixel in 0..pixels {
                        let at = offset + pixel * sizes.channels;
                        let u = S::fma(a, lanes.load::<S>(x.add(at)), d);
                        lanes.store::<S>(out.add(at), activation(u));
                    }
                }
            },
        );
    }
}

/// One sample: x, `grad` and `so_far` (or null) hold it, `out` is written.
struct Backward<'a> {
    config: &'a GroupNorm,
    sample: Sample,
    s: &'a Slices<'a, f32>,
    b: usize,
    stats: &'a [f32],
    grad: *const f32,
    so_far: *const f32,
    out: *mut f32,
    /// S1, then S2.
    sums: &'a mut [f64],
    /// The gradient by t, if there is one.
    by_t: &'a mut [f32],
}

impl Job for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // SAFETY: the job's contract.
        unsafe {
            match self.config.activation {
                Activation::Identity => self.sum_products::<S>(
                    #[inline(always)]
                    |_, grad| grad,
                ),
                Activation::Silu => self.sum_products::<S>(
                    #[inline(always)]
                    |u, grad| S::mul(grad, silu_slope::<S>(u)),
                ),
            }
            self.by_x::<S>();
        }
    }
}

impl Backward<'_> {
    fn normal(&self, channel: usize) -> (f32, f32) {
        normal(self.s, self.sample.sizes, self.b, self.stats, channel)
    }

    /// `out = du`, S1 and S2.
    #[inline(always)]
    unsafe fn sum_products<S: Simd>(&mut self, du: impl Fn(S::V, S::V) -> S::V) {
        let sizes = self.sample.sizes;
        let (x, grad, out) = (self.sample.x, self.grad, self.out);
        let coefficients = Coefficients::new(sizes.channels, |c| {
            let [a, d] = affine(self.s, sizes, self.b, self.stats, c);
            [a, d, self.normal(c).0]
        });
        let (s1, s2) = self.sums.split_at_mut(sizes.channels);
        self.sample.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample.
                unsafe {
                    let [a, d, mean] = coefficients.load::<S>(lanes);
                    let (mut sum1, mut sum2) = (S::splat(0.0), S::splat(0.0));
                    for pixel in 0..pixels {
                        let at = offset + pixel * sizes.channels;
                        let x = lanes.load::<S>(x.add(at));
                        let du = du(S::fma(a, x, d), lanes.load::<S>(grad.add(at)));
                        lanes.store::<S>(out.add(at), du);
                        sum1 = S::add(sum1, du);
                        sum2 = S::fma(du, S::sub(x, mean), sum2);
                    }
                    lanes.add_to::<S>(sum1, &mut s1[lanes.channel..]);
                    lanes.add_to::<S>(sum2, &mut s2[lanes.channel..]);
                }
            },
        );
        for c in 0..sizes.channels {
            self.sums[sizes.channels + c] *= f64::from(self.normal(c).1);
        }
    }

    /// `out = p du + q x + r (+ so_far)`, from the du that is there, and its sum without `so_far`: the gradient by t.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "computed in f64, kept in f32")]
    unsafe fn by_x<S: Simd>(&mut self) {
        let sizes = self.sample.sizes;
        let (s1, s2) = self.sums.split_at(sizes.channels);
        let k = |c: usize| self.s.gamma[c] * self.s.modulation(sizes, self.b, c).0;
        let m1 = sizes.group_means(|c| s1[c] * f64::from(k(c)));
        let m2 = sizes.group_means(|c| s2[c] * f64::from(k(c)));
        let coefficients = Coefficients::new(sizes.channels, |c| {
            let group = c / sizes.per_group();
            let (mean, rstd) = self.normal(c);
            let wide = f64::from(rstd);
            let r = wide * (wide * m2[group] * f64::from(mean) - m1[group]);
            [rstd * k(c), (-wide * wide * m2[group]) as f32, r as f32]
        });
        let (x, out, so_far) = (self.sample.x, self.out, self.so_far);
        let mut by_t = vec![0.0f64; self.by_t.len()];
        self.sample.for_each_run::<S>(
            #[inline(always)]
            |offset, pixels, lanes| {
                // SAFETY: the run lies in the sample, and its du was written before.
                unsafe {
                    let [p, q, r] = coefficients.load::<S>(lanes);
                    let mut sum = S::splat(0.0);
                    for pixel in 0..pixels {
                        let at = offset + pixel * sizes.channels;
                        let du = lanes.load::<S>(out.add(at));
                        let mut dx = S::fma(p, du, S::fma(q, lanes.load::<S>(x.add(at)), r));
                        sum = S::add(sum, dx);
                        if !so_far.is_null() {
                            dx = S::add(lanes.load::<S>(so_far.add(at)), dx);
                        }
                        lanes.store::<S>(out.add(at), dx);
                    }
                    if let Some(by_t) = by_t.get_mut(lanes.channel..).filter(|by_t| !by_t.is_empty()) {
                        lanes.add_to::<S>(sum, by_t);
                    }
                }
            },
        );
        for (narrow, wide) in self.by_t.iter_mut().zip(by_t) {
            *narrow = wide as f32;
        }
    }
}
