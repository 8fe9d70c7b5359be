//! Channels of several images side by side.

use candle_core::{D, Tensor};

use super::{Place, place, samples_rows_channels};
use crate::cpu::{self, Real};
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "concat_channels";

/// Concatenation along the last dimension.
///
/// # Shapes
/// Each input `[.., C_i]`, equal but for the last dimension; the result `[.., sum of C_i]`.
///
/// # Errors
/// When there is no input, or shapes do not fit.
pub fn concat_channels(inputs: &[&Value]) -> Result<Value> {
    apply(ConcatChannels, inputs)
}

struct ConcatChannels;

impl Op for ConcatChannels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let output = match place(NAME, inputs)? {
            Place::CpuF32 => forward::<f32>(inputs),
            Place::CpuF64 => forward::<f64>(inputs),
            Place::Composed => {
                leading(inputs)?;
                Ok(Tensor::cat(inputs, D::Minus1)?)
            }
        }?;
        Ok((output, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let place = place(NAME, &[grad])?;
        let mut start = 0;
        let mut grads = Vec::with_capacity(ctx.num_inputs());
        for idx in 0..ctx.num_inputs() {
            let dims = ctx.input_dims(idx);
            grads.push(match (ctx.needs(idx), place) {
                (false, _) => None,
                (true, Place::CpuF32) => Some(part::<f32>(grad, start, dims)?),
                (true, Place::CpuF64) => Some(part::<f64>(grad, start, dims)?),
                (true, Place::Composed) => {
                    let channels = dims.last().copied().unwrap_or(0);
                    Some(grad.narrow(D::Minus1, start, channels)?.contiguous()?)
                }
            });
            start += dims.last().copied().unwrap_or(0);
        }
        Ok(grads)
    }

    fn jvp(&self, ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        let tangents = tangents
            .iter()
            .enumerate()
            .map(|(idx, tangent)| match tangent {
                Some(tangent) => Ok((*tangent).clone()),
                None => Ok(ctx.input(idx)?.zeros_like()?),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(self.forward(&tangents.iter().collect::<Vec<_>>())?.0)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}

/// All dimensions but the last, which all inputs share.
fn leading<'a>(inputs: &[&'a Tensor]) -> Result<&'a [usize]> {
    let leading = match inputs[0].dims() {
        [leading @ .., _] => leading,
        got => return Err(Error::shape(NAME, "first input", "[.., C]", got)),
    };
    for input in inputs {
        if input.rank() != leading.len() + 1 || &input.dims()[..leading.len()] != leading {
            let expected = format!("{leading:?} and a number of channels");
            return Err(Error::shape(NAME, "an input", expected, input.dims()));
        }
    }
    Ok(leading)
}

#[expect(unsafe_code, reason = "the output is not cleared before it is written")]
fn forward<T: Real>(inputs: &[&Tensor]) -> Result<Tensor> {
    let (b, n, _) = samples_rows_channels(NAME, "first input", inputs[0])?;
    let leading = leading(inputs)?;
    let contiguous =
        inputs.iter().map(|input| input.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let elements = contiguous.iter().map(cpu::read::<T>).collect::<Result<Vec<_>>>()?;
    let sources: Vec<(&[T], usize)> = elements
        .iter()
        .zip(inputs)
        .map(|(elements, input)| (&**elements, input.dims().last().copied().unwrap_or(0)))
        .collect();
    let total: usize = sources.iter().map(|(_, c)| c).sum();

    // SAFETY: the sources cover all channels of all pixels.
    let out = unsafe {
        cpu::build_overwritten(
            b * n * total,
            n * total,
            #[inline(always)]
            |b, out| {
                let mut start = 0;
                for &(source, c) in &sources {
                    let rows = source[b * n * c..][..n * c].chunks_exact(c.max(1));
                    for (out, row) in out.chunks_exact_mut(total).zip(rows) {
                        copy(row, &mut out[start..start + c]);
                    }
                    start += c;
                }
            },
        )
    };
    cpu::tensor(out, &[leading, &[total]].concat())
}

/// The channels of `x` that begin at `start`, as a tensor of shape `dims`.
#[expect(unsafe_code, reason = "the result is not cleared before it is written")]
fn part<T: Real>(x: &Tensor, start: usize, dims: &[usize]) -> Result<Tensor> {
    let (b, n, total) = samples_rows_channels(NAME, "grad", x)?;
    let c = dims.last().copied().unwrap_or(0);
    let contiguous = x.contiguous()?;
    let elements = cpu::read::<T>(&contiguous)?;
    let elements: &[T] = &elements;
    // SAFETY: each pixel's channels are all written.
    let out = unsafe {
        cpu::build_overwritten(
            b * n * c,
            n * c,
            #[inline(always)]
            |b, out| {
                let rows = elements[b * n * total..][..n * total].chunks_exact(total.max(1));
                for (out, row) in out.chunks_exact_mut(c.max(1)).zip(rows) {
                    copy(&row[start..start + c], out);
                }
            },
        )
    };
    cpu::tensor(out, dims)
}

/// Copies a few channels: a loop that the compiler turns into vectors, where a call for each pixel would cost more.
#[inline(always)]
fn copy<T: Real>(from: &[T], to: &mut [T]) {
    let (wide_from, rest_from) = from.as_chunks::<16>();
    let (wide_to, rest_to) = to.as_chunks_mut::<16>();
    for (to, from) in wide_to.iter_mut().zip(wide_from) {
        *to = *from;
    }
    for (to, &from) in rest_to.iter_mut().zip(rest_from) {
        *to = from;
    }
}
