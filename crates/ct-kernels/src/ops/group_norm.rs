//! Group normalization (Wu and He, 2018), with the modulation and the activation that follow it.
//!
//! With x^ = (x - mean) / sqrt(variance + eps) over the pixels and channels of one group:
//! u = (x^ gamma + beta) (1 + scale) + shift, y = activation(u).

use candle_core::Tensor;

use super::silu::slope as silu_slope;
use super::{Place, check_dims, place, samples_rows_channels};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "group_norm";

/// What follows a normalization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// x sigmoid(x).
    Silu,
}

/// How group normalization divides and what follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Number of groups; divides the number of channels.
    pub num_groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for GroupNorm {
    /// 32 groups, eps 1e-5, no activation.
    fn default() -> Self {
        Self { num_groups: 32, eps: 1e-5, activation: Activation::Identity }
    }
}

/// Group normalization, then the activation.
///
/// # Shapes
/// `x`: `[B, H, W, C]`, `[B, N, C]` or `[B, C]`; `gamma`, `beta`: `[C]`.
///
/// # Errors
/// When shapes do not fit, or the channels do not divide into the groups.
pub fn group_norm(x: &Value, gamma: &Value, beta: &Value, config: &GroupNorm) -> Result<Value> {
    apply(Norm(*config), &[x, gamma, beta])
}

/// Group normalization, then y (1 + scale) + shift per sample and channel, then the activation.
///
/// # Shapes
/// `x`: `[B, H, W, C]`, `[B, N, C]` or `[B, C]`; `gamma`, `beta`: `[C]`; `scale`, `shift`: `[B, C]`.
///
/// # Errors
/// When shapes do not fit, or the channels do not divide into the groups.
pub fn group_norm_modulated(
    x: &Value,
    gamma: &Value,
    beta: &Value,
    scale: &Value,
    shift: &Value,
    config: &GroupNorm,
) -> Result<Value> {
    apply(Norm(*config), &[x, gamma, beta, scale, shift])
}

struct Norm(GroupNorm);

/// The sizes of one normalization.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    pixels: usize,
    channels: usize,
    groups: usize,
}

impl Sizes {
    fn sample(&self) -> usize {
        self.pixels * self.channels
    }

    fn per_group(&self) -> usize {
        self.channels / self.groups
    }

    /// Sums of `x[c]` over each group, divided by the number of elements in a group.
    fn group_means(&self, x: impl Fn(usize) -> f64) -> Vec<f64> {
        let count = (self.pixels * self.per_group()) as f64;
        (0..self.groups)
            .map(|g| {
                let channels = g * self.per_group()..(g + 1) * self.per_group();
                channels.map(&x).sum::<f64>() / count
            })
            .collect()
    }
}

impl Norm {
    fn sizes(&self, x: &Tensor) -> Result<Sizes> {
        let (batch, pixels, channels) = samples_rows_channels(NAME, "x", x)?;
        let groups = self.0.num_groups;
        if groups == 0 || !channels.is_multiple_of(groups) {
            let reason = format!("{channels} channels do not divide into {groups} groups");
            return Err(Error::setting(NAME, reason));
        }
        if pixels * channels == 0 {
            return Err(Error::shape(NAME, "x", "at least one pixel and channel", x.dims()));
        }
        Ok(Sizes { batch, pixels, channels, groups })
    }
}

impl Op for Norm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let sizes = self.sizes(inputs[0])?;
        let names = ["x", "gamma", "beta", "scale", "shift"];
        for (idx, input) in inputs.iter().enumerate().skip(1) {
            let per_sample = [sizes.batch, sizes.channels];
            let expected = if idx < 3 { &per_sample[1..] } else { &per_sample[..] };
            check_dims(NAME, names[idx], input, expected)?;
        }
        match place(NAME, inputs)? {
            Place::CpuF32 => forward::<f32>(&self.0, sizes, inputs),
            Place::CpuF64 => forward::<f64>(&self.0, sizes, inputs),
        }
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let inputs = (0..ctx.num_inputs()).map(|idx| ctx.input(idx)).collect::<Result<Vec<_>>>()?;
        let sizes = self.sizes(inputs[0])?;
        match place(NAME, &[inputs[0], grad])? {
            Place::CpuF32 => backward::<f32>(&self.0, sizes, &inputs, ctx.saved(0)?, grad),
            Place::CpuF64 => backward::<f64>(&self.0, sizes, &inputs, ctx.saved(0)?, grad),
        }
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let inputs = (0..ctx.num_inputs()).map(|idx| ctx.input(idx)).collect::<Result<Vec<_>>>()?;
        let sizes = self.sizes(inputs[0])?;
        let tangents = tangents
            .iter()
            .zip(&inputs)
            .map(|(tangent, input)| tangent.cloned().map_or_else(|| Ok(input.zeros_like()?), Ok))
            .collect::<Result<Vec<_>>>()?;
        let tangents: Vec<&Tensor> = tangents.iter().collect();
        match place(NAME, &[inputs[0], tangents[0]])? {
            Place::CpuF32 => jvp::<f32>(&self.0, sizes, &inputs, ctx.saved(0)?, &tangents),
            Place::CpuF64 => jvp::<f64>(&self.0, sizes, &inputs, ctx.saved(0)?, &tangents),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

/// The inputs as slices.
struct Slices<'a, T> {
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    modulation: Option<(&'a [T], &'a [T])>,
}

