//! Noise levels as vectors that a network can read.

use candle_core::{DType, Tensor};

use super::{Place, place};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

/// Sines and cosines of a time at geometrically spaced frequencies
/// (Vaswani et al., "Attention Is All You Need", section 3.5; Ho et al., "Denoising Diffusion
/// Probabilistic Models", appendix B), with the options that diffusers gives them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionalEmbedding {
    /// Length of the vector; if it is odd, the last element is zero.
    pub dim: usize,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Frequency i of n is `max_period^(-i / (n - downscale_freq_shift))`.
    pub downscale_freq_shift: f64,
    /// The inverse of the lowest frequency, about.
    pub max_period: f64,
}

impl PositionalEmbedding {
    /// `dim` elements, cosines first, no shift, period 10000: what `UNet2DModel` does by default.
    pub const fn new(dim: usize) -> Self {
        Self { dim, flip_sin_to_cos: true, downscale_freq_shift: 0.0, max_period: 10_000.0 }
    }
}

/// Sines and cosines of a noise level at frequencies drawn once from a normal distribution
/// (Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourierEmbedding {
    /// Take the logarithm first.
    pub log: bool,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
}

/// The positional embedding of each time.
///
/// Frequencies and angles are rounded to the element type of `t` where diffusers rounds them, since
/// published weights were trained on these.
///
/// # Shapes
/// `t`: `[B]`; result: `[B, dim]`.
///
/// # Errors
/// When `t` has not one dimension, `dim` is less than 2 or the shift not below `dim / 2`.
pub fn positional_embedding(t: &Value, config: &PositionalEmbedding) -> Result<Value> {
    let half = config.dim / 2;
    if half == 0 || config.downscale_freq_shift >= half as f64 {
        let reason = format!("dim must be at least 2 and the shift below dim / 2, got {config:?}");
        return Err(Error::setting("positional_embedding", reason));
    }
    apply(
        Sinusoid {
            name: "positional_embedding",
            frequencies: Frequencies::Geometric { half, config: *config },
            dim: config.dim,
            cosines_first: config.flip_sin_to_cos,
            log: false,
        },
        &[t],
    )
}

/// The Fourier embedding of each noise level.
///
/// # Shapes
/// `t`: `[B]`; `weight`: `[D / 2]`, a constant; result: `[B, D]`.
///
/// # Errors
/// When `t` or `weight` has not one dimension.
pub fn fourier_embedding(t: &Value, weight: &Tensor, config: &FourierEmbedding) -> Result<Value> {
    let Ok(half) = weight.dims1() else {
        return Err(Error::shape("fourier_embedding", "weight", "[D / 2]", weight.dims()));
    };
    let weight = weight.to_dtype(DType::F64)?.contiguous()?;
    apply(
        Sinusoid {
            name: "fourier_embedding",
            frequencies: Frequencies::Given(weight),
            dim: 2 * half,
            cosines_first: config.flip_sin_to_cos,
            log: config.log,
        },
        &[t],
    )
}

enum Frequencies {
    Geometric {
        half: usize,
        config: PositionalEmbedding,
    },
    /// In f64.
    Given(Tensor),
}

impl Frequencies {
    /// How fast each angle grows, rounded to `T` at each step that diffusers takes.
    fn speeds<T: Real>(&self) -> Result<Vec<T>> {
        Ok(match self {
            Self::Geometric { half, config } => (0..*half)
                .map(|i| {
                    let numerator = T::from_f64(-config.max_period.ln()) * T::from_f64(i as f64);
                    let denominator = T::from_f64(*half as f64 - config.downscale_freq_shift);
                    T::from_f64((numerator / denominator).to_f64().exp())
                })
                .collect(),
            Self::Given(weight) => cpu::read::<f64>(weight)?.iter().map(|&w| T::from_f64(w)).collect(),
        })
    }

    /// The speeds beside `t`.
    fn speeds_composed(&self, t: &Tensor) -> Result<Tensor> {
        let dtype = composed::wide_dtype(t.dtype());
        let speeds: Vec<f64> = match self {
            Self::Given(weight) => return Ok(weight.to_dtype(dtype)?),
            Self::Geometric { .. } if dtype == DType::F64 => self.speeds::<f64>()?,
            Self::Geometric { .. } => self.speeds::<f32>()?.into_iter().map(f64::from).collect(),
        };
        let count = speeds.len();
        composed::upload(speeds, count, dtype, t)
    }

    /// The angle at time `t`.
    fn angle<T: Real>(&self, t: T, speed: T) -> f64 {
        match self {
            Self::Geometric { .. } => (t * speed).to_f64(),
            Self::Given(_) => {
                let two = T::from_f64(2.0);
                (t * speed * two * T::from_f64(std::f64::consts::PI)).to_f64()
            }
        }
    }

    /// d angle / d t over the speed.
    fn factor(&self) -> f64 {
        match self {
            Self::Geometric { .. } => 1.0,
            Self::Given(_) => std::f64::consts::TAU,
        }
    }
}

