//! Fully connected layers.

use candle_core::Tensor;

use super::{Place, check_dims, place, sum_of};
use crate::cpu::conv::{self, Addends};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "linear";

/// x w^T + b.
///
/// # Shapes
/// `x`: `[.., in]`; `w`: `[out, in]`; `b`: `[out]`; result: `[.., out]`.
///
/// # Errors
/// When shapes do not fit.
pub fn linear(x: &Value, w: &Value, b: Option<&Value>) -> Result<Value> {
    match b {
        Some(b) => apply(Linear { has_residual: false }, &[x, w, b]),
        None => apply(Linear { has_residual: false }, &[x, w]),
    }
}

/// x w^T + b + residual, without a pass over memory for the last sum.
///
/// # Shapes
/// `x`: `[.., in]`; `w`: `[out, in]`; `b`: `[out]`; `residual` and result: `[.., out]`.
///
/// # Errors
/// When shapes do not fit.
pub fn linear_residual(x: &Value, w: &Value, b: &Value, residual: &Value) -> Result<Value> {
    apply(Linear { has_residual: true }, &[x, w, b, residual])
}

/// Inputs x, w, then a bias and a residual where there is one.
struct Linear {
    has_residual: bool,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        place(NAME, inputs)?;
        let output = run(inputs[0], inputs[1], inputs.get(2).copied(), inputs.get(3).copied())?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (ctx.input(0)?, ctx.input(1)?);
        let (outputs, features) = w.dims2()?;
        let rows = rows_of(x, features)?;
        let grad_rows = rows_of(grad, outputs)?;
        let needs = [ctx.needs(0), ctx.needs(1), ctx.needs(2)];
        let so_far = ctx.sum_so_far();
        let [by_x, by_w, by_b] = match place(NAME, &[x, grad])? {
            Place::CpuF32 => backward_f32(&rows, w, &grad_rows, so_far, needs)?,
            Place::CpuF64 => {
                let [by_x, by_w, by_b] = backward_f64(&rows, w, &grad_rows, needs)?;
                let so_far = so_far.map(|sum| rows_of(sum, features)).transpose()?;
                let by_x = by_x.map(|by_x| sum_of(NAME, vec![so_far, Some(by_x)])).transpose()?;
                [by_x, by_w, by_b]
            }
            Place::Composed => composed::linear::backward(&rows, w, &grad_rows, so_far, needs)?,
        };
        let by_x = by_x.map(|by_x| by_x.reshape(x.dims())).transpose()?;
        let mut grads = vec![by_x, by_w, by_b];
        grads.truncate(ctx.num_inputs());
        if self.has_residual {
            grads.push(Some(grad.clone()));
        }
        Ok(grads)
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        push_forward(NAME, ctx, tangents, run)
    }

    fn keeps(&self) -> Keeps {
        Keeps::first(2)
    }

    fn adds_to_sum(&self) -> bool {
        true
    }
}

/// x w^T, with whatever is to be added to it.
fn run(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let Ok((outputs, features)) = w.dims2() else {
        return Err(Error::shape(NAME, "w", "[out, in]", w.dims()));
    };
    let [leading @ .., last] = x.dims() else {
        return Err(Error::shape(NAME, "x", "[.., in]", x.dims()));
    };
    if *last != features {
        return Err(Error::shape(NAME, "x", format!("[.., {features}]"), x.dims()));
    }
    let dims = [leading, &[outputs]].concat();
    if let Some(b) = bias {
        check_dims(NAME, "b", b, &[outputs])?;
    }
    if let Some(residual) = residual {
        check_dims(NAME, "residual", residual, &dims)?;
    }
    let x = rows_of(x, features)?;
    match place(NAME, &[&x, w])? {
        Place::CpuF32 => Ok(forward_f32(&x, w, bias, residual)?.reshape(dims)?),
        Place::CpuF64 => {
            let y = forward_f64(&x, w, bias)?.reshape(dims)?;
            sum_of(NAME, vec![residual.cloned(), Some(y)])
        }
        Place::Composed => Ok(composed::linear::forward(&x, w, bias, residual)?.reshape(dims)?),
    }
}

