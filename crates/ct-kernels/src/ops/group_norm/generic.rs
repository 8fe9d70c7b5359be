//! Group normalization in plain loops, for both element types: the reference of [`fast`](super::fast).
//!
//! Here x has been added to already, where [`With::Added`] asks for it.

use candle_core::Tensor;

use super::super::silu::slope as silu_slope;
use super::{Activation, GroupNorm, Sizes, Slices, With, parameter_gradients, with_slices};
use crate::Result;
use crate::cpu::{self, Real};

fn slices<T: Real, R>(inputs: &[Tensor], f: impl FnOnce(&Slices<'_, T>) -> Result<R>) -> Result<R> {
    let with = if inputs.len() == 5 { With::Modulation } else { With::Nothing };
    with_slices(&inputs.iter().collect::<Vec<_>>(), with, f)
}

/// Output, and [B, 2, G]: the mean and the inverse standard deviation of each group.
pub(super) fn forward<T: Real>(
    config: &GroupNorm,
    sizes: Sizes,
    inputs: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let Sizes { batch, channels, groups, .. } = sizes;
    let mut stats = vec![T::ZERO; batch * 2 * groups];
    let out = slices(inputs, |s| {
        let (len, side) = (sizes.sample(), 2 * groups);
        Ok(cpu::build_with(
            s.x.len(),
            len,
            &mut stats,
            side,
            #[inline(always)]
            |b, out, stats| {
                let x = &s.x[b * sizes.sample()..][..sizes.sample()];
                statistics(x, sizes, config.eps, stats);
                let affine = Affine::new(s, sizes, b, stats);
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    affine.apply(x, out);
                    if config.activation == Activation::Silu {
                        for u in out {
                            *u *= u.sigmoid();
                        }
                    }
                }
            },
        ))
    })?;
    let output = cpu::tensor(out, inputs[0].dims())?;
    Ok((output, vec![cpu::tensor(stats, &[batch, 2, groups])?]))
}

/// The map from x to u for one sample: u = a x + d, channel by channel.
struct Affine<T> {
    a: Vec<T>,
    d: Vec<T>,
}

impl<T: Real> Affine<T> {
    #[inline(always)]
    fn new(s: &Slices<'_, T>, sizes: Sizes, b: usize, stats: &[T]) -> Self {
        let (mean, rstd) = stats.split_at(sizes.groups);
        let (mut a, mut d) = (vec![T::ZERO; sizes.channels], vec![T::ZERO; sizes.channels]);
        for c in 0..sizes.channels {
            let g = c / sizes.per_group();
            let (scale, shift) = s.modulation(sizes, b, c);
            let slope = rstd[g] * s.gamma[c];
            a[c] = slope * scale;
            d[c] = (s.beta[c] - mean[g] * slope) * scale + shift;
        }
        Self { a, d }
    }

    #[inline(always)]
    fn apply(&self, x: &[T], u: &mut [T]) {
        for (((u, &x), &a), &d) in u.iter_mut().zip(x).zip(&self.a).zip(&self.d) {
            *u = a * x + d;
        }
    }
}

/// Mean and inverse standard deviation of each group of one sample, in two passes.
#[inline(always)]
fn statistics<T: Real>(x: &[T], sizes: Sizes, eps: f64, stats: &mut [T]) {
    let (mean, rstd) = stats.split_at_mut(sizes.groups);
    let sums = channel_sums(x, sizes, |x, _| x, &vec![T::ZERO; sizes.channels]);
    let means = sizes.group_means(|c| sums[c]);
    let mut centre = vec![T::ZERO; sizes.channels];
    for (c, centre) in centre.iter_mut().enumerate() {
        *centre = T::from_f64(means[c / sizes.per_group()]);
    }
    let squares = channel_sums(x, sizes, |x, centre| (x - centre) * (x - centre), &centre);
    // The centre was rounded to T; what that took from the mean is put back here.
    let variances = sizes.group_means(|c| squares[c]);
    for g in 0..sizes.groups {
        let off = means[g] - T::from_f64(means[g]).to_f64();
        mean[g] = T::from_f64(means[g]);
        rstd[g] = T::from_f64(1.0 / (variances[g] - off * off + eps).sqrt());
    }
}

