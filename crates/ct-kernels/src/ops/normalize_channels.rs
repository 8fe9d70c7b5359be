//! Pixels brought to length 1 over their channels, as LPIPS compares them (Zhang et al. 2018, section 3).
//!
//! ```text
//! y = g x / n     with n = |x| + eps,  |x| = sqrt(sum over channels of x^2)
//! dy = g (dx - x (x . dx) / (|x| n)) / n
//! ```

use candle_core::Tensor;

use super::{Place, check_dims, place, samples_rows_channels, sum_of};
use crate::cpu::{self, BLOCK, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "normalize_channels";

/// gain x / (|x| + eps), where |x| is the length of a pixel over its channels; `gain` is a constant for each channel.
///
/// The length is added up in f64. A pixel of zeros gives zeros, and its derivative is that of the formula: gain / eps.
///
/// # Shapes
/// `x`: `[B, .., C]`; `gain`: `[C]`; result as `x`.
///
/// # Errors
/// When shapes do not fit, or `eps` is not positive.
pub fn normalize_channels(x: &Value, gain: &Tensor, eps: f64) -> Result<Value> {
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::setting(NAME, format!("eps must be positive and finite, got {eps}")));
    }
    apply(Normalize { gain: gain.detach(), eps }, &[x])
}

struct Normalize {
    gain: Tensor,
    eps: f64,
}

/// Which derivative: both are the same but for the side on which the gain stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Backward,
}

impl Op for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (_, _, channels) = samples_rows_channels(NAME, "x", inputs[0])?;
        check_dims(NAME, "gain", &self.gain, &[channels])?;
        let output = match place(NAME, &[inputs[0], &self.gain])? {
            Place::CpuF32 => self.forward_cpu::<f32>(inputs[0], channels),
            Place::CpuF64 => self.forward_cpu::<f64>(inputs[0], channels),
            Place::Composed => composed::normalize::channels(inputs[0], &self.gain, self.eps),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.derivative(ctx.input(0)?, grad, Mode::Backward)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(NAME, tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        self.derivative(ctx.input(0)?, &tangent, Mode::Forward)
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

impl Normalize {
    fn forward_cpu<T: Real>(&self, x: &Tensor, c: usize) -> Result<Tensor> {
        let (xc, gc) = (x.contiguous()?, self.gain.contiguous()?);
        let (xs, gain) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&gc)?);
        let (xs, gain): (&[T], &[T]) = (&xs, &gain);
        let chunk = pixels_of_a_block(c) * c;
        let out = cpu::build(
            xs.len(),
            chunk,
            #[inline(always)]
            |idx, out: &mut [T]| {
                let xs = &xs[idx * chunk..][..out.len()];
                for (out, x) in out.chunks_exact_mut(c).zip(xs.chunks_exact(c)) {
                    let inverse = T::from_f64(1.0 / (dot(x, x).sqrt() + self.eps));
                    for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gain) {
                        *out = gain * (x * inverse);
                    }
                }
            },
        );
        cpu::tensor(out, x.dims())
    }

    fn derivative(&self, x: &Tensor, v: &Tensor, mode: Mode) -> Result<Tensor> {
        let (_, _, channels) = samples_rows_channels(NAME, "x", x)?;
        match place(NAME, &[x, v])? {
            Place::CpuF32 => self.derivative_cpu::<f32>(x, v, channels, mode),
            Place::CpuF64 => self.derivative_cpu::<f64>(x, v, channels, mode),
            Place::Composed => {
                composed::normalize::channels_slope(x, &self.gain, self.eps, v, mode == Mode::Backward)
            }
        }
    }

    /// The matrix I - x x^T / (|x| n), over n, is symmetric: only the gain comes before it or after it.
    fn derivative_cpu<T: Real>(&self, x: &Tensor, v: &Tensor, c: usize, mode: Mode) -> Result<Tensor> {
        let (xc, vc, gc) = (x.contiguous()?, v.contiguous()?, self.gain.contiguous()?);
        let (xs, vs, gain) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&vc)?, cpu::read::<T>(&gc)?);
        let (xs, vs, gain): (&[T], &[T], &[T]) = (&xs, &vs, &gain);
        let chunk = pixels_of_a_block(c) * c;
        let out = cpu::build(
            xs.len(),
            chunk,
            #[inline(always)]
            |idx, out: &mut [T]| {
                let (xs, vs) = (&xs[idx * chunk..][..out.len()], &vs[idx * chunk..][..out.len()]);
                let pixels = xs.chunks_exact(c).zip(vs.chunks_exact(c));
                for (out, (x, v)) in out.chunks_exact_mut(c).zip(pixels) {
                    for ((out, &v), &gain) in out.iter_mut().zip(v).zip(gain) {
                        *out = if mode == Mode::Backward { gain * v } else { v };
                    }
                    let length = dot(x, x).sqrt();
                    let along = if length > 0.0 { dot(x, out) / (length * (length + self.eps)) } else { 0.0 };
                    let (along, inverse) = (T::from_f64(along), T::from_f64(1.0 / (length + self.eps)));
                    for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gain) {
                        let projected = (*out - x * along) * inverse;
                        *out = if mode == Mode::Forward { gain * projected } else { projected };
                    }
                }
            },
        );
        cpu::tensor(out, x.dims())
    }
}

/// Pixels that one task works on.
fn pixels_of_a_block(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(1)
}

/// Sum of products in f64, in eight partial sums so that it vectorizes.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    const LANES: usize = 8;
    let (as_, bs) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = as_.remainder().iter().zip(bs.remainder()).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
    let mut sums = [0.0; LANES];
    for (a, b) in as_.zip(bs) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.to_f64() * b.to_f64();
        }
    }
    sums.iter().sum::<f64>() + rest
}