impl<T: Real> Slices<'_, T> {
    /// 1 + scale and shift, of channel `c` of sample `b`.
    #[inline(always)]
    fn modulation(&self, sizes: Sizes, b: usize, c: usize) -> (T, T) {
        match self.modulation {
            Some((scale, shift)) => {
                let at = b * sizes.channels + c;
                (T::ONE + scale[at], shift[at])
            }
            None => (T::ONE, T::ZERO),
        }
    }
}

/// Makes the inputs contiguous, and hands them to `f` as slices.
fn with_slices<T: Real, R>(inputs: &[&Tensor], f: impl FnOnce(&Slices<'_, T>) -> Result<R>) -> Result<R> {
    let contiguous = inputs.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<T>).collect::<Result<Vec<_>>>()?;
    f(&Slices {
        x: &elements[0],
        gamma: &elements[1],
        beta: &elements[2],
        modulation: match &elements[3..] {
            [scale, shift] => Some((scale, shift)),
            _ => None,
        },
    })
}

/// Output, and [B, 2, G]: the mean and the inverse standard deviation of each group.
fn forward<T: Real>(config: &GroupNorm, sizes: Sizes, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let Sizes { batch, channels, groups, .. } = sizes;
    let mut stats = vec![T::ZERO; batch * 2 * groups];
    let out = with_slices::<T, _>(inputs, |s| {
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
fn backward<T: Real>(
    config: &GroupNorm,
    sizes: Sizes,
    inputs: &[&Tensor],
    stats: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let Sizes { batch, channels, groups, .. } = sizes;
    let grad = grad.contiguous()?;
    let (grads, stats) = (cpu::read::<T>(&grad)?, cpu::read::<T>(stats)?);
    let (grads, stats): (&[T], &[T]) = (&grads, &stats);
    // For each sample, S1 then S2.
    let mut sums = vec![0.0; batch * 2 * channels];

    with_slices::<T, _>(inputs, |s| {
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

/// The gradients by gamma, beta, scale and shift, from S1 and S2 of each sample.
fn parameter_gradients<T: Real>(s: &Slices<'_, T>, sizes: Sizes, sums: &[f64]) -> Result<Vec<Tensor>> {
    let Sizes { batch, channels, .. } = sizes;
    let (mut gamma, mut beta) = (vec![0.0; channels], vec![0.0; channels]);
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    for (b, sums) in sums.chunks_exact(2 * channels).enumerate() {
        let (s1, s2) = sums.split_at(channels);
        for c in 0..channels {
            let factor = s.modulation(sizes, b, c).0.to_f64();
            gamma[c] += s2[c] * factor;
            beta[c] += s1[c] * factor;
            scale.push(s.gamma[c].to_f64() * s2[c] + s.beta[c].to_f64() * s1[c]);
            shift.push(s1[c]);
        }
    }
    let round = |x: Vec<f64>| x.into_iter().map(T::from_f64).collect::<Vec<T>>();
    Ok(vec![
        cpu::tensor(round(gamma), &[channels])?,
        cpu::tensor(round(beta), &[channels])?,
        cpu::tensor(round(scale), &[batch, channels])?,
        cpu::tensor(round(shift), &[batch, channels])?,
    ])
}

/// The tangent of the output. With dots for tangents:
/// x^. = rstd (x. - mean(x.) - x^ mean(x. x^)),
/// u. = (x^. gamma + x^ gamma. + beta.) (1 + scale) + (x^ gamma + beta) scale. + shift..
fn jvp<T: Real>(
    config: &GroupNorm,
    sizes: Sizes,
    inputs: &[&Tensor],
    stats: &Tensor,
    tangents: &[&Tensor],
) -> Result<Tensor> {
    let Sizes { channels, groups, .. } = sizes;
    let stats = cpu::read::<T>(stats)?;
    let stats: &[T] = &stats;
    let out = with_slices::<T, _>(inputs, |s| {
        with_slices::<T, _>(tangents, |dot| {
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
