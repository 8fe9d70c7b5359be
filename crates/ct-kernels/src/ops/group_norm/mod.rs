//! Group normalization (Wu and He, 2018), with what comes before and after it in a residual block.
//!
//! With x^ = (x - mean) / sqrt(variance + eps) over the pixels and channels of one group:
//! u = (x^ gamma + beta) (1 + scale) + shift, y = activation(u).
//!
//! [`generic`] is the plain form, which f64 uses; [`fast`] is for f32, and [`fast_jvp`] its forward-mode derivative.

mod fast;
mod fast_jvp;
mod generic;

use candle_core::Tensor;

use super::{Place, add_channels, check_dims, place, samples_rows_channels, sum};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

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
    apply(Norm { config: *config, with: With::Nothing }, &[x, gamma, beta])
}

/// Group normalization of x + t, with one t per sample and channel, then the activation.
///
/// As [`add_channels`](crate::add_channels) and [`group_norm`], without the sum in memory.
///
/// # Shapes
/// `x`: `[B, H, W, C]`, `[B, N, C]` or `[B, C]`; `t`: `[B, C]`; `gamma`, `beta`: `[C]`.
///
/// # Errors
/// When shapes do not fit, or the channels do not divide into the groups.
pub fn group_norm_added(
    x: &Value,
    t: &Value,
    gamma: &Value,
    beta: &Value,
    config: &GroupNorm,
) -> Result<Value> {
    apply(Norm { config: *config, with: With::Added }, &[x, gamma, beta, t])
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
    apply(Norm { config: *config, with: With::Modulation }, &[x, gamma, beta, scale, shift])
}

struct Norm {
    config: GroupNorm,
    with: With,
}

/// What a normalization takes beside x, gamma and beta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Nothing,
    /// scale and shift, after it.
    Modulation,
    /// t, before it.
    Added,
}

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
        let groups = self.config.num_groups;
        if groups == 0 || !channels.is_multiple_of(groups) {
            let reason = format!("{channels} channels do not divide into {groups} groups");
            return Err(Error::setting(NAME, reason));
        }
        if pixels * channels == 0 {
            return Err(Error::shape(NAME, "x", "at least one pixel and channel", x.dims()));
        }
        Ok(Sizes { batch, pixels, channels, groups })
    }

    fn composed<'a>(&self, sizes: Sizes, inputs: &[&'a Tensor]) -> composed::group_norm::Norm<'a> {
        let Sizes { batch, pixels, channels, groups } = sizes;
        composed::group_norm::Norm {
            batch,
            pixels,
            channels,
            groups,
            eps: self.config.eps,
            has_silu: self.config.activation == Activation::Silu,
            inputs: self.composed_inputs(inputs),
        }
    }

    fn composed_inputs<'a>(&self, inputs: &[&'a Tensor]) -> composed::group_norm::Inputs<'a> {
        composed::group_norm::Inputs {
            x: inputs[0],
            gamma: inputs[1],
            beta: inputs[2],
            modulation: (self.with == With::Modulation).then(|| (inputs[3], inputs[4])),
            added: (self.with == With::Added).then(|| inputs[3]),
        }
    }

    /// The inputs, with t added to x where there is one.
    fn with_sum(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut inputs: Vec<Tensor> = inputs.iter().map(|&input| input.clone()).collect();
        if self.with == With::Added {
            let t = inputs.remove(3);
            inputs[0] = add_channels::sum_with(&inputs[0], &t)?;
        }
        Ok(inputs)
    }
}

