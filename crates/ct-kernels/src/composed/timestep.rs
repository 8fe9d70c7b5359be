//! Noise levels as vectors; sines and cosines in f64, of angles rounded where the operation rounds them.

use candle_core::{D, Tensor};

use super::{double, wide_dtype};
use crate::Result;

/// What an embedding is made of.
pub(crate) struct Sinusoid {
    /// How fast each angle grows, `[n]`, in the type that times are computed in.
    pub(crate) speeds: Tensor,
    /// Whether angles are turns of a circle, and not radians.
    pub(crate) in_turns: bool,
    /// Length of the vector; what is beyond two times n is zero.
    pub(crate) dim: usize,
    pub(crate) cosines_first: bool,
    /// Whether the logarithm is taken first.
    pub(crate) log: bool,
}

impl Sinusoid {
    /// The angle of each time and speed: `[B, n]`, f64.
    fn angles(&self, t: &Tensor) -> Result<Tensor> {
        let dtype = wide_dtype(t.dtype());
        let time = if self.log { double(t)?.log()?.to_dtype(dtype)? } else { t.to_dtype(dtype)? };
        let mut angles = time.reshape(((), 1))?.broadcast_mul(&self.speeds.reshape((1, ()))?)?;
        if self.in_turns {
            angles = ((angles * 2.0)? * std::f64::consts::PI)?;
        }
        double(&angles)
    }

    /// d angle / d t: `[B, n]` or `[1, n]`, f64.
    fn rates(&self, t: &Tensor) -> Result<Tensor> {
        let factor = if self.in_turns { std::f64::consts::TAU } else { 1.0 };
        let speeds = (double(&self.speeds)?.reshape((1, ()))? * factor)?;
        if !self.log {
            return Ok(speeds);
        }
        Ok(double(t)?.recip()?.reshape(((), 1))?.broadcast_mul(&speeds)?)
    }

    /// Sines and cosines in their order, and zeros behind them.
    fn joined(&self, sines: &Tensor, cosines: &Tensor) -> Result<Tensor> {
        let parts = if self.cosines_first { [cosines, sines] } else { [sines, cosines] };
        let both = Tensor::cat(&parts, 1)?;
        let rest = self.dim - both.dim(1)?;
        Ok(if rest > 0 { both.pad_with_zeros(1, 0, rest)? } else { both })
    }

    /// The embedding: `[B, dim]`.
    pub(crate) fn forward(&self, t: &Tensor) -> Result<Tensor> {
        let angles = self.angles(t)?;
        Ok(self.joined(&angles.sin()?, &angles.cos()?)?.to_dtype(t.dtype())?)
    }

    /// The derivative of each element by the time: `[B, dim]`, f64.
    fn slopes(&self, t: &Tensor) -> Result<Tensor> {
        let (angles, rates) = (self.angles(t)?, self.rates(t)?);
        self.joined(&angles.cos()?.broadcast_mul(&rates)?, &angles.sin()?.neg()?.broadcast_mul(&rates)?)
    }

    /// The gradient by the times.
    pub(crate) fn backward(&self, t: &Tensor, grad: &Tensor) -> Result<Tensor> {
        Ok((self.slopes(t)? * double(grad)?)?.sum(D::Minus1)?.to_dtype(t.dtype())?)
    }

    /// The tangent of the embedding.
    pub(crate) fn jvp(&self, t: &Tensor, tangent: &Tensor) -> Result<Tensor> {
        let slopes = self.slopes(t)?;
        Ok(slopes.broadcast_mul(&double(tangent)?.reshape(((), 1))?)?.to_dtype(t.dtype())?)
    }
}
