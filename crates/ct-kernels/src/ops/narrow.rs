//! Some channels of an image.

use candle_core::{D, Tensor};

use super::place;
use crate::{Context, Error, Keeps, Op, Result, Value, apply};

const NAME: &str = "narrow_channels";

/// `length` channels from channel `start` on.
///
/// # Shapes
/// `x`: [.., C]; result: [.., length].
///
/// # Errors
/// When the channels are not all there.
pub fn narrow_channels(x: &Value, start: usize, length: usize) -> Result<Value> {
    apply(NarrowChannels { start, length }, &[x])
}

struct NarrowChannels {
    start: usize,
    length: usize,
}

impl Op for NarrowChannels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        place(NAME, inputs)?;
        let &Self { start, length } = self;
        if inputs[0].dims().last().is_none_or(|&channels| start + length > channels) {
            let expected = format!("[.., at least {}]", start + length);
            return Err(Error::shape(NAME, "x", expected, inputs[0].dims()));
        }
        Ok((inputs[0].narrow(D::Minus1, start, length)?.contiguous()?, Vec::new()))
    }

    fn backward(&self, ctx: &Context<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let channels = ctx.input_dims(0).last().copied().unwrap_or(0);
        let after = channels - self.start - self.length;
        Ok(vec![Some(grad.pad_with_zeros(D::Minus1, self.start, after)?)])
    }

    fn jvp(&self, _ctx: &Context<'_>, tangents: &[Option<&Tensor>]) -> Result<Tensor> {
        // The only input, so it has a tangent whenever this is called.
        let tangent = tangents[0].ok_or_else(|| Error::setting(NAME, "no tangent".to_owned()))?;
        Ok(self.forward(&[tangent])?.0)
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }
}
