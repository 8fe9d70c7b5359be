//! SiLU: x sigmoid(x).

use candle_core::Tensor;

use super::{Place, place};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply, composed};

/// x / (1 + e^-x), element by element.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn silu(x: &Value) -> Result<Value> {
    apply(Silu, &[x])
}

struct Silu;

impl Op for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let x = inputs[0];
        let output = match place("silu", inputs)? {
            Place::CpuF32 => forward::<f32>(x),
            Place::CpuF64 => forward::<f64>(x),
            Place::Composed => composed::elementwise::silu(x),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(times_slope(ctx.input(0)?, grad)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = tangents.iter().flatten().map(|&tangent| tangent.clone()).map(Some);
        times_slope(ctx.input(0)?, &super::sum_of("silu", tangent.collect())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

fn forward<T: Real>(x: &Tensor) -> Result<Tensor> {
    let y = cpu::map(
        &cpu::read::<T>(&x.contiguous()?)?,
        #[inline(always)]
        |x| x * x.sigmoid(),
    );
    cpu::tensor(y, x.dims())
}

/// The derivative at `x`, times `v`.
fn times_slope(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    match place("silu", &[x, v])? {
        Place::CpuF32 => times_slope_cpu::<f32>(x, v),
        Place::CpuF64 => times_slope_cpu::<f64>(x, v),
        Place::Composed => composed::elementwise::silu_slope(x, v),
    }
}

fn times_slope_cpu<T: Real>(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (xc, vc) = (x.contiguous()?, v.contiguous()?);
    let product = cpu::map2(
        &cpu::read::<T>(&xc)?,
        &cpu::read::<T>(&vc)?,
        #[inline(always)]
        |x, v| v * slope(x),
    );
    cpu::tensor(product, x.dims())
}

/// d/dx of x sigmoid(x).
#[inline(always)]
pub(crate) fn slope<T: Real>(x: T) -> T {
    let s = x.sigmoid();
    s * (T::ONE + x * (T::ONE - s))
}