/// Sum over the pixels of f(x, y[c]), for each channel.
///
/// Runs of 32 pixels are added up in `T`, the runs in f64.
#[inline(always)]
fn channel_sums<T: Real>(x: &[T], sizes: Sizes, f: impl Fn(T, T) -> T, y: &[T]) -> Vec<f64> {
    let mut totals = vec![0.0; sizes.channels];
    let mut sums = vec![T::ZERO; sizes.channels];
    for run in x.chunks(32 * sizes.channels) {
        sums.fill(T::ZERO);
        for row in run.chunks_exact(sizes.channels) {
            for ((sum, &x), &y) in sums.iter_mut().zip(row).zip(y) {
                *sum += f(x, y);
            }
        }
        for (total, sum) in totals.iter_mut().zip(&sums) {
            *total += sum.to_f64();
        }
    }
    totals
}

/// The gradients by x, gamma, beta and, where there is a modulation, scale and shift.
///
/// With S1 and S2 the sums over pixels of du and du x^, and k = gamma (1 + scale):
/// dx = rstd (k du - mean(k du) - x^ mean(k du x^)), means over the group.
pub(super) fn backward<T: Real>(
    config: &GroupNorm,
    sizes: Sizes,
    inputs: &[Tensor],
    stats: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let Sizes { batch, channels, groups, .. } = sizes;
    let grad = grad.contiguous()?;
    let (grads, stats) = (cpu::read::<T>(&grad)?, cpu::read::<T>(stats)?);
    let (grads, stats): (&[T], &[T]) = (&grads, &stats);
    // For each sample, S1 then S2.
    let mut sums = vec![0.0; batch * 2 * channels];

    slices(inputs, |s| {
        let (len, side) = (sizes.sample(), 2 * channels);
        let by_x = cpu::build_with(
            s.x.len(),
            len,
            &mut sums,
            side,
            #[inline(always)]
            |b, out, sums| {
                let x = &s.x[b * sizes.sample()..][..sizes.sample()];
                let grad = &grads[b * sizes.sample()..][..sizes.sample()];
                let stats = &stats[b * 2 * groups..][..2 * groups];
                let affine = Affine::new(s, sizes, b, stats);
                let normal = Normal::new(sizes, stats);
                grad_before_activation(config, &affine, x, grad, out);
                sum_products(&normal, x, out, sums);

                let (s1, s2) = sums.split_at(channels);
                let k = |c: usize| s.gamma[c] * s.modulation(sizes, b, c).0;
                let m1 = sizes.group_means(|c| s1[c] * k(c).to_f64());
                let m2 = sizes.group_means(|c| s2[c] * k(c).to_f64());
                // dx = p du + q x + r, channel by channel.
                let (mut p, mut q, mut r) =
                    (vec![T::ZERO; channels], vec![T::ZERO; channels], vec![T::ZERO; channels]);
                for c in 0..channels {
                    let g = c / sizes.per_group();
                    let rstd = normal.rstd[c].to_f64();
                    p[c] = normal.rstd[c] * k(c);
                    q[c] = T::from_f64(-rstd * rstd * m2[g]);
                    r[c] = T::from_f64(rstd * (rstd * m2[g] * normal.mean[c].to_f64() - m1[g]));
                }
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    let coefficients = p.iter().zip(&q).zip(&r);
                    for ((out, &x), ((&p, &q), &r)) in out.iter_mut().zip(x).zip(coefficients) {
                        *out = p * *out + (q * x + r);
                    }
                }
            },
        );
        let mut grads = vec![Some(cpu::tensor(by_x, inputs[0].dims())?)];
        grads.extend(parameter_gradients(s, sizes, &sums)?.into_iter().map(Some));
        grads.truncate(inputs.len());
        Ok(grads)
    })
}

/// `x^ = (x - mean) rstd`, with mean and rstd spread over the channels.
struct Normal<T> {
    mean: Vec<T>,
    rstd: Vec<T>,
}

impl<T: Real> Normal<T> {
    #[inline(always)]
    fn new(sizes: Sizes, stats: &[T]) -> Self {
        let spread = |x: &[T]| (0..sizes.channels).map(|c| x[c / sizes.per_group()]).collect();
        let (mean, rstd) = stats.split_at(sizes.groups);
        Self { mean: spread(mean), rstd: spread(rstd) }
    }
}

/// du = grad activation'(u).
#[inline(always)]
fn grad_before_activation<T: Real>(
    config: &GroupNorm,
    affine: &Affine<T>,
    x: &[T],
    grad: &[T],
    out: &mut [T],
) {
    let channels = affine.a.len();
    match config.activation {
        Activation::Identity => out.copy_from_slice(grad),
        Activation::Silu => {
            let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels));
            for (out, (x, grad)) in out.chunks_exact_mut(channels).zip(rows) {
                affine.apply(x, out);
                for (out, &grad) in out.iter_mut().zip(grad) {
                    *out = grad * silu_slope(*out);
                }
            }
        }
    }
}

