//! Sums and means of everything.

use candle_core::{DType, Device, Tensor};

use super::{Place, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply, composed};

/// The sum of all elements, a scalar, added up in f64.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn sum_all(x: &Value) -> Result<Value> {
    apply(Reduce { name: "sum_all", mean: false }, &[x])
}

/// The mean of all elements, a scalar, added up in f64.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn mean_all(x: &Value) -> Result<Value> {
    apply(Reduce { name: "mean_all", mean: true }, &[x])
}

struct Reduce {
    name: &'static str,
    mean: bool,
}

impl Reduce {
    fn factor(&self, count: usize) -> f64 {
        if self.mean { 1.0 / count as f64 } else { 1.0 }
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let place = place(self.name, &[x])?;
        let x = x.contiguous()?;
        let total = match place {
            Place::CpuF32 => total::<f32>(&x),
            Place::CpuF64 => total::<f64>(&x),
            Place::Composed => {
                let total = composed::total(&x.to_dtype(DType::F64)?)?;
                return Ok((total * self.factor(x.elem_count()))?.to_dtype(x.dtype())?);
            }
        }?;
        Ok(Tensor::new(total * self.factor(x.elem_count()), &Device::Cpu)?.to_dtype(x.dtype())?)
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.run(inputs[0])?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let dims = ctx.input_dims(0);
        let each = (grad * self.factor(dims.iter().product()))?;
        Ok(vec![Some(each.broadcast_as(dims)?.contiguous()?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        self.run(&sum_of(self.name, tangents.iter().map(|tangent| tangent.cloned()).collect())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

fn total<T: Real>(x: &Tensor) -> Result<f64> {
    let elements = cpu::read::<T>(x)?;
    let elements: &[T] = &elements;
    Ok(cpu::sum_blocks(elements.len(), |range| elements[range].iter().map(|x| x.to_f64()).sum()))
}
