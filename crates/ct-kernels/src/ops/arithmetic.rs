//! Sums and products, element by element.

use candle_core::Tensor;

use super::{Place, check_dims, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

/// a + b, of equal shapes.
///
/// # Errors
/// When shapes or element types differ.
pub fn add(a: &Value, b: &Value) -> Result<Value> {
    apply(Add, &[a, b])
}

/// a b, of equal shapes.
///
/// # Errors
/// When shapes or element types differ.
pub fn mul(a: &Value, b: &Value) -> Result<Value> {
    apply(Mul, &[a, b])
}

/// Dropout with a mask that the caller drew, holding 0 or 1 / (1 - p).
///
/// # Errors
/// When shapes or element types differ.
pub fn dropout(x: &Value, mask: &Tensor) -> Result<Value> {
    apply(Dropout { mask: mask.detach() }, &[x])
}

/// x times a constant.
///
/// # Errors
/// When the element type is not f32 or f64.
pub fn scale(x: &Value, factor: f64) -> Result<Value> {
    apply(Scale { name: "scale", factors: vec![factor] }, &[x])
}

/// Each sample times a constant of its own.
///
/// # Shapes
/// `x`: [B, ..]; `factors`: B numbers.
///
/// # Errors
/// When the number of factors is not that of samples.
pub fn scale_samples(x: &Value, factors: &[f64]) -> Result<Value> {
    if x.dims().first() != Some(&factors.len()) {
        let expected = format!("[{}, ..], as there are factors", factors.len());
        return Err(Error::shape("scale_samples", "x", expected, x.dims()));
    }
    apply(Scale { name: "scale_samples", factors: factors.to_vec() }, &[x])
}

/// a + b without a tape.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_dims("add", "b", b, a.dims())?;
    match place("add", &[a, b])? {
        Place::CpuF32 => combine::<f32>(
            a,
            b,
            #[inline(always)]
            |a, b| a + b,
        ),
        Place::CpuF64 => combine::<f64>(
            a,
            b,
            #[inline(always)]
            |a, b| a + b,
        ),
        Place::Composed => Ok((a + b)?),
    }
}

/// a b without a tape.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_dims("mul", "b", b, a.dims())?;
    match place("mul", &[a, b])? {
        Place::CpuF32 => combine::<f32>(
            a,
            b,
            #[inline(always)]
            |a, b| a * b,
        ),
        Place::CpuF64 => combine::<f64>(
            a,
            b,
            #[inline(always)]
            |a, b| a * b,
        ),
        Place::Composed => Ok((a * b)?),
    }
}

fn combine<T: Real>(a: &Tensor, b: &Tensor, f: impl Fn(T, T) -> T + Sync) -> Result<Tensor> {
    let (ac, bc) = (a.contiguous()?, b.contiguous()?);
    let out = cpu::map2(&cpu::read::<T>(&ac)?, &cpu::read::<T>(&bc)?, f);
    cpu::tensor(out, a.dims())
}

struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((sum(inputs[0], inputs[1])?, Vec::new()))
    }

    fn backward(&self, _: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.clone()), Some(grad.clone())])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        sum_of("add", tangents.iter().map(|tangent| tangent.cloned()).collect())
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

struct Mul;

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((product(inputs[0], inputs[1])?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let by = |idx: usize, other: usize| -> Result<Option<Tensor>> {
            Ok(if ctx.needs(idx) { Some(product(grad, ctx.input(other)?)?) } else { None })
        };
        Ok(vec![by(0, 1)?, by(1, 0)?])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let a = tangents[0].map(|a| product(a, ctx.input(1)?)).transpose()?;
        let b = tangents[1].map(|b| product(b, ctx.input(0)?)).transpose()?;
        sum_of("mul", vec![a, b])
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

/// A product whose second factor is constant, so that the first need not be kept.
struct Dropout {
    mask: Tensor,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((product(inputs[0], &self.mask)?, vec![self.mask.clone()]))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(product(grad, ctx.saved(0)?)?)])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of("dropout", tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        product(&tangent, ctx.saved(0)?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// The tensor cut into as many equal parts as there are factors, each times its factor.
struct Scale {
    name: &'static str,
    factors: Vec<f64>,
}

impl Scale {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        match place(self.name, &[x])? {
            Place::CpuF32 => self.run_cpu::<f32>(x),
            Place::CpuF64 => self.run_cpu::<f64>(x),
            Place::Composed => composed::elementwise::scale(x, &self.factors),
        }
    }

    fn run_cpu<T: Real>(&self, x: &Tensor) -> Result<Tensor> {
        let contiguous = x.contiguous()?;
        let elements = cpu::read::<T>(&contiguous)?;
        if let [factor] = self.factors[..] {
            let factor = T::from_f64(factor);
            return cpu::tensor(
                cpu::map(
                    &elements,
                    #[inline(always)]
                    |x| x * factor,
                ),
                x.dims(),
            );
        }
        let elements: &[T] = &elements;
        let part = elements.len() / self.factors.len().max(1);
        let out = cpu::build(
            elements.len(),
            part,
            #[inline(always)]
            |idx, out| {
                let factor = T::from_f64(self.factors[idx]);
                for (out, &x) in out.iter_mut().zip(&elements[idx * part..]) {
                    *out = x * factor;
                }
            },
        );
        cpu::tensor(out, x.dims())
    }
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.run(inputs[0])?, Vec::new()))
    }

    fn backward(&self, _: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.run(grad)?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        self.run(&sum_of(self.name, tangents.iter().map(|tangent| tangent.cloned()).collect())?)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}