struct Sinusoid {
    name: &'static str,
    frequencies: Frequencies,
    dim: usize,
    cosines_first: bool,
    log: bool,
}

/// For one time: each sine or cosine, and its derivative by the time.
struct Element {
    column: usize,
    value: f64,
    slope: f64,
}

impl Sinusoid {
    /// Calls `f` with each element of the embedding of `t`.
    fn visit<T: Real>(&self, speeds: &[T], t: T, mut f: impl FnMut(&Element)) {
        let (time, inner) =
            if self.log { (T::from_f64(t.to_f64().ln()), 1.0 / t.to_f64()) } else { (t, 1.0) };
        let half = speeds.len();
        let (sines, cosines) = if self.cosines_first { (half, 0) } else { (0, half) };
        for (i, &speed) in speeds.iter().enumerate() {
            let (sin, cos) = self.frequencies.angle(time, speed).sin_cos();
            let rate = speed.to_f64() * self.frequencies.factor() * inner;
            f(&Element { column: sines + i, value: sin, slope: cos * rate });
            f(&Element { column: cosines + i, value: cos, slope: -sin * rate });
        }
    }

    fn composed(&self, t: &Tensor) -> Result<composed::timestep::Sinusoid> {
        t.dims1().map_err(|_| Error::shape(self.name, "t", "[B]", t.dims()))?;
        Ok(composed::timestep::Sinusoid {
            speeds: self.frequencies.speeds_composed(t)?,
            in_turns: matches!(self.frequencies, Frequencies::Given(_)),
            dim: self.dim,
            cosines_first: self.cosines_first,
            log: self.log,
        })
    }

    fn forward_cpu<T: Real>(&self, t: &Tensor) -> Result<Tensor> {
        let batch = t.dims1().map_err(|_| Error::shape(self.name, "t", "[B]", t.dims()))?;
        let contiguous = t.contiguous()?;
        let times = cpu::read::<T>(&contiguous)?;
        let speeds = self.frequencies.speeds::<T>()?;
        let mut out = vec![T::ZERO; batch * self.dim];
        for (&t, out) in times.iter().zip(out.chunks_exact_mut(self.dim.max(1))) {
            self.visit(&speeds, t, |element| out[element.column] = T::from_f64(element.value));
        }
        cpu::tensor(out, &[batch, self.dim])
    }

    fn backward_cpu<T: Real>(&self, t: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (tc, gc) = (t.contiguous()?, grad.contiguous()?);
        let (times, grads) = (cpu::read::<T>(&tc)?, cpu::read::<T>(&gc)?);
        let speeds = self.frequencies.speeds::<T>()?;
        let out = times.iter().zip(grads.chunks_exact(self.dim.max(1))).map(|(&t, grads)| {
            let mut sum = 0.0;
            self.visit(&speeds, t, |element| sum += grads[element.column].to_f64() * element.slope);
            T::from_f64(sum)
        });
        cpu::tensor(out.collect(), t.dims())
    }

    fn jvp_cpu<T: Real>(&self, t: &Tensor, tangent: &Tensor) -> Result<Tensor> {
        let (tc, vc) = (t.contiguous()?, tangent.contiguous()?);
        let (times, tangents) = (cpu::read::<T>(&tc)?, cpu::read::<T>(&vc)?);
        let speeds = self.frequencies.speeds::<T>()?;
        let mut out = vec![T::ZERO; times.len() * self.dim];
        let rows = out.chunks_exact_mut(self.dim.max(1));
        for ((&t, &tangent), out) in times.iter().zip(&*tangents).zip(rows) {
            self.visit(&speeds, t, |element| {
                out[element.column] = T::from_f64(element.slope * tangent.to_f64());
            });
        }
        cpu::tensor(out, &[times.len(), self.dim])
    }
}

impl Op for Sinusoid {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(self.name, inputs)? {
            Place::CpuF32 => self.forward_cpu::<f32>(inputs[0]),
            Place::CpuF64 => self.forward_cpu::<f64>(inputs[0]),
            Place::Composed => self.composed(inputs[0])?.forward(inputs[0]),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let t = ctx.input(0)?;
        Ok(vec![Some(match place(self.name, &[t, grad])? {
            Place::CpuF32 => self.backward_cpu::<f32>(t, grad),
            Place::CpuF64 => self.backward_cpu::<f64>(t, grad),
            Place::Composed => self.composed(t)?.backward(t, grad),
        }?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let t = ctx.input(0)?;
        let tangents = tangents.iter().map(|tangent| tangent.cloned()).collect();
        let tangent = super::sum_of(self.name, tangents)?;
        match place(self.name, &[t, &tangent])? {
            Place::CpuF32 => self.jvp_cpu::<f32>(t, &tangent),
            Place::CpuF64 => self.jvp_cpu::<f64>(t, &tangent),
            Place::Composed => self.composed(t)?.jvp(t, &tangent),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}
