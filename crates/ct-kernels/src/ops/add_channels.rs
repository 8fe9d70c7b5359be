//! A vector per sample, added to each of its pixels.

use candle_core::Tensor;

use super::{Place, check_dims, place, samples_rows_channels};
use crate::cpu::{self, Real};
use crate::{Context, Keeps, Op, Result, Value, apply, composed};

const NAME: &str = "add_channels";

/// Adds `t[b, c]` to every `x[b, .., c]`.
///
/// # Shapes
/// `x`: [B, H, W, C] or [B, N, C]; `t`: [B, C].
///
/// # Errors
/// When shapes do not fit.
pub fn add_channels(x: &Value, t: &Value) -> Result<Value> {
    apply(AddChannels, &[x, t])
}

struct AddChannels;

impl Op for AddChannels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (x, t) = (inputs[0], inputs[1]);
        let (b, _, c) = samples_rows_channels(NAME, "x", x)?;
        check_dims(NAME, "t", t, &[b, c])?;
        Ok((sum_with(x, t)?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let by_t = if ctx.needs(1) {
            Some(match place(NAME, &[grad])? {
                Place::CpuF32 => sum_pixels::<f32>(grad),
                Place::CpuF64 => sum_pixels::<f64>(grad),
                Place::Composed => composed::sum_pixels(grad),
            }?)
        } else {
            None
        };
        Ok(vec![Some(grad.clone()), by_t])
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        match (tangents[0], tangents[1]) {
            (Some(x), None) => Ok(x.clone()),
            (x, Some(t)) => {
                let x = match x {
                    Some(x) => x.clone(),
                    None => ctx.input(0)?.zeros_like()?,
                };
                Ok(self.forward(&[&x, t])?.0)
            }
            (None, None) => super::sum_of(NAME, Vec::new()),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// x + t without a tape.
pub(super) fn sum_with(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    match place(NAME, &[x, t])? {
        Place::CpuF32 => forward::<f32>(x, t),
        Place::CpuF64 => forward::<f64>(x, t),
        Place::Composed => composed::elementwise::add_channels(x, t),
    }
}

fn forward<T: Real>(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    let (_, n, c) = samples_rows_channels(NAME, "x", x)?;
    let (xc, tc) = (x.contiguous()?, t.contiguous()?);
    let (xs, ts) = (cpu::read::<T>(&xc)?, cpu::read::<T>(&tc)?);
    let (xs, ts): (&[T], &[T]) = (&xs, &ts);
    let out = cpu::build(
        xs.len(),
        n * c,
        #[inline(always)]
        |b, out| {
            let t = &ts[b * c..][..c];
            let x = &xs[b * n * c..][..n * c];
            for (out, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for ((out, &x), &t) in out.iter_mut().zip(x).zip(t) {
                    *out = x + t;
                }
            }
        },
    );
    cpu::tensor(out, x.dims())
}

pub(super) fn sum_pixels<T: Real>(grad: &Tensor) -> Result<Tensor> {
    let (b, n, c) = samples_rows_channels(NAME, "grad", grad)?;
    let contiguous = grad.contiguous()?;
    cpu::tensor(cpu::fold_rows(&cpu::read::<T>(&contiguous)?, n, c), &[b, c])
}
