//! Pixel normalization: each vector of channels is brought to root mean square 1
//! (Karras et al., "Progressive Growing of GANs", section 4.2).
//!
//! y = x r with r = 1 / sqrt(mean(x^2) + eps), the mean over the last dimension.
//! The Jacobian r (I - y y^T / C) is symmetric, so that both derivatives are the same map:
//! v to r (v - y mean(v y)).

use candle_core::Tensor;

use super::{Place, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "pixel_norm";

/// x / sqrt(mean(x^2) + eps), the mean over the last dimension.
///
/// A vector of zeros stays one, where the derivative is 1 / sqrt(eps): `eps` bounds both derivatives.
///
/// # Shapes
/// `x` and result: [.., C].
///
/// # Errors
/// When `x` has no dimensions or no channels, or `eps` is not positive.
pub fn pixel_norm(x: &Value, eps: f64) -> Result<Value> {
    if eps.is_nan() || eps <= 0.0 {
        return Err(Error::setting(NAME, format!("eps must be positive, got {eps}")));
    }
    apply(PixelNorm { eps }, &[x])
}

struct PixelNorm {
    eps: f64,
}

impl Op for PixelNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(NAME, inputs)? {
            Place::CpuF32 => self.forward_cpu::<f32>(inputs[0]),
            Place::CpuF64 => self.forward_cpu::<f64>(inputs[0]),
            Place::Composed => {
                channels(inputs[0])?;
                composed::normalize::pixels(inputs[0], self.eps)
            }
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.times_slope(ctx.input(0)?, grad)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(NAME, tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        self.times_slope(ctx.input(0)?, &tangent)
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

impl PixelNorm {
    fn forward_cpu<T: Real>(&self, x: &Tensor) -> Result<Tensor> {
        let channels = channels(x)?;
        let contiguous = x.contiguous()?;
        let elements = cpu::read::<T>(&contiguous)?;
        let mut out = Vec::with_capacity(elements.len());
        for x in elements.chunks_exact(channels) {
            let r = self.inverse_size(x);
            out.extend(x.iter().map(|x| T::from_f64(x.to_f64() * r)));
        }
        cpu::tensor(out, x.dims())
    }

    /// The Jacobian at `x`, times `v`.
    fn times_slope(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        match place(NAME, &[x, v])? {
            Place::CpuF32 => self.times_slope_cpu::<f32>(x, v),
            Place::CpuF64 => self.times_slope_cpu::<f64>(x, v),
            Place::Composed => composed::normalize::pixels_slope(x, self.eps, v),
        }
    }

    fn times_slope_cpu<T: Real>(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let channels = channels(x)?;
        let (xc, vc) = (x.contiguous()?, v.contiguous()?);
        let (xs, vs) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&vc)?);
        let mut out = Vec::with_capacity(xs.len());
        for (x, v) in xs.chunks_exact(channels).zip(vs.chunks_exact(channels)) {
            let r = self.inverse_size(x);
            let products = x.iter().zip(v).map(|(x, v)| x.to_f64() * v.to_f64());
            let along = r * r * products.sum::<f64>() / channels as f64;
            out.extend(x.iter().zip(v).map(|(x, v)| T::from_f64(r * (v.to_f64() - along * x.to_f64()))));
        }
        cpu::tensor(out, x.dims())
    }

    /// 1 / sqrt(mean(x^2) + eps).
    fn inverse_size<T: Real>(&self, x: &[T]) -> f64 {
        let squares: f64 = x.iter().map(|x| x.to_f64() * x.to_f64()).sum();
        1.0 / (squares / x.len() as f64 + self.eps).sqrt()
    }
}

fn channels(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&channels) if channels > 0 => Ok(channels),
        _ => Err(Error::shape(NAME, "x", "[.., C] with at least one channel", x.dims())),
    }
}
