//! Twice as many pixels, or half as many, each way.

use candle_core::Tensor;

use super::{Place, image_dims, place, sum_of};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply, composed};

/// Every pixel becomes a square of four.
///
/// # Shapes
/// `x`: [B, H, W, C]; result: [B, 2H, 2W, C].
///
/// # Errors
/// When `x` has not four dimensions.
pub fn upsample_nearest2x(x: &Value) -> Result<Value> {
    apply(Upsample, &[x])
}

/// Every square of four pixels becomes their mean; an odd last row or column is left out.
///
/// # Shapes
/// `x`: [B, H, W, C] with H, W >= 2; result: [B, H / 2, W / 2, C].
///
/// # Errors
/// When `x` has not four dimensions, or fewer than two rows or columns.
pub fn avg_pool2x(x: &Value) -> Result<Value> {
    apply(AvgPool, &[x])
}

struct Upsample;

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (_, h, w, _) = image_dims(self.name(), "x", inputs[0], "[B, H, W, C]")?;
        Ok((spread(self.name(), inputs[0], 2 * h, 2 * w, 1.0)?, Vec::new()))
    }

    fn backward(&self, _: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(gather(self.name(), grad, 1.0)?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(self.name(), tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        Ok(self.forward(&[&tangent])?.0)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

struct AvgPool;

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2x"
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((gather(self.name(), inputs[0], 0.25)?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let dims = ctx.input_dims(0);
        Ok(vec![Some(spread(self.name(), grad, dims[1], dims[2], 0.25)?)])
    }

    fn jvp(&self, _: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangent = sum_of(self.name(), tangents.iter().map(|tangent| tangent.cloned()).collect())?;
        gather(self.name(), &tangent, 0.25)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// Each pixel times `factor`, in a square of four; rows and columns beyond are zero.
fn spread(op: &'static str, x: &Tensor, height: usize, width: usize, factor: f64) -> Result<Tensor> {
    match place(op, &[x])? {
        Place::CpuF32 => spread_cpu::<f32>(op, x, height, width, factor),
        Place::CpuF64 => spread_cpu::<f64>(op, x, height, width, factor),
        Place::Composed => composed::resample::spread(x, height, width, factor),
    }
}

fn spread_cpu<T: Real>(
    op: &'static str,
    x: &Tensor,
    height: usize,
    width: usize,
    factor: f64,
) -> Result<Tensor> {
    let (b, h, w, c) = image_dims(op, "x", x, "[B, H, W, C]")?;
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let factor = T::from_f64(factor);
    let sample = height * width * c;
    let out = cpu::build(
        b * sample,
        sample,
        #[inline(always)]
        |b, out| {
            let x = &elements[b * h * w * c..][..h * w * c];
            for (row, out) in out.chunks_exact_mut(width * c).take(2 * h).enumerate() {
                let x = x[row / 2 * w * c..][..w * c].chunks_exact(c);
                for (out, x) in out.chunks_exact_mut(2 * c).zip(x) {
                    let (left, right) = out.split_at_mut(c);
                    for ((left, right), &x) in left.iter_mut().zip(right).zip(x) {
                        *left = x * factor;
                        *right = x * factor;
                    }
                }
            }
        },
    );
    cpu::tensor(out, &[b, height, width, c])
}

/// The sum of each square of four pixels, times `factor`.
fn gather(op: &'static str, x: &Tensor, factor: f64) -> Result<Tensor> {
    let (_, height, width, _) = image_dims(op, "x", x, "[B, H, W, C]")?;
    if height < 2 || width < 2 {
        return Err(Error::shape(op, "x", "[B, H, W, C] with H, W >= 2", x.dims()));
    }
    match place(op, &[x])? {
        Place::CpuF32 => gather_cpu::<f32>(op, x, factor),
        Place::CpuF64 => gather_cpu::<f64>(op, x, factor),
        Place::Composed => composed::resample::gather(x, factor),
    }
}

fn gather_cpu<T: Real>(op: &'static str, x: &Tensor, factor: f64) -> Result<Tensor> {
    let (b, height, width, c) = image_dims(op, "x", x, "[B, H, W, C]")?;
    let (h, w) = (height / 2, width / 2);
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    let factor = T::from_f64(factor);
    let out = cpu::build(
        b * h * w * c,
        h * w * c,
        #[inline(always)]
        |b, out| {
            let x = &elements[b * height * width * c..][..height * width * c];
            for (row, out) in out.chunks_exact_mut(w * c).enumerate() {
                let (upper, lower) = x[2 * row * width * c..][..2 * width * c].split_at(width * c);
                let pairs = upper.chunks_exact(2 * c).zip(lower.chunks_exact(2 * c));
                for (out, (upper, lower)) in out.chunks_exact_mut(c).zip(pairs) {
                    let (a, b) = upper.split_at(c);
                    let (d, e) = lower.split_at(c);
                    for ((((out, &a), &b), &d), &e) in out.iter_mut().zip(a).zip(b).zip(d).zip(e) {
                        *out = ((a + b) + (d + e)) * factor;
                    }
                }
            }
        },
    );
    cpu::tensor(out, &[b, h, w, c])
}
