//! Activations that networks of ours do not use and published ones may: GELU and Mish.
//!
//! GELU(x) = x Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016, section 2);
//! Mish(x) = x tanh(ln(1 + e^x)) (Misra 2019, equation 1).
//! Both are computed in f64 whatever the element type: they are for fidelity, not for speed.

use candle_core::Tensor;

use super::{Place, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply, composed};

/// x Phi(x), element by element.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn gelu(x: &Value) -> Result<Value> {
    apply(Curve::Gelu, &[x])
}

/// x tanh(ln(1 + e^x)), element by element.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn mish(x: &Value) -> Result<Value> {
    apply(Curve::Mish, &[x])
}

#[derive(Clone, Copy)]
enum Curve {
    Gelu,
    Mish,
}

/// Above this, Mish is x to the last bit, and e^2x is still far from infinity.
const MISH_LINEAR: f64 = 30.0;

impl Curve {
    fn value(self, x: f64) -> f64 {
        match self {
            Self::Gelu => x * normal_cdf(x),
            Self::Mish if x > MISH_LINEAR => x,
            Self::Mish => {
                let w = mish_ratio(x);
                x * (w / (w + 2.0))
            }
        }
    }

    fn slope(self, x: f64) -> f64 {
        match self {
            Self::Gelu => {
                let density = libm::exp(-0.5 * x * x) / std::f64::consts::TAU.sqrt();
                normal_cdf(x) + if density == 0.0 { 0.0 } else { x * density }
            }
            Self::Mish if x > MISH_LINEAR => 1.0,
            Self::Mish => {
                let (w, n) = (mish_ratio(x), libm::exp(x));
                // 1 - tanh^2, and the sigmoid, which is the slope of ln(1 + e^x).
                let inner = 4.0 * (w + 1.0) / ((w + 2.0) * (w + 2.0)) * (n / (1.0 + n));
                w / (w + 2.0) + if inner == 0.0 { 0.0 } else { x * inner }
            }
        }
    }
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// w = e^x (e^x + 2), with which tanh(ln(1 + e^x)) = w / (w + 2).
fn mish_ratio(x: f64) -> f64 {
    let n = libm::exp(x);
    n * (n + 2.0)
}

impl Op for Curve {
    fn name(&self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::Mish => "mish",
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(self.name(), inputs)? {
            Place::CpuF32 => forward::<f32>(*self, inputs[0]),
            Place::CpuF64 => forward::<f64>(*self, inputs[0]),
            Place::Composed => match self {
                Self::Gelu => composed::curve::gelu(inputs[0]),
                Self::Mish => composed::curve::mish(inputs[0]),
            },
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(times_slope(*self, ctx.input(0)?, grad)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(self.name(), tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        times_slope(*self, ctx.input(0)?, &tangent)
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

fn forward<T: Real>(curve: Curve, x: &Tensor) -> Result<Tensor> {
    let y = cpu::map(
        &cpu::read::<T>(&x.contiguous()?)?,
        #[inline(always)]
        |x| T::from_f64(curve.value(x.to_f64())),
    );
    cpu::tensor(y, x.dims())
}

/// The derivative at `x`, times `v`.
fn times_slope(curve: Curve, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    match place(curve.name(), &[x, v])? {
        Place::CpuF32 => times_slope_cpu::<f32>(curve, x, v),
        Place::CpuF64 => times_slope_cpu::<f64>(curve, x, v),
        Place::Composed => match curve {
            Curve::Gelu => composed::curve::gelu_slope(x, v),
            Curve::Mish => composed::curve::mish_slope(x, v),
        },
    }
}

fn times_slope_cpu<T: Real>(curve: Curve, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (xc, vc) = (x.contiguous()?, v.contiguous()?);
    let product = cpu::map2(
        &cpu::read::<T>(&xc)?,
        &cpu::read::<T>(&vc)?,
        #[inline(always)]
        |x, v| v * T::from_f64(curve.slope(x.to_f64())),
    );
    cpu::tensor(product, x.dims())
}
