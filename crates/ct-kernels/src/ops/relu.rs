//! The rectifier: max(x, 0).

use candle_core::Tensor;

use super::{Place, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "relu";

/// max(x, 0), element by element; the slope at 0 is taken to be 0. What is not a number stays so.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn relu(x: &Value) -> Result<Value> {
    apply(Relu, &[x])
}

struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(NAME, inputs)? {
            Place::CpuF32 => forward::<f32>(inputs[0]),
            Place::CpuF64 => forward::<f64>(inputs[0]),
            Place::Composed => composed::elementwise::relu(inputs[0]),
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(where_positive(ctx.output()?, grad)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(NAME, tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        where_positive(ctx.output()?, &tangent)
    }

    // The output is positive where the input is, and the next operation mostly keeps it anyway.
    fn keeps(&self) -> Keeps {
        Keeps { inputs: 0, output: true }
    }
}

fn forward<T: Real>(x: &Tensor) -> Result<Tensor> {
    let y = cpu::map(
        &cpu::read::<T>(&x.contiguous()?)?,
        #[inline(always)]
        |x| if x <= T::ZERO { T::ZERO } else { x },
    );
    cpu::tensor(y, x.dims())
}

/// `v` where `y` is above 0, and 0 elsewhere.
fn where_positive(y: &Tensor, v: &Tensor) -> Result<Tensor> {
    match place(NAME, &[y, v])? {
        Place::CpuF32 => where_positive_cpu::<f32>(y, v),
        Place::CpuF64 => where_positive_cpu::<f64>(y, v),
        Place::Composed => composed::elementwise::where_positive(y, v),
    }
}

fn where_positive_cpu<T: Real>(y: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (yc, vc) = (y.contiguous()?, v.contiguous()?);
    let kept = cpu::map2(
        &cpu::read::<T>(&yc)?,
        &cpu::read::<T>(&vc)?,
        #[inline(always)]
        |y, v| if y <= T::ZERO { T::ZERO } else { v },
    );
    cpu::tensor(kept, y.dims())
}