impl Op for Norm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let sizes = self.sizes(inputs[0])?;
        let names = match self.with {
            With::Added => ["x", "gamma", "beta", "t", ""],
            _ => ["x", "gamma", "beta", "scale", "shift"],
        };
        for (idx, input) in inputs.iter().enumerate().skip(1) {
            let per_sample = [sizes.batch, sizes.channels];
            let expected = if idx < 3 { &per_sample[1..] } else { &per_sample[..] };
            check_dims(NAME, names[idx], input, expected)?;
        }
        match place(NAME, inputs)? {
            Place::CpuF32 => {
                with_slices(inputs, self.with, |s| fast::forward(&self.config, sizes, s, inputs[0]))
            }
            Place::CpuF64 => generic::forward::<f64>(&self.config, sizes, &self.with_sum(inputs)?),
            Place::Composed => self.composed(sizes, inputs).forward(),
        }
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let inputs = (0..ctx.num_inputs()).map(|idx| ctx.input(idx)).collect::<Result<Vec<_>>>()?;
        let sizes = self.sizes(inputs[0])?;
        match place(NAME, &[inputs[0], grad])? {
            Place::CpuF32 => with_slices(&inputs, self.with, |s| {
                fast::backward(&self.config, sizes, s, ctx.saved(0)?, grad, inputs[0], ctx.sum_so_far())
            }),
            Place::CpuF64 => {
                let mut grads = generic::backward::<f64>(
                    &self.config,
                    sizes,
                    &self.with_sum(&inputs)?,
                    ctx.saved(0)?,
                    grad,
                )?;
                if let (With::Added, Some(by_x)) = (self.with, &grads[0]) {
                    grads.push(Some(add_channels::sum_pixels::<f64>(by_x)?));
                }
                if let (Some(so_far), Some(by_x)) = (ctx.sum_so_far(), &grads[0]) {
                    grads[0] = Some(sum(so_far, by_x)?);
                }
                Ok(grads)
            }
            Place::Composed => {
                let saved = [ctx.saved(0)?, ctx.saved(1)?];
                self.composed(sizes, &inputs).backward(saved, grad, ctx.sum_so_far())
            }
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
            Place::CpuF32 => with_slices(&inputs, self.with, |s| {
                with_slices(&tangents, self.with, |dot| {
                    fast_jvp::jvp(&self.config, sizes, [s, dot], ctx.saved(0)?, inputs[0])
                })
            }),
            Place::CpuF64 => {
                let (x, dot) = (self.with_sum(&inputs)?, self.with_sum(&tangents)?);
                generic::jvp::<f64>(&self.config, sizes, &x, ctx.saved(0)?, &dot)
            }
            Place::Composed => {
                let saved = [ctx.saved(0)?, ctx.saved(1)?];
                self.composed(sizes, &inputs).jvp(saved, self.composed_inputs(&tangents))
            }
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }

    fn adds_to_sum(&self) -> bool {
        true
    }
}

/// The inputs as slices.
struct Slices<'a, T> {
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    modulation: Option<(&'a [T], &'a [T])>,
    added: Option<&'a [T]>,
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
fn with_slices<T: Real, R>(
    inputs: &[&Tensor],
    with: With,
    f: impl FnOnce(&Slices<'_, T>) -> Result<R>,
) -> Result<R> {
    let contiguous = inputs.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<T>).collect::<Result<Vec<_>>>()?;
    f(&Slices {
        x: &elements[0],
        gamma: &elements[1],
        beta: &elements[2],
        modulation: match (with, &elements[3..]) {
            (With::Modulation, [scale, shift]) => Some((scale, shift)),
            _ => None,
        },
        added: match (with, &elements[3..]) {
            (With::Added, [t]) => Some(t),
            _ => None,
        },
    })
}

/// The gradients by gamma, beta, scale and shift, from S1 and S2 of each sample:
/// the sums over the pixels of du and of du x^.
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
            if s.modulation.is_some() {
                scale.push(s.gamma[c].to_f64() * s2[c] + s.beta[c].to_f64() * s1[c]);
                shift.push(s1[c]);
            }
        }
    }
    let round = |x: Vec<f64>| x.into_iter().map(T::from_f64).collect::<Vec<T>>();
    let mut grads = vec![cpu::tensor(round(gamma), &[channels])?, cpu::tensor(round(beta), &[channels])?];
    if s.modulation.is_some() {
        grads.push(cpu::tensor(round(scale), &[batch, channels])?);
        grads.push(cpu::tensor(round(shift), &[batch, channels])?);
    }
    Ok(grads)
}
