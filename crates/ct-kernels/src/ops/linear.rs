//! Fully connected layers.

use candle_core::Tensor;

use super::{Place, check_dims, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "linear";

/// x w^T + b.
///
/// # Shapes
/// `x`: [.., in]; `w`: [out, in]; `b`: [out]; result: [.., out].
///
/// # Errors
/// When shapes do not fit.
pub fn linear(x: &Value, w: &Value, b: Option<&Value>) -> Result<Value> {
    match b {
        Some(b) => apply(Linear, &[x, w, b]),
        None => apply(Linear, &[x, w]),
    }
}

struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (x, w) = (inputs[0], inputs[1]);
        place(NAME, inputs)?;
        let Ok((outputs, features)) = w.dims2() else {
            return Err(Error::shape(NAME, "w", "[out, in]", w.dims()));
        };
        let [leading @ .., last] = x.dims() else {
            return Err(Error::shape(NAME, "x", "[.., in]", x.dims()));
        };
        if *last != features {
            return Err(Error::shape(NAME, "x", format!("[.., {features}]"), x.dims()));
        }
        if let Some(b) = inputs.get(2) {
            check_dims(NAME, "b", b, &[outputs])?;
        }
        let y = rows_of(x, features)?.matmul(&w.t()?)?;
        let y = match inputs.get(2) {
            Some(b) => add_bias(&y, b)?,
            None => y,
        };
        Ok((y.reshape([leading, &[outputs]].concat())?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (ctx.input(0)?, ctx.input(1)?);
        let (outputs, features) = w.dims2()?;
        let grad = rows_of(grad, outputs)?;
        let by_x = if ctx.needs(0) { Some(grad.matmul(w)?.reshape(x.dims())?) } else { None };
        let by_w = if ctx.needs(1) { Some(grad.t()?.matmul(&rows_of(x, features)?)?) } else { None };
        let mut grads = vec![by_x, by_w];
        if ctx.num_inputs() == 3 {
            grads.push(if ctx.needs(2) { Some(sum_rows(&grad)?) } else { None });
        }
        Ok(grads)
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let by_x = tangents[0].map(|x| self.forward(&[x, ctx.input(1)?])).transpose()?;
        let by_w = tangents[1].map(|w| self.forward(&[ctx.input(0)?, w])).transpose()?;
        let by_b = match tangents.get(2) {
            Some(Some(b)) => Some(b.broadcast_as(ctx.output_dims())?.contiguous()?),
            _ => None,
        };
        sum_of(NAME, vec![by_x.map(|(y, _)| y), by_w.map(|(y, _)| y), by_b])
    }

    fn keeps(&self) -> Keeps {
        Keeps::INPUTS
    }
}

/// `x` as a matrix with rows of `length`.
fn rows_of(x: &Tensor, length: usize) -> Result<Tensor> {
    Ok(x.contiguous()?.reshape((x.elem_count() / length.max(1), length))?)
}

/// `y[i, j] + b[j]`.
pub(crate) fn add_bias(y: &Tensor, b: &Tensor) -> Result<Tensor> {
    match place(NAME, &[y, b])? {
        Place::CpuF32 => add_bias_cpu::<f32>(y, b),
        Place::CpuF64 => add_bias_cpu::<f64>(y, b),
    }
}

fn add_bias_cpu<T: Real>(y: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (yc, bc) = (y.contiguous()?, b.contiguous()?);
    let (ys, bs) = (cpu::read::<T>(&yc)?, cpu::read::<T>(&bc)?);
    let (ys, bs): (&[T], &[T]) = (&ys, &bs);
    let columns = bs.len().max(1);
    let chunk = columns * (cpu::BLOCK / columns).max(1);
    let out = cpu::build(
        ys.len(),
        chunk,
        #[inline(always)]
        |idx, out| {
            let ys = ys[idx * chunk..].chunks_exact(columns);
            for (out, ys) in out.chunks_exact_mut(columns).zip(ys) {
                for ((out, &y), &b) in out.iter_mut().zip(ys).zip(bs) {
                    *out = y + b;
                }
            }
        },
    );
    cpu::tensor(out, y.dims())
}

/// Sum over all but the last dimension.
pub(super) fn sum_rows(x: &Tensor) -> Result<Tensor> {
    match place(NAME, &[x])? {
        Place::CpuF32 => sum_rows_cpu::<f32>(x),
        Place::CpuF64 => sum_rows_cpu::<f64>(x),
    }
}

/// Blocks of rows are summed in parallel, the sums of the blocks in order.
fn sum_rows_cpu<T: Real>(x: &Tensor) -> Result<Tensor> {
    const ROWS: usize = 256;
    let columns = x.dims().last().copied().unwrap_or(0);
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let blocks = elements.len().div_ceil((ROWS * columns).max(1));
    let partial = cpu::build(
        blocks * columns,
        columns,
        #[inline(always)]
        |idx, out: &mut [T]| {
            let end = elements.len().min((idx + 1) * ROWS * columns);
            for row in elements[idx * ROWS * columns..end].chunks_exact(columns) {
                for (out, &x) in out.iter_mut().zip(row) {
                    *out += x;
                }
            }
        },
    );
    cpu::tensor(cpu::fold_rows(&partial, blocks, columns), &[columns])
}