/// The tangent of f(x, w) + b + residual for a bilinear f, where `run` computes all of it:
/// y. = f(x., w) + f(x, w.) + b. + residual., the last two within the first of the products that are there.
pub(super) fn push_forward(
    op: &'static str,
    ctx: &Context<'_>,
    tangents: &[Option<&Tensor>],
    run: impl Fn(&Tensor, &Tensor, Option<&Tensor>, Option<&Tensor>) -> Result<Tensor>,
) -> Result<Tensor> {
    let tangent = |idx: usize| tangents.get(idx).copied().flatten();
    let (x, w) = (ctx.input(0)?, ctx.input(1)?);
    let (b, residual) = (tangent(2), tangent(3));
    match (tangent(0), tangent(1)) {
        (Some(by_x), None) => run(by_x, w, b, residual),
        (None, Some(by_w)) => run(x, by_w, b, residual),
        (Some(by_x), Some(by_w)) => {
            let terms = vec![Some(run(by_x, w, b, residual)?), Some(run(x, by_w, None, None)?)];
            sum_of(op, terms)
        }
        (None, None) => {
            let b = b.map(|b| b.broadcast_as(ctx.output_dims())?.contiguous()).transpose()?;
            sum_of(op, vec![b, residual.cloned()])
        }
    }
}

#[expect(unsafe_code, reason = "the output is not cleared before it is written")]
fn forward_f32(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let ((rows, features), (outputs, _)) = (x.dims2()?, w.dims2()?);
    let w = w.contiguous()?;
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x, w) = (cpu::read(x)?, cpu::read(&w)?);
    let bias = bias.as_ref().map(cpu::read).transpose()?;
    let residual = residual.as_ref().map(cpu::read).transpose()?;
    let plus = Addends { bias: bias.as_deref(), residual: residual.as_deref() };
    // SAFETY: the kernel overwrites all of y and reads none of it.
    let y = unsafe {
        cpu::overwritten(rows * outputs, |y| conv::linear_forward(rows, features, outputs, &x, &w, plus, y))
    };
    cpu::tensor(y, &[rows, outputs])
}

fn forward_f64(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&w.t()?)?;
    bias.map_or_else(|| Ok(y.clone()), |bias| add_bias(&y, bias))
}

/// The gradients by x, w and bias that are needed; `so_far` is added to that by x.
#[expect(unsafe_code, reason = "the gradients are not cleared before they are written")]
fn backward_f32(
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    so_far: Option<&Tensor>,
    needs: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let ((rows, features), (outputs, _)) = (x.dims2()?, w.dims2()?);
    let wc = w.contiguous()?;
    let so_far = so_far.map(Tensor::contiguous).transpose()?;
    let (xs, ws, gs) = (cpu::read(x)?, cpu::read(&wc)?, cpu::read(grad)?);
    let so_far = so_far.as_ref().map(cpu::read).transpose()?;
    // SAFETY: the kernel overwrites all of the gradients that it is given.
    unsafe {
        cpu::overwritten_if_needed([x.dims(), w.dims(), &[outputs]], needs, |grads| {
            conv::linear_backward([rows, features, outputs], &xs, &ws, &gs, so_far.as_deref(), grads);
        })
    }
}

fn backward_f64(
    x: &Tensor,
    w: &Tensor,
    grad: &Tensor,
    [by_x, by_w, by_bias]: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    Ok([
        by_x.then(|| grad.matmul(w)).transpose()?,
        by_w.then(|| grad.t()?.matmul(x)).transpose()?,
        by_bias.then(|| sum_rows(grad)).transpose()?,
    ])
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
        Place::Composed => Ok(y.broadcast_add(b)?),
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
        Place::Composed => composed::sum_rows(x),
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