/// Sums over the pixels of `v`, then of `v x^`, for each channel.
#[inline(always)]
fn sum_products<T: Real>(normal: &Normal<T>, x: &[T], v: &[T], sums: &mut [f64]) {
    let channels = normal.mean.len();
    let (s1, s2) = sums.split_at_mut(channels);
    let (mut run1, mut run2) = (vec![T::ZERO; channels], vec![T::ZERO; channels]);
    for (x, v) in x.chunks(32 * channels).zip(v.chunks(32 * channels)) {
        run1.fill(T::ZERO);
        run2.fill(T::ZERO);
        for (x, v) in x.chunks_exact(channels).zip(v.chunks_exact(channels)) {
            let runs = run1.iter_mut().zip(run2.iter_mut());
            for (((run1, run2), (&x, &v)), &mean) in runs.zip(x.iter().zip(v)).zip(&normal.mean) {
                *run1 += v;
                *run2 += v * (x - mean);
            }
        }
        for c in 0..channels {
            s1[c] += run1[c].to_f64();
            s2[c] += run2[c].to_f64() * normal.rstd[c].to_f64();
        }
    }
}

/// The tangent of the output. With dots for tangents:
/// x^. = rstd (x. - mean(x.) - x^ mean(x. x^)),
/// u. = (x^. gamma + x^ gamma. + beta.) (1 + scale) + (x^ gamma + beta) scale. + shift..
pub(super) fn jvp<T: Real>(
    config: &GroupNorm,
    sizes: Sizes,
    inputs: &[Tensor],
    stats: &Tensor,
    tangents: &[Tensor],
) -> Result<Tensor> {
    let Sizes { channels, groups, .. } = sizes;
    let stats = cpu::read::<T>(stats)?;
    let stats: &[T] = &stats;
    let out = slices(inputs, |s| {
        slices(tangents, |dot| {
            Ok(cpu::build(
                s.x.len(),
                sizes.sample(),
                #[inline(always)]
                |b, out| {
                    let x = &s.x[b * sizes.sample()..][..sizes.sample()];
                    let x_dot = &dot.x[b * sizes.sample()..][..sizes.sample()];
                    let stats = &stats[b * 2 * groups..][..2 * groups];
                    let affine = Affine::new(s, sizes, b, stats);
                    let normal = Normal::new(sizes, stats);
                    let mut sums = vec![0.0; 2 * channels];
                    sum_products(&normal, x, x_dot, &mut sums);
                    let m1 = sizes.group_means(|c| sums[c]);
                    let m2 = sizes.group_means(|c| sums[channels + c]);
                    // u. = p x. + q x^ + r, channel by channel.
                    let (mut p, mut q, mut r) =
                        (vec![T::ZERO; channels], vec![T::ZERO; channels], vec![T::ZERO; channels]);
                    for c in 0..channels {
                        let g = c / sizes.per_group();
                        let (scale, _) = s.modulation(sizes, b, c);
                        let (scale_dot, shift_dot) = match dot.modulation {
                            Some((scale, shift)) => (scale[b * channels + c], shift[b * channels + c]),
                            None => (T::ZERO, T::ZERO),
                        };
                        p[c] = normal.rstd[c] * s.gamma[c] * scale;
                        q[c] = dot.gamma[c] * scale + s.gamma[c] * scale_dot - p[c] * T::from_f64(m2[g]);
                        r[c] = dot.beta[c] * scale + s.beta[c] * scale_dot + shift_dot
                            - p[c] * T::from_f64(m1[g]);
                    }
                    let rows = x.chunks_exact(channels).zip(x_dot.chunks_exact(channels));
                    for (out, (x, x_dot)) in out.chunks_exact_mut(channels).zip(rows) {
                        for c in 0..channels {
                            let normal = (x[c] - normal.mean[c]) * normal.rstd[c];
                            let u_dot = p[c] * x_dot[c] + q[c] * normal + r[c];
                            out[c] = match config.activation {
                                Activation::Identity => u_dot,
                                Activation::Silu => u_dot * silu_slope(affine.a[c] * x[c] + affine.d[c]),
                            };
                        }
                    }
                },
            ))
        })
    })?;
    cpu::tensor(out, inputs[0].dims())
}
